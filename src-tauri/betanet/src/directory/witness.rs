//! What a witness knows of a fog, and whether it signs that fog's next directory or change of witnesses. Pure: clock and keys come in.
//!
//! ```text
//! a directory, signed by its fog  →  judge  →  the record as it is then, kept on disk  →  only then the signature
//! ```
//!
//! Invariants: a witness signs no two directories of one serial, and serials follow the clock, so that also one whose record is of an old
//! backup signs nothing twice that is older than [`SLACK`]; mixes never grow older than they were seen to be; the shared random value
//! follows from parts that were fixed before; witnesses change by the rules of [`Record::judge_handover`].
//! What a signature says, and what not: that the list is the same for everybody and that nobody in it is older than he is. A witness can't see
//! whether a mix that has gone is gone, nor whether a new one is anybody's: who has the fog's key can replace its mixes, in front of
//! everybody, by ones that are all newcomers.
//! Deliberately absent: the network and the disk (the allocator).

use super::{
    Directory, MAX_MIXES,
    charter::{Charter, CharterError, HANDOVER, Handover, HandoverError, read},
    draw::{self, DrawError, Drawn},
};
use crate::address::Period;
use fogbank_model::{DurationMs, FogId, MixId, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// A directory is made within this of the witness's clock: computers whose clocks are set by the network differ by less than a second, and
/// one that is minutes off should be set right.
pub const SLACK: DurationMs = DurationMs::from_s(300);
/// Serials are milliseconds since 1970, or one more than the last where a clock went back. They are ahead of the witness's clock by no
/// more than this many attempts that came to nothing.
const SERIAL_STEPS: u64 = 1 << 20;
/// A mix that is away is remembered for longer than its fog does (30 days), so that it comes back with the age that it had.
const FORGET: DurationMs = DurationMs::from_s(32 * 24 * 3600);
/// Mixes remembered of one fog: more than the fog itself remembers, 32 bytes each.
pub const MAX_AGES: usize = 5 * MAX_MIXES;

/// What a witness is, and when and for whom it judges.
#[derive(Debug, Clone)]
pub struct Eyes<'a> {
    /// Its fog.
    pub me: FogId,
    /// The secret of its parts in draws.
    pub secret: &'a [u8; 32],
    /// The fogs that its operator federated with.
    pub named: &'a [FogId],
    /// Whether they are test fogs.
    pub test: bool,
    /// Its operator said that this fog may change its witnesses otherwise than by growing.
    pub lets: bool,
    /// Its clock.
    pub now: UnixMs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Age {
    since: UnixMs,
    last: UnixMs,
}

/// What a witness knows of one fog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The highest serial that it signed or saw signed by others.
    serial: u64,
    /// What it signed under that serial.
    signed: Option<[u8; 32]>,
    made: UnixMs,
    test: bool,
    charter: Charter,
    /// The last handover that it signed, and the number of its charter.
    handed: Option<(u64, [u8; 32])>,
    drawn: Drawn,
    ages: BTreeMap<MixId, Age>,
    /// Whether the fog has told the ages of mixes that were away at the beginning.
    introduced: bool,
}

/// Why a witness does not sign, for the other fog's operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// Not federated.
    #[error("this fog does not federate with yours: `fogbankd federate` is missing there")]
    NotNamed,
    /// One of the two is a test fog.
    #[error("one of the two fogs is a test fog, and the other is not")]
    Test,
    /// Its clock.
    #[error("the two allocators' clocks are {apart_s} s apart: set them right")]
    Clock {
        /// By how much.
        apart_s: i64,
    },
    /// Two days' border.
    #[error("the two days that it is made in are over by this clock: in a moment again")]
    Period,
    /// A serial twice, or too low, or far ahead.
    #[error("serial {theirs} does not follow {known}: was the fog's database put back from a backup, or is its key used twice?")]
    Serial {
        /// The directory's.
        theirs: u64,
        /// The highest known.
        known: u64,
    },
    /// Another charter.
    #[error("{0}")]
    Charter(CharterError),
    /// A handover that breaks a rule.
    #[error("{0}")]
    Handover(String),
    /// A change of witnesses that the operator must allow.
    #[error("{why}: its operator must allow it by `fogbankd federate --let {fog}`")]
    NotLet {
        /// What is changed.
        why: &'static str,
        /// Whose charter.
        fog: FogId,
    },
    /// A mix older than it was.
    #[error("mix {mix:?} claims to be {by_s} s older than it was seen to be")]
    Age {
        /// Which.
        mix: MixId,
        /// By how much.
        by_s: i64,
    },
    /// Its own part in the next draw.
    #[error("its own part in the next shared random value is missing or another")]
    OwnPart,
    /// The draw.
    #[error("{0}")]
    Draw(DrawError),
    /// It has heard nothing of this fog yet.
    #[error("this fog's list of mixes has not come there yet: in a moment again")]
    Unknown,
}

impl Record {
    /// What is known from the first directory: it is believed as it is.
    fn first(directory: &Directory) -> Self {
        let ages = directory.mixes.iter().map(|m| (m.id, Age { since: m.since, last: directory.made })).collect();
        Self {
            serial: directory.serial,
            signed: None,
            made: directory.made,
            test: directory.test,
            charter: directory.charter.clone(),
            handed: None,
            drawn: Drawn::of(directory),
            ages,
            introduced: false,
        }
    }

    /// The charter in force.
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// A directory of the fog that was published: it opened, so enough of its own witnesses signed it. The record as it is then; `None` when it
    /// teaches nothing, or the witnesses that are known did not agree to those who signed it.
    pub fn seen(record: Option<&Self>, directory: &Directory) -> Option<Self> {
        let Some(known) = record else { return Some(Self::first(directory)) };
        let news = directory.serial > known.serial && known.follows_charter(directory).is_ok();
        // What others signed makes no mix older here.
        news.then(|| Self { signed: None, ..known.after(directory) })
    }

    /// Whether this directory is to be signed, and the record as it must be kept before the signature leaves. `body` is what would be signed;
    /// `away` are mixes that the fog remembers besides those listed, listened to the first time only.
    ///
    /// # Errors
    /// Why it is not signed.
    pub fn judge(
        record: Option<&Self>,
        directory: &Directory,
        body: [u8; 32],
        away: &[(MixId, UnixMs)],
        eyes: &Eyes<'_>,
    ) -> Result<Self, Objection> {
        if !eyes.named.contains(&directory.fog) {
            return Err(Objection::NotNamed);
        }
        if directory.test != eyes.test || record.is_some_and(|known| known.test != directory.test) {
            return Err(Objection::Test);
        }
        let apart = directory.made.since(eyes.now).0;
        if apart.abs() > SLACK.0 {
            return Err(Objection::Clock { apart_s: apart / 1_000 });
        }
        let period = Period::at(directory.made);
        // Once it may hand its part of the new value out, it signs nothing more in which parts to it could be fixed.
        if period < Period::at(eyes.now) {
            return Err(Objection::Period);
        }
        let known = record.map_or(0, |known| known.serial);
        let again = record.is_some_and(|r| r.serial == directory.serial && r.signed == Some(body));
        let (earliest, latest) = (millis(directory.made), known.max(millis(eyes.now.plus(SLACK))).saturating_add(SERIAL_STEPS));
        if !again && (directory.serial <= known || directory.serial < earliest || directory.serial > latest) {
            return Err(Objection::Serial { theirs: directory.serial, known });
        }
        let own = draw::commit(&draw::reveal(eyes.secret, &directory.fog, period.next()));
        if directory.charter.keys.contains(&eyes.me) && directory.draw.committed(&eyes.me) != Some(own) {
            return Err(Objection::OwnPart);
        }
        let mut after = match record {
            None => Self::first(directory),
            Some(known) => {
                if directory.made < known.made {
                    return Err(Objection::Clock { apart_s: directory.made.since(known.made).0 / 1_000 });
                }
                known.follows_charter(directory).map_err(Objection::Charter)?;
                known.drawn.leads_to(directory, directory.charter.needed).map_err(Objection::Draw)?;
                let mut known = known.clone();
                known.introduce(away);
                for mix in &directory.mixes {
                    let by = known.oldest(mix.id).since(mix.since).0;
                    if by > 0 {
                        return Err(Objection::Age { mix: mix.id, by_s: by / 1_000 });
                    }
                }
                known.after(directory)
            }
        };
        after.introduce(away);
        after.signed = Some(body);
        Ok(after)
    }

    /// Whether a change of the fog's witnesses is to be signed, and the record as it must be kept before.
    ///
    /// By itself a witness signs only what makes the list harder to forge, or what its own operator has said already: all former witnesses stay,
    /// but for those that it does not federate with any more; new ones are fogs that it federates with itself; and the number falls no lower
    /// than is usual for those that are left, and not at all where none goes. Anything else its operator must allow, for an hour.
    ///
    /// # Errors
    /// Why it is not signed.
    pub fn judge_handover(record: Option<&Self>, fog: &FogId, handover: &Handover, eyes: &Eyes<'_>) -> Result<Self, Objection> {
        if !eyes.named.contains(fog) {
            return Err(Objection::NotNamed);
        }
        let known = record.ok_or(Objection::Unknown)?;
        let said = read(fog, handover).map_err(|error: HandoverError| Objection::Handover(error.to_string()))?;
        let (new, old) = (&said.charter, &known.charter);
        if said.after != old.number {
            let (theirs, known) = (said.after, old.number);
            return Err(Objection::Charter(CharterError::Unproven { theirs, known }));
        }
        // Numbers follow the clock too: one that is far ahead would be the last for ever.
        if new.number > millis(eyes.now.plus(SLACK)).saturating_add(SERIAL_STEPS) {
            return Err(Objection::Handover("the number of its charter is far ahead of the clock".to_owned()));
        }
        let body = handover.body(HANDOVER);
        if known.handed.is_some_and(|(number, of)| number > new.number || (number == new.number && of != body)) {
            return Err(Objection::Charter(CharterError::Other(new.number)));
        }
        if !eyes.lets {
            let federates = |key: &FogId| *key == eyes.me || eyes.named.contains(key);
            let not_let = |why| Objection::NotLet { why, fog: *fog };
            let goes: Vec<&FogId> = old.keys.iter().filter(|key| !new.keys.contains(key)).collect();
            if goes.iter().any(|key| federates(key)) {
                return Err(not_let("a witness that it still federates with is left out"));
            }
            if new.keys.iter().any(|key| !old.keys.contains(key) && !federates(key)) {
                return Err(not_let("it does not federate with one of the new witnesses"));
            }
            let least = if goes.is_empty() { old.needed } else { old.needed.min(Charter::usual(new.keys.len())) };
            if new.needed < least {
                return Err(not_let("fewer witnesses would have to sign"));
            }
        }
        Ok(Self { handed: Some((new.number, body)), ..known.clone() })
    }

    fn follows_charter(&self, directory: &Directory) -> Result<(), CharterError> {
        self.charter.believes(&directory.fog, &directory.charter, &directory.handovers)
    }

    /// The earliest time since which a mix can have been listed: as it was seen before, else since the last directory that lacked it.
    fn oldest(&self, mix: MixId) -> UnixMs {
        self.ages.get(&mix).map_or(self.made, |age| age.since)
    }

    fn introduce(&mut self, away: &[(MixId, UnixMs)]) {
        if !std::mem::replace(&mut self.introduced, true) {
            for (mix, since) in away.iter().take(MAX_AGES - self.ages.len().min(MAX_AGES)) {
                self.ages.entry(*mix).or_insert(Age { since: *since, last: self.made });
            }
        }
    }

    fn after(&self, directory: &Directory) -> Self {
        let mut ages = self.ages.clone();
        for mix in &directory.mixes {
            let since = self.oldest(mix.id).max(mix.since);
            ages.insert(mix.id, Age { since, last: directory.made });
        }
        ages.retain(|_, age| directory.made.since(age.last).0 < FORGET.0);
        if ages.len() > MAX_AGES {
            // The youngest of those that are away go first, as they do at the fog.
            let listed: HashSet<MixId> = directory.mixes.iter().map(|m| m.id).collect();
            let mut away: Vec<(UnixMs, MixId)> =
                ages.iter().filter(|(id, _)| !listed.contains(id)).map(|(id, age)| (age.since, *id)).collect();
            away.sort_unstable_by(|a, b| b.cmp(a));
            for (_, id) in away.into_iter().take(ages.len() - MAX_AGES) {
                ages.remove(&id);
            }
        }
        Self {
            serial: directory.serial,
            made: directory.made.max(self.made),
            charter: directory.charter.clone(),
            drawn: Drawn::of(directory),
            ages,
            ..self.clone()
        }
    }
}

/// A moment as the least serial of a directory made then.
pub fn millis(at: UnixMs) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
