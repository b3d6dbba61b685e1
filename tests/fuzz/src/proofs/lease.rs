//! Leases and revocations: as instance, introduction point and visitor get them, and as content that the descriptor key signs.

use crate::samples::{CONTAINER, Envelope, NOW, mode, moment};
use fogbank_betanet::{
    address::Period,
    lease::{LEASE_CONTEXT, LEASE_LIFE, Lease, MAX_REVOKED, REVOCATION_CONTEXT, Revocation},
};
use fogbank_model::{InstanceId, MixId};
use fogbank_wire::decode;
use serde::{Deserialize, Serialize};

const POINT: MixId = MixId([1; 16]);
const INSTANCE: InstanceId = InstanceId([5; 16]);
const KEY: [u8; 32] = [6; 32];

#[derive(Serialize, Deserialize)]
struct Issued {
    public: Vec<u8>,
    token: [u8; 32],
    door: Option<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct Presented {
    public: Vec<u8>,
    share: [u8; 16],
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for points in 1..=3 {
        let lease = Lease {
            instance: INSTANCE,
            introduction_key: KEY,
            weight: u16::from(points),
            expires: NOW.plus(LEASE_LIFE),
            introduction_points: (1..=points).map(|n| MixId([n; 16])).collect(),
            period: Period(0),
            mark: [7; 8],
        };
        let issued = lease.issue(&CONTAINER.signer).unwrap();
        let presented = Lease::present(&issued, POINT).unwrap();
        let Presented { public, share } = decode(&presented).unwrap();
        let envelope: Envelope = decode(&public).unwrap();
        seeds.extend([mode(0, &issued), mode(1, &presented), mode(2, &public)]);
        seeds.push(mode(3, &[&share[..], &envelope.signed.bytes].concat()));
    }
    let revocation = Revocation::issue(&[INSTANCE; 3], NOW, &CONTAINER.signer).unwrap();
    let envelope: Envelope = decode(&revocation).unwrap();
    seeds.extend([mode(4, &revocation), mode(5, &envelope.signed.bytes)]);
    seeds
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    let now = moment(mode / 6);
    match mode % 6 {
        0 => {
            let _ = Lease::present(rest, POINT);
            Lease::open_own(rest, INSTANCE, &KEY, now).is_ok()
        }
        1 => Lease::open_at(rest, POINT, now).is_ok(),
        2 => Lease::open_for(rest, &CONTAINER.blinded, now).is_ok(),
        3 => {
            let Some((share, content)) = rest.split_first_chunk::<16>() else { return false };
            let public = CONTAINER.sign(LEASE_CONTEXT, content);
            let issued = postcard::to_stdvec(&Issued { public: public.clone(), token: [7; 32], door: None }).unwrap();
            let _ = Lease::open_own(&issued, INSTANCE, &KEY, now);
            let presented = postcard::to_stdvec(&Presented { public: public.clone(), share: *share }).unwrap();
            let at = Lease::open_at(&presented, POINT, now);
            let visitor = Lease::open_for(&public, &CONTAINER.blinded, now);
            if let Ok(at) = &at {
                assert_eq!(Some(&at.said), visitor.as_ref().ok(), "a point takes what no visitor believes");
                assert!(at.said.weight > 0 && at.said.expires > now && at.said.introduction_points.contains(&POINT));
            }
            at.is_ok()
        }
        4 => Revocation::open(rest, now).is_ok(),
        _ => {
            let opened = Revocation::open(&CONTAINER.sign(REVOCATION_CONTEXT, rest), now);
            if let Ok(under) = &opened {
                assert!(under.said.instances.len() <= MAX_REVOKED && under.record_expires > now);
            }
            opened.is_ok()
        }
    }
}
