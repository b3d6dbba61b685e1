//! What a device lends: shares of what it has, decided afresh from a look at it. Pure.

use crate::sensors::Sample;
use fogbank_model::Resources;
use fogbank_wire::Offer;

/// Offers change in steps of this, so that a disk that fills by a file does not make every device report.
const STORAGE_STEP_MB: u64 = 100;

/// How much of a device is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of all cores.
    pub cpu_percent: u8,
    /// Of the memory.
    pub memory_percent: u8,
    /// Disk at most.
    pub storage_mb: u64,
    /// Of the disk, left free for the owner.
    pub keep_free_percent: u8,
    /// Network at most.
    pub bandwidth_kbps: u64,
}

impl Default for Share {
    /// A laptop's: 50 % of the cores, 25 % of the memory, 10 GB of disk keeping 10 % free, 1 MB/s.
    fn default() -> Self {
        Self { cpu_percent: 50, memory_percent: 25, storage_mb: 10_000, keep_free_percent: 10, bandwidth_kbps: 8_000 }
    }
}

/// Whether a device lends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Will {
    pub(crate) paused: bool,
    pub(crate) drain: Option<String>,
}

impl Will {
    /// Why nothing new is taken; `None` when it is.
    pub(crate) fn closed(&self) -> Option<String> {
        if let Some(why) = &self.drain {
            Some(format!("being drained: {why}"))
        } else if self.paused {
            Some("paused by its owner".to_owned())
        } else {
            None
        }
    }
}

/// What the disk of bundles holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stored {
    /// Content of others: it is counted as free, because it lies within what is lent.
    pub(crate) others_mb: u64,
    /// Of it, copies that are kept without an instance here.
    pub(crate) kept_mb: u64,
}

/// The offer.
pub(crate) fn offer(sample: &Sample, share: &Share, will: &Will, stored: Stored) -> Offer {
    let capacity = Resources {
        cpu_millicores: sample.cpu_millicores,
        memory_mb: sample.memory_mb,
        storage_mb: sample.disk_mb,
        bandwidth_kbps: share.bandwidth_kbps,
    };
    let left_free = percent(sample.disk_mb, share.keep_free_percent);
    let room = (sample.disk_free_mb + stored.others_mb).saturating_sub(left_free);
    let storage = room.min(share.storage_mb).saturating_sub(stored.kept_mb);
    let lent = Resources {
        cpu_millicores: percent(sample.cpu_millicores, share.cpu_percent),
        memory_mb: percent(sample.memory_mb, share.memory_percent),
        storage_mb: storage / STORAGE_STEP_MB * STORAGE_STEP_MB,
        bandwidth_kbps: share.bandwidth_kbps,
    };
    let (lent, open, why) = match will.closed() {
        // Who drains goes on serving until others have taken over.
        Some(why) if will.drain.is_some() => (lent, false, why),
        Some(why) => (Resources::ZERO, false, why),
        None if lent.storage_mb == 0 => (lent, false, format!("the disk is nearly full: {} MB free", sample.disk_free_mb)),
        None => (lent, true, "lends".to_owned()),
    };
    Offer { capacity, lent, open, why }
}

fn percent(of: u64, share: u8) -> u64 {
    of.saturating_mul(share.min(100).into()) / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAPTOP: Sample =
        Sample { cpu_millicores: 8_000, memory_mb: 16_000, disk_mb: 500_000, disk_free_mb: 200_000, power: None };

    #[test]
    fn a_laptops_defaults() {
        let offer = offer(&LAPTOP, &Share::default(), &Will::default(), Stored::default());
        let lent = Resources { cpu_millicores: 4_000, memory_mb: 4_000, storage_mb: 10_000, bandwidth_kbps: 8_000 };
        assert_eq!((offer.lent, offer.open), (lent, true));
    }

    #[test]
    fn the_owners_disk_comes_first_and_reasons_are_said() {
        let full = Sample { disk_free_mb: 50_050, ..LAPTOP };
        let none = offer(&full, &Share::default(), &Will::default(), Stored::default());
        assert!(!none.open && none.why.contains("50050 MB"), "{none:?}");
        let ours = Stored { others_mb: 3_000, kept_mb: 1_000 };
        assert_eq!(offer(&full, &Share::default(), &Will::default(), ours).lent.storage_mb, 2_000);

        let paused = offer(&LAPTOP, &Share::default(), &Will { paused: true, drain: None }, Stored::default());
        assert_eq!((paused.lent, paused.open, paused.why.as_str()), (Resources::ZERO, false, "paused by its owner"));
        let drained = Will { paused: true, drain: Some("lid closed".to_owned()) };
        let drained = offer(&LAPTOP, &Share::default(), &drained, Stored::default());
        assert!(!drained.open && drained.why.contains("lid closed") && drained.lent != Resources::ZERO);
    }

    proptest! {
        #[test]
        fn never_more_than_there_is(cpu in 0u64..2_000_000, memory: u32, disk: u32, free: u32, cpu_share: u8, kept: u16, others: u16) {
            let free = u64::from(free.min(disk));
            let sample = Sample { cpu_millicores: cpu, memory_mb: memory.into(), disk_mb: disk.into(), disk_free_mb: free, power: None };
            let stored = Stored { others_mb: others.into(), kept_mb: kept.min(others).into() };
            let offer = offer(&sample, &Share { cpu_percent: cpu_share, ..Share::default() }, &Will::default(), stored);
            prop_assert!(offer.lent.cpu_millicores <= cpu && offer.lent.memory_mb <= memory.into());
            prop_assert!(offer.lent.storage_mb <= free + u64::from(others));
        }
    }
}
