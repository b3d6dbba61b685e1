//! Who is let in: whoever says the token, up to a number of connections.

use iroh::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId};
use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// Connections at once. Each has a queue of 512 datagrams of about 1.4 KB in iroh-relay: 700 KB at the very worst, and a fog of 1,000 homes,
/// each with a device, a mix and two guards' endpoints, has 4,000.
pub(crate) const MAX_CONNECTIONS: usize = 4_096;
/// Connections of one endpoint: the old and the new one while it changes networks, and one that the other side has not seen die.
const MAX_OF_ONE: usize = 3;

/// The relay's door.
pub(crate) struct Door {
    token: [u8; 32],
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    of: HashMap<EndpointId, usize>,
}

impl Door {
    pub(crate) fn new(token: String) -> Self {
        Self { token: hash(&token), inside: Mutex::default() }
    }

    fn decide(&self, endpoint: EndpointId, token: Option<&str>) -> Result<(), &'static str> {
        // Hashes are compared, so how much of a guess was right does not show in time.
        if token.is_none_or(|said| hash(said) != self.token) {
            return Err("this relay serves one fog, and this is not its token");
        }
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.all >= MAX_CONNECTIONS {
            return Err("this relay is full");
        }
        let own = inside.of.entry(endpoint).or_default();
        if *own >= MAX_OF_ONE {
            return Err("this endpoint is connected often enough");
        }
        *own += 1;
        inside.all += 1;
        Ok(())
    }

    fn gone(&self, endpoint: &EndpointId) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = inside.of.get_mut(endpoint) else { return };
        *own -= 1;
        if *own == 0 {
            inside.of.remove(endpoint);
        }
        inside.all -= 1;
    }
}

fn hash(token: &str) -> [u8; 32] {
    blake3::derive_key("fogbank 2026 relay token", token.as_bytes())
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door(…)")
    }
}

impl AccessControl for Door {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        match self.decide(request.endpoint_id(), request.auth_token().as_deref()) {
            Ok(()) => Access::Allow,
            Err(reason) => Access::Deny { reason: Some(reason.to_owned()) },
        }
    }

    fn on_disconnect(&self, endpoint_id: EndpointId, _connection_id: ConnectionId) {
        self.gone(&endpoint_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::SecretKey;

    #[test]
    fn the_token_and_the_bounds() {
        let door = Door::new("right".to_owned());
        let one = SecretKey::generate().public();
        assert!(door.decide(one, None).is_err());
        assert!(door.decide(one, Some("wrong")).is_err());
        for _ in 0..MAX_OF_ONE {
            assert_eq!(door.decide(one, Some("right")), Ok(()));
        }
        assert!(door.decide(one, Some("right")).unwrap_err().contains("often enough"));
        door.gone(&one);
        assert_eq!(door.decide(one, Some("right")), Ok(()), "room again");

        let mut last = one;
        for _ in MAX_OF_ONE..MAX_CONNECTIONS {
            last = SecretKey::generate().public();
            assert_eq!(door.decide(last, Some("right")), Ok(()));
        }
        assert!(door.decide(SecretKey::generate().public(), Some("right")).unwrap_err().contains("full"));
        door.gone(&last);
        assert_eq!(door.decide(SecretKey::generate().public(), Some("right")), Ok(()));
        assert!(!format!("{door:?}").contains("right"));
    }
}
