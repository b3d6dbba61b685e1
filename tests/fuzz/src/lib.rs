//! Fuzz targets: one for each kind of foreign bytes that Fogbank reads, as plain functions.
//!
//! Three things run them: `make fuzz` under libFuzzer with coverage (`src/libfuzzer.rs`, `tools/fuzz`), the test `targets` with a few thousand
//! mutations of the seeds by a fixed generator, and whoever wants to look at one input. Signatures would stop every mutation at the door, so
//! besides the bytes as they come, a target takes the input as the *content* of a statement and signs it with the sample's own key: what
//! a hostile fog, publisher or peer can say.
//!
//! Invariants: a target panics only when the product is at fault (a panic, an overflow, a broken promise); it says whether the product
//! believed the input, so that a test notices when a target no longer gets past the door; no clock; no network but a loopback
//! connection to the proxy, whose two targets are the only slow ones.
//! Deliberately absent: packets with a forged header (that takes breaking its authenticator).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a target's way to report is to panic, and samples are made by the product's own encoders"
)]

mod directory;
mod introduction;
mod link;
mod mutate;
mod packet;
mod proofs;
mod proxy;
mod rendezvous;
mod samples;
mod site;
mod text;
mod tunnel;
mod wire;

pub use mutate::Mutator;

/// Something that reads foreign bytes.
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Reads the bytes; whether they were believed.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that the product's own encoders made.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 16] = [
    Target { name: "packet", run: packet::run, seeds: packet::seeds },
    Target { name: "directory", run: directory::run, seeds: directory::seeds },
    Target { name: "record", run: proofs::record::run, seeds: proofs::record::seeds },
    Target { name: "descriptor", run: proofs::descriptor::run, seeds: proofs::descriptor::seeds },
    Target { name: "lease", run: proofs::lease::run, seeds: proofs::lease::seeds },
    Target { name: "introduction", run: introduction::run, seeds: introduction::seeds },
    Target { name: "tunnel", run: tunnel::run, seeds: tunnel::seeds },
    Target { name: "rendezvous", run: rendezvous::run, seeds: rendezvous::seeds },
    Target { name: "link", run: link::run, seeds: link::seeds },
    Target { name: "manifest", run: site::manifest::run, seeds: site::manifest::seeds },
    Target { name: "ask", run: site::ask::run, seeds: site::ask::seeds },
    Target { name: "contents", run: site::contents::run, seeds: site::contents::seeds },
    Target { name: "socks", run: proxy::socks, seeds: proxy::socks_seeds },
    Target { name: "http", run: proxy::http, seeds: proxy::http_seeds },
    Target { name: "wire", run: wire::run, seeds: wire::seeds },
    Target { name: "text", run: text::run, seeds: text::seeds },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    const ALL: &[Target] = &TARGETS;
    ALL.iter().find(|target| target.name == name)
}
