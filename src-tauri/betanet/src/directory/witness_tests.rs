//! What a witness signs, and above all what it does not: tried with the fog's key in hostile hands.

use super::*;
use crate::directory::{
    DIRECTORY_LIFE, Draw, SignedDirectory, commit, reveal,
    tests::{MADE, directory},
};
use iroh::SecretKey;
use proptest::prelude::*;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 3_600_000;

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

fn id(n: u8) -> FogId {
    FogId(*key(n).public().as_bytes())
}

fn secret(n: u8) -> [u8; 32] {
    [n + 100; 32]
}

fn after(ms: i64) -> UnixMs {
    MADE.plus(DurationMs(ms))
}

/// The fog is 1, its witnesses are 2, 3 and 4, of which two must sign.
fn charter() -> Charter {
    let mut keys = vec![id(2), id(3), id(4)];
    keys.sort_unstable();
    Charter { number: 1, keys, needed: 2 }
}

/// A directory as the fog makes it then: serial by the clock, parts of all signers.
fn made(at: UnixMs, change: impl FnOnce(&mut Directory)) -> Directory {
    let mut of = directory(&key(1), false, 6);
    (of.serial, of.made, of.expires) = (millis(at), at, at.plus(DIRECTORY_LIFE));
    of.charter = charter();
    let (fog, period) = (of.fog, Period::at(at));
    let mut draw = Draw::default();
    for n in 1..5 {
        draw.reveals.push((id(n), reveal(&secret(n), &fog, period)));
        draw.commits.push((id(n), commit(&reveal(&secret(n), &fog, period.next()))));
    }
    draw.reveals.sort_unstable();
    draw.commits.sort_unstable();
    of = of.with_draw(draw);
    change(&mut of);
    of
}

struct Witness {
    n: u8,
    named: Vec<FogId>,
    lets: bool,
    record: Option<Record>,
}

impl Witness {
    fn new(n: u8) -> Self {
        Self { n, named: (1..5).map(id).collect(), lets: false, record: None }
    }

    fn eyes<'a>(&'a self, secret: &'a [u8; 32], now: UnixMs) -> Eyes<'a> {
        Eyes { me: id(self.n), secret, named: &self.named, test: false, lets: self.lets, now }
    }

    /// Judges by its record, keeps the new one, and signs.
    fn asked(&mut self, directory: &Directory, now: UnixMs) -> Result<SignedDirectory, Objection> {
        self.asked_with(directory, &[], now)
    }

    fn asked_with(&mut self, directory: &Directory, away: &[(MixId, UnixMs)], now: UnixMs) -> Result<SignedDirectory, Objection> {
        let mut signed = SignedDirectory::seal(directory, &key(1)).unwrap();
        let secret = secret(self.n);
        let record = Record::judge(self.record.as_ref(), directory, signed.body(), away, &self.eyes(&secret, now))?;
        self.record = Some(record);
        assert!(signed.add(signed.countersign(&key(self.n))));
        Ok(signed)
    }

    fn hand_over(&mut self, from: &Charter, to: Charter) -> Result<(), Objection> {
        let handover = from.hand_over(to, &key(1)).unwrap();
        let secret = secret(self.n);
        let record = Record::judge_handover(self.record.as_ref(), &id(1), &handover, &self.eyes(&secret, MADE))?;
        self.record = Some(record);
        Ok(())
    }
}

#[test]
fn an_honest_fog_is_signed_for_again_and_again() {
    let mut witness = Witness::new(2);
    for minute in 0..20 {
        let at = after(minute * 10 * MINUTE);
        let of = made(at, |d| d.mixes.truncate(6 - minute as usize % 3));
        let signed = witness.asked(&of, at.plus(DurationMs(300))).unwrap();
        assert!(!signed.meets(&of.charter), "one of two");
        let both = {
            let mut both = signed.clone();
            both.add(both.countersign(&key(3)));
            both
        };
        assert_eq!(Directory::open(&both.bytes().unwrap(), &id(1)).unwrap().mixes, of.mixes);
        assert!(Directory::open(&signed.bytes().unwrap(), &id(1)).is_err());
    }
    let record = witness.record.unwrap();
    assert_eq!(postcard::from_bytes::<Record>(&postcard::to_stdvec(&record).unwrap()).unwrap(), record);
}

#[test]
fn no_serial_is_signed_twice_but_an_answer_that_was_lost_is_given_again() {
    let mut witness = Witness::new(2);
    let first = made(MADE, |_| {});
    witness.asked(&first, MADE).unwrap();
    // It was killed between keeping the record and answering: the same is asked again, and is signed again.
    witness.record = postcard::from_bytes(&postcard::to_stdvec(&witness.record).unwrap()).unwrap();
    witness.asked(&first, MADE).unwrap();
    let for_a_victim = made(MADE, |d| d.mixes.truncate(4));
    assert!(matches!(witness.asked(&for_a_victim, MADE), Err(Objection::Serial { .. })));
    let earlier = made(after(MINUTE), |d| d.serial = first.serial - 1);
    assert!(matches!(witness.asked(&earlier, after(MINUTE)), Err(Objection::Serial { .. })));
    // A thief would else burn all serials at once, or keep low ones for later.
    let last = made(after(MINUTE), |d| d.serial = u64::MAX);
    assert!(matches!(witness.asked(&last, after(MINUTE)), Err(Objection::Serial { .. })));
    let low = made(after(MINUTE), |d| d.serial = first.serial + 1);
    assert!(matches!(witness.asked(&low, after(MINUTE)), Err(Objection::Serial { .. })));
    witness.asked(&made(after(MINUTE), |_| {}), after(MINUTE)).unwrap();
    // What others signed since is no news that it signs something else for.
    let seen = made(after(2 * MINUTE), |_| {});
    witness.record = Record::seen(witness.record.as_ref(), &seen);
    assert!(matches!(
        witness.asked(&made(after(2 * MINUTE), |d| d.clients = 2), after(2 * MINUTE)),
        Err(Objection::Serial { .. })
    ));
}

#[test]
fn a_witness_of_an_old_backup_signs_nothing_of_before_again() {
    let mut witness = Witness::new(2);
    witness.asked(&made(MADE, |_| {}), MADE).unwrap();
    let backup = witness.record.clone();
    let lost = made(after(10 * MINUTE), |_| {});
    witness.asked(&lost, after(10 * MINUTE)).unwrap();
    witness.record = backup;
    // The thief shows another one of the lost serial. Putting a backup back takes longer than clocks may differ.
    let now = after(20 * MINUTE);
    for of in [made(after(10 * MINUTE), |d| d.mixes.truncate(4)), made(now, |d| (d.serial, d.clients) = (lost.serial, 2))] {
        assert!(matches!(witness.asked(&of, now), Err(Objection::Clock { .. } | Objection::Serial { .. })));
    }
    // Also one that has lost everything.
    witness.record = None;
    assert!(witness.asked(&made(now, |d| (d.serial, d.clients) = (lost.serial, 2)), now).is_err());
    witness.asked(&made(now, |_| {}), now).unwrap();
}

#[test]
fn clocks_and_periods() {
    let mut witness = Witness::new(2);
    for apart in [-6, 6] {
        let of = made(MADE, |_| {});
        assert!(matches!(witness.asked(&of, after(apart * MINUTE)), Err(Objection::Clock { .. })), "{apart}");
    }
    witness.asked(&made(after(4 * MINUTE), |_| {}), MADE).unwrap();
    let back = made(after(3 * MINUTE), |d| d.serial = millis(after(5 * MINUTE)));
    assert!(matches!(witness.asked(&back, MADE), Err(Objection::Clock { .. })), "the network's time does not go back");
    // Once its period has begun here, nothing of the one before is signed: parts could be chosen by what it reveals.
    let mut witness = Witness::new(2);
    let turn = Period::at(MADE).end();
    let late = made(turn.plus(DurationMs(-1)), |_| {});
    assert_eq!(witness.asked(&late, turn).unwrap_err(), Objection::Period);
    witness.asked(&late, turn.plus(DurationMs(-1))).unwrap();
}

#[test]
fn no_mix_grows_older_than_it_was_seen_to_be() {
    let mut witness = Witness::new(2);
    let since = |ms: i64| move |d: &mut Directory| d.mixes.iter_mut().for_each(|m| m.since = after(ms));
    let away = MixId([9; 16]);
    witness.asked_with(&made(MADE, since(-DAY)), &[(away, after(-3 * DAY))], MADE).unwrap();
    let now = after(10 * MINUTE);
    let older = made(now, |d| {
        since(-DAY)(d);
        d.mixes[2].since = after(-DAY - 1);
    });
    assert!(matches!(witness.asked(&older, now), Err(Objection::Age { .. })));
    // A newcomer that claims a month, or to have been there before the last list that lacked it.
    let with = |ms: i64| {
        made(now, |d| {
            since(-DAY)(d);
            d.mixes[3].id = MixId([0xee; 16]);
            d.mixes[3].since = after(ms);
        })
    };
    for ms in [-30 * DAY, -1] {
        assert!(matches!(witness.asked(&with(ms), now), Err(Objection::Age { .. })), "{ms}");
    }
    witness.asked(&with(0), now).unwrap();
    // One that was away at the very beginning comes back with the age that the fog told then, and not with more.
    let back = |at: UnixMs, ms: i64| {
        made(at, |d| {
            since(-DAY)(d);
            d.mixes[3].id = away;
            d.mixes[3].since = after(ms);
        })
    };
    let later = after(20 * MINUTE);
    assert!(matches!(witness.asked(&back(later, -4 * DAY), later), Err(Objection::Age { .. })));
    witness.asked(&back(later, -3 * DAY), later).unwrap();
    // What is told later is not listened to, and what other witnesses let pass makes nobody older here.
    let later = after(30 * MINUTE);
    let ghost = made(later, |d| {
        since(-DAY)(d);
        (d.mixes[3].id, d.mixes[3].since) = (MixId([7; 16]), after(-9 * DAY));
    });
    assert!(witness.asked_with(&ghost, &[(MixId([7; 16]), after(-9 * DAY))], later).is_err());
    witness.record = Record::seen(witness.record.as_ref(), &ghost);
    let later = after(40 * MINUTE);
    let again = made(later, |d| {
        since(-DAY)(d);
        (d.mixes[3].id, d.mixes[3].since) = (MixId([7; 16]), after(-9 * DAY));
    });
    assert!(matches!(witness.asked(&again, later), Err(Objection::Age { .. })));
}

#[test]
fn the_draw_is_looked_at() {
    let mut witness = Witness::new(2);
    let of = made(MADE, |d| {
        d.draw.commits.retain(|(signer, _)| *signer != id(2));
    });
    assert_eq!(witness.asked(&of, MADE).unwrap_err(), Objection::OwnPart);
    let swapped = made(MADE, |d| d.draw.commits.iter_mut().for_each(|(_, c)| *c = [1; 32]));
    assert_eq!(witness.asked(&swapped, MADE).unwrap_err(), Objection::OwnPart);
    witness.asked(&made(MADE, |_| {}), MADE).unwrap();
    let chosen = made(after(MINUTE), |d| d.shared_random = [5; 32]);
    assert_eq!(witness.asked(&chosen, after(MINUTE)).unwrap_err(), Objection::Draw(DrawError::Value));
    let turn = Period::at(MADE).end();
    witness.asked(&made(turn.plus(DurationMs(-1)), |_| {}), turn.plus(DurationMs(-1))).unwrap();
    let alone = made(turn, |d| {
        d.draw.reveals.retain(|(signer, _)| *signer == id(1));
        d.shared_random = d.draw.value(&d.fog, Period::at(turn));
    });
    assert!(matches!(witness.asked(&alone, turn).unwrap_err(), Objection::Draw(DrawError::TooFew { given: 0, needed: 2 })));
    witness.asked(&made(turn, |_| {}), turn).unwrap();
}

#[test]
fn strangers_and_test_fogs_get_no_signature() {
    let mut witness = Witness::new(2);
    assert_eq!(witness.asked(&made(MADE, |d| d.test = true), MADE).unwrap_err(), Objection::Test);
    witness.named = vec![id(3)];
    assert_eq!(witness.asked(&made(MADE, |_| {}), MADE).unwrap_err(), Objection::NotNamed);
}

#[test]
fn by_themselves_witnesses_only_make_it_harder() {
    let of = made(MADE, |_| {});
    let judge = |n: u8, named: &[u8], to: &[u8], needed: u8, lets: bool| {
        let mut witness = Witness::new(n);
        witness.asked(&of, MADE).unwrap();
        witness.named = named.iter().map(|n| id(*n)).collect();
        witness.lets = lets;
        let mut keys: Vec<FogId> = to.iter().map(|n| id(*n)).collect();
        keys.sort_unstable();
        witness.hand_over(&charter(), Charter { number: 2, keys, needed })
    };
    let let_by_operator = |result: Result<(), Objection>| matches!(result, Err(Objection::NotLet { .. }));
    // More witnesses that this one federates with itself.
    assert_eq!(judge(2, &[1, 3, 4, 5], &[2, 3, 4, 5], 3, false), Ok(()));
    assert_eq!(judge(2, &[1, 3, 4], &[2, 3, 4], 3, false), Ok(()), "a higher number");
    // A thief's fogs, fewer witnesses, a lower number, nobody at all.
    for (to, needed) in
        [(&[2, 3, 4, 11, 12, 13][..], 4), (&[2, 3][..], 1), (&[2, 3, 4][..], 1), (&[][..], 0), (&[11, 12, 13][..], 2)]
    {
        assert!(let_by_operator(judge(2, &[1, 3, 4], to, needed, false)), "{to:?} {needed}");
        assert_eq!(judge(2, &[1, 3, 4], to, needed, true), Ok(()), "its operator may");
    }
    // One that the operator here has parted from may go; then the number is the usual one for those that are left, and no lower.
    assert_eq!(judge(2, &[1, 3], &[2, 3], 1, false), Ok(()));
    assert!(let_by_operator(judge(2, &[1, 3], &[2, 3], 0, false)));
    assert_eq!(judge(2, &[3, 4], &[2, 3, 4], 3, false), Err(Objection::NotNamed));
    // It signs nothing for a fog of which it has heard nothing, nor after a charter that is not in force.
    let mut fresh = Witness::new(2);
    assert_eq!(fresh.hand_over(&charter(), Charter { number: 2, ..charter() }), Err(Objection::Unknown));
    fresh.asked(&of, MADE).unwrap();
    let other = Charter { number: 7, ..charter() };
    assert!(matches!(fresh.hand_over(&other, Charter { number: 8, ..charter() }), Err(Objection::Charter(_))));
    let last = Charter { number: u64::MAX, needed: 3, ..charter() };
    assert!(matches!(fresh.hand_over(&charter(), last), Err(Objection::Handover(_))), "none could follow it");
    // Two under one number: only the first.
    assert_eq!(fresh.hand_over(&charter(), Charter { number: 2, needed: 3, ..charter() }), Ok(()));
    assert_eq!(fresh.hand_over(&charter(), Charter { number: 2, needed: 3, ..charter() }), Ok(()), "an answer that was lost");
    let mut more = charter().keys;
    more.push(id(5));
    more.sort_unstable();
    fresh.named.push(id(5));
    let two = Charter { number: 2, keys: more, needed: 3 };
    assert!(matches!(fresh.hand_over(&charter(), two), Err(Objection::Charter(CharterError::Other(2)))));
}

#[test]
fn who_has_the_fogs_key_and_one_witness_still_has_no_list_that_is_believed() {
    // Witness 4 is the thief's. Whatever serial it tries, two lists under one serial would need 2 or 3 twice.
    let mut honest = [Witness::new(2), Witness::new(3)];
    let (public, private) = (made(MADE, |_| {}), made(MADE, |d| d.mixes.truncate(4)));
    let enough = |of: &Directory, signed: Result<SignedDirectory, Objection>| {
        signed.is_ok_and(|mut signed| {
            signed.add(signed.countersign(&key(4)));
            Directory::open(&signed.bytes().unwrap(), &id(1)).is_ok_and(|opened| opened.mixes == of.mixes)
        })
    };
    assert!(enough(&public, honest[0].asked(&public, MADE)));
    assert!(!enough(&private, honest[0].asked(&private, MADE)));
    // This is what three witnesses with one false one leave open, and why `one_view` speaks of true witnesses: said in the limits.
    assert!(enough(&private, honest[1].asked(&private, MADE)));
    // Replayed: a signature of an earlier list under a later one.
    let later = made(after(MINUTE), |_| {});
    let old = SignedDirectory::seal(&public, &key(1)).unwrap().countersign(&key(2));
    assert!(!SignedDirectory::seal(&later, &key(1)).unwrap().add(old));
}

#[test]
fn what_a_thief_publishes_under_witnesses_of_its_own_teaches_a_witness_nothing() {
    let mut witness = Witness::new(2);
    witness.asked(&made(MADE, |_| {}), MADE).unwrap();
    let now = after(MINUTE);
    let stolen = made(now, |d| {
        (d.charter, d.serial) = (Charter { number: 2, keys: vec![id(11)], needed: 1 }, u64::MAX);
    });
    assert_eq!(Record::seen(witness.record.as_ref(), &stolen), None);
    witness.asked(&made(now, |_| {}), now).unwrap();
    assert_eq!(witness.record.unwrap().charter(), &charter());
}

#[test]
fn memory_is_bounded() {
    let mut witness = Witness::new(2);
    let away: Vec<(MixId, UnixMs)> = (0..MAX_AGES as u32 + 50)
        .map(|n| {
            let mut id = [1; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            (MixId(id), after(-i64::from(n)))
        })
        .collect();
    witness.asked_with(&made(MADE, |_| {}), &away, MADE).unwrap();
    assert_eq!(witness.record.as_ref().unwrap().ages.len(), MAX_AGES);
    let more = made(after(MINUTE), |d| d.mixes.iter_mut().for_each(|m| (m.id.0[15], m.since) = (m.id.0[15] ^ 1, after(MINUTE))));
    witness.asked(&more, after(MINUTE)).unwrap();
    assert_eq!(witness.record.as_ref().unwrap().ages.len(), MAX_AGES);
    let bytes = postcard::to_stdvec(&witness.record).unwrap().len();
    assert!(bytes < 1 << 20, "{bytes}");
}

proptest! {
    /// However a thief mixes times, serials and lists, two honest witnesses of two never both sign two lists of one serial.
    #[test]
    fn one_serial_one_list(tries in prop::collection::vec((0i64..20, 0u64..4, 3usize..7, any::<bool>()), 1..40)) {
        let mut witnesses = [Witness::new(2), Witness::new(3)];
        let mut signed: BTreeMap<(u64, FogId), [u8; 32]> = BTreeMap::new();
        let mut now = MADE;
        for (minutes, ahead, mixes, which) in tries {
            now = now.plus(DurationMs(minutes * 20_000));
            let of = made(now, |d| {
                d.serial += ahead;
                d.mixes.truncate(mixes);
            });
            let witness = &mut witnesses[usize::from(which)];
            if let Ok(statement) = witness.asked(&of, now) {
                let before = signed.insert((of.serial, id(witness.n)), statement.body());
                prop_assert!(before.is_none_or(|body| body == statement.body()));
            }
        }
    }
}
