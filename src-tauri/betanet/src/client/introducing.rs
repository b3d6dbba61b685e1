//! The introduction to one instance, by its introduction points, and what follows on its answer: a tunnel, at mixes or over a direct link.

use super::reach::{Known, Reach};
use crate::{
    direct,
    directory::Directory,
    lease::Lease,
    message::{FromMix, MailboxId, Meeting, ToMix},
    puzzle::{MAX_EFFORT, Puzzle, Work},
    rendezvous::{Place, meet},
    schedule::patience,
    service::{Word, prologue},
    tunnel::{self, Side, Tunnel, TunnelConfig},
    uplink::AskError,
};
use fogbank_model::{Level, MixId};
use iroh::SecretKey;
use rand::Rng as _;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Puzzles solved in one introduction: the price may rise while one is at work.
const MAX_PUZZLES: u32 = 4;

/// What went wrong with one introduction, and who is left alone for a while.
pub(super) struct Missed {
    pub(super) copy: bool,
    /// The owner of the copy's host does not let visitors come directly. It is not left alone for that: it is asked again when the visitor is.
    pub(super) not_direct: bool,
    pub(super) points: Vec<MixId>,
    pub(super) why: String,
}

impl Missed {
    fn copy(why: impl Into<String>) -> Self {
        Self { copy: true, ..Self::nobody(why) }
    }

    fn point(point: MixId, why: impl Into<String>) -> Self {
        Self { points: vec![point], ..Self::nobody(why) }
    }

    fn nobody(why: impl Into<String>) -> Self {
        Self { copy: false, not_direct: false, points: Vec::new(), why: why.into() }
    }
}

/// From introduction to answer: two hosts' round trips, and one more of each end for what is lost.
fn answer_wait(level: Level) -> Duration {
    Duration::from_millis(1_500) + 3 * patience(level)
}

impl Reach {
    /// Introduces itself at the points in turn, again at the next one when nobody answers: a host takes one first message once, however often
    /// and by whom it is brought.
    pub(super) async fn introduce(
        &self,
        known: &Known,
        directory: &Directory,
        points: &[MixId],
        lease: &Lease,
    ) -> Result<Tunnel, Missed> {
        let nowhere = || Missed::nobody("there is no mix to meet at");
        let at = points.first().and_then(|point| self.uplink.rendezvous(directory, *point)).ok_or_else(nowhere)?;
        let level = known.descriptor.level;
        let [visitor, host] = [mailbox(), mailbox()];
        // A fresh key for this link alone.
        let own = self.direct.then(SecretKey::generate);
        let direct = own.as_ref().map(|key| *key.public().as_bytes());
        let meeting = Meeting { rendezvous: at, visitor, host, level, direct };
        let bad_key = |error: &dyn std::fmt::Display| Missed::copy(format!("its introduction key can't be used: {error}"));
        let payload = meeting.encode().map_err(|e| bad_key(&e))?;
        let prologue = prologue(&known.blinded.key, lease.instance, known.blinded.door.as_ref());
        let (initiation, hello) = tunnel::initiate(&lease.introduction_key, &prologue, &payload).map_err(|e| bad_key(&e))?;
        let mut pipe = meet(&self.uplink, Place { at, mine: visitor, peer: host, level, most_effort: MAX_EFFORT }, None);
        let mut turns = points.iter().copied().cycle();
        let mut point = at;
        let mut silent = Missed::copy("a copy of the site does not answer");
        let mut deadline = Instant::now() + answer_wait(level);
        let (blinded, instance) = (known.blinded.key, lease.instance);
        let mut work: Option<Work> = None;
        let (mut paid, mut puzzles) = (0_u32, 0);
        let answer = loop {
            if work.is_none() {
                point = turns.next().unwrap_or(point);
            }
            let until = deadline.min(Instant::now() + 2 * patience(level));
            let introduction = |surb| ToMix::Introduce { blinded, instance, hello: hello.clone(), work, surb };
            let passed = timeout_at(until, self.uplink.ask(point, level, introduction));
            // The host's answer may come before the point's.
            let passed = tokio::select! {
                answer = pipe.recv.recv() => break answer,
                passed = passed => passed,
            };
            work = None;
            match passed {
                Ok(Ok(FromMix::Introduced)) => {
                    if let Ok(answer) = timeout_at(until, pipe.recv.recv()).await {
                        break answer;
                    }
                    // Of one point alone it can't be told whether it or the copy is mute.
                    if points.len() == 1 {
                        silent.points.push(point);
                    }
                }
                Ok(Ok(FromMix::Puzzle(puzzle))) => {
                    puzzles += 1;
                    let busy = || Missed::point(point, "an introduction point is busy and asks for more work than is reasonable");
                    if puzzles > MAX_PUZZLES {
                        return Err(busy());
                    }
                    // Who paid and was outbid bids twice as much.
                    let effort = paid.saturating_mul(2).max(puzzle.effort);
                    let task = ToMix::introduction_task(&blinded, instance, &hello);
                    let solved = Puzzle { effort, ..puzzle }.solved(task).await.ok_or_else(busy)?;
                    (paid, work) = (solved.effort, Some(solved));
                    deadline = Instant::now() + answer_wait(level);
                }
                Ok(Ok(FromMix::Refused(why))) => return Err(Missed::copy(format!("an introduction point refused: {why}"))),
                Ok(Ok(_)) => return Err(Missed::point(point, "an introduction point answered something else")),
                Ok(Err(AskError::Send(error))) => return Err(Missed::nobody(error.to_string())),
                Ok(Err(AskError::Silent)) | Err(_) => silent.points.push(point),
            }
            if Instant::now() >= deadline {
                return Err(silent);
            }
        };
        let answer = answer.ok_or_else(|| Missed::nobody("the way to the place to meet has ended"))?;
        let (keys, word) = initiation.finish(&answer).map_err(|_| Missed::copy("a copy of the site answered garbage"))?;
        let pipe = match (Word::to(self.direct, &word), own) {
            (Some(Word::Come), _) => pipe,
            (Some(Word::Directly(place)), Some(own)) => {
                direct::connect(own, self.uplink.bound_to(), &place).await.map_err(|error| {
                    tracing::debug!(%error, "a copy was not reached directly");
                    Missed::copy(format!("a copy of the site was not reached directly: {error}"))
                })?
            }
            (Some(Word::NotDirect), _) => {
                let why = "the owner of a copy's host does not let visitors come directly";
                return Err(Missed { not_direct: true, ..Missed::nobody(why) });
            }
            (Some(Word::Leaving), _) => return Err(Missed::copy("a copy of the site is leaving")),
            (Some(Word::Full), _) => return Err(Missed::copy("a copy of the site has too many visitors")),
            (Some(Word::Directly(_)) | None, _) => return Err(Missed::copy("a copy of the site answered garbage")),
        };
        Ok(Tunnel::spawn(keys, Side::Visitor, pipe, TunnelConfig::default()))
    }
}

fn mailbox() -> MailboxId {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    MailboxId(id)
}
