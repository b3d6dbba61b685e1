//! Leases and descriptors: what lets visitors find instances, signed with the descriptor keys that the publisher handed over.

use crate::world::SeenInstance;
use fogbank_betanet::{
    address::Period,
    descriptor::Descriptor,
    directory::{Directory, MixEntry},
    lease::{LEASE_LIFE, Lease, Revocation},
    proof::{DescriptorSigner, ProofError},
    seal::SiteSeal,
};
use fogbank_model::{ContainerSpec, Dimension, InstanceId, InstanceState, MixId, OwnerId, UnixMs};
use fogbank_wire::ServiceProof;
use std::time::Duration;

/// Introduction points of a container: two may go at once and the third still brings visitors.
pub(crate) const POINTS: usize = 3;

/// An introduction point that is missing for so long is replaced: a mix that restarts is back sooner, and two others go on meanwhile.
pub(crate) const MISSING: Duration = Duration::from_secs(20);

/// Introduction points: those that are listed stay. One that has been missing for long gives its place to a new one, and only one at a time
/// (`settled`: what visitors are told of is what instances are registered at). When none is left, or at the start, all are drawn.
pub(crate) fn points(
    current: &[MixId],
    directory: &Directory,
    missing: impl Fn(MixId) -> bool,
    settled: bool,
    chance: impl Fn() -> f64,
) -> Vec<MixId> {
    let listed = |p: &MixId| directory.mix(*p).is_some();
    let mut points: Vec<MixId> = current.iter().copied().take(POINTS).collect();
    let draw = if !points.iter().any(listed) {
        points.clear();
        POINTS
    } else if !settled {
        0
    } else if let Some(at) = points.iter().position(|p| !listed(p) && missing(*p)) {
        points.remove(at);
        1
    } else {
        usize::from(points.len() < POINTS)
    };
    for _ in 0..draw {
        points.extend(drawn(&points, directory, &chance));
    }
    points
}

/// One more point: by weight, as mixes of paths, so that who lists newcomers without end is no likelier to see who registers; of another owner than
/// the others, where there is one.
fn drawn(points: &[MixId], directory: &Directory, chance: impl Fn() -> f64) -> Option<MixId> {
    let owners: Vec<OwnerId> = points.iter().filter_map(|p| directory.mix(*p)).map(|m| m.owner).collect();
    let others = directory.mixes.iter().enumerate().filter(|(_, mix)| !points.contains(&mix.id));
    // The least of such draws is each one's in proportion to its weight (Efraimidis and Spirakis 2006). Those without weight come last.
    let place = |(index, mix): (usize, &MixEntry)| {
        let draw = -(1.0 - chance()).ln() / directory.weight(index).max(f64::MIN_POSITIVE);
        (owners.contains(&mix.owner), draw, mix.id)
    };
    others.map(place).min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))).map(|(.., id)| id)
}

/// The current period and the next, so that visitors whose clocks differ find the service under either.
pub(crate) fn signers(proof: &ServiceProof, now: UnixMs) -> Vec<DescriptorSigner> {
    let current = Period::at(now);
    signers_of(proof, [current, current.next()], now)
}

/// Those whose leases may still hold: the last period's live on into this one.
pub(crate) fn revokers(proof: &ServiceProof, now: UnixMs) -> Vec<DescriptorSigner> {
    let current = Period::at(now);
    signers_of(proof, [current.prev(), current, current.next()], now)
}

fn signers_of<const N: usize>(proof: &ServiceProof, periods: [Period; N], now: UnixMs) -> Vec<DescriptorSigner> {
    periods
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

/// Whether an instance in this state registers at introduction points. One that is unready does so above all: it may have missed new ones.
pub(crate) const fn takes_leases(state: InstanceState) -> bool {
    matches!(state, InstanceState::Starting | InstanceState::Ready | InstanceState::Unready)
}

/// The leases of an instance that serves what this seal says, one a period; `None` before it has told its key or when it does not serve.
pub(crate) fn leases(
    signers: &[DescriptorSigner],
    i: &SeenInstance,
    seal: Option<&SiteSeal>,
    spec: &ContainerSpec,
    points: &[MixId],
    now: UnixMs,
) -> Option<Vec<Vec<u8>>> {
    let key = i.introduction_key?;
    if !takes_leases(i.instance.state) || points.is_empty() {
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
            mark: signer.mark(seal),
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

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_betanet::directory::{MixEntry, UNMEASURED, mix_id};
    use fogbank_model::{FogId, OwnerId};
    use fogbank_wire::PacketKeys;

    fn directory(mixes: impl Iterator<Item = u8>) -> Directory {
        let entry = |n: u8| {
            let key = [n; 32];
            let packet_keys = PacketKeys { first: 0, keys: vec![key] };
            let (owner, since) = (OwnerId(key), UnixMs(0));
            MixEntry {
                id: mix_id(&key),
                key,
                life: [0; 8],
                packet_keys,
                owner,
                addrs: vec![],
                relay: None,
                since,
                reliability: UNMEASURED,
            }
        };
        Directory::new(FogId([0; 32]), true, 1, UnixMs(1_790_000_000_000), [0; 32], mixes.map(entry).collect())
    }

    /// Ten mixes that are a month old, and ninety that one owner brought today.
    #[test]
    fn newcomers_without_end_become_hardly_any_points() {
        let old = directory(1..=10);
        let mut mixes = old.mixes.clone();
        mixes.iter_mut().for_each(|m| m.since = UnixMs(old.made.0 - 40 * 24 * 3_600_000));
        mixes.extend(directory(11..=100).mixes.into_iter().map(|m| MixEntry { owner: OwnerId([200; 32]), since: old.made, ..m }));
        let all = Directory::new(old.fog, true, 1, old.made, [0; 32], mixes);
        let newcomer = |p: &MixId| old.mix(*p).is_none();
        let drawn: Vec<Vec<MixId>> = (0..300).map(|_| points(&[], &all, |_| false, true, rand::random)).collect();
        let newcomers = drawn.iter().flatten().filter(|p| newcomer(p)).count();
        assert!(newcomers < 270, "{newcomers} of 900, where nine of ten mixes are newcomers");
        assert!(drawn.iter().all(|points| points.iter().filter(|p| newcomer(p)).count() <= 1), "one of an owner");
    }

    #[test]
    fn points_stay_and_are_replaced_one_at_a_time() {
        let all = directory(1..=9);
        let first = points(&[], &all, |_| false, false, rand::random);
        assert_eq!(first.len(), POINTS);
        assert_eq!(points(&first, &all, |_| true, true, rand::random), first, "whoever is listed stays");
        let without = |gone: &[MixId]| directory((1..=9).filter(|n| !gone.contains(&mix_id(&[*n; 32]))));
        let fewer = without(&first[..2]);
        assert_eq!(points(&first, &fewer, |_| false, true, rand::random), first, "a restart is waited for");
        assert_eq!(points(&first, &fewer, |_| true, false, rand::random), first, "not while a change is under way");
        let second = points(&first, &fewer, |_| true, true, rand::random);
        assert_eq!(second[..2], first[1..], "the other missing one stays for now");
        assert!(fewer.mix(second[2]).is_some());
        let third = points(&second, &fewer, |_| true, true, rand::random);
        assert!(third.len() == POINTS && third.iter().all(|p| fewer.mix(*p).is_some()) && third.contains(&first[2]));
        let none = without(&third);
        let anew = points(&third, &none, |_| false, false, rand::random);
        assert!(anew.len() == POINTS && anew.iter().all(|p| none.mix(*p).is_some()), "with none left nobody waits");
        assert_eq!(points(&[], &directory(1..=2), |_| true, true, rand::random).len(), 2);
        assert_eq!(
            points(&points(&[], &directory(1..=2), |_| true, true, rand::random), &all, |_| true, true, rand::random).len(),
            3
        );
    }
}
