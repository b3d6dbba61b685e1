//! Lines on which requests are lost, late, doubled, or answered in vain.

use super::{
    device::{Doing, Kind},
    net::{Net, What},
};
use crate::line::Line;
use fogbank_model::DeviceId;
use fogbank_wire::{CallError, DeviceReply, DeviceRequest, EXCHANGE_DEADLINE};
use futures_util::future::BoxFuture;
use rand::RngExt as _;
use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives and is answered.
    Well,
    /// It never arrives.
    Lost,
    /// It arrives, and the answer does not.
    Unheard,
    /// It arrives after the allocator has stopped waiting.
    Late,
    /// It arrives twice.
    Doubled,
}

/// How likely each is, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) lost: u32,
    pub(super) unheard: u32,
    pub(super) late: u32,
    pub(super) doubled: u32,
}

impl Faults {
    /// What becomes of a request that drew this number below a thousand.
    fn fate(self, drawn: u32) -> Fate {
        let mut bound = 0;
        for (share, fate) in
            [(self.lost, Fate::Lost), (self.unheard, Fate::Unheard), (self.late, Fate::Late), (self.doubled, Fate::Doubled)]
        {
            bound += share;
            if drawn < bound {
                return fate;
            }
        }
        Fate::Well
    }
}

/// A line to one device, from one connection to its end.
pub(super) struct SimLine {
    pub(super) device: DeviceId,
    /// Which of its connections.
    pub(super) number: u64,
    pub(super) net: Arc<Net>,
}

impl fmt::Debug for SimLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimLine({}, {})", self.device.short(), self.number)
    }
}

impl Line for SimLine {
    fn call<'a>(&'a self, request: &'a DeviceRequest, within: Duration) -> BoxFuture<'a, Result<DeviceReply, CallError>> {
        Box::pin(async move { self.deliver(request, within) })
    }

    fn close(&self, _: &'static str) {
        let mut state = self.net.lock();
        let at = self.net.ms();
        if let Some(device) = state.devices.get_mut(&self.device)
            && device.speaks_on(self.number)
        {
            device.line = None;
            state.after(at, 1_000, What::Connect(self.device));
        }
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl SimLine {
    fn deliver(&self, request: &DeviceRequest, within: Duration) -> Result<DeviceReply, CallError> {
        let broken = || CallError::Lost(iroh::endpoint::ConnectionError::LocallyClosed);
        // An allocator that has been killed says nothing any more.
        if self.net.cut.is_off() {
            return Err(broken());
        }
        let mut state = self.net.lock();
        let faults = state.faults;
        let at = self.net.ms();
        let Some(device) = state.devices.get_mut(&self.device) else { return Err(broken()) };
        if !device.speaks_on(self.number) {
            return Err(broken());
        }
        let Some(kind) = Kind::of(request) else {
            // Told by tasks of their own, side by side: it makes no difference when these arrive.
            return Ok(DeviceReply::Done);
        };
        if within == EXCHANGE_DEADLINE {
            // Told by a task of its own, which nobody waits for and which runs at one moment of this step or another.
            let began = self.net.step.load(Relaxed);
            state.told(began + 1, What::Arrives(self.device, Box::new(request.clone())));
            return Ok(DeviceReply::Done);
        }
        let fate = if device.away() { Fate::Lost } else { faults.fate(device.rng.random_range(0..1_000)) };
        let waited = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let (id, now) = (self.device, self.net.hands.now());
        let reply = match fate {
            Fate::Lost => None,
            Fate::Late => {
                let delay = waited + device.rng.random_range(0..20_000);
                state.after(at, delay, What::Arrives(id, Box::new(request.clone())));
                None
            }
            Fate::Well | Fate::Unheard | Fate::Doubled => {
                let mut all = Vec::new();
                let mut reply = DeviceReply::Done;
                for _ in 0..if fate == Fate::Doubled { 2 } else { 1 } {
                    let (answer, doings): (DeviceReply, Vec<(u64, Doing)>) = device.handle(request, now);
                    reply = answer;
                    all.extend(doings);
                }
                state.do_later(at, id, all);
                (fate != Fate::Unheard).then_some(reply)
            }
        };
        state.trace(at, format_args!("{} {kind:?} {fate:?} {reply:?}", id.short()));
        drop(state);
        // Who asks waits for the answer, or for as long as it waits for one.
        self.net.hands.move_to(at + if reply.is_some() { 2 } else { waited });
        reply.ok_or(CallError::TimedOut(within))
    }
}
