//! Period records: one as others hand it on, and all that a publisher hands to an allocator, first and when it signs further.

use crate::samples::{CONTAINER, NOW, mode, moment};
use fogbank_betanet::{
    address::Period,
    proof::{DescriptorSigner, MAX_PERIODS, SignedRecord, check},
    renewal::{due, merge, signed_until},
};
use fogbank_wire::{ServiceProof, decode};

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let proof = &CONTAINER.proof;
    let part = ServiceProof { periods: proof.periods[..2].to_vec(), ..proof.clone() };
    let private = ServiceProof { access: Some([6; 32]), ..proof.clone() };
    let whole = |proof: &ServiceProof| postcard::to_stdvec(proof).unwrap();
    vec![
        mode(0, &proof.periods[1].0),
        mode(9, &proof.periods[1].0),
        mode(1, &whole(proof)),
        mode(1, &whole(&part)),
        mode(1, &whole(&private)),
    ]
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    let now = moment(mode >> 1);
    if mode % 2 == 0 {
        let Ok(record) = decode::<SignedRecord>(rest) else { return false };
        let opened = record.open(now);
        let _ = record.open_for(&CONTAINER.blinded, now);
        return opened.is_ok();
    }
    let Ok(proof) = decode::<ServiceProof>(rest) else { return false };
    let _ = due(signed_until(&proof, now), now);
    let _ = DescriptorSigner::of(&proof, Period::at(now), now);
    for offered in [&proof, &CONTAINER.proof] {
        if let Ok(merged) = merge(&CONTAINER.proof, offered, now) {
            assert!(merged.periods.len() <= MAX_PERIODS);
            assert!(check(&merged, now).is_ok(), "what was merged is no proof");
        }
    }
    let _ = merge(&proof, &proof, NOW);
    check(&proof, now).is_ok()
}
