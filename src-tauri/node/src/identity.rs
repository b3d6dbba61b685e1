//! The keys of an install, made at first start and kept in one file that only its owner can read.
//!
//! Keys are apart by role: the *device key* is known to the allocator, the *mix key* is public in the directory, the
//! *owner key* signs the device keys of a person. Nothing but this file ties them together.
//! Deliberately absent: the system's keyring, and export and import (they come with the desktop app's backup).

use crate::profile::{Profile, write_private};
use data_encoding::BASE32_NOPAD;
use fogbank_model::{DeviceId, OwnerId};
use fogbank_wire::OwnerCertificate;
use iroh::SecretKey;
use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf};
use zeroize::Zeroizing;

/// An install's keys.
#[derive(Clone)]
pub struct Identity {
    /// Signs connections to the allocator.
    pub device: SecretKey,
    /// Signs the device keys of a person, and owns containers.
    pub owner: SecretKey,
    /// Signs links between mixes.
    pub mix: SecretKey,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is there but not whole.
    #[error(
        "the identity file {} is damaged ({why}). Nothing was changed. Put a backup of it back; if you have none, move the file away \
         and a new identity is made, but containers and places in fogs that belong to the old one are lost",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It can't be read or written.
    #[error("the identity file {} can't be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u16,
    device: String,
    owner: String,
    mix: String,
}

const VERSION: u16 = 1;
/// Three keys and their names are below 500 bytes.
const MAX_FILE_BYTES: usize = 4096;

impl Identity {
    /// Reads the profile's identity, or makes one when there is none yet.
    ///
    /// # Errors
    /// When the file is damaged or can't be used; it is never overwritten then.
    pub fn load(profile: &Profile) -> Result<Self, IdentityError> {
        let path = profile.path("identity.json");
        match std::fs::read(&path) {
            Ok(bytes) => Self::parse(&Zeroizing::new(bytes)).map_err(|why| IdentityError::Damaged { path, why }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Self::generate();
                let text = identity.to_json().map_err(|why| IdentityError::Damaged { path: path.clone(), why })?;
                write_private(&path, text.as_bytes()).map_err(|source| IdentityError::File { path, source })?;
                Ok(identity)
            }
            Err(source) => Err(IdentityError::File { path, source }),
        }
    }

    fn generate() -> Self {
        Self { device: SecretKey::generate(), owner: SecretKey::generate(), mix: SecretKey::generate() }
    }

    /// Id of the device.
    pub fn device_id(&self) -> DeviceId {
        DeviceId(*self.device.public().as_bytes())
    }

    /// Id of the owner.
    pub fn owner_id(&self) -> OwnerId {
        OwnerId(*self.owner.public().as_bytes())
    }

    /// The owner's statement that the device is theirs.
    ///
    /// # Errors
    /// When it does not serialise, which no certificate does.
    pub fn certificate(&self) -> Result<OwnerCertificate, fogbank_wire::FrameError> {
        OwnerCertificate::issue(&self.owner, self.device_id())
    }

    fn to_json(&self) -> Result<Zeroizing<String>, String> {
        let text = |bytes: &[u8; 32]| BASE32_NOPAD.encode(bytes).to_lowercase();
        let stored = Stored {
            version: VERSION,
            device: text(&self.device.to_bytes()),
            owner: text(&self.owner.to_bytes()),
            mix: text(&self.mix.to_bytes()),
        };
        serde_json::to_string_pretty(&stored).map(Zeroizing::new).map_err(|e| e.to_string())
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(format!("it has {} bytes", bytes.len()));
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(|e| format!("line {}, column {}", e.line(), e.column()))?;
        if stored.version != VERSION {
            return Err(format!("it has format {}, this Fogbank reads {VERSION}", stored.version));
        }
        let key = |name: &str, text: &str| -> Result<[u8; 32], String> {
            let bytes =
                BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).map_err(|_| format!("the {name} key is no base32"))?;
            bytes.try_into().map_err(|_| format!("the {name} key has a wrong length"))
        };
        Ok(Self {
            device: SecretKey::from_bytes(&key("device", &stored.device)?),
            owner: SecretKey::from_bytes(&key("owner", &stored.owner)?),
            mix: SecretKey::from_bytes(&key("mix", &stored.mix)?),
        })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:?})", self.device_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_then_read() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::open(folder.path()).unwrap();
        let first = Identity::load(&profile).unwrap();
        let second = Identity::load(&profile).unwrap();
        assert_eq!(first.device_id(), second.device_id());
        assert_ne!(first.device.to_bytes(), first.mix.to_bytes());
    }

    #[test]
    fn a_damaged_file_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::open(folder.path()).unwrap();
        Identity::load(&profile).unwrap();
        let path = profile.path("identity.json");
        let whole = std::fs::read_to_string(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], "", "[]", &whole.replace('a', "!"), &"x".repeat(10_000)] {
            std::fs::write(&path, damaged).unwrap();
            let error = Identity::load(&profile).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
        }
    }
}
