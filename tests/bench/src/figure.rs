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

    /// How many times a peer's measure ours is, at most `goal`.
    pub(crate) fn times(name: &str, peer: &str, ours: f64, theirs: f64, goal: f64) -> Self {
        let ratio = ours / theirs;
        Self {
            goal: format!("<= {goal}"),
            peer: Some(peer.to_owned()),
            ratio: Some(ratio),
            holds: ratio <= goal,
            ..Self::plain(name, ratio, "x")
        }
    }

    /// How many times a peer's rate ours is, at least `goal`.
    pub(crate) fn at_least(name: &str, peer: &str, ratio: f64, goal: f64) -> Self {
        Self {
            goal: format!(">= {goal}"),
            peer: Some(peer.to_owned()),
            ratio: Some(ratio),
            holds: ratio >= goal,
            ..Self::plain(name, ratio, "x")
        }
    }
}

/// Prints the table.
pub(crate) fn print(figures: &[Figure]) {
    println!("{:<26} {:>12} {:<10} {:<8} {:<7} peer", "figure", "value", "unit", "goal", "");
    for f in figures {
        let verdict = match (f.goal.is_empty(), f.holds) {
            (true, _) => "",
            (false, true) => "holds",
            (false, false) => "MISSED",
        };
        let peer = f.peer.as_deref().unwrap_or("");
        println!("{:<26} {:>12.2} {:<10} {:<8} {verdict:<7} {peer}", f.name, f.value, f.unit, f.goal);
    }
}
