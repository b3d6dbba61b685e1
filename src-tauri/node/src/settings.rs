//! What an install has been told to do, kept between starts: its fog, its roles, its name.

use crate::{
    profile::{Profile, write_private},
    relaying::RelayLimits,
};
use fogbank_model::FogId;
use fogbank_wire::{RelayHint, Roles, Ticket};
use serde::{Deserialize, Serialize};
use std::{io, net::SocketAddr, path::PathBuf};

/// Settings of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// What the device is called in lists.
    pub name: String,
    /// The fog that this node coordinates.
    pub fog: Option<OwnFog>,
    /// The fog that this node is a member of (its own included).
    pub membership: Option<Membership>,
    /// Whether it lends.
    pub lend: bool,
    /// Whether its owner lets visitors come directly, to sites that offer it, while it lends: they see this device's address.
    #[serde(default)]
    pub lend_direct: bool,
    /// Whether it relays.
    pub relay: bool,
    /// What the owner lets the mix take.
    #[serde(default)]
    pub relay_limits: RelayLimits,
    /// Whether its owner paused lending.
    pub paused: bool,
    /// Whether its owner asked to move everything away.
    #[serde(default)]
    pub draining: bool,
    /// Fogs that this node visits without being a member.
    pub visits: Option<VisitedFog>,
}

/// A fog that this node coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OwnFog {
    /// Its name.
    pub name: String,
    /// A test fog relaxes privacy rules.
    pub test: bool,
    /// All its nodes run in this process.
    pub practice: bool,
    /// UDP port of the allocator, fixed at first start so that tickets stay true.
    pub port: u16,
    /// The relay that its operator runs, when there is one.
    #[serde(default)]
    pub relay: Option<RelayHint>,
}

/// A fog that this node is a member of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// Its id: the key that its allocator must have.
    pub fog: FogId,
    /// Where its allocator listens.
    pub addrs: Vec<SocketAddr>,
    /// The relay at which its members meet, when it has one.
    #[serde(default)]
    pub relay: Option<RelayHint>,
    /// What the invite grants.
    pub granted: Roles,
    /// The invite's secret, until the allocator has taken it.
    pub invite: Option<[u8; 16]>,
    /// Whether that invite only adds to what this member may do.
    #[serde(default)]
    pub adds: bool,
    /// The fog's name, once it has been heard.
    pub name: String,
    /// Whether it is a test fog, once heard.
    pub test: bool,
}

impl Membership {
    /// What a ticket says, before the allocator has been heard.
    pub(crate) fn of(ticket: Ticket) -> Self {
        Self {
            fog: ticket.fog,
            addrs: ticket.addrs,
            relay: ticket.relay,
            granted: ticket.roles,
            invite: Some(ticket.secret),
            adds: false,
            name: String::new(),
            test: false,
        }
    }
}

/// A fog that this node only visits: where its directory can be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VisitedFog {
    /// Its id: the key that signs its directory.
    pub fog: FogId,
    /// Mixes to ask first: mix key and addresses.
    pub mixes: Vec<([u8; 32], Vec<SocketAddr>)>,
}

/// Why settings can't be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("the settings file {} can't be used: {source}", path.display())]
pub struct SettingsError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Settings {
    /// Reads the profile's settings, or the defaults of a new install.
    ///
    /// # Errors
    /// When the file can't be read or is no settings file; it is not overwritten then.
    pub(crate) fn load(profile: &Profile) -> Result<Self, SettingsError> {
        let path = profile.path("settings.json");
        match std::fs::read(&path) {
            Ok(bytes) => {
                let mut settings: Self = serde_json::from_slice(&bytes)
                    .map_err(|e| SettingsError { path, source: io::Error::new(io::ErrorKind::InvalidData, e.to_string()) })?;
                // Earlier versions kept an invite that was taken; a fog that has been heard has taken it.
                if let Some(membership) = settings.membership.as_mut().filter(|m| !m.name.is_empty()) {
                    membership.invite = None;
                }
                Ok(settings)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::new(default_name(profile))),
            Err(source) => Err(SettingsError { path, source }),
        }
    }

    fn new(name: String) -> Self {
        let relay_limits = RelayLimits::default();
        Self {
            name,
            fog: None,
            membership: None,
            lend: false,
            lend_direct: false,
            relay: false,
            relay_limits,
            paused: false,
            draining: false,
            visits: None,
        }
    }

    /// Keeps them.
    ///
    /// # Errors
    /// When the file can't be written; the old one is then as it was.
    pub(crate) fn save(&self, profile: &Profile) -> Result<(), SettingsError> {
        let path = profile.path("settings.json");
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| SettingsError { path: path.clone(), source: e.into() })?;
        write_private(&path, &bytes).map_err(|source| SettingsError { path, source })
    }
}

/// The computer's name; where it has none, the profile folder's.
fn default_name(profile: &Profile) -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let folder = profile.root().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name = if folder.is_empty() || folder.starts_with('.') { host.trim() } else { folder.as_str() };
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}
