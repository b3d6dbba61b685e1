//! What a publisher asks for, and the state machine of it.
//!
//! ```text
//! Pending → Allocating → Starting → Running ⇄ Migrating
//!     ↖────────┘ (reservation lost)
//! any of these, and Failed → Stopping → Stopped; any → Failed; Stopped, Failed → Pending (restart)
//! ```

use crate::{BundleId, ContainerId, ContainerName, IllegalMove, Onion, OwnerId, Resources, UnixMs};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// A folder of files served as a website.
    Site {
        /// Its content.
        bundle: BundleId,
        /// Bytes of all files together.
        bytes: u64,
        /// How many files.
        files: u32,
    },
}

impl Image {
    /// Memory that one copy of a site is given at least, MB: open files, buffers and connections of a hyper server (measured
    /// below 10 MB under 64 connections).
    pub const SITE_MEMORY_MB: u64 = 16;

    /// What one copy needs at least.
    pub fn minimum(&self) -> Resources {
        match self {
            Self::Site { bytes, .. } => Resources {
                cpu_millicores: 10,
                memory_mb: Self::SITE_MEMORY_MB,
                storage_mb: bytes.div_ceil(1_000_000).max(1),
                bandwidth_kbps: 100,
            },
        }
    }
}

/// How much delay the mixes add on the way to this container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No added delay; nothing against a global observer.
    Fast,
    /// Mean 15 ms a hop.
    #[default]
    Balanced,
    /// Mean 50 ms a hop, and cover traffic.
    Strict,
}

/// What a publisher asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Shown in lists; need not be unique.
    pub name: ContainerName,
    /// What it runs.
    pub image: Image,
    /// R: what all instances together are given at least.
    pub requirements: Resources,
    /// Copies at least, 1–[`Self::MAX_INSTANCES`].
    pub instances: u8,
    /// Probability in (0, [`Self::MOST_AVAILABILITY`]] with which at least one of the devices that run it is to stay over the next hour; more copies than
    /// [`Self::instances`] are placed where that takes more. `None` asks for the copies alone.
    #[serde(default)]
    pub availability: Option<f64>,
    /// Copies at most when the copies that there are have more to do than they should, [`Self::instances`]–[`Self::MAX_INSTANCES`]. `None`: their
    /// number does not follow load, and hosts tell nobody how much they are asked.
    #[serde(default)]
    pub most: Option<u8>,
    /// Delay on the way.
    pub level: Level,
}

/// A specification that can't be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// No copies, or more than the limit.
    #[error("{given} copies: from 1 to {} can be asked for", ContainerSpec::MAX_INSTANCES)]
    Instances {
        /// What was given.
        given: u8,
    },
    /// Fewer at most than at least, or more than the limit.
    #[error(
        "at most {given} copies: from the {least} that are asked for at least to {} can be asked for",
        ContainerSpec::MAX_INSTANCES
    )]
    Most {
        /// What was given.
        given: u8,
        /// Copies at least.
        least: u8,
    },
    /// A probability that is none, or more than can be told.
    #[error("an availability of {given}: above 0 and up to {} can be asked for", ContainerSpec::MOST_AVAILABILITY)]
    Availability {
        /// What was given.
        given: f64,
    },
    /// A zero or oversized requirement.
    #[error("requirements must be positive and within what a device can have")]
    Requirements,
}

impl ContainerSpec {
    /// Copies at most: leases of all of them fit one reply of an introduction point.
    pub const MAX_INSTANCES: u8 = 32;

    /// Availability at most: how often devices go is known from weeks, which says nothing of rarer things.
    pub const MOST_AVAILABILITY: f64 = 0.999_99;

    /// What one copy needs at least.
    pub fn minimum(&self) -> Resources {
        self.image.minimum()
    }

    /// Copies at most, as load asks for them.
    pub fn most(&self) -> u8 {
        self.most.unwrap_or(self.instances).max(self.instances)
    }

    /// Whether the number of copies follows load.
    pub fn scales(&self) -> bool {
        self.most() > self.instances
    }

    /// What so many copies are given at least together: each what one of [`Self::instances`] has of the requirements.
    pub fn requirements_of(&self, copies: usize) -> Resources {
        let (copies, least) = (copies as u64, u64::from(self.instances.max(1)));
        if copies <= least {
            return self.requirements;
        }
        Resources::from_fn(|d| self.requirements.get(d).saturating_mul(copies).div_ceil(least))
    }

    /// Checks what arrives from elsewhere.
    ///
    /// # Errors
    /// The first part that can't be.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.instances == 0 || self.instances > Self::MAX_INSTANCES {
            return Err(SpecError::Instances { given: self.instances });
        }
        if let Some(given) = self.most.filter(|most| !(self.instances..=Self::MAX_INSTANCES).contains(most)) {
            return Err(SpecError::Most { given, least: self.instances });
        }
        // What is no number is none of these.
        if let Some(given) = self.availability.filter(|share| !(*share > 0.0 && *share <= Self::MOST_AVAILABILITY)) {
            return Err(SpecError::Availability { given });
        }
        let positive = crate::Dimension::ALL.into_iter().all(|d| self.requirements.get(d) > 0);
        if !positive || !Resources::LIMIT.covers(&self.requirements) {
            return Err(SpecError::Requirements);
        }
        Ok(())
    }
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Waits for a place.
    Pending,
    /// Places are being reserved.
    Allocating,
    /// Instances fetch and start.
    Starting,
    /// Serves.
    Running,
    /// Serves while instances move or are replaced.
    Migrating,
    /// Instances are being ended.
    Stopping,
    /// Ended; can be restarted.
    Stopped,
    /// Gave up; can be restarted.
    Failed,
}

impl ContainerState {
    /// All states, in the order of life.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Allocating,
        Self::Starting,
        Self::Running,
        Self::Migrating,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
    ];

    /// The state's name as stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Allocating => "allocating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Migrating => "migrating",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Whether the machine has the move from here to there.
    pub const fn allows(self, to: Self) -> bool {
        use ContainerState::{Allocating, Failed, Migrating, Pending, Running, Starting, Stopped, Stopping};
        match to {
            Pending => matches!(self, Allocating | Stopped | Failed),
            Allocating => matches!(self, Pending),
            Starting => matches!(self, Allocating),
            Running => matches!(self, Starting | Migrating),
            Migrating => matches!(self, Running),
            Stopping => matches!(self, Pending | Allocating | Starting | Running | Migrating),
            Stopped => matches!(self, Stopping),
            Failed => !matches!(self, Failed),
        }
    }

    /// The state after a move.
    ///
    /// # Errors
    /// When the machine has no such move.
    pub fn go(self, to: Self) -> Result<Self, IllegalMove> {
        if self.allows(to) { Ok(to) } else { Err(IllegalMove { machine: "container", from: self.name(), to: to.name() }) }
    }

    /// Whether instances of it are wanted.
    pub const fn wants_instances(self) -> bool {
        matches!(self, Self::Pending | Self::Allocating | Self::Starting | Self::Running | Self::Migrating)
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A step in a container's life, as stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: UnixMs,
    /// The state it went to.
    pub to: ContainerState,
    /// Why, for people.
    pub reason: String,
}

/// A container as the allocator keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Whose it is.
    pub owner: OwnerId,
    /// Its address.
    pub onion: Onion,
    /// What was asked for.
    pub spec: ContainerSpec,
    /// Where it stands.
    pub state: ContainerState,
    /// Why it stands there, for people.
    pub reason: String,
    /// When it was created.
    pub created: UnixMs,
    /// Rises with each plan of it: the fencing token of its reservations.
    pub epoch: u64,
    /// Of the content that visitors are told of. 0: from before revisions were kept, or it has none.
    pub revision: u64,
}

#[cfg(test)]
mod tests {
    use super::{ContainerState::*, *};
    use proptest::prelude::*;

    #[test]
    fn the_machine_is_the_designs() {
        let moves: Vec<_> = ContainerState::ALL
            .into_iter()
            .flat_map(|from| ContainerState::ALL.into_iter().filter(move |to| from.allows(*to)).map(move |to| (from, to)))
            .filter(|(_, to)| !matches!(to, Failed | Stopping))
            .collect();
        let expected = [
            (Pending, Allocating),
            (Allocating, Pending),
            (Allocating, Starting),
            (Starting, Running),
            (Running, Migrating),
            (Migrating, Running),
            (Stopping, Stopped),
            (Stopped, Pending),
            (Failed, Pending),
        ];
        assert_eq!(moves.len(), expected.len(), "{moves:?}");
        assert!(expected.iter().all(|m| moves.contains(m)));
        assert!(!Stopped.allows(Stopping) && !Failed.allows(Stopping) && !Failed.allows(Failed));
        assert!(Stopped.go(Running).unwrap_err().to_string().contains("stopped to running"));
    }

    proptest! {
        #[test]
        fn names_lead_back(index in 0usize..8) {
            let state = ContainerState::ALL[index];
            prop_assert_eq!(ContainerState::from_name(state.name()), Some(state));
        }
    }
}
