//! How many clients a mix serves at a constant rate. Pure.
//!
//! Each costs the owner's rate one frame a slot in each direction, whether anything is said or not, so their number is bounded by half of
//! that rate and what they take is set aside; a mix with no room says so, and never thins what it has promised.

use super::limits::Rate;
use crate::schedule::CONSTANT_SLOT;

/// Clients of constant rate at once, whatever the owner's rate: 13 MB/s each way.
const MAX_SHAPED: u32 = 64;
/// Slots in a second, rounded up.
const SLOTS_S: u32 = 1_000_u32.div_ceil(CONSTANT_SLOT.as_millis() as u32);

/// The account.
#[derive(Debug, Default)]
pub(super) struct Shaped {
    clients: u32,
}

impl Shaped {
    /// Whether there is room for one more; then it has its place.
    pub(super) fn enter(&mut self, rate: Rate) -> bool {
        let most = rate.packets_s().map_or(MAX_SHAPED, |rate| rate / 2 / SLOTS_S).min(MAX_SHAPED);
        let room = self.clients < most;
        self.clients += u32::from(room);
        room
    }

    /// One left.
    pub(super) fn leave(&mut self) {
        self.clients = self.clients.saturating_sub(1);
    }

    /// Whether an owner's new, lower rate leaves no room for all that are here. Then they are told that it is over.
    pub(super) fn too_many(&self, rate: Rate) -> bool {
        rate.packets_s().is_some_and(|rate| self.clients * SLOTS_S > rate)
    }

    /// Packets a second that they take of the rate.
    pub(super) fn packets_s(&self) -> u32 {
        self.clients * SLOTS_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_owners_rate_and_no_more() {
        let places = |rate| {
            let mut shaped = Shaped::default();
            (0..1_000).filter(|_| shaped.enter(rate)).count()
        };
        assert_eq!(places(Rate::of_bytes_s(1_000_000)), 2, "of what an owner lends by default");
        assert_eq!((places(Rate::of_bytes_s(300_000)), places(Rate::of_bytes_s(10_000_000))), (0, 24));
        assert_eq!(places(Rate::UNLIMITED), MAX_SHAPED as usize);
        let (mut shaped, rate) = (Shaped::default(), Rate::of_bytes_s(1_000_000));
        assert!(shaped.enter(rate) && shaped.enter(rate) && !shaped.enter(rate) && !shaped.too_many(rate));
        assert!(shaped.too_many(Rate::of_bytes_s(300_000)) && shaped.packets_s() == 50);
        shaped.leave();
        assert!(shaped.enter(rate));
    }
}
