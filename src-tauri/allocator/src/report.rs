//! Taking a device's report: what it lends now, and how far its instances are.

use crate::{registry::Member, start::Shared};
use fogbank_model::{InstanceState, Resources};
use fogbank_store::StoreError;
use fogbank_wire::{Refusal, Report};

/// Instances in one report: 64 that live and 256 that ended (the agent's limits), and room.
const MAX_INSTANCES: usize = 512;
/// Bundles in one report.
const MAX_BUNDLES: usize = 4_096;
/// A reason is one sentence; each is kept and shown.
const MAX_WORDS_CHARS: usize = 256;

/// A device's report: what it lends, and how far its instances are. Whether there was anything new in it: most say only that the device is there.
pub(crate) async fn take_report(shared: &Shared, member: &Member, report: Report) -> Result<bool, Refusal> {
    let report = bounded(report)?;
    let mut lent_before = member.reporting.lock().await;
    let failed = |error: StoreError| Refusal::new(fogbank_wire::RefusalKind::Failed, error.to_string());
    // Before anything of it is stored: whoever sees in the store what a report said sees the report, too.
    let mut news = shared.registry.reported(member.device, report.clone(), shared.instant());
    let lent = if member.roles.agent { report.offer.lent.min(&Resources::LIMIT) } else { Resources::ZERO };
    if *lent_before != Some(lent) {
        shared.store.set_lent(member.device, &lent).await.map_err(failed)?;
        (*lent_before, news) = (Some(lent), true);
    }
    if report.instances.is_empty() {
        return Ok(news);
    }
    let instances = shared.store.instances_on(member.device).await.map_err(failed)?;
    let stays = report.offer.open && report.drain.is_none();
    for said in &report.instances {
        let Some(kept) = instances.iter().find(|i| i.instance.id == said.instance) else {
            continue;
        };
        if kept.introduction_key.is_none()
            && let Some(key) = &said.introduction_key
        {
            shared.store.set_introduction_key(said.instance, key).await.map_err(failed)?;
            news = true;
        }
        if stays && took_it_on(kept.instance.state) && said.state == InstanceState::Ended {
            // Nobody asked for that.
            shared.book().failed(kept.instance.container, member.device, shared.random(), shared.now());
        }
        for to in steps(kept.instance.state, said.state) {
            match shared.store.move_instance(said.instance, to, &said.reason, shared.now()).await {
                Ok(()) => news = true,
                // Two reports of one device may cross; the machine keeps the order.
                Err(StoreError::Move(error)) => tracing::debug!(%error, "a report came out of order"),
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(news)
}

/// What a device says is bounded before it is kept: words are cut, and lists longer than an honest device's are refused.
fn bounded(mut report: Report) -> Result<Report, Refusal> {
    if report.instances.len() > MAX_INSTANCES || report.bundles.len() > MAX_BUNDLES {
        let words = format!("a report of {} instances and {} bundles is too long", report.instances.len(), report.bundles.len());
        return Err(Refusal::new(fogbank_wire::RefusalKind::Invalid, words));
    }
    // Shown in other people's windows and terminals, so nothing that steers those comes through.
    let cut = |words: &mut String| *words = words.chars().filter(|c| !c.is_control()).take(MAX_WORDS_CHARS).collect();
    report.instances.iter_mut().for_each(|i| cut(&mut i.reason));
    report.drain.iter_mut().for_each(cut);
    cut(&mut report.offer.why);
    Ok(report)
}

/// Whether a device in whose hands an instance is in this state has no reason to end it by itself.
const fn took_it_on(state: InstanceState) -> bool {
    matches!(state, InstanceState::Fetching | InstanceState::Starting | InstanceState::Ready | InstanceState::Unready)
}

/// The moves from what is kept to what a device says: none are left out of the history.
fn steps(from: InstanceState, to: InstanceState) -> Vec<InstanceState> {
    use InstanceState::{Fetching, Ready, Reserved, Starting};
    const WAY: [InstanceState; 4] = [Reserved, Fetching, Starting, Ready];
    match (WAY.iter().position(|s| *s == from), WAY.iter().position(|s| *s == to)) {
        (Some(a), Some(b)) if a < b => WAY[a + 1..=b].to_vec(),
        // An older report than the last move.
        (Some(_), Some(_)) => Vec::new(),
        _ if from == to => Vec::new(),
        _ => vec![to],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::{Draining, Ended, Fetching, Ready, Reserved, Starting, Unready};

    #[test]
    fn long_words_are_cut_and_long_lists_refused() {
        let offer =
            fogbank_wire::Offer { capacity: Resources::ZERO, lent: Resources::ZERO, open: true, why: "ü".repeat(10_000) };
        let report = Report {
            offer,
            power: fogbank_wire::Power::Mains,
            instances: vec![],
            bundles: vec![],
            drain: Some("x".repeat(1_000_000)),
        };
        let taken = bounded(report.clone()).unwrap();
        assert_eq!((taken.offer.why.chars().count(), taken.drain.unwrap().len()), (MAX_WORDS_CHARS, MAX_WORDS_CHARS));
        let bundles = vec![fogbank_model::BundleId([0; 32]); MAX_BUNDLES + 1];
        assert!(bounded(Report { bundles, ..report }).is_err());
    }

    #[test]
    fn no_step_is_left_out_and_none_goes_back() {
        assert_eq!(steps(Reserved, Ready), [Fetching, Starting, Ready]);
        assert_eq!(steps(Starting, Ready), [Ready]);
        assert!(steps(Ready, Fetching).is_empty(), "an older report than the last move");
        assert!(steps(Draining, Draining).is_empty());
        assert_eq!(steps(Ready, Unready), [Unready]);
        assert_eq!(steps(Fetching, Ended), [Ended]);
    }
}
