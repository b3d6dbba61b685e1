//! Signing ahead again for the containers that this node published, at its start and once a day.
//!
//! Invariant: what is handed over are further periods' records and descriptor keys; the identity stays here.
//! Deliberately absent: what follows from not coming by (the allocator ends the container and says why).

use crate::{
    container_keys::{ContainerKeys, DAYS_AHEAD},
    control::ControlError,
    node::Inner,
    publishing,
};
use fogbank_betanet::{directory::clock, renewal};
use fogbank_model::{ContainerId, DurationMs, UnixMs};
use fogbank_wire::{ContainerSummary, NodeReply, NodeRequest, ServiceProof};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// From one look to the next, and as much again at random below an eighth of it: not all publishers of a fog at once.
const DAILY: DurationMs = DurationMs::from_s(21 * 3600);
/// How often the clock is looked at: a laptop that slept looks soon after it woke.
const HOUR: Duration = Duration::from_secs(3600);
/// Pause before trying again when the allocator is away, or nothing may be published.
const AGAIN: Duration = Duration::from_secs(30);

/// Looks for ever.
pub(crate) async fn keep(inner: Arc<Inner>) {
    loop {
        match look(&inner, clock()).await {
            Ok(true) => {
                let next = next_look(clock(), rand::random());
                while clock() < next {
                    sleep(HOUR).await;
                }
            }
            Ok(false) => sleep(AGAIN).await,
            Err(error) => {
                tracing::debug!(what = error.what, "signing ahead waits");
                sleep(AGAIN.mul_f64(1.0 + rand::random::<f64>())).await;
            }
        }
    }
}

fn next_look(now: UnixMs, jitter: f64) -> UnixMs {
    let more = (jitter.clamp(0.0, 1.0) * DAILY.0 as f64 / 8.0) as i64;
    now.plus(DurationMs(DAILY.0 + more))
}

/// One look, also for what was asked of the allocator and never answered; whether everything that was due is signed.
pub(crate) async fn look(inner: &Inner, now: UnixMs) -> Result<bool, ControlError> {
    let Some(membership) = inner.settings().membership.filter(|m| m.granted.publisher) else { return Ok(false) };
    // Named before the list is asked for: what is created meanwhile is none of them.
    let unanswered = publishing::unanswered(inner, membership.fog);
    let NodeReply::Containers(list) = inner.ask(&NodeRequest::Containers).await? else { return Ok(false) };
    publishing::settle(inner, membership.fog, unanswered, &list).await;
    let mut all = true;
    for (id, proof) in renewals(&list, &inner.keys(membership.fog), now) {
        match inner.ask(&NodeRequest::Renew { id, proof }).await {
            Ok(_) => tracing::info!(container = id.short(), "signed further ahead"),
            Err(error) => {
                tracing::warn!(container = id.short(), what = error.what, "the allocator did not take what was signed ahead");
                all = false;
            }
        }
    }
    Ok(all)
}

/// What to hand over for those of the listed containers whose key is here and whose signatures run out.
fn renewals(list: &[ContainerSummary], keys: &ContainerKeys, now: UnixMs) -> Vec<(ContainerId, ServiceProof)> {
    let due = list.iter().filter(|c| renewal::due(c.signed_until, now));
    due.filter_map(|c| {
        let (identity, access) = keys.load(c.id)?;
        // Every container is a site so far, and every site is sealed.
        let proof = identity.sign_further(c.signed_until, now, DAYS_AHEAD, true, &mut rand::rng());
        let proof = proof.inspect_err(|error| tracing::error!(%error, "a container can't be signed for")).ok()?;
        Some((c.id, ServiceProof { access: access.map(|key| key.0), ..proof }))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{container_keys::Content, profile::Profile};
    use fogbank_betanet::{
        address::{AccessKey, Period},
        proof::DescriptorSigner,
        seal::SiteSeal,
    };
    use fogbank_model::{BundleId, ContainerState, FogId};

    fn day(n: i64) -> UnixMs {
        UnixMs(1_790_000_000_000).plus(DurationMs::from_s(n * 86_400))
    }

    /// The node's part and the allocator's, on the same clock, for 120 days.
    #[test]
    fn what_it_signs_keeps_its_containers_alive_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ContainerKeys::of(&Profile::open(folder.path()).unwrap(), FogId([2; 32]));
        let (mine, others) = (ContainerId([1; 16]), ContainerId([2; 16]));
        let access = AccessKey([5; 32]);
        let identity = keys.create(mine, Content { bundle: BundleId([1; 32]), revision: 1 }, Some(access), false).unwrap();
        let seal = SiteSeal { root: [1; 32], revision: 1 };
        let mut kept = identity.pre_sign_sealed(day(0), DAYS_AHEAD, &seal, &mut rand::rng()).unwrap();
        let summary = |id, signed_until| ContainerSummary {
            id,
            name: String::new(),
            onion: identity.onion().clone(),
            state: ContainerState::Running,
            reason: String::new(),
            ready: 1,
            wanted: 1,
            created: day(0),
            signed_until,
        };
        let mut handed = 0;
        for n in 0..120 {
            let now = day(n);
            // A week away in every month.
            if n % 30 < 23 {
                let list = [summary(mine, renewal::signed_until(&kept, now)), summary(others, UnixMs(0))];
                for (id, offered) in renewals(&list, &keys, now) {
                    assert_eq!(id, mine, "of others it has no key");
                    handed += offered.periods.len();
                    kept = renewal::merge(&kept, &offered, now).unwrap();
                    assert_eq!(kept.access, Some(access.0));
                }
            }
            assert!(DescriptorSigner::of(&kept, Period::at(now), now).is_ok(), "day {n}");
        }
        assert!((45..75).contains(&handed), "each period is handed over once: {handed}");
    }

    #[test]
    fn a_look_a_day_and_not_all_at_once() {
        let hours = |jitter| (next_look(day(0), jitter).0 - day(0).0) as f64 / 3_600_000.0;
        assert!(hours(0.0) >= 20.0 && hours(1.0) <= 24.0 && hours(0.9) > hours(0.1));
    }
}
