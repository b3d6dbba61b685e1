//! Asking a device for what the allocator needs its yes to, and leaving those alone that do not answer.

use crate::act::Actor;
use fogbank_model::DeviceId;
use fogbank_wire::{CallError, DeviceReply, DeviceRequest, Refusal, RefusalKind};
use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A device answers within moments: what it is asked begins work and does not wait for it.
const ANSWER: Duration = Duration::from_secs(3);
/// A device that did not answer is left alone for so long.
const MUTE: Duration = Duration::from_secs(30);

/// Devices that did not answer, and when: not asked again for a while, so that one mute device does not hold all others up.
#[derive(Default)]
pub(crate) struct Mute(Mutex<HashMap<DeviceId, Instant>>);

impl Mute {
    fn note(&self, device: DeviceId, clock: Instant) {
        let mut mute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mute.retain(|_, at| clock.duration_since(*at) < MUTE);
        mute.insert(device, clock);
    }

    fn holds(&self, device: DeviceId, clock: Instant) -> bool {
        let mute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mute.get(&device).is_some_and(|at| clock.duration_since(*at) < MUTE)
    }
}

/// A device did not say yes.
pub(crate) struct No {
    pub(crate) refusal: Refusal,
    /// It refused what it offers, or was silent: not what was asked is to blame, nor that it is away.
    pub(crate) its_own: bool,
}

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl Actor {
    /// Asks a device and waits for its yes.
    pub(crate) async fn ask(&self, device: DeviceId, request: DeviceRequest) -> Result<(), No> {
        let no = |words: String, its_own| No { refusal: Refusal::new(RefusalKind::Failed, words), its_own };
        let away = |words: String| no(words, false);
        let member = self.shared.registry.member(device).ok_or_else(|| away("the device is not connected".to_owned()))?;
        if self.is_mute(device) {
            return Err(away("the device did not answer a moment ago".to_owned()));
        }
        match member.line.call(&request, ANSWER).await {
            Ok(DeviceReply::Done) => Ok(()),
            Ok(DeviceReply::Refused(refusal)) => {
                // All else is of what was asked, or of a plan or a clock that is behind.
                let its_own = matches!(refusal.kind, RefusalKind::Busy | RefusalKind::WrongState);
                Err(No { refusal, its_own })
            }
            Err(CallError::TimedOut(_)) => {
                self.mute.note(device, self.shared.instant());
                Err(no("the device does not answer".to_owned(), true))
            }
            Err(error) => Err(away(error.to_string())),
        }
    }

    /// Whether it did not answer a moment ago.
    pub(crate) fn is_mute(&self, device: DeviceId) -> bool {
        self.mute.holds(device, self.shared.instant())
    }
}
