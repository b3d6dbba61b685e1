//! What an honest fog makes is what its witnesses sign, whatever happens to it: tried over days of virtual time.

use super::*;
use fogbank_betanet::directory::{
    UNMEASURED,
    witness::{Eyes, Objection, Record},
};
use fogbank_model::DurationMs;
use fogbank_wire::PacketKeys;
use proptest::prelude::*;

const START: UnixMs = UnixMs(1_790_000_000_000);
const SECRET: [u8; 32] = [7; 32];

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

fn id(n: u8) -> FogId {
    FogId(*key(n).public().as_bytes())
}

fn mix(n: u8, history: &MixHistory, now: UnixMs) -> MixEntry {
    let key = *blake3::hash(&[n]).as_bytes();
    let packet_keys = PacketKeys { first: 0, keys: vec![key] };
    let (owner, since) = (OwnerId([n; 32]), history.since(mix_id(&key), now));
    let addrs = Vec::new();
    MixEntry { id: mix_id(&key), key, life: [0; 8], packet_keys, owner, addrs, relay: None, since, reliability: UNMEASURED }
}

/// A fog (1) with one witness (2) that must sign.
struct Fog {
    signer: Signer,
    history: MixHistory,
    clock: Instant,
}

impl Fog {
    fn new(kept: Option<Vec<u8>>, drawn: Option<Parts>, history: MixHistory, clock: Instant) -> Self {
        let mut signer = Signer::new(key(1), false, [1; 32], kept, drawn, history.clone(), Instant::now());
        if signer.charter.keys.is_empty() {
            let charter = Charter { number: 1, keys: vec![id(2)], needed: 1 };
            let mut handover = signer.charter.hand_over(charter.clone(), &key(1)).unwrap();
            handover
                .add(handover.countersign(&key(2), fogbank_betanet::directory::HANDOVER), fogbank_betanet::directory::HANDOVER);
            signer.hand_over(&Charter::default(), charter, handover);
        }
        Self { signer, history, clock }
    }

    fn look(&mut self, here: &[u8], now: UnixMs) -> Option<Due> {
        let entries = |history: &MixHistory, now| here.iter().map(|n| mix(*n, history, now)).collect();
        let ids = here.iter().map(|n| (mix_id(blake3::hash(&[*n]).as_bytes()), OwnerId([*n; 32])));
        let looked = self.signer.look_at(ids, entries, 0, false, now, self.clock);
        if let Some(history) = looked.history {
            self.history = history;
        }
        looked.due
    }

    /// Makes what is due, and has the witness sign it.
    fn attempt(&mut self, due: &Due, witness: &mut Option<Record>, theirs: UnixMs) -> Result<(), Objection> {
        let period = Period::at(due.made);
        self.signer.committed(id(2), period, commit(&reveal(&SECRET, &id(1), period.next())));
        let reveals = self.signer.settled(period).unwrap_or_else(|| {
            let mut parts = vec![self.signer.own_part(period)];
            if self.signer.standing(period).contains_key(&id(2)) {
                parts.push((id(2), reveal(&SECRET, &id(1), period)));
            }
            self.signer.settle((period, parts.clone()));
            parts
        });
        let draw = self.signer.draw(period, reveals);
        let (directory, mut signed) = self.signer.make(due, draw).unwrap();
        let eyes = Eyes { me: id(2), secret: &SECRET, named: &[id(1)], test: false, lets: false, now: theirs };
        *witness = Some(Record::judge(witness.as_ref(), &directory, signed.body(), &due.away, &eyes)?);
        assert!(signed.add(signed.countersign(&key(2))));
        let bytes = signed.bytes().unwrap();
        assert_eq!(Directory::open(&bytes, &id(1)).unwrap().serial, directory.serial);
        self.signer.publish(Signed { directory: Arc::new(directory), bytes: Arc::new(bytes) }, self.clock);
        Ok(())
    }

    fn restarted(self) -> Self {
        let kept = self.signer.current().map(|signed| signed.bytes.as_ref().clone());
        Self::new(kept, self.signer.drawn, self.history, self.clock)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Mixes come and go, the fog's clock is set back and forward by seconds, it restarts, the witness restarts, and periods turn.
    #[test]
    fn an_honest_fog_is_never_refused(steps in prop::collection::vec((any::<u16>(), 0u32..40_000, -20i64..20, 0u8..12), 10..60)) {
        let mut fog = Fog::new(None, None, MixHistory::default(), Instant::now());
        let (mut witness, mut now, mut made) = (None, START, 0);
        for (here, seconds, off_s, what) in steps {
            let here: Vec<u8> = (0..10u8).filter(|n| here >> n & 1 == 1).collect();
            // The actor looks four times a second; now and then nothing is signed for hours.
            for _ in 0..20 {
                now = now.plus(DurationMs(i64::from(seconds) * 50));
                fog.clock += Duration::from_millis(u64::from(seconds) * 50);
                let by_its_clock = now.plus(DurationMs::from_s(off_s));
                let Some(due) = fog.look(&here, by_its_clock) else { continue };
                match fog.attempt(&due, &mut witness, now) {
                    Ok(()) => made += 1,
                    // At the border of two days the witness's clock may be ahead of the fog's by those seconds.
                    Err(Objection::Period) => {}
                    Err(other) => prop_assert!(false, "{other}"),
                }
            }
            if what == 0 {
                fog = fog.restarted();
            }
            if what == 1 {
                witness = witness.map(|w| postcard::from_bytes(&postcard::to_stdvec(&w).unwrap()).unwrap());
            }
            if what == 2 {
                witness = fog.signer.last().map(|last| Record::seen(witness.as_ref(), last).or(witness)).unwrap_or_default();
            }
        }
        prop_assert!(made > 0);
    }
}

#[test]
fn a_fog_of_an_old_backup_goes_on_above_what_it_signed() {
    let mut fog = Fog::new(None, None, MixHistory::default(), Instant::now());
    let mut witness = None;
    let due = fog.look(&[1, 2], START).unwrap();
    fog.attempt(&due, &mut witness, START).unwrap();
    let (backup, history) = (fog.signer.current().unwrap().bytes.as_ref().clone(), fog.history.clone());
    let later = START.plus(DurationMs::from_s(1_000));
    let due = fog.look(&[1, 2, 3], later).unwrap();
    fog.attempt(&due, &mut witness, later).unwrap();
    let serial = fog.signer.serial;
    let again = START.plus(DurationMs::from_s(2_000));
    let mut back = Fog::new(Some(backup), None, history, fog.clock + Duration::from_secs(2_000));
    let due = back.look(&[1, 2, 3], again).unwrap();
    back.attempt(&due, &mut witness, again).unwrap();
    assert!(back.signer.serial > serial);
}

#[test]
fn what_a_period_is_made_of_is_settled_once() {
    let mut fog = Fog::new(None, None, MixHistory::default(), Instant::now());
    let mut witness = None;
    let turn = Period::at(START).end();
    let before = turn.plus(DurationMs::from_s(-60));
    let due = fog.look(&[1], before).unwrap();
    fog.attempt(&due, &mut witness, before).unwrap();
    let due = fog.look(&[1], turn).expect("another period, another value");
    // The witness refuses for its clock; the fog restarts, and the parts are the same.
    assert!(fog.attempt(&due, &mut witness, turn.plus(DurationMs::from_s(400))).is_err());
    let settled = fog.signer.settled(Period::at(turn)).unwrap();
    assert_eq!(settled.len(), 2);
    let mut fog = fog.restarted();
    assert_eq!(fog.signer.settled(Period::at(turn)), Some(settled));
    let due = fog.look(&[1], turn).unwrap();
    fog.attempt(&due, &mut witness, turn).unwrap();
}

#[test]
fn ages_outlive_a_restart_of_a_fog_in_which_nothing_changes() {
    let mut fog = Fog::new(None, None, MixHistory::default(), Instant::now());
    let (mut witness, mut now) = (None, START);
    for _ in 0..2 * 3_600 / 5 {
        now = now.plus(DurationMs::from_s(5));
        fog.clock += Duration::from_secs(5);
        if let Some(due) = fog.look(&[1], now) {
            fog.attempt(&due, &mut witness, now).unwrap();
        }
    }
    let age_s = now.since(fog.history.since(mix_id(blake3::hash(&[1]).as_bytes()), now)).0 / 1_000;
    assert!(age_s >= 3_600, "what was kept says that it is {age_s} s old");
}

/// Somebody enrols mixes without end, whose keys were made to come first.
#[test]
fn a_flood_of_newcomers_pushes_no_older_mix_off_the_list() {
    let entry = |n: u16, owner: u16, since: i64| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let mut of = [0; 32];
        of[..2].copy_from_slice(&owner.to_be_bytes());
        MixEntry { id: MixId(id), owner: OwnerId(of), since: UnixMs(since), ..mix(1, &MixHistory::default(), START) }
    };
    let honest: Vec<MixEntry> = (0..40).map(|n| entry(60_000 + n, n, 1)).collect();
    let flood = (0..500).map(|n| entry(n, 1_000 + n, 2)).chain((500..900).map(|n| entry(n, 7, 2)));
    let listed = oldest(honest.iter().cloned().chain(flood).collect(), 400);
    assert_eq!(listed.len(), 400);
    assert!(listed.is_sorted_by_key(|e| e.id) && honest.iter().all(|e| listed.contains(e)));
    let of_one = oldest((0..900).map(|n| entry(n, 7, 2)).collect(), 400);
    assert_eq!(of_one.len(), MIXES_OF_AN_OWNER);
}
