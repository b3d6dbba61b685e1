//! Names that people type: of containers, and onion addresses.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A container's name as people read it: 1–64 characters, no control characters, no space at the ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but space.
    #[error("the name is empty")]
    Empty,
    /// More than [`ContainerName::MAX_CHARS`].
    #[error("the name has {chars} characters; at most {} are taken", ContainerName::MAX_CHARS)]
    TooLong {
        /// How many it has.
        chars: usize,
    },
    /// A control character.
    #[error("the name holds a control character")]
    Control,
}

impl ContainerName {
    /// One line in a list at a readable size.
    pub const MAX_CHARS: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let chars = text.chars().count();
        if chars == 0 {
            return Err(NameError::Empty);
        }
        if chars > Self::MAX_CHARS {
            return Err(NameError::TooLong { chars });
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A v3 onion address in its canonical form: 56 lower-case base32 characters and `.onion`.
///
/// Only the shape is checked here; betanet checks the checksum and the key when it parses an address to open it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Onion(String);

/// The text has not the shape of a v3 onion address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an onion address: expected 56 letters and digits, then .onion")]
pub struct OnionError;

impl Onion {
    /// The whole address, `.onion` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Onion {
    type Err = OnionError;

    fn from_str(text: &str) -> Result<Self, OnionError> {
        let text = text.trim().to_ascii_lowercase();
        let label = text.strip_suffix(".onion").ok_or(OnionError)?;
        let shaped = label.len() == 56 && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        if shaped { Ok(Self(text)) } else { Err(OnionError) }
    }
}

impl TryFrom<String> for Onion {
    type Error = OnionError;

    fn try_from(text: String) -> Result<Self, OnionError> {
        text.parse()
    }
}

impl From<Onion> for String {
    fn from(onion: Onion) -> Self {
        onion.0
    }
}

impl fmt::Display for Onion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
