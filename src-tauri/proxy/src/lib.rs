//! The local proxy: how browsers, curl and the app's window reach onion addresses. One port speaks SOCKS5 and HTTP.
//!
//! ```text
//! browser → SOCKS5 | CONNECT | http://….onion/ → port → way to one address in one isolation → sealed site: HTTP is spoken here, contents are
//!                                                                                           checked as they come, from any copy that gives them
//!                                                                                         → app: HTTP is passed on, kept alive, retried where
//!                                                                                           that changes nothing; anything else as bytes
//! ```
//!
//! Invariants: only well-formed `.onion` names pass and no name is ever resolved, so nothing leaks to the ordinary network; of a sealed site no
//! byte is passed on that its publisher did not sign, and no header that was not made here; a copy that lies is left, counted and shown, and the
//! request goes on at another. User name and password isolate: two that differ in either never share a tunnel, a kept connection or a cached
//! file. A web page can't use the port: requests that name no onion as a proxy's client does are answered with words and nothing else. All that
//! waits or is kept is bounded.
//! Deliberately absent: access from other machines (bind it to loopback); TLS towards onions (the address is the key); `Via` and `Forwarded`
//! (they would tell a host by what its visitor comes).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod app;
mod cache;
mod http;
mod isolation;
mod page;
mod pipe;
mod pool;
mod port;
mod sealed;
mod socks;
mod target;
mod way;

pub use port::{MAX_CONNECTIONS, Proxy, ProxyError};
