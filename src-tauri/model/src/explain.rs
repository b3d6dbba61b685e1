//! Why something does not fit: which dimension, by how much, and what would; and what is to be expected of what does.

use crate::{DurationMs, Resources};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the four resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Disk.
    Storage,
    /// Network rate.
    Bandwidth,
}

impl Dimension {
    /// All four, in the order of the vector.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Storage, Self::Bandwidth];

    /// Units of [`Resources`] in one unit as shown to people (cores, MB, MB, Mbit/s).
    pub const fn units_per_shown(self) -> u64 {
        match self {
            Self::Cpu | Self::Bandwidth => 1000,
            Self::Memory | Self::Storage => 1,
        }
    }

    /// The unit as shown to people.
    pub const fn shown_unit(self) -> &'static str {
        match self {
            Self::Cpu => "cores",
            Self::Memory | Self::Storage => "MB",
            Self::Bandwidth => "Mbit/s",
        }
    }

    /// An amount as people read it, with its unit.
    pub fn show(self, amount: u64) -> String {
        let per = self.units_per_shown();
        if amount.is_multiple_of(per) {
            format!("{} {}", amount / per, self.shown_unit())
        } else {
            format!("{:.3} {}", amount as f64 / per as f64, self.shown_unit())
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "processor",
            Self::Memory => "memory",
            Self::Storage => "storage",
            Self::Bandwidth => "bandwidth",
        })
    }
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortfall {
    /// The fog's free amount in this dimension, on devices that could take one copy, is too small.
    Resource {
        /// Which of the four.
        dimension: Dimension,
        /// What was asked for, in units of [`Resources`].
        asked: u64,
        /// What the fog has free.
        free: u64,
    },
    /// No device has room for even one copy.
    OneCopy {
        /// The dimension in which the roomiest device is short.
        dimension: Dimension,
        /// What one copy needs.
        asked: u64,
        /// The most that a device has free.
        free: u64,
    },
    /// Fewer devices (or owners) than copies.
    Devices {
        /// Copies wanted.
        asked: u64,
        /// Devices that could take one.
        free: u64,
    },
    /// The availability target can't be met by all devices together.
    Availability {
        /// The target, in [0,1).
        asked: f64,
        /// What all devices together reach.
        reach: f64,
    },
    /// The fog has enough, but using it would change more hosts at once than is allowed.
    Changes {
        /// Hosts given up and added by the least disruptive choice that was found.
        needed: u64,
        /// How many are allowed.
        allowed: u64,
    },
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource { dimension, asked, free } => {
                let short = dimension.show(asked.saturating_sub(*free));
                write!(f, "{dimension}: {} asked, {} free, {short} short", dimension.show(*asked), dimension.show(*free))
            }
            Self::OneCopy { dimension, asked, free } => write!(
                f,
                "{dimension}: one copy needs {}, the roomiest device has {}",
                dimension.show(*asked),
                dimension.show(*free)
            ),
            Self::Devices { asked, free } => {
                let copies = if *asked == 1 { "copy" } else { "copies" };
                let could = match free {
                    0 => "no device".to_owned(),
                    1 => "1 device".to_owned(),
                    more => format!("{more} devices"),
                };
                write!(f, "devices: {asked} {copies} asked, {could} could take one")
            }
            Self::Availability { asked, reach } => {
                write!(f, "availability: {:.3} % asked, all devices together reach {:.3} %", asked * 100.0, reach * 100.0)
            }
            Self::Changes { needed, allowed } => write!(f, "changes: {needed} hosts would change at once, {allowed} may"),
        }
    }
}

/// A request that does not fit, with the largest that would.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Infeasible {
    /// What is missing; the worst (relative to what was asked) first.
    pub shortfalls: Vec<Shortfall>,
    /// The largest requirement, scaled down in every short dimension, that fits now; `None` when no smaller size would help.
    pub largest: Option<Resources>,
}

impl fmt::Display for Infeasible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("does not fit")?;
        for (i, shortfall) in self.shortfalls.iter().enumerate() {
            write!(f, "{}{shortfall}", if i == 0 { ": " } else { "; " })?;
        }
        match &self.largest {
            Some(r) => {
                let parts = Dimension::ALL.map(|d| format!("{d} {}", d.show(r.get(d))));
                write!(f, ". The largest request that fits now: {}", parts.join(", "))
            }
            None => f.write_str(". A smaller size would not help"),
        }
    }
}

/// What is to be expected of a container with a number of copies, as rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// So many.
    pub copies: u8,
    /// Share of the time in which at least one serves.
    pub availability: f64,
    /// How far that may be off: two standard errors of the mean over all runs.
    pub within: f64,
    /// Share of requests, evenly spread over the time, that no copy serves within the time that visitors wait.
    pub failed: f64,
    /// Copies lost a day.
    pub losses_a_day: f64,
    /// The longest time in all runs in which none served.
    pub longest_outage: DurationMs,
}
