//! What lines and the fog share: the devices, what will happen and when, and virtual time.

use super::{
    device::{Device, Doing},
    line::Faults,
    script::Incident,
};
use crate::{clock::Hands, line::Line};
use fogbank_model::{DeviceId, UnixMs};
use fogbank_store::Cut;
use fogbank_wire::{DeviceRequest, Report};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicU64},
};

/// A day in 2026, at which virtual time begins.
const DAY: UnixMs = UnixMs(1_790_000_000_000);

/// Something that happens.
#[derive(Debug)]
pub(super) enum What {
    /// The allocator looks.
    Round,
    /// A device tries to connect.
    Connect(DeviceId),
    /// The allocator notices that a device's connection is dead.
    Silent(DeviceId, Arc<dyn Line>),
    /// A device's heartbeat, of this life.
    Beat(DeviceId, u64),
    /// A mix has further keys.
    Keys(DeviceId),
    /// A device goes on with what it does, if it still lives that life.
    Does(DeviceId, u64, Doing),
    /// A request arrives late.
    Arrives(DeviceId, Box<DeviceRequest>),
    /// A report arrives, on a connection of this number.
    Reports(DeviceId, u64, Box<Report>),
    /// The allocator's process begins anew.
    Begins,
    /// Something befalls the fog.
    Befalls(Incident),
}

/// What lines and the fog share.
pub(super) struct Net {
    pub(super) hands: Arc<Hands>,
    pub(super) cut: Cut,
    /// When the present step began.
    pub(super) step: AtomicU64,
    state: Mutex<State>,
}

/// The devices, and what will happen.
pub(super) struct State {
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) faults: Faults,
    pub(super) stumbles: bool,
    /// By time; what tasks of their own brought comes after all else at that moment, for in which order they ran beside it does not count.
    events: BTreeMap<(u64, bool, u64), What>,
    numbers: u64,
    trace: blake3::Hasher,
    said: bool,
}

impl Net {
    /// Nothing has happened; `said`: each thing that happens is.
    pub(super) fn new(said: bool) -> Self {
        Self {
            hands: Arc::new(Hands::at(DAY)),
            cut: Cut::default(),
            step: AtomicU64::new(0),
            state: Mutex::new(State {
                devices: BTreeMap::new(),
                faults: Faults::default(),
                stumbles: false,
                events: BTreeMap::new(),
                numbers: 0,
                trace: blake3::Hasher::new(),
                said,
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Milliseconds since the beginning.
    pub(super) fn ms(&self) -> u64 {
        self.hands.passed()
    }
}

impl State {
    /// Something will happen so many milliseconds from now.
    pub(super) fn after(&mut self, now: u64, delay: u64, what: What) {
        self.numbers += 1;
        self.events.insert((now + delay, false, self.numbers), what);
    }

    /// Something was told by a task of its own.
    pub(super) fn told(&mut self, at: u64, what: What) {
        self.numbers += 1;
        self.events.insert((at, true, self.numbers), what);
    }

    /// The next thing that happens, and when, if that is before this time.
    pub(super) fn next(&mut self, until: u64) -> Option<(u64, What)> {
        let first = self.events.first_entry().filter(|entry| entry.key().0 < until)?;
        let ((at, ..), what) = first.remove_entry();
        Some((at, what))
    }

    /// What has happened so far, in short: alike for runs that went alike.
    pub(super) fn so_far(&self) -> blake3::Hash {
        self.trace.finalize()
    }

    /// A device does something some time from now.
    pub(super) fn do_later(&mut self, now: u64, id: DeviceId, doings: Vec<(u64, Doing)>) {
        for (delay, doing) in doings {
            let Some(device) = self.devices.get_mut(&id) else { return };
            if doing == Doing::Say && std::mem::replace(&mut device.saying, true) {
                continue;
            }
            let life = device.life;
            self.after(now, delay, What::Does(id, life, doing));
        }
    }

    /// Notes what happened, for comparing runs; and says it where that is asked for.
    pub(super) fn trace(&mut self, at: u64, what: fmt::Arguments<'_>) {
        let line = format!("{:>10.3} {what}\n", f64::from(u32::try_from(at).unwrap_or(u32::MAX)) / 1_000.0);
        self.trace.update(line.as_bytes());
        if self.said {
            let _ = std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes());
        }
    }
}
