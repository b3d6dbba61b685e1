//! What allocators of federated fogs say to each other, and how an operator names a peer.
//!
//! Each side keeps one connection for [`crate::Purpose::Federate`]; both ask on it, each request on a stream of its own. Directories are
//! betanet's and travel here as bytes that it signs and checks.
//! Invariant: who asks is who its endpoint's key says it is, so no request names its sender.
//! Deliberately absent: who may federate (the allocator lets in only whom its operator named), and any look-up of addresses.

use crate::{Call, Countersignature, Refusal};
use fogbank_model::{FogId, MixId, UnixMs};
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, str::FromStr};

/// What one allocator asks of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FederateRequest {
    /// My fog's directory as it is now (betanet's bytes). Answer: `Done` or `Refused`.
    Directory(Vec<u8>),
    /// Sign this directory of my fog as its witness. Answer: `Signed` or `Refused`.
    Witness {
        /// The directory, signed by my fog alone (betanet's bytes).
        directory: Vec<u8>,
        /// Mixes that are away, and since when they would be listed if they were here: what a new witness remembers them by.
        away: Vec<(MixId, UnixMs)>,
    },
    /// Sign this change of my fog's witnesses (betanet's bytes). Answer: `Signed` or `Refused`.
    Handover(Vec<u8>),
    /// Your part in my fog's shared random value of this period. Answer: `Part`.
    Part(u32),
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FederateReply {
    /// Done.
    Done,
    /// No.
    Refused(Refusal),
    /// Signed.
    Signed(Countersignature),
    /// The part, once the period has begun, and the commitment to the next period's.
    Part {
        /// What the part of the next period hashes to.
        commit: [u8; 32],
        /// The part of this one.
        reveal: Option<[u8; 32]>,
    },
}

impl Call for FederateRequest {
    type Reply = FederateReply;
}

const SCHEME: &str = "fogpeer://";
/// Scheme, 52 characters of key, a separator, eight IPv6 addresses with ports and commas; rounded up.
const MAX_CHARS: usize = 512;

/// Where another fog's allocator is, and who it is.
///
/// As text: `fogpeer://<fog id>@<ip:port>[,<ip:port>…]`. There is nothing secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// The fog: the key that its allocator must have.
    pub fog: FogId,
    /// Where its allocator listens: at least one, at most [`Self::MAX_ADDRS`].
    pub addrs: Vec<SocketAddr>,
}

/// Why a text names no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerAddressError {
    /// Another beginning, or far too long.
    #[error("this names no fog to federate with: it should begin with “{SCHEME}”, as `fogbankd federation` prints it there")]
    NotAPeer,
    /// A part is missing or was changed.
    #[error("the other fog's {0} is missing or damaged: copy the whole line that `fogbankd federation` prints there")]
    Part(&'static str),
}

impl PeerAddress {
    /// Addresses of one allocator: two families on a few interfaces.
    pub const MAX_ADDRS: usize = 8;

    /// Whether it can be reached at all, and no more is named than may be.
    pub fn is_sound(&self) -> bool {
        let reachable = |a: &SocketAddr| a.port() != 0 && !a.ip().is_unspecified() && !a.ip().is_multicast();
        (1..=Self::MAX_ADDRS).contains(&self.addrs.len()) && self.addrs.iter().all(reachable)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addrs: Vec<String> = self.addrs.iter().map(ToString::to_string).collect();
        write!(f, "{SCHEME}{}@{}", self.fog, addrs.join(","))
    }
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        let text = text.trim();
        if text.len() > MAX_CHARS {
            return Err(PeerAddressError::NotAPeer);
        }
        let body = text.strip_prefix(SCHEME).ok_or(PeerAddressError::NotAPeer)?;
        let (fog, addrs) = body.split_once('@').ok_or(PeerAddressError::Part("address"))?;
        let fog = fog.parse().map_err(|_| PeerAddressError::Part("id"))?;
        let addrs: Result<Vec<SocketAddr>, _> = addrs.split(',').map(str::parse).collect();
        let peer = Self { fog, addrs: addrs.map_err(|_| PeerAddressError::Part("address"))? };
        if peer.is_sound() { Ok(peer) } else { Err(PeerAddressError::Part("address")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_and_back() {
        let addrs = vec!["192.0.2.10:3340".parse().unwrap(), "[2001:db8::1]:3340".parse().unwrap()];
        let peer = PeerAddress { fog: FogId([7; 32]), addrs };
        let text = peer.to_string();
        assert!(text.starts_with("fogpeer://") && text.ends_with("@192.0.2.10:3340,[2001:db8::1]:3340"), "{text}");
        assert_eq!(format!(" {text}\n").parse::<PeerAddress>().unwrap(), peer);
    }

    #[test]
    fn says_what_is_wrong() {
        let parse = |text: &str| text.parse::<PeerAddress>().unwrap_err();
        let fog = FogId([7; 32]);
        assert_eq!(parse("fogrelay://x"), PeerAddressError::NotAPeer);
        assert_eq!(parse("fogpeer://x@192.0.2.1:1"), PeerAddressError::Part("id"));
        for addrs in ["", "192.0.2.1", "0.0.0.0:1", "192.0.2.1:0", "example.org:1"] {
            assert_eq!(parse(&format!("fogpeer://{fog}@{addrs}")), PeerAddressError::Part("address"), "{addrs}");
        }
        let many = ["192.0.2.1:1"; PeerAddress::MAX_ADDRS + 1].join(",");
        assert!(format!("fogpeer://{fog}@{many}").parse::<PeerAddress>().is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "\\PC{0,200}", bytes: Vec<u8>) {
            let _ = text.parse::<PeerAddress>();
            let _ = format!("{SCHEME}{text}").parse::<PeerAddress>();
            let _ = crate::decode::<FederateRequest>(&bytes);
        }
    }
}
