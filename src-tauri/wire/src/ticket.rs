//! Invites as text: where the allocator is, who it is, and a secret that it takes once or until it expires.

use crate::{FrameError, RelayHint, Roles, VERSION, decode, encode};
use data_encoding::BASE32_NOPAD;
use fogbank_model::{FogId, UnixMs};
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, str::FromStr};

/// An invite to a fog.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Version of the format.
    pub version: u16,
    /// The fog: the key its allocator must have.
    pub fog: FogId,
    /// Where its allocator listens.
    pub addrs: Vec<SocketAddr>,
    /// The fog's own relay, when it has one: members meet there when they can't reach each other.
    pub relay: Option<RelayHint>,
    /// What it lets a device do.
    pub roles: Roles,
    /// Until when it is taken.
    pub expires: UnixMs,
    /// Proof of the invite. Whoever has it can join, so it is never logged.
    pub secret: [u8; 16],
}

/// Why a text is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// It does not begin with `fogbank1`, or holds other characters.
    #[error("this is not a Fogbank ticket: it should begin with “{PREFIX}” and hold letters and digits only")]
    NotATicket,
    /// Too long to be one.
    #[error("this is too long for a ticket")]
    TooLong,
    /// Cut off or changed.
    #[error("the ticket is damaged: part of it is missing or was changed")]
    Damaged(#[source] Option<FrameError>),
    /// Of another version.
    #[error("the ticket has format {theirs}, this Fogbank reads {VERSION}: update the older of the two")]
    Version {
        /// Its version.
        theirs: u16,
    },
}

const PREFIX: &str = "fogbank1";
/// 8 addresses of at most 20 bytes, 70 bytes of relay and 100 bytes of keys, as base32, doubled.
const MAX_CHARS: usize = 1024;
const CHECK_BYTES: usize = 4;

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = encode(self).map_err(|_| fmt::Error)?;
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(&check.as_bytes()[..CHECK_BYTES]);
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_lowercase())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("fog", &self.fog).field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        if text.len() > MAX_CHARS {
            return Err(TicketError::TooLong);
        }
        let text = text.to_lowercase();
        let body = text.strip_prefix(PREFIX).ok_or(TicketError::NotATicket)?;
        let bytes = BASE32_NOPAD.decode(body.to_uppercase().as_bytes()).map_err(|_| TicketError::Damaged(None))?;
        let (bytes, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TicketError::Damaged(None))?;
        if blake3::hash(bytes).as_bytes()[..CHECK_BYTES] != check[..] {
            return Err(TicketError::Damaged(None));
        }
        let ticket: Self = decode(bytes).map_err(|source| TicketError::Damaged(Some(source)))?;
        if ticket.version != VERSION {
            return Err(TicketError::Version { theirs: ticket.version });
        }
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket() -> Ticket {
        Ticket {
            version: VERSION,
            fog: FogId([3; 32]),
            addrs: vec!["127.0.0.1:4433".parse().unwrap()],
            relay: Some(RelayHint { addr: "192.0.2.10:3340".parse().unwrap(), pin: [3; 32], token: [8; 16] }),
            roles: Roles { agent: true, ..Roles::default() },
            expires: UnixMs(1),
            secret: [9; 16],
        }
    }

    #[test]
    fn text_and_back_and_no_secret_in_debug() {
        let text = ticket().to_string();
        assert_eq!(text.parse::<Ticket>().unwrap(), ticket());
        assert_eq!(format!("  {}\n", text.to_uppercase()).parse::<Ticket>().unwrap(), ticket());
        assert!(!format!("{:?}", ticket()).contains('9'));
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(matches!("hello".parse::<Ticket>(), Err(TicketError::NotATicket)));
        let text = ticket().to_string();
        assert!(matches!(text[..text.len() - 3].parse::<Ticket>(), Err(TicketError::Damaged(_))));
        let other = Ticket { version: 99, ..ticket() }.to_string();
        assert!(other.parse::<Ticket>().unwrap_err().to_string().contains("99"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "\\PC{0,200}", tail in "[a-z2-7]{0,200}") {
            let _ = text.parse::<Ticket>();
            let _ = format!("{PREFIX}{tail}").parse::<Ticket>();
        }
    }
}
