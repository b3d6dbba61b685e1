//! Directories among mixes: whoever has a new one tells a few others, they fetch it and tell a few others in turn.
//!
//! With [`FANOUT`] others each, all but one in four hundred hear of a new one within a few rounds (an epidemic reaches 1 − e⁻⁶ of all), in
//! whatever order links are up; the rest when they next hear from anybody, within [`REMIND_EVERY`].
//! Invariants: only mixes that the directory lists are heard, and only the fog's signature is believed; what a peer can cause is bounded
//! ([`crate::directory::gossip`]).

use super::pipeline::{Pipeline, lock};
use crate::{directory::gossip::Transfer, link::Frame};
use fogbank_model::MixId;
use rand::seq::IteratorRandom as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::interval};

/// To how many mixes a new directory is told.
const FANOUT: usize = 6;
/// How often one other mix is told what we have, news or not: who has a newer one says so. 8 KiB a minute.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether a peer that might not be asked may be now.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Pipeline {
    /// Tells others of new directories for as long as it is polled.
    pub(super) async fn spread(mix: Arc<Self>) {
        let mut directories = mix.directory.clone();
        let (mut look, mut remind) = (interval(LOOK_EVERY), interval(REMIND_EVERY));
        directories.mark_changed();
        loop {
            tokio::select! {
                changed = directories.changed() => {
                    if changed.is_err() { return }
                    directories.mark_unchanged();
                    mix.tell(FANOUT);
                }
                _ = remind.tick() => mix.tell(1),
                _ = look.tick() => mix.ask(),
            }
        }
    }

    /// Says to some mixes which directory we have.
    fn tell(&self, count: usize) {
        let Some(known) = self.directory.borrow().clone() else { return };
        let others = known.directory.mixes.iter().map(|m| m.id).filter(|id| *id != self.id);
        for id in others.sample(&mut rand::rng(), count) {
            if let Some(queue) = self.link_to(id) {
                let _ = queue.try_send(Frame::Have { serial: known.directory.serial, made: known.directory.made });
            }
        }
    }

    /// Something about directories from another mix, which `back` reaches.
    pub(super) fn gossip(&self, from: MixId, frame: Frame, back: &mpsc::Sender<Frame>) {
        let own = self.directory.borrow().clone();
        let Some(own) = own else { return };
        match frame {
            Frame::Have { serial, .. } => {
                if serial < own.directory.serial {
                    let _ = back.try_send(Frame::Have { serial: own.directory.serial, made: own.directory.made });
                    return;
                }
                lock(&self.gossiping).heard(from, serial, Instant::now());
                self.ask();
            }
            Frame::Part(part) => {
                let fetched = lock(&self.gossiping).part(from, part, Instant::now());
                let Some(fetched) = fetched else { return };
                let learned = self.hub.learn(&own.directory.fog, fetched.signed, self.now());
                let now_has = self.hub.current().map_or(0, |known| known.directory.serial);
                if learned.is_err() || now_has < fetched.serial {
                    tracing::debug!("a mix gave a directory that is none, or an older one than it said");
                    lock(&self.gossiping).blame(from, Instant::now());
                }
            }
            _ => {}
        }
    }

    /// Asks for a newer directory if somebody has one and may be asked.
    fn ask(&self) {
        let own = self.directory.borrow().as_ref().map_or(0, |known| known.directory.serial);
        let next = lock(&self.gossiping).next(own, Instant::now());
        let Some((from, serial)) = next else { return };
        let asked = self.link_to(from).is_some_and(|queue| queue.try_send(Frame::Want { serial }).is_ok());
        if !asked {
            lock(&self.gossiping).unasked(from);
        }
    }

    /// What another mix sends back on a link of ours.
    pub(super) fn takes(mix: &Arc<Self>, from: MixId) -> impl Fn(Frame) + Send + Sync + 'static {
        let mix = Arc::downgrade(mix);
        let giving = Arc::new(AtomicBool::new(false));
        move |frame| {
            let Some(mix) = mix.upgrade() else { return };
            let Some(queue) = mix.link_to(from) else { return };
            match frame {
                Frame::Have { .. } | Frame::Part(_) => mix.gossip(from, frame, &queue),
                Frame::Want { .. } if !giving.swap(true, Relaxed) => {
                    let (known, giving) = (mix.directory.borrow().clone(), giving.clone());
                    mix.runtime.spawn(async move {
                        if let Some(known) = known {
                            for part in Transfer::new(known.directory.serial, known.signed) {
                                if queue.send(part).await.is_err() {
                                    break;
                                }
                            }
                        }
                        giving.store(false, Relaxed);
                    });
                }
                _ => {}
            }
        }
    }
}
