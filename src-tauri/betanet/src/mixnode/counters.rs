//! What a mix has done, as counts. No count is tied to a peer.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Live counters of a mix.
        #[derive(Debug, Default)]
        pub(crate) struct Live { $(pub(crate) $name: AtomicU64,)* }

        /// What a mix has done since it started.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct MixCounters { $($(#[$doc])* pub $name: u64,)* }

        impl Live {
            pub(crate) fn read(&self) -> MixCounters {
                MixCounters { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl MixCounters {
            /// By name, for lists.
            pub fn by_name(&self) -> BTreeMap<String, u64> {
                [$((stringify!($name).to_owned(), self.$name),)*].into()
            }
        }
    };
}

counters! {
    /// Frames that came in, of whatever kind, and those that were not taken too.
    frames,
    /// Packets that were taken.
    received,
    /// Packets sent on.
    forwarded,
    /// Replies handed to clients.
    delivered,
    /// Packets whose end this mix was.
    arrived,
    /// Packets seen before.
    replays,
    /// Packets that were not authentic or not of the format.
    refused,
    /// Packets to mixes that the directory does not list, or to clients that are not here.
    unknown_next,
    /// Packets dropped because a queue was full.
    dropped_full,
    /// Frames dropped because more came than the owner lets the mix take.
    dropped_rate,
    /// Cover loops sent.
    cover_sent,
    /// Cover loops that came back.
    cover_back,
    /// Others' cover that ended here.
    cover_ended,
    /// Slots of clients of constant rate in which nothing waited.
    dummies,
    /// Pieces of directories given to peers.
    parts,
    /// Clients that were given a place among those of constant rate.
    shaped,
    /// Clients for which there was none.
    shape_refused,
    /// Introductions passed on.
    introductions,
    /// Requests answered with a puzzle.
    puzzles,
    /// Registrations and mailboxes that found no place.
    no_place,
    /// Revocations forgotten early because their service had too many.
    revocations_forgotten,
    /// Datagrams passed from mailbox to mailbox.
    relayed,
    /// Datagrams that had no mailbox or no room.
    unrelayed,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
