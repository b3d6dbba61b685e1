//! Leases and descriptors: what lets visitors find instances, signed with the descriptor keys that the publisher handed over.

use crate::world::SeenInstance;
use fogbank_betanet::{
    address::Period,
    descriptor::Descriptor,
    directory::Directory,
    lease::{LEASE_LIFE, Lease, Revocation},
    proof::{DescriptorSigner, ProofError},
};
use fogbank_model::{ContainerSpec, Dimension, InstanceId, InstanceState, MixId, UnixMs};
use fogbank_wire::ServiceProof;
use rand::seq::SliceRandom as _;

/// Introduction points of a container: two may go at once and the third still brings visitors.
pub(crate) const POINTS: usize = 3;

/// Introduction points: those that are still listed stay, others are drawn for those that left.
pub(crate) fn points(current: &[MixId], directory: &Directory) -> Vec<MixId> {
    let mut points: Vec<MixId> = current.iter().copied().filter(|p| directory.mix(*p).is_some()).take(POINTS).collect();
    let mut others: Vec<MixId> = directory.mixes.iter().map(|m| m.id).filter(|id| !points.contains(id)).collect();
    others.shuffle(&mut rand::rng());
    points.extend(others.into_iter().take(POINTS - points.len()));
    points
}

/// The current period and the next, so that visitors whose clocks differ find the service under either.
pub(crate) fn signers(proof: &ServiceProof, now: UnixMs) -> Vec<DescriptorSigner> {
    let current = Period::at(now);
    [current, current.next()]
        .into_iter()
        .filter_map(|period| match DescriptorSigner::of(proof, period, now) {
            Ok(signer) => Some(signer),
            Err(error) => {
                tracing::debug!(%error, "a period is not signed for");
                None
            }
        })
        .collect()
}

/// The leases of an instance, one a period; `None` before it has told its key or when it does not serve.
pub(crate) fn leases(
    signers: &[DescriptorSigner],
    i: &SeenInstance,
    spec: &ContainerSpec,
    points: &[MixId],
    now: UnixMs,
) -> Option<Vec<Vec<u8>>> {
    let key = i.introduction_key?;
    let serves = matches!(i.instance.state, InstanceState::Starting | InstanceState::Ready | InstanceState::Unready);
    if !serves || points.is_empty() {
        return None;
    }
    let issue = |signer: &DescriptorSigner| {
        let lease = Lease {
            instance: i.instance.id,
            introduction_key: key,
            weight: weight(i, spec),
            expires: now.plus(LEASE_LIFE),
            introduction_points: points.to_vec(),
            period: signer.period(),
        };
        lease.issue(signer).inspect_err(|error| tracing::warn!(%error, "a lease could not be signed")).ok()
    };
    Some(signers.iter().filter_map(issue).collect())
}

/// An instance's share of visitors: the smallest share that it has of any resource asked for, in hundredths.
fn weight(i: &SeenInstance, spec: &ContainerSpec) -> u16 {
    let share = |d: Dimension| i.instance.given.get(d).saturating_mul(100) / spec.requirements.get(d).max(1);
    let least = Dimension::ALL.into_iter().map(share).min().unwrap_or(1);
    u16::try_from(least.clamp(1, 1_000)).unwrap_or(1)
}

/// The descriptors of a service, each with the mixes that are to keep it.
pub(crate) fn descriptors(
    signers: &[DescriptorSigner],
    seal: Option<&[u8]>,
    spec: &ContainerSpec,
    points: &[MixId],
    directory: &Directory,
    now: UnixMs,
) -> Vec<(Vec<u8>, Vec<MixId>)> {
    let seal = seal.map(<[u8]>::to_vec);
    let descriptor = Descriptor { introduction_points: points.to_vec(), level: spec.level, seal };
    let revision = u64::try_from(now.0).unwrap_or(0);
    signers
        .iter()
        .filter_map(|signer| {
            let bytes = descriptor
                .make(signer, revision, &mut rand::rng())
                .inspect_err(|error| tracing::warn!(%error, "a descriptor could not be signed"))
                .ok()?;
            Some((bytes, directory.ring(&signer.blinded())))
        })
        .collect()
}

/// Takes the leases of instances back, one statement a period.
pub(crate) fn revocations(
    signers: &[DescriptorSigner],
    instances: &[InstanceId],
    now: UnixMs,
) -> Result<Vec<Vec<u8>>, ProofError> {
    signers.iter().map(|signer| Revocation::issue(instances, now, signer)).collect()
}
