//! Descriptors: as a directory mix and a visitor get them, as content that the descriptor key signs, and the plain text inside.

use crate::samples::{CONTAINER, Envelope, NOW, mode, moment, rng};
use fogbank_betanet::descriptor::{CONTEXT, Descriptor, check_outside};
use fogbank_model::{Level, MixId};
use fogbank_wire::decode;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for points in 0..=3 {
        let descriptor =
            Descriptor { introduction_points: (0..points).map(|n| MixId([n; 16])).collect(), level: Level::Fast, seal: None };
        let bytes = descriptor.make(&CONTAINER.signer, u64::from(points), &mut rng()).unwrap();
        let envelope: Envelope = decode(&bytes).unwrap();
        seeds.push(mode(0, &bytes));
        seeds.push(mode(1, &envelope.signed.bytes));
        seeds.push(mode(2, &postcard::to_stdvec(&descriptor).unwrap()));
    }
    seeds
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    let now = moment(mode / 3);
    let read = |bytes: &[u8]| {
        let outside = check_outside(bytes, now);
        let inside = Descriptor::open_revision(bytes, &CONTAINER.blinded, now);
        if let Ok((descriptor, revision, _)) = &inside {
            assert!(descriptor.introduction_points.len() <= 3);
            assert_eq!(outside.as_ref().map(|o| o.revision).ok(), Some(*revision), "a visitor reads what no mix would keep");
        }
        outside.is_ok()
    };
    match mode % 3 {
        0 => read(rest),
        1 => read(&CONTAINER.sign(CONTEXT, rest)),
        // Who signs may also seal any plain text; what the visitor makes of it is this.
        _ => decode::<Descriptor>(rest)
            .is_ok_and(|d| d.make(&CONTAINER.signer, 1, &mut rng()).is_ok_and(|b| b.len() <= 1_000 && now <= NOW)),
    }
}
