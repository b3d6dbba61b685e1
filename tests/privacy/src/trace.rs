//! What happened: every packet with its hops, and every client's access link as a watcher of it sees it.

use crate::net::{Hop, Us};

/// What a packet was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A datagram of a tunnel.
    Data,
    /// SURBs for the rendezvous alone.
    Refill,
    /// A loop of a client or a mix.
    Loop,
    /// A drop packet of constant rate.
    Drop,
    /// A mix's request for SURBs.
    Restock,
}

/// A packet on its whole way.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    /// The client that made it; none for a mix.
    pub(crate) from: Option<u32>,
    /// The client that it reached.
    pub(crate) to: Option<u32>,
    /// The visit that it belongs to; the mix at which the two meet knows.
    pub(crate) tunnel: Option<u32>,
    pub(crate) hops: Vec<Hop>,
}

/// A client's access link: when packets left or came, and through which of its guards (by their order).
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) up: Vec<(Us, u8)>,
    pub(crate) down: Vec<(Us, u8)>,
    /// The guards, in that order.
    pub(crate) guards: Vec<u16>,
}

/// A host and those who visit it at the same time, in one window of watching.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) packets: Vec<Packet>,
    /// Access links: the host's first, then the visitors'.
    pub(crate) access: Vec<Access>,
    /// How long each visit took, if it came to its end.
    pub(crate) page_us: Vec<Option<Us>>,
    /// Tunnels that gave up.
    pub(crate) failed: usize,
}
