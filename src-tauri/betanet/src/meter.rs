//! The privacy meter: what each kind of adversary could learn of a visit, as a grade, in words, and with the numbers behind. Pure.
//!
//! Invariants: a test fog is always [`Grade::None`], and so is a fog in which nothing may be opened; a level without constant rate in both
//! directions is [`Grade::None`] against whoever watches both ends, since there pages were found (`docs/privacy`); more users, or more mixes
//! of further owners, never lower a grade. Numbers err towards less privacy: users are the least that the estimate allows, bits are capped by
//! what was measured for the next larger net, and without the cover with which it was measured there is no figure at all.
//! Deliberately absent: attacks over weeks (who is online whenever a site is up). No figure here speaks of them, so nothing is ever graded
//! [`Grade::Good`] against an observer of everything.

use crate::{
    directory::{Directory, MixEntry},
    link::LINK_FRAME_BYTES,
    paths::GUARDS,
    schedule::{CLIENT_LOOP_MEAN, CONSTANT_SLOT, MIX_LOOP_MEAN},
};
use fogbank_model::{Level, MixId, OwnerId};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// How much protection there is. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// None to build on.
    None,
    /// Some; not against somebody who tries.
    Weak,
    /// Against most who try.
    Fair,
    /// As much as this design gives.
    Good,
}

/// Of a direct visit ([`crate::direct`]), whoever looks: the host has the visitor's address, the visitor the host's, and both ends' lines show
/// whom they are with.
pub const DIRECT: Grade = Grade::None;

/// Who might look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adversary {
    /// The device that serves the visited address.
    Host,
    /// One mix: the visitor's guard, which stands best.
    Mix,
    /// The fog's allocator.
    Allocator,
    /// The owner whose mixes stand best, all of them together.
    Owner,
    /// Whoever watches the lines of both ends.
    Global,
}

/// What is sent so that silence looks like use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cover {
    /// Mean time between a client's loops.
    pub client_loop: Option<Duration>,
    /// Mean time between a mix's loops.
    pub mix_loop: Option<Duration>,
    /// Time between the slots of a constant rate, when it is kept up in both directions.
    pub constant_slot: Option<Duration>,
}

impl Cover {
    /// What this version sends at a level: mixes loop whatever clients do, clients loop while in use, and strict keeps its rate. Uplink and
    /// mixnode decide that; who changes them changes this.
    pub fn sent(level: Level) -> Self {
        Self {
            client_loop: (level != Level::Fast).then_some(CLIENT_LOOP_MEAN),
            mix_loop: Some(MIX_LOOP_MEAN),
            constant_slot: (level == Level::Strict).then_some(CONSTANT_SLOT),
        }
    }

    /// With what `docs/privacy` was measured at a level; its constant rate is that of [`crate::schedule::CONSTANT_SLOT`].
    fn suffices_for_figures(&self, level: Level) -> bool {
        let loops = self.client_loop.is_some_and(|mean| mean <= CLIENT_LOOP_MEAN)
            && self.mix_loop.is_some_and(|mean| mean <= MIX_LOOP_MEAN);
        match level {
            Level::Fast => true,
            Level::Balanced => loops,
            Level::Strict => loops && self.constant_slot.is_some(),
        }
    }

    /// Bytes a second that a client sends whether it has something to say or not.
    pub fn client_bytes_s(&self) -> u64 {
        let per = |every: Option<Duration>| every.map_or(0.0, |every| LINK_FRAME_BYTES as f64 / every.as_secs_f64().max(1e-3));
        // At most a frame a millisecond each, so the cast is exact enough and can't overflow.
        (per(self.client_loop) + per(self.constant_slot)) as u64
    }
}

/// How many people could be the one who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    /// At least: each lending device is connected twice, for visiting and for hosting, and the count was rounded down to a power of two.
    /// Never below one: oneself.
    pub at_least: u32,
    /// At most: all connections are of visitors, just below the next power of two. Whoever connects for no other reason than to be counted
    /// is counted too, so this is no proof of a crowd.
    pub at_most: u32,
}

impl Users {
    /// From the directory's count of connected clients.
    pub fn of(clients: u32) -> Self {
        Self { at_least: (clients / 2).max(1), at_most: clients.saturating_mul(2).saturating_sub(1).max(1) }
    }
}

/// What is measured from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The mixes.
    pub directory: &'a Directory,
    /// The own mixes: never on an own path.
    pub own: &'a [MixId],
    /// The visitor's guards; none when they are not chosen yet.
    pub guards: &'a [MixId],
    /// At which level.
    pub level: Level,
    /// With which cover.
    pub cover: Cover,
}

/// What one adversary could learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Who.
    pub adversary: Adversary,
    /// How much protection there is.
    pub grade: Grade,
    /// For people: one or two sentences.
    pub words: String,
}

/// The meter's reading at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Mixes that can be used, the own ones aside.
    pub mixes: usize,
    /// Of how many owners they are.
    pub owners: usize,
    /// How many people could be the one who sends.
    pub users: Users,
    /// Entropy of a single packet's sender, bits: log₂ of how many users it could be of for one who watches all links, capped by what was
    /// measured. `None`: nothing was measured with the cover that is sent.
    pub packet_bits: Option<f64>,
    /// Share in [0,1] of pages whose two ends were matched when one wrong pair in a thousand passes.
    pub pages_found: f64,
    /// Probability in [0,1] that one of the visitor's guards is among a host's guards, by weight.
    pub mix_both_ends: f64,
    /// Probability in [0,1] that the owner who stands best has mixes at both ends.
    pub owner_both_ends: f64,
    /// What each adversary could learn.
    pub views: Vec<View>,
}

/// Entropy of a packet's sender, bits, among 5 and among 50 users, by mixes. From `docs/privacy` ("Packets: who sent this one?", full run,
/// seed 1), measured with loops, and at strict with constant rate in both directions. More mixes give less: the same packets meet less often.
const PACKET_BITS: [(usize, [f64; 2], [f64; 2]); 4] = [
    // mixes, balanced, strict
    (7, [0.47, 3.86], [2.15, 5.64]),
    (20, [0.28, 3.16], [1.55, 5.61]),
    (100, [0.17, 0.78], [0.89, 3.66]),
    (1_000, [0.15, 0.20], [0.72, 1.04]),
];
/// For how many users.
const MEASURED_USERS: [f64; 2] = [5.0, 50.0];
/// Pages found of one visitor a host, from `docs/privacy` ("Flows"; at strict without constant rate, "What each part brings"): 87 to 100 % there,
/// rounded to what is worse.
const PAGES_FOUND_DELAYS: f64 = 1.0;
/// With 0.001 wrong pairs passing, what chance finds.
const PAGES_FOUND_CONSTANT: f64 = 0.001;
/// Users among whom one is hidden a little, fairly, and well from somebody who sees only that it is one of them: a handful of friends is
/// guessed; in a street one is a face; from a village on, guessing is of little use.
const CROWD: [u32; 3] = [2, 16, 128];
/// Probability of an adversary at both ends above which there is no protection, weak, and fair protection against it. Guards are kept for
/// months, so that one in five visitors is exposed for as long; one in a hundred is what the design aims at.
const BOTH_ENDS: [f64; 3] = [0.2, 0.05, 0.01];
/// Owners from which on no allocator can easily have invented them all: twice what a normal fog needs.
const MANY_OWNERS: usize = 2 * Directory::OWNERS_NEEDED;

/// Reads the meter.
pub fn read(input: &Input<'_>) -> Reading {
    let directory = input.directory;
    let usable: Vec<(&MixEntry, f64)> = (directory.mixes.iter().enumerate())
        .filter(|(i, m)| directory.may_be_drawn(*i) && m.works() && !input.own.contains(&m.id))
        .map(|(i, m)| (m, directory.weight(i)))
        .collect();
    let owners = usable.iter().map(|(m, _)| m.owner).collect::<HashSet<_>>().len();
    let users = Users::of(directory.clients);
    let constant = input.cover.constant_slot.is_some() && input.level == Level::Strict;
    let mut reading = Reading {
        mixes: usable.len(),
        owners,
        users,
        packet_bits: packet_bits(input.level, usable.len(), users.at_least, &input.cover),
        pages_found: if constant { PAGES_FOUND_CONSTANT } else { PAGES_FOUND_DELAYS },
        mix_both_ends: mix_both_ends(&usable, input.guards),
        owner_both_ends: owner_both_ends(&usable, directory, input),
        views: Vec::new(),
    };
    let open = directory.usable(input.own).is_ok();
    let all = [Adversary::Host, Adversary::Mix, Adversary::Allocator, Adversary::Owner, Adversary::Global];
    reading.views = all.map(|adversary| view(adversary, &reading, directory.test, open, input.level, constant)).into();
    reading
}

fn view(adversary: Adversary, reading: &Reading, test: bool, open: bool, level: Level, constant: bool) -> View {
    let (grade, words) = match adversary {
        Adversary::Host => host(reading),
        Adversary::Mix => mix(reading),
        Adversary::Allocator => allocator(reading),
        Adversary::Owner => owner(reading),
        Adversary::Global => global(reading, level, constant),
    };
    // What somebody sees in a test fog is the same; that it is one is said once, beside the grades.
    let (grade, words) = match (test, open) {
        (true, _) => (Grade::None, words),
        (false, false) => (Grade::None, "Too few relays: nothing is opened, so there is nothing to see yet.".to_owned()),
        (false, true) => (grade, words),
    };
    View { adversary, grade, words }
}

fn host(reading: &Reading) -> (Grade, String) {
    let words = match reading.users.at_least {
        1 => "It sees a visitor, not your address. But you may be the only one online, so it can guess who you are.".to_owned(),
        n => format!("It sees a visitor, not your address: one of {n} or more people who are online. It reads what you send it."),
    };
    (crowd(reading.users.at_least), words)
}

fn mix(reading: &Reading) -> (Grade, String) {
    // At both ends it sees a third of the packets of each; where nothing else happens that is enough to match nearly all visits (`docs/privacy`,
    // one of seven). So it is graded by how often it stands there, like an owner.
    let grade = both_ends(reading.mix_both_ends);
    let chance = percent(reading.mix_both_ends);
    let words = format!(
        "It knows your address and when you are online, but not what you open. In {chance} of visits it stands beside the host too, and can try to match the two by timing."
    );
    (grade, words)
}

fn allocator(reading: &Reading) -> (Grade, String) {
    let words = "It knows who hosts what, and does not see what you open. It alone signs the list of relays: you trust it not to fill that with its own.";
    (if reading.owners >= MANY_OWNERS { Grade::Fair } else { Grade::Weak }, words.to_owned())
}

fn owner(reading: &Reading) -> (Grade, String) {
    let chance = percent(reading.owner_both_ends);
    let words = format!(
        "Of the {} people whose relays you use, the best placed one stands at both ends of {chance} of visits, and can try to match the two by timing.",
        reading.owners
    );
    (both_ends(reading.owner_both_ends), words)
}

fn global(reading: &Reading, level: Level, constant: bool) -> (Grade, String) {
    let users = reading.users.at_least;
    let words = match level {
        Level::Fast => {
            "Sees which address you open: nothing is delayed, so what goes in comes out at the same moment.".to_owned()
        }
        Level::Balanced => {
            "Finds which page you load, as surely as over Tor. Only single short messages are harder to follow.".to_owned()
        }
        Level::Strict if !constant => {
            "Finds which page you load: delays alone do not hide it, and this version sends no steady traffic yet.".to_owned()
        }
        Level::Strict => format!(
            "Sees the same traffic whether you load a page or not, so you are one of {users} or more, if they use this level too. Whoever watches for weeks learns more."
        ),
    };
    // The measurement was made with 50 users; nothing is claimed beyond fair (see the module).
    let grade = match (constant, users) {
        (false, _) | (true, 0..=3) => Grade::None,
        (true, 4..=49) => Grade::Weak,
        (true, _) => Grade::Fair,
    };
    (grade, words)
}

fn crowd(users: u32) -> Grade {
    let [weak, fair, good] = CROWD;
    if users >= good {
        Grade::Good
    } else if users >= fair {
        Grade::Fair
    } else if users >= weak {
        Grade::Weak
    } else {
        Grade::None
    }
}

fn both_ends(probability: f64) -> Grade {
    let [none, weak, fair] = BOTH_ENDS;
    if probability < fair {
        Grade::Good
    } else if probability < weak {
        Grade::Fair
    } else if probability < none {
        Grade::Weak
    } else {
        Grade::None
    }
}

fn percent(probability: f64) -> String {
    match probability * 100.0 {
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < 1.0 => "less than 1 %".to_owned(),
        p => format!("{p:.0} %"),
    }
}

/// Probability that [`GUARDS`] draws meet a share.
fn met(share: f64) -> f64 {
    1.0 - (1.0 - share.clamp(0.0, 1.0)).powi(GUARDS as i32)
}

/// A host draws its guards by weight, like the visitor: how likely the heaviest of the visitor's guards is among them. Without guards, how
/// likely the heaviest mix is at both ends.
fn mix_both_ends(usable: &[(&MixEntry, f64)], guards: &[MixId]) -> f64 {
    let total: f64 = usable.iter().map(|(_, weight)| weight).sum();
    let heaviest = |of: &dyn Fn(&MixEntry) -> bool| {
        usable.iter().filter(|(m, _)| of(m)).map(|(_, weight)| weight / total.max(f64::MIN_POSITIVE)).fold(0.0, f64::max)
    };
    if guards.is_empty() { met(heaviest(&|_| true)).powi(2) } else { met(heaviest(&|m| guards.contains(&m.id))) }
}

/// The same of all mixes of one owner together, of the owner for whom it is likeliest; the visitor itself is none.
fn owner_both_ends(usable: &[(&MixEntry, f64)], directory: &Directory, input: &Input<'_>) -> f64 {
    let total: f64 = usable.iter().map(|(_, weight)| weight).sum();
    let oneself: HashSet<OwnerId> = input.own.iter().filter_map(|id| directory.mix(*id)).map(|m| m.owner).collect();
    let mut shares: HashMap<OwnerId, f64> = HashMap::new();
    for (mix, weight) in usable.iter().filter(|(m, _)| !oneself.contains(&m.owner)) {
        *shares.entry(mix.owner).or_default() += weight / total.max(f64::MIN_POSITIVE);
    }
    let beside = |owner: &OwnerId, share: f64| {
        if input.guards.is_empty() {
            return met(share);
        }
        let has = input.guards.iter().filter_map(|id| directory.mix(*id)).any(|m| m.owner == *owner);
        f64::from(u8::from(has))
    };
    shares.iter().map(|(owner, share)| beside(owner, *share) * met(*share)).fold(0.0, f64::max)
}

/// Entropy of a packet's sender as far as it was measured.
fn packet_bits(level: Level, mixes: usize, users: u32, cover: &Cover) -> Option<f64> {
    if !cover.suffices_for_figures(level) {
        return None;
    }
    if level == Level::Fast || users < 2 {
        return Some(0.0);
    }
    // A net between two sizes is taken for the larger; one larger than all for the largest, beyond which nothing was measured.
    let row = PACKET_BITS.iter().find(|(size, ..)| mixes <= *size).or(PACKET_BITS.last());
    let [few, many] = row.map(|(_, balanced, strict)| if level == Level::Strict { *strict } else { *balanced })?;
    // Straight lines over log₂ of the users, from 0 bits of one user; above what was measured it stays.
    let at = f64::from(users).log2();
    let [five, fifty] = MEASURED_USERS.map(f64::log2);
    let bits = if at <= five { few * at / five } else { few + (many - few) * ((at - five) / (fifty - five)).min(1.0) };
    Some(bits.min(at))
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
