//! The directory: as bytes of the wire, and as content that the fog itself signs; and what is done with one that is believed.

use crate::samples::{self, NOW, directory, fog, fog_id, mode, moment, rng, sign};
use fogbank_betanet::{
    address::Period,
    directory::{
        CONTEXT, Charter, Directory, Draw, HANDOVER, Handover, MAX_MIXES, SignedDirectory, Succession, check_mix, read_handover,
        reveal,
        witness::{Eyes, Record, millis},
    },
    paths::{GUARDS, Guards, Net},
};
use fogbank_model::{DeviceId, FogId, Level, MixId};
use fogbank_sphinx::{MixPublic, build};
use fogbank_wire::{MixInfo, PacketKeys};
use iroh::SecretKey;
use std::sync::Arc;

const DEVICE: DeviceId = DeviceId([4; 32]);
/// The witness.
const ME: FogId = FogId([5; 32]);
const SECRET: [u8; 32] = [6; 32];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![mode(0, &directory(true, 5).seal(&fog()).unwrap())];
    for (test, mixes) in [(true, 0), (true, 1), (true, 6), (false, 12)] {
        seeds.push(mode(1, &postcard::to_stdvec(&directory(test, mixes)).unwrap()));
        let federated = directory(test, mixes).with_federated(vec![FogId([7; 32])]);
        seeds.push(mode(1, &postcard::to_stdvec(&federated).unwrap()));
    }
    let entry = &directory(true, 1).mixes[0];
    let key = SecretKey::from_bytes(&[100; 32]);
    let info = MixInfo::new(&key, DEVICE, entry.life, entry.packet_keys.clone(), entry.addrs.clone()).unwrap();
    seeds.push(mode(2, &postcard::to_stdvec(&info).unwrap()));
    seeds.push(mode(3, &postcard::to_stdvec(&proposed()).unwrap()));
    let charter = Charter { number: 3, keys: vec![ME, FogId([8; 32])], needed: 1 };
    seeds.push(mode(4, &postcard::to_stdvec(&Succession { fog: fog_id(), after: 0, charter }).unwrap()));
    seeds
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    match mode % 5 {
        0 => Directory::open(rest, &fog_id()).is_ok(),
        1 => {
            // Countersigned by nobody.
            let signed = postcard::to_stdvec(&(fog_id(), sign(&fog(), CONTEXT, rest), [0u8; 0].as_slice())).unwrap();
            let Ok(directory) = Directory::open(&signed, &fog_id()) else { return false };
            used(&directory);
            assert!(directory.ring(&[6; 32]).len() <= directory.mixes.len());
            merged(directory);
            true
        }
        3 => {
            let signed = postcard::to_stdvec(&(fog_id(), sign(&fog(), CONTEXT, rest), [0u8; 0].as_slice())).unwrap();
            SignedDirectory::read(&signed).is_ok_and(|signed| witnessed(&signed))
        }
        4 => {
            let signed = postcard::to_stdvec(&(sign(&fog(), HANDOVER, rest), [0u8; 0].as_slice())).unwrap();
            fogbank_wire::decode::<Handover>(&signed).is_ok_and(|handover| handed(&handover))
        }
        _ => fogbank_wire::decode::<MixInfo>(rest).is_ok_and(|info| listed(&info)),
    }
}

/// As an honest fog would have it signed.
fn proposed() -> Directory {
    let mut of = directory(true, 6);
    of.serial = millis(of.made);
    let period = Period::at(of.made);
    let draw = Draw { reveals: vec![(ME, reveal(&SECRET, &of.fog, period))], commits: Vec::new() };
    of.with_draw(draw)
}

fn eyes(named: &[FogId]) -> Eyes<'_> {
    Eyes { me: ME, secret: &SECRET, named, test: true, lets: false, now: NOW }
}

/// What a fog would have signed, as its witness looks at it.
fn witnessed(signed: &SignedDirectory) -> bool {
    let Ok(directory) = signed.proposal(&fog_id()) else { return false };
    let named = [fog_id(), FogId([8; 32])];
    let eyes = eyes(&named);
    let before = Record::seen(None, &samples::directory(true, 9));
    for known in [None, before.as_ref()] {
        let Ok(record) = Record::judge(known, &directory, signed.body(), &[], &eyes) else { continue };
        let mut other = directory.clone();
        other.clients ^= 1;
        let other = SignedDirectory::seal(&other, &fog()).unwrap();
        let again = other.proposal(&fog_id()).is_ok_and(|of| Record::judge(Some(&record), &of, other.body(), &[], &eyes).is_ok());
        assert!(!again, "one serial was signed twice");
    }
    true
}

/// A change of witnesses, as one of them looks at it.
fn handed(handover: &Handover) -> bool {
    let named = [fog_id(), FogId([8; 32])];
    let eyes = eyes(&named);
    let mut of = samples::directory(true, 3);
    of.charter = Charter { number: 1, keys: vec![ME], needed: 1 };
    let known = Record::seen(None, &of);
    let judged = Record::judge_handover(known.as_ref(), &fog_id(), handover, &eyes);
    let Ok(said) = read_handover(&fog_id(), handover) else {
        assert!(judged.is_err());
        return false;
    };
    assert!(of.charter.believes(&of.fog, &said.charter, std::slice::from_ref(handover)).is_err() || said.charter == of.charter);
    if judged.is_ok() {
        assert!(said.charter.keys.contains(&ME) && said.charter.needed >= 1, "a witness let itself be talked out of it");
    }
    true
}

/// What a device asks to have listed, as the allocator looks at it.
fn listed(info: &MixInfo) -> bool {
    let _ = check_mix(info, DEVICE, fogbank_betanet::epoch::at(NOW));
    // The same as a mix whose word is true.
    let key = SecretKey::from_bytes(&[100; 32]);
    let Ok(true_word) = MixInfo::new(&key, DEVICE, info.life, info.packet_keys.clone(), info.addrs.clone()) else { return false };
    let checked = check_mix(&true_word, DEVICE, fogbank_betanet::epoch::at(NOW));
    if checked.is_ok() {
        assert!(true_word.packet_keys.keys.len() <= PacketKeys::MOST && !true_word.addrs.is_empty());
        assert!(
            true_word.packet_keys.keys.iter().all(|key| MixPublic(*key).is_sound()),
            "a key for which no packet can be built"
        );
    }
    checked.is_ok()
}

/// As another fog's, beside an own one that names it.
fn merged(other: Directory) {
    let mine = samples::directory(other.test, 9);
    let own = Directory::new(FogId([7; 32]), other.test, 1, NOW, [9; 32], mine.mixes).with_federated(vec![other.fog]);
    let (own, other) = (Arc::new(own), Arc::new(other));
    let merged = Directory::merged(&own, std::slice::from_ref(&other), NOW);
    assert_eq!(merged.counts(&other.fog), other.federated.contains(&own.fog) && other.fresh(NOW));
    assert!(own.mixes.iter().all(|mix| merged.mix(mix.id) == Some(mix)), "another fog speaks for our mixes");
    used(&merged);
}

/// What every node does with a directory that it believes.
fn used(directory: &Directory) {
    assert!(directory.mixes.len() <= 2 * MAX_MIXES);
    assert!(directory.mixes.is_sorted_by(|a, b| a.id < b.id), "looking one up is a binary search");
    for choice in 0..8 {
        let clock = moment(choice);
        let _ = directory.fresh(clock);
        let time = directory.time(clock);
        assert!(time >= directory.made && time <= directory.expires);
    }
    for (index, mix) in directory.mixes.iter().enumerate() {
        let weight = directory.weight(index);
        assert!((0.0..=1.0).contains(&weight), "a weight of {weight}");
        assert_eq!(directory.mix(mix.id), Some(mix));
    }
    let own: Vec<MixId> = directory.mixes.iter().take(1).map(|m| m.id).collect();
    let _ = directory.usable(&own);
    let rng = &mut rng();
    let mut guards = Guards::new();
    guards.refresh(directory, &own, rng);
    assert!(guards.ids().count() <= GUARDS && guards.ids().all(|id| !own.contains(&id)));
    let net = Net { directory, epoch: directory.epoch(NOW), guards: &guards, exclude: &own, guard_up: &|_| true };
    let Some(end) = directory.mixes.last() else { return };
    let _ = net.rendezvous(end.id, rng);
    let _ = net.reply(end.id, Level::Strict, rng);
    if let Ok(path) = net.forward(end.id, Level::Balanced, rng) {
        let mut ids: Vec<_> = path.iter().map(|hop| hop.id).collect();
        assert_eq!(ids.last(), Some(&end.id.0));
        assert!(guards.contains(MixId(ids[0])), "the first hop is a guard");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), path.len(), "no mix stands twice on a path");
        // A key of small order is refused, not used.
        let _ = build(rng, net.epoch, &path, b"hello");
    }
}
