//! What an uplink has done, as counts. No count is tied to an address.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an uplink has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkCounters {
    /// Packets sent.
    pub packets_out: u64,
    /// Replies taken.
    pub packets_in: u64,
    /// Replies that were changed on the way.
    pub garbled: u64,
    /// Replies that nobody had room for or waited for any more.
    pub dropped: u64,
    /// Cover loops sent.
    pub cover_out: u64,
    /// Cover loops that came back.
    pub cover_in: u64,
    /// Slots of level strict.
    pub slots: u64,
    /// Those of them in which nothing waited.
    pub slots_of_cover: u64,
    /// Slots of the way down in which nothing waited.
    pub dummies_in: u64,
}

impl UplinkCounters {
    /// By name, for lists.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let list = [
            ("packets_out", self.packets_out),
            ("packets_in", self.packets_in),
            ("garbled", self.garbled),
            ("dropped", self.dropped),
            ("cover_out", self.cover_out),
            ("cover_in", self.cover_in),
            ("slots", self.slots),
            ("slots_of_cover", self.slots_of_cover),
            ("dummies_in", self.dummies_in),
        ];
        list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
