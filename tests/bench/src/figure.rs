//! One measured figure, as the table and `target/bench.json` show it.

use serde::{Deserialize, Serialize};

/// A figure with its goal and, where there is one, the peer that it was measured beside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// For people, e.g. "<= 3"; empty where there is none yet.
    pub(crate) goal: String,
    pub(crate) peer: Option<String>,
    /// The value as a multiple of the peer's.
    pub(crate) ratio: Option<f64>,
    /// Whether it is within its goal; a figure without one holds.
    pub(crate) holds: bool,
}

impl Figure {
    /// A figure without a goal, to be compared with later ones.
    pub(crate) fn plain(name: &str, value: f64, unit: &str) -> Self {
        Self { name: name.to_owned(), value, unit: unit.to_owned(), goal: String::new(), peer: None, ratio: None, holds: true }
    }

    /// A figure that should not be above its goal.
    pub(crate) fn at_most(name: &str, value: f64, unit: &str, goal: f64) -> Self {
        Self { goal: format!("<= {goal}"), holds: value <= goal, ..Self::plain(name, value, unit) }
    }

    /// A figure that should not be below its goal.
    pub(crate) fn at_least(name: &str, value: f64, unit: &str, goal: f64) -> Self {
        Self { goal: format!(">= {goal}"), holds: value >= goal, ..Self::plain(name, value, unit) }
    }

    /// How many times a peer's measure ours is, at most `goal`.
    pub(crate) fn times(name: &str, peer: &str, ours: f64, theirs: f64, goal: f64) -> Self {
        Self::at_most(name, ours / theirs, "x", goal).beside(peer, ours / theirs)
    }

    /// How many times a peer's measure ours is, at least `goal`.
    pub(crate) fn times_at_least(name: &str, peer: &str, ours: f64, theirs: f64, goal: f64) -> Self {
        Self::at_least(name, ours / theirs, "x", goal).beside(peer, ours / theirs)
    }

    fn beside(self, peer: &str, ratio: f64) -> Self {
        Self { ratio: Some(ratio), ..self.with_note(peer) }
    }

    /// Says beside the figure what it was measured beside, or how.
    pub(crate) fn with_note(self, note: &str) -> Self {
        Self { peer: Some(note.to_owned()), ..self }
    }
}

/// The middle one, which one disturbed run does not move; NaN of none, which holds no goal.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints the table.
pub(crate) fn print(figures: &[Figure]) {
    println!("{:<28} {:>12} {:<10} {:<8} {:<7} peer", "figure", "value", "unit", "goal", "");
    for f in figures {
        let verdict = match (f.goal.is_empty(), f.holds) {
            (true, _) => "",
            (false, true) => "holds",
            (false, false) => "MISSED",
        };
        let peer = f.peer.as_deref().unwrap_or("");
        println!("{:<28} {:>12.2} {:<10} {:<8} {verdict:<7} {peer}", f.name, f.value, f.unit, f.goal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_hold_from_their_side() {
        assert!(Figure::at_most("a", 1.0, "s", 1.0).holds && !Figure::at_most("a", 1.1, "s", 1.0).holds);
        assert!(Figure::at_least("a", 1.0, "s", 1.0).holds && !Figure::at_least("a", 0.9, "s", 1.0).holds);
        assert!(Figure::times_at_least("a", "b", 8.0, 2.0, 4.0).holds && !Figure::times("a", "b", 8.0, 2.0, 3.0).holds);
        assert!(!Figure::at_most("a", f64::NAN, "s", 1.0).holds, "what was not measured holds nothing");
    }

    #[test]
    fn the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert!(median([]).is_nan());
    }
}
