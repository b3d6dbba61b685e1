//! What the host and the visitor of a site share: the manifest that a publisher signs, the way from a path to a file, the answers to
//! requests, and the protocol by which a host gives contents that the visitor checks as they come.
//!
//! ```text
//! publisher: signs the root = BLAKE3(manifest)          manifest: path → length, type, content's BLAKE3 hash
//! host:      answers asks for the manifest and for ranges of contents, in BLAKE3 verified streaming (bao)
//! visitor:   manifest against the root, each 16 KiB against the manifest; only then is a byte passed on, as HTTP of the visitor's own making
//! ```
//!
//! Invariants: nothing that a host says is passed on unchecked, headers included (it sends none); no path leads out of the manifest; what is
//! read of a stranger is bounded before room is made for it. Visitors learn contents and their plain hashes, which anyone can compute who has
//! them, and nothing by which bundles are named among hosts: neither their ids nor the salt in front of their blobs.
//! Deliberately absent: where contents are kept (the agent), tunnels (betanet), connections of browsers (the proxy).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

pub mod ask;
mod give;
mod manifest;
mod path;
mod patience;
mod range;
mod resolve;
mod respond;
mod take;
mod tree;

pub use give::{Content, Given, give};
pub use manifest::{Entry, INDEX, Limits, MAX_BUNDLE_BYTES, MAX_FILES, MAX_MANIFEST_BYTES, Manifest, ManifestError, Part, Root};
pub use path::{MAX_PART_BYTES, MAX_PATH_BYTES, NameFault, check_part, check_path};
pub use patience::Patient;
pub use respond::{Body, Files, empty, respond, words};
pub use take::{Contents, GROUP_WAIT, TakeError, take_manifest};
