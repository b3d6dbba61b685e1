//! Ids as newtypes, shown and parsed as lower-case base32 (hex would be a third longer in every log line).

use data_encoding::{BASE32_NOPAD, DecodeError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{text}” is no {kind} id: expected {chars} letters and digits of base32")]
pub struct IdError {
    kind: &'static str,
    text: String,
    chars: usize,
}

/// Foreign text is quoted in errors up to this many characters, so that an error stays one line.
const QUOTED_CHARS: usize = 80;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// The first eight characters, enough to tell apart in a list.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE32_NOPAD.encode(&self.0).to_lowercase())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = || IdError {
                    kind: $kind,
                    text: text.chars().take(QUOTED_CHARS).collect(),
                    chars: ($bytes as usize * 8).div_ceil(5),
                };
                let decoded: Result<Vec<u8>, DecodeError> =
                    BASE32_NOPAD.decode(text.trim().to_uppercase().as_bytes());
                let bytes = decoded.map_err(|_| error())?;
                Ok(Self(bytes.try_into().map_err(|_| error())?))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    Ok(Self(<[u8; $bytes]>::deserialize(deserializer)?))
                }
            }
        }
    };
}

id!(
    /// A device: the Ed25519 public key that is its iroh endpoint id.
    DeviceId, "device", 32
);
id!(
    /// A person: the Ed25519 public key that signs the device keys of that person and owns containers.
    OwnerId, "owner", 32
);
id!(
    /// A fog: the device key of its allocator.
    FogId, "fog", 32
);
id!(
    /// A bundle: the BLAKE3 hash of its hash sequence (manifest first, then the files).
    BundleId, "bundle", 32
);
id!(
    /// A container, chosen at random when it is created.
    ContainerId, "container", 16
);
id!(
    /// An instance, chosen at random when it is reserved.
    InstanceId, "instance", 16
);
id!(
    /// A mix as packets name it: the first 16 bytes of its mix key. The signed directory holds no two alike.
    MixId, "mix", 16
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = DeviceId([7; 32]);
        assert_eq!(id.to_string().parse::<DeviceId>(), Ok(id));
        assert_eq!(serde_json::to_string(&ContainerId([0; 16])).unwrap(), format!("\"{}\"", "a".repeat(26)));
    }

    #[test]
    fn nonsense_is_refused_and_quoted_short() {
        for text in ["", "xyz", "\u{0}", &"a".repeat(1000)] {
            let error = text.parse::<ContainerId>().unwrap_err().to_string();
            assert!(error.len() < 200, "{error}");
        }
    }
}
