//! Making the directory: a new one whenever the set of mixes changes, and every ten minutes. Packet keys of coming hours, measured
//! reliability and the count of clients come with whatever directory is next. Who else must sign it, see [`crate::signing`].
//!
//! Invariants: serials rise, over restarts and backups too: they follow the clock; a mix grows no older than the directory before said, whatever the
//! clock does; a restart of the allocator alone changes nothing for those who browse: mixes that have not come back yet stay listed while the
//! fog settles.

use crate::{
    mixes::{MixHistory, clients, entries},
    registry::Inner,
};
use fogbank_betanet::{
    address::Period,
    directory::{
        Charter, Directory, Draw, Drawn, Handover, MAX_HANDOVERS, MAX_MIXES, MixEntry, SignedDirectory, commit, mix_id, reveal,
        witness::{SLACK, millis},
    },
};
use fogbank_model::{FogId, MixId, OwnerId, UnixMs};
use fogbank_wire::FrameError;
use iroh::SecretKey;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// A directory is made anew at least this often, so that its time stays the network's time.
const RENEW: Duration = Duration::from_secs(600);

/// Mixes of one owner on the list. All of them together weigh no more than two grown ones.
const MIXES_OF_AN_OWNER: usize = 64;

/// A signed directory.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) directory: Arc<Directory>,
    pub(crate) bytes: Arc<Vec<u8>>,
}

/// Parts of a draw, and for which period.
pub(crate) type Parts = (Period, Vec<(FogId, [u8; 32])>);

/// Makes and remembers the current one.
pub(crate) struct Signer {
    key: SecretKey,
    test: bool,
    /// What its parts in draws are made of.
    secret: [u8; 32],
    serial: u64,
    current: Option<(Signed, Instant)>,
    history: MixHistory,
    /// The fogs that the operator named.
    federated: Vec<FogId>,
    charter: Charter,
    handovers: Vec<Handover>,
    /// What a period's value is made of, once that is settled.
    drawn: Option<Parts>,
    /// What witnesses are committed to for the period after this one.
    commits: BTreeMap<FogId, (Period, [u8; 32])>,
}

/// What a new directory is made of.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) entries: Vec<MixEntry>,
    /// Clients connected to them.
    pub(crate) clients: u32,
    /// When.
    pub(crate) made: UnixMs,
    /// Mixes that are away, and since when they would be listed if they were here.
    pub(crate) away: Vec<(MixId, UnixMs)>,
}

/// What a look at the mixes brings.
pub(crate) struct Looked {
    /// What a new directory is to be made of, when one is due.
    pub(crate) due: Option<Due>,
    /// The mixes' history as it is to be kept, when that has changed.
    pub(crate) history: Option<MixHistory>,
}

impl Signer {
    /// `kept` is the last directory that was handed out; `drawn` what a period's value was settled to be made of.
    pub(crate) fn new(
        key: SecretKey,
        test: bool,
        secret: [u8; 32],
        kept: Option<Vec<u8>>,
        drawn: Option<Parts>,
        history: MixHistory,
        clock: Instant,
    ) -> Self {
        let fog = FogId(*key.public().as_bytes());
        let kept = kept.and_then(|bytes| match Directory::open(&bytes, &fog) {
            Ok(directory) => Some(Signed { directory: Arc::new(directory), bytes: Arc::new(bytes) }),
            Err(error) => {
                tracing::warn!(%error, "the last directory can't be read; a new one is made");
                None
            }
        });
        let last = kept.as_ref().map(|k| k.directory.clone());
        let (charter, handovers) = last.as_ref().map(|d| (d.charter.clone(), d.handovers.clone())).unwrap_or_default();
        Self {
            key,
            test,
            secret,
            serial: last.map_or(0, |d| d.serial),
            current: kept.map(|k| (k, clock)),
            history,
            federated: Vec::new(),
            charter,
            handovers,
            drawn,
            commits: BTreeMap::new(),
        }
    }

    fn fog(&self) -> FogId {
        FogId(*self.key.public().as_bytes())
    }

    /// The next directory names these fogs.
    pub(crate) fn federate(&mut self, mut fogs: Vec<FogId>) {
        fogs.sort_unstable();
        self.federated = fogs;
    }

    pub(crate) fn current(&self) -> Option<Signed> {
        self.current.as_ref().map(|(signed, _)| signed.clone())
    }

    fn last(&self) -> Option<&Directory> {
        self.current.as_ref().map(|(signed, _)| signed.directory.as_ref())
    }

    /// The clock, but not behind the last directory by a little: a clock that is set right by seconds must not make the network's time go back.
    fn time(&self, now: UnixMs) -> UnixMs {
        self.last().map(|last| last.made).filter(|made| *made > now && made.since(now).0 <= SLACK.0).unwrap_or(now)
    }

    /// Whether a new one is due for these members, and its mixes. While the fog settles, those listed before that are not here yet stay.
    pub(crate) fn look(&mut self, members: &Inner, settling: bool, now: UnixMs, clock: Instant) -> Looked {
        let relays = members.mixes(clock);
        let here = relays.iter().filter_map(|member| Some((mix_id(&member.mix.as_ref()?.key), member.owner)));
        self.look_at(here, |history, now| entries(&relays, history, now), clients(&relays), settling, now, clock)
    }

    fn look_at(
        &mut self,
        here: impl Iterator<Item = (MixId, OwnerId)>,
        entries: impl FnOnce(&MixHistory, UnixMs) -> Vec<MixEntry>,
        mut clients: u32,
        settling: bool,
        now: UnixMs,
        clock: Instant,
    ) -> Looked {
        let now = self.time(now);
        let news = self.history.note(here, now);
        let history = news.then(|| self.history.clone());
        let mut entries = entries(&self.history, now);
        if settling && let Some(last) = self.last() {
            clients = clients.max(last.clients);
            let missing: Vec<MixEntry> = last.mixes.iter().filter(|m| !entries.iter().any(|e| e.id == m.id)).cloned().collect();
            entries.extend(missing);
        }
        entries.sort_by_key(|e| e.id);
        entries.dedup_by_key(|e| e.id);
        if let Some(last) = self.last() {
            for entry in &mut entries {
                entry.since = last.mix(entry.id).map_or(entry.since, |before| before.since.max(entry.since));
            }
        }
        let entries = oldest(entries, MAX_MIXES);
        let same = self.current.as_ref().is_some_and(|(Signed { directory: last, .. }, at)| {
            let alike = last.mixes.len() == entries.len() && last.mixes.iter().zip(&entries).all(|(a, b)| a.same_mix(b));
            alike
                && (&last.federated, &last.charter) == (&self.federated, &self.charter)
                && Period::at(last.made) == Period::at(now)
                && clock.duration_since(*at) < RENEW
                && last.fresh(now)
        });
        let due = (!same).then(|| {
            let away = self.history.away(|id| entries.iter().any(|e| e.id == id), now);
            Due { entries, clients, made: now, away }
        });
        Looked { due, history }
    }

    /// Makes one under the next serial, signed by the fog alone as yet.
    pub(crate) fn make(&mut self, due: &Due, draw: Draw) -> Result<(Directory, SignedDirectory), FrameError> {
        self.serial = self.serial.saturating_add(1).max(millis(due.made));
        let directory = Directory::new(self.fog(), self.test, self.serial, due.made, [0; 32], due.entries.clone())
            .with_clients(due.clients)
            .with_federated(self.federated.clone())
            .with_charter(self.charter.clone(), self.handovers.clone())
            .with_draw(draw);
        let signed = SignedDirectory::seal(&directory, &self.key)?;
        Ok((directory, signed))
    }

    /// It is signed by all that must have signed: the current one from now on. False when the witnesses were given up meanwhile.
    pub(crate) fn publish(&mut self, signed: Signed, clock: Instant) -> bool {
        let in_force = signed.directory.charter == self.charter;
        if in_force {
            self.current = Some((signed, clock));
        }
        in_force
    }

    pub(crate) fn charter(&self) -> &Charter {
        &self.charter
    }

    /// A change of witnesses that both sides signed. The next directory is under it, unless the witnesses were given up meanwhile.
    pub(crate) fn hand_over(&mut self, from: &Charter, charter: Charter, handover: Handover) {
        if self.charter != *from {
            return;
        }
        self.charter = charter;
        self.handovers.push(handover);
        let over = self.handovers.len().saturating_sub(MAX_HANDOVERS);
        self.handovers.drain(..over);
    }

    /// Gives all witnesses up without asking them: who knows them does not believe this fog any more. The charter from now on.
    pub(crate) fn abandon(&mut self, now: UnixMs) -> Charter {
        let number = self.charter.number.saturating_add(1).max(millis(now));
        self.charter = Charter { number, ..Charter::default() };
        self.handovers.clear();
        self.charter.clone()
    }

    /// What the value of a period is made of, when that is settled.
    pub(crate) fn settled(&self, period: Period) -> Option<Vec<(FogId, [u8; 32])>> {
        let shown = self.last().filter(|last| Period::at(last.made) == period).map(|last| last.draw.reveals.clone());
        shown.or_else(|| self.drawn.as_ref().filter(|(of, _)| *of == period).map(|(_, parts)| parts.clone()))
    }

    /// What a period's parts were bound to before it began, if anything was.
    pub(crate) fn standing(&self, period: Period) -> BTreeMap<FogId, [u8; 32]> {
        self.last().and_then(|last| Drawn::of(last).standing(period).cloned()).unwrap_or_default()
    }

    /// The own part.
    pub(crate) fn own_part(&self, period: Period) -> (FogId, [u8; 32]) {
        (self.fog(), reveal(&self.secret, &self.fog(), period))
    }

    /// The parts of a period's value are these, and stay.
    pub(crate) fn settle(&mut self, parts: Parts) {
        self.drawn = Some(parts);
    }

    /// A witness's commitment to the period after this one.
    pub(crate) fn committed(&mut self, witness: FogId, period: Period, to: [u8; 32]) {
        self.commits.insert(witness, (period, to));
    }

    /// What a witness said that it is committed to may be wrong: it is asked again.
    pub(crate) fn ask_again(&mut self, witness: &FogId) {
        self.commits.remove(witness);
    }

    /// Witnesses whose commitments to the period after this one are not known.
    pub(crate) fn uncommitted(&self, period: Period) -> Vec<FogId> {
        let known = |key: &FogId| self.commits.get(key).is_some_and(|(of, _)| *of == period);
        self.charter.keys.iter().filter(|key| !known(key)).copied().collect()
    }

    /// The draw of a period with the commitments that are known.
    pub(crate) fn draw(&self, period: Period, mut reveals: Vec<(FogId, [u8; 32])>) -> Draw {
        let own = (self.fog(), commit(&reveal(&self.secret, &self.fog(), period.next())));
        let known = |key: &FogId| self.commits.get(key).filter(|(of, _)| *of == period).map(|(_, to)| (*key, *to));
        // One that is away is still bound by what stood in the last directory.
        let stood = |key: &FogId| {
            let last = self.last().filter(|last| Period::at(last.made) == period)?;
            last.draw.committed(key).map(|to| (*key, to))
        };
        let mut commits: Vec<_> = self.charter.keys.iter().filter_map(|key| known(key).or_else(|| stood(key))).collect();
        commits.push(own);
        commits.sort_unstable();
        reveals.sort_unstable();
        Draw { reveals, commits }
    }
}

/// As many as there is room for, by id: those that have been there longest, and at most [`MIXES_OF_AN_OWNER`] of each owner. By id alone whoever makes
/// keys that sort first would push out everybody else; newcomers weigh little until they have grown old, and so have to wait here, too.
fn oldest(mut entries: Vec<MixEntry>, room: usize) -> Vec<MixEntry> {
    entries.sort_by_key(|e| (e.since, e.id));
    let mut of_owner: HashMap<OwnerId, usize> = HashMap::new();
    entries.retain(|entry| {
        let count = of_owner.entry(entry.owner).or_default();
        *count += 1;
        *count <= MIXES_OF_AN_OWNER
    });
    entries.truncate(room);
    entries.sort_by_key(|e| e.id);
    entries
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
