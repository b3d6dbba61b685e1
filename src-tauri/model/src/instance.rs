//! One running copy of a container on one device, and its state machine.
//!
//! ```text
//! Reserved → Fetching → Starting → Ready ⇄ Unready → Draining → Ended
//! Ready → Draining; any that has not ended → Ended (released, stopped, failed) or Lost (its device went)
//! ```

use crate::{ContainerId, DeviceId, IllegalMove, InstanceId, Resources, UnixMs};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// The device holds the resources for it, for a while.
    Reserved,
    /// The device fetches the bundle.
    Fetching,
    /// The runtime starts and registers at introduction points.
    Starting,
    /// Serves.
    Ready,
    /// Runs but does not serve.
    Unready,
    /// Finishes what is open, takes nothing new.
    Draining,
    /// Over.
    Ended,
    /// Its device is gone, or did not get it ready in time.
    Lost,
}

impl InstanceState {
    /// All states, in the order of life.
    pub const ALL: [Self; 8] =
        [Self::Reserved, Self::Fetching, Self::Starting, Self::Ready, Self::Unready, Self::Draining, Self::Ended, Self::Lost];

    /// The state's name as stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Fetching => "fetching",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Draining => "draining",
            Self::Ended => "ended",
            Self::Lost => "lost",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Whether the machine has the move from here to there.
    pub const fn allows(self, to: Self) -> bool {
        use InstanceState::{Draining, Ended, Fetching, Lost, Ready, Reserved, Starting, Unready};
        match to {
            Reserved => false,
            Fetching => matches!(self, Reserved),
            Starting => matches!(self, Fetching),
            Ready => matches!(self, Starting | Unready),
            Unready => matches!(self, Ready),
            Draining => matches!(self, Ready | Unready),
            Ended | Lost => self.is_live(),
        }
    }

    /// The state after a move.
    ///
    /// # Errors
    /// When the machine has no such move.
    pub fn go(self, to: Self) -> Result<Self, IllegalMove> {
        if self.allows(to) { Ok(to) } else { Err(IllegalMove { machine: "instance", from: self.name(), to: to.name() }) }
    }

    /// Whether it holds resources on its device.
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Ended | Self::Lost)
    }

    /// Whether it counts towards what its container wants (a draining one is on its way out).
    pub const fn counts(self) -> bool {
        matches!(self, Self::Reserved | Self::Fetching | Self::Starting | Self::Ready | Self::Unready)
    }
}

impl Instance {
    /// Live instances on one device at most: at [`crate::Image::SITE_MEMORY_MB`] each they fill a quarter of 4 GB.
    pub const MAX_ON_DEVICE: usize = 64;

    /// Streams of visitors that one instance serves at once; further ones wait. Each holds what is read ahead and gathered for it, 80 KiB.
    pub const MAX_STREAMS: usize = 256;
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An instance as the allocator keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// What it is a copy of.
    pub container: ContainerId,
    /// Where it runs.
    pub device: DeviceId,
    /// y_d: what it was given.
    pub given: Resources,
    /// Where it stands.
    pub state: InstanceState,
    /// Why, for people.
    pub reason: String,
    /// When it got there.
    pub since: UnixMs,
    /// The container's epoch under which it was planned.
    pub epoch: u64,
    /// Of the content that it serves: the one it was placed with, to its end.
    pub revision: u64,
}

#[cfg(test)]
mod tests {
    use super::{InstanceState::*, *};

    #[test]
    fn nothing_leaves_the_end() {
        for state in InstanceState::ALL {
            assert!(!Ended.allows(state) && !Lost.allows(state), "{state}");
            assert_eq!(InstanceState::from_name(state.name()), Some(state));
        }
        assert!(Reserved.allows(Lost) && Draining.allows(Ended) && !Draining.allows(Ready) && !Reserved.allows(Ready));
    }
}
