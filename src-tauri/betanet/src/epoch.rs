//! Key epochs: which packet keys are live when.
//!
//! ```text
//!            |<-- epoch n: 1 h -->|
//!     key n: [-- ½ h --|==========|-- ½ h --]      a mix takes packets under key n
//! ```
//!
//! Senders use the key of the present epoch. A mix takes it half an hour longer at both ends: for SURBs made before the epoch's end, and for
//! clocks that differ. So exactly two keys are live at any moment, of epochs that differ in their lowest bit, which packets show.
//! Nothing here holds keys (the mixnode does) or a clock.

use fogbank_model::{DurationMs, UnixMs};
use fogbank_sphinx::Epoch;

/// Length of an epoch. Shorter ones forget sooner what a stolen key would open, and kill SURBs sooner.
pub const EPOCH_LIFE: DurationMs = DurationMs::from_s(3600);
/// How long before and after its epoch a key is taken.
pub const OVERLAP: DurationMs = DurationMs::from_s(1800);
/// How long a mix takes packets under one key: what replay tags are kept for.
pub const KEY_LIFE: DurationMs = DurationMs(EPOCH_LIFE.0 + 2 * OVERLAP.0);
/// Keys of so many further epochs are published: a fog can be browsed for half a day without its allocator.
pub const KEYS_AHEAD: u32 = 12;

const _: () = assert!(2 * OVERLAP.0 == EPOCH_LIFE.0, "two keys are live at any moment, no more and no fewer");
const _: () = assert!(KEYS_AHEAD as usize + 2 <= fogbank_wire::PacketKeys::MOST);

/// The epoch of a moment. Moments before 1970 or beyond the last epoch fall into the nearest one.
pub fn at(now: UnixMs) -> Epoch {
    Epoch(u32::try_from(now.0.max(0) / EPOCH_LIFE.0).unwrap_or(u32::MAX - 1))
}

/// When an epoch begins.
pub fn start(epoch: Epoch) -> UnixMs {
    UnixMs(i64::from(epoch.0).saturating_mul(EPOCH_LIFE.0))
}

/// When a mix takes nothing more under an epoch's key.
pub fn key_ends(epoch: Epoch) -> UnixMs {
    start(epoch).plus(EPOCH_LIFE).plus(OVERLAP)
}

/// The two epochs whose keys a mix takes at a moment, the earlier first.
pub fn live(now: UnixMs) -> [Epoch; 2] {
    let present = at(now);
    if now.since(start(present)) < OVERLAP {
        [Epoch(present.0.saturating_sub(1)), present]
    } else {
        [present, Epoch(present.0.saturating_add(1))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_keys_are_live_and_the_bit_tells_them_apart(now in 0i64..4_000_000_000_000, late in 0i64..1_800_000) {
            let now = UnixMs(now);
            let [one, other] = live(now);
            prop_assert!(one.bit() != other.bit() || now < UnixMs(OVERLAP.0));
            prop_assert!([one, other].contains(&at(now)));
            // What was sealed for the present epoch is still taken half an hour later, and by a mix whose clock is as much behind.
            prop_assert!(live(now.plus(DurationMs(late))).contains(&at(now)));
            prop_assert!(live(now.plus(DurationMs(-late))).contains(&at(now)) || now.0 < late);
        }

        #[test]
        fn a_key_lives_for_its_life_and_no_longer(epoch in 1u32..1_000_000) {
            let epoch = Epoch(epoch);
            let (first, end) = (start(epoch).plus(DurationMs(-OVERLAP.0)), key_ends(epoch));
            prop_assert_eq!(end.since(first), KEY_LIFE);
            prop_assert!(live(first).contains(&epoch) && live(UnixMs(end.0 - 1)).contains(&epoch));
            prop_assert!(!live(UnixMs(first.0 - 1)).contains(&epoch) && !live(end).contains(&epoch));
        }
    }
}
