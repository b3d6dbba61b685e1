//! What this device has and how it stands now: cores, memory, the disk that bundles lie on, the battery.
//!
//! No battery is a normal case. Phones have no file or call for power that is allowed to apps: there the shell tells it
//! ([`Agent::power`](crate::Agent::power)).

use fogbank_wire::Power;
use std::{num::NonZero, path::Path, thread};
use sysinfo::{DiskRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

const MB: u64 = 1_000_000;

/// One look at the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) cpu_millicores: u64,
    pub(crate) memory_mb: u64,
    pub(crate) disk_mb: u64,
    pub(crate) disk_free_mb: u64,
    /// `None` when this program can't know.
    pub(crate) power: Option<Power>,
}

/// Looks. Takes some milliseconds and may wait for a disk: call it where that is allowed.
pub(crate) fn look(folder: &Path) -> Sample {
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()))
        .inspect_err(|error| tracing::debug!(%error, "the memory can't be read; none is lent"))
        .ok();
    let cores = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    // A container (of the system's, not of ours) may have less than the machine.
    let limit = system.as_ref().and_then(System::cgroup_limits).map_or(u64::MAX, |c| c.total_memory);
    let (disk_mb, disk_free_mb) = disk(folder).unwrap_or((0, 0));
    Sample {
        cpu_millicores: cores * 1000,
        memory_mb: system.map_or(0, |s| s.total_memory()).min(limit) / MB,
        disk_mb,
        disk_free_mb,
        power: power(),
    }
}

/// Size and free space of the disk that holds a folder, MB.
fn disk(folder: &Path) -> Option<(u64, u64)> {
    let folder = folder.canonicalize().ok()?;
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage())
        .inspect_err(|error| tracing::debug!(%error, "the disks can't be listed"))
        .ok()?;
    let holding = disks.iter().filter(|d| folder.starts_with(d.mount_point()));
    // Of several mounted at one place the last one counts.
    let disk = holding.max_by_key(|d| d.mount_point().as_os_str().len())?;
    Some((disk.total_space() / MB, disk.available_space() / MB))
}

#[cfg(not(any(target_os = "android", target_os = "ios")))]
fn power() -> Option<Power> {
    use starship_battery::{Manager, State, units::ratio::ratio};
    let read = || -> starship_battery::Result<Power> {
        let (mut energy, mut full, mut charging, mut any) = (0.0, 0.0, true, false);
        for battery in Manager::new()?.batteries()? {
            let battery = battery?;
            any = true;
            // Several batteries count by what they can hold.
            let weight = battery.energy_full().value.max(1.0);
            energy += battery.state_of_charge().get::<ratio>().clamp(0.0, 1.0) * weight;
            full += weight;
            charging &= matches!(battery.state(), State::Charging | State::Full | State::Paused);
        }
        Ok(if any { Power::Battery { share: energy / full, charging } } else { Power::Mains })
    };
    match read() {
        Ok(power) => Some(power),
        Err(error) => {
            tracing::debug!(%error, "the battery can't be read; taken for none");
            Some(Power::Mains)
        }
    }
}

#[cfg(any(target_os = "android", target_os = "ios"))]
fn power() -> Option<Power> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let sample = look(&std::env::temp_dir());
        assert!(sample.cpu_millicores >= 1000 && sample.memory_mb > 100, "{sample:?}");
        assert!(sample.disk_mb > 0 && sample.disk_free_mb <= sample.disk_mb, "{sample:?}");
        assert!(sample.power.is_some());
    }
}
