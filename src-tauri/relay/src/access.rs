//! Who is let in: whoever says the token, up to a number of connections that networks share.
//!
//! Invariants: a connection is known by the number that it got when it was accepted, never by what it says of where it comes from; each that was
//! let in has a place until it ends or has to give it up to another network.
//! Deliberately absent: those that have not said who they are yet ([`crate::listening`]).

use fogbank_wire::{Group, Holds, Refused, Shares};
use iroh::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId, RelayService};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};
use tokio::sync::Notify;

/// Connections of one endpoint: the old and the new one while it changes networks, and one that the other side has not seen die.
const MAX_OF_ONE: usize = 3;
/// The header in which a request carries its connection's number; whatever a peer says there is overwritten.
pub(crate) const NUMBER: &str = "x-fogbank-connection";

/// The relay's door.
pub(crate) struct Door {
    token: [u8; 32],
    state: Mutex<State>,
    refused: Refused,
    /// What ends a connection; there once the relay runs.
    service: OnceLock<RelayService>,
}

struct State {
    next: u64,
    /// Those accepted and not let in yet.
    coming: HashMap<u64, (Group, Arc<Notify>)>,
    inside: Shares<ConnectionId, Inside>,
}

struct Inside {
    endpoint: EndpointId,
    since: Instant,
}

impl Holds for Inside {
    /// What passes is not seen here, so the one that is there longest gives way: it comes back if it is of use.
    fn used(&self) -> Instant {
        self.since
    }
}

/// One that is accepted and not let in yet. It can't be any more once this is dropped.
pub(crate) struct Coming {
    pub(crate) number: u64,
    decided: Arc<Notify>,
    door: Arc<Door>,
}

impl Coming {
    /// Waits until it has said who it is, and was let in or refused.
    pub(crate) async fn decided(&self) {
        self.decided.notified().await;
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.door.lock().coming.remove(&self.number);
    }
}

impl Door {
    pub(crate) fn new(token: String, connections: usize) -> Self {
        let state = State { next: 0, coming: HashMap::new(), inside: Shares::new(connections) };
        Self { token: hash(&token), state: Mutex::new(state), refused: Refused::default(), service: OnceLock::new() }
    }

    /// The relay runs.
    pub(crate) fn serves(&self, service: RelayService) {
        let _ = self.service.set(service);
    }

    /// A connection was accepted.
    pub(crate) fn accepted(self: &Arc<Self>, from: Group) -> Coming {
        let mut state = self.lock();
        let (number, decided) = (state.next, Arc::<Notify>::default());
        state.next += 1;
        state.coming.insert(number, (from, decided.clone()));
        Coming { number, decided, door: self.clone() }
    }

    /// How many were refused for want of a place, or had to give theirs up.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.so_far()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(
        &self,
        number: Option<u64>,
        connection: ConnectionId,
        endpoint: EndpointId,
        token: Option<&str>,
    ) -> Result<(), &'static str> {
        let mut state = self.lock();
        let (group, decided) = number.and_then(|n| state.coming.remove(&n)).ok_or("this connection is over")?;
        decided.notify_one();
        // Hashes are compared, so how much of a guess was right does not show in time.
        if token.is_none_or(|said| hash(said) != self.token) {
            return Err("this relay serves one fog, and this is not its token");
        }
        if state.inside.iter().filter(|(_, inside)| inside.endpoint == endpoint).count() >= MAX_OF_ONE {
            return Err("this endpoint is connected often enough");
        }
        let gone = state.inside.make_room(group).map_err(|_| {
            self.refused.one(FULL);
            "this relay is full, and your network has its share of it"
        })?;
        state.inside.insert(connection, group, Inside { endpoint, since: Instant::now() });
        drop(state);
        if let Some((connection, Inside { endpoint, .. })) = gone {
            self.refused.one(FULL);
            if let Some(service) = self.service.get() {
                service.clients().disconnect(endpoint, Some(connection));
            }
        }
        Ok(())
    }
}

const FULL: &str = "the relay is full, and a network wants more than its share of it";

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
        let number = request.headers().get(NUMBER).and_then(|number| number.to_str().ok()?.parse().ok());
        let decided = self.decide(number, request.connection_id(), request.endpoint_id(), request.auth_token().as_deref());
        match decided {
            Ok(()) => Access::Allow,
            Err(reason) => Access::Deny { reason: Some(reason.to_owned()) },
        }
    }

    fn on_disconnect(&self, _endpoint_id: EndpointId, connection_id: ConnectionId) {
        self.lock().inside.remove(connection_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use iroh::SecretKey;
    use iroh_relay::http::ProtocolVersion;

    const ROOM: usize = 8;

    fn network(number: u8) -> Group {
        Group::of_client(Some([192, 0, number, 1].into()))
    }

    fn request(endpoint: EndpointId, number: Option<u64>, token: Option<&str>) -> ClientRequest {
        let path = token.map_or("/relay".to_owned(), |token| format!("/relay?token={token}"));
        let mut request = hyper::Request::get(path);
        if let Some(number) = number {
            request = request.header(NUMBER, HeaderValue::from(number));
        }
        ClientRequest::new(endpoint, ProtocolVersion::V2, request.body(()).unwrap().into_parts().0)
    }

    /// Somebody comes and says this; the connection, or why it is refused.
    async fn comes(door: &Arc<Door>, from: Group, endpoint: EndpointId, token: Option<&str>) -> Result<ConnectionId, String> {
        let coming = door.accepted(from);
        let request = request(endpoint, Some(coming.number), token);
        let access = AccessControl::on_connect(door.as_ref(), &request).await;
        coming.decided().await;
        match access {
            Access::Allow => Ok(request.connection_id()),
            Access::Deny { reason } => Err(reason.unwrap()),
        }
    }

    fn somebody() -> EndpointId {
        SecretKey::generate().public()
    }

    #[tokio::test]
    async fn the_token_and_the_bounds() {
        let door = Arc::new(Door::new("right".to_owned(), ROOM));
        let (here, one, right) = (network(1), somebody(), Some("right"));
        assert!(comes(&door, here, one, None).await.is_err() && comes(&door, here, one, Some("wrong")).await.is_err());
        let mut last = None;
        for _ in 0..MAX_OF_ONE {
            last = Some(comes(&door, here, one, right).await.unwrap());
        }
        assert!(comes(&door, here, one, right).await.unwrap_err().contains("often enough"));
        door.on_disconnect(one, last.unwrap());
        assert!(comes(&door, here, one, right).await.is_ok(), "room again");
        for _ in MAX_OF_ONE..ROOM {
            comes(&door, here, somebody(), right).await.unwrap();
        }
        assert!(comes(&door, here, somebody(), right).await.unwrap_err().contains("full"));
        assert_eq!(door.refused(), 1);
        // A number that nobody has, or none: not through our listener, or cut off meanwhile.
        for number in [None, Some(99)] {
            let access = AccessControl::on_connect(door.as_ref(), &request(somebody(), number, right)).await;
            assert!(matches!(access, Access::Deny { .. }));
        }
        assert!(door.lock().coming.is_empty() && !format!("{door:?}").contains("right"));
    }

    #[tokio::test]
    async fn a_network_that_fills_the_relay_gives_up_what_others_want() {
        let door = Arc::new(Door::new("right".to_owned(), ROOM));
        let right = Some("right");
        let mut came = Vec::new();
        for _ in 0..ROOM {
            came.push(comes(&door, network(1), somebody(), right).await.unwrap());
        }
        for _ in 0..ROOM / 2 {
            comes(&door, network(2), somebody(), right).await.unwrap();
        }
        assert!(comes(&door, network(2), somebody(), right).await.is_err(), "it has half");
        let stays = |id: &ConnectionId| door.lock().inside.get(*id).is_some();
        assert!(!came[..ROOM / 2].iter().any(stays) && came[ROOM / 2..].iter().all(stays), "the first gave way");
        // That the one which gave way ends frees no place a second time.
        door.on_disconnect(somebody(), came[0]);
        assert_eq!((door.lock().inside.len(), door.refused()), (ROOM, ROOM as u64 / 2 + 1));
        assert!(comes(&door, network(3), somebody(), right).await.is_ok(), "a third");
    }
}
