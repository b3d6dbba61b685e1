//! Contents that a container has had, one under each revision that its publisher signed, and the state machine of putting one online.
//!
//! ```text
//! Coming → Moving → Served;  Moving, Served → Past (another took its place);  Coming → GivenUp
//! ```
//!
//! Invariant: visitors are told of a content when it is Moving and never before; what they were told of is never given up, only followed.

use crate::{IllegalMove, Image, UnixMs};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a content is on its way to visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevisionState {
    /// First copies of it come up beside those that serve what was there before. Visitors don't know of it.
    Coming,
    /// Visitors are told of it, and copies of what was there before are replaced one after another.
    Moving,
    /// No copy serves anything else.
    Served,
    /// It did not come up in time, or another one was asked for first: what was there before goes on.
    GivenUp,
    /// Another one has taken its place.
    Past,
}

impl RevisionState {
    /// All states, in the order of life.
    pub const ALL: [Self; 5] = [Self::Coming, Self::Moving, Self::Served, Self::GivenUp, Self::Past];

    /// The state's name as stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coming => "coming",
            Self::Moving => "moving",
            Self::Served => "served",
            Self::GivenUp => "given_up",
            Self::Past => "past",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Whether the machine has the move from here to there.
    pub const fn allows(self, to: Self) -> bool {
        match to {
            Self::Coming => false,
            Self::Moving | Self::GivenUp => matches!(self, Self::Coming),
            Self::Served => matches!(self, Self::Moving),
            Self::Past => matches!(self, Self::Moving | Self::Served),
        }
    }

    /// The state after a move.
    ///
    /// # Errors
    /// When the machine has no such move.
    pub fn go(self, to: Self) -> Result<Self, IllegalMove> {
        if self.allows(to) { Ok(to) } else { Err(IllegalMove { machine: "revision", from: self.name(), to: to.name() }) }
    }
}

impl fmt::Display for RevisionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One content of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Under which number its publisher signed it; rises with each.
    pub number: u64,
    /// What it is.
    pub image: Image,
    /// How far it is.
    pub state: RevisionState,
    /// Why, for people.
    pub reason: String,
    /// When it was asked for.
    pub began: UnixMs,
}

#[cfg(test)]
mod tests {
    use super::{RevisionState::*, *};

    #[test]
    fn what_visitors_were_told_of_is_not_given_up() {
        assert!(!Moving.allows(GivenUp) && !Served.allows(GivenUp) && Coming.allows(GivenUp));
        for state in RevisionState::ALL {
            assert!(!GivenUp.allows(state) && !Past.allows(state) && !state.allows(Coming), "{state}");
            assert_eq!(RevisionState::from_name(state.name()), Some(state));
        }
        assert!(Coming.go(Served).unwrap_err().to_string().contains("coming to served"));
    }
}
