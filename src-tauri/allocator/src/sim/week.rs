//! A week of a thousand devices that come and go as a university's computers do, with the whole allocator: what visitors would have met.
//!
//! Every departure is one without a word, and nothing else goes wrong. A request is served when a device that is there has a copy ready under a
//! lease: whoever finds one copy gone is led to another by the visitor's own node.

use super::{
    fog::{Fog, Pace},
    net::What,
    runtime, say,
    script::{Incident, Script, device, request},
};
use fogbank_model::{ContainerId, InstanceState, UnixMs};
use fogbank_rehearsal::Churn;
use fogbank_wire::{NodeReply, NodeRequest};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::collections::BTreeMap;

const DEVICES: u32 = 1_000;
/// Of each number of copies.
const CONTAINERS: usize = 20;
const COPIES: u8 = 3;
/// Of the Weibull distribution of times there, and mean hours there and away.
const UNIVERSITY: Churn = Churn::Usual { shape: 0.45, there_h: 13.7, away_h: 4.25 };
/// Devices report each hour, for what they report else are changes; a look a minute, for what happens is looked at anyway.
const PACE: Pace = Pace { idle_ms: 60_000, heartbeat_ms: 3_600_000 };
const HOUR_MS: u64 = 3_600_000;
/// Before this the fog fills, and nothing is counted.
const BEGIN_MS: u64 = HOUR_MS;
const WEEK_MS: u64 = 7 * 24 * HOUR_MS;
/// Each address is asked for this often.
const ASK_MS: u64 = 10_000;

#[derive(Default, Clone, Copy)]
struct Asked {
    all: u64,
    failed: u64,
}

/// Whether somebody serves it now.
fn served(fog: &Fog, containers: &BTreeMap<ContainerId, u8>) -> BTreeMap<ContainerId, bool> {
    let mut found: BTreeMap<ContainerId, bool> = containers.keys().map(|id| (*id, false)).collect();
    for device in fog.net.lock().devices.values().filter(|d| !d.away() && !d.leases.is_empty()) {
        for slot in device.table.list() {
            let leased = device.leases.get(&slot.instance).is_some_and(|l| l.until.is_some());
            if slot.state == InstanceState::Ready && leased {
                found.insert(slot.container, true);
            }
        }
    }
    found
}

/// When a device next goes or comes, in milliseconds from now.
fn next(fog: &mut Fog, there: bool) -> u64 {
    let now = fog.now();
    let at: UnixMs = if there { UNIVERSITY.goes(now, now, &mut fog.rng) } else { UNIVERSITY.returns(now, &mut fog.rng) };
    u64::try_from(at.since(now).0).unwrap_or(0)
}

/// `make sim WEEK=1`, and the figures `sim.*` of `make bench`.
#[test]
#[ignore = "a week in some minutes: make sim WEEK=1"]
fn a_week_of_a_thousand_devices() {
    let mut asked = [Asked::default(); COPIES as usize];
    let (mut goes, mut rounds) = (0_u64, 0_u64);
    runtime().block_on(async {
        let mut fog = Fog::begin(1, PACE, false).await;
        let mut rng = StdRng::seed_from_u64(2);
        let publisher = fog.add(device(&mut rng, "publisher".to_owned(), false, 0));
        for n in 0..8 {
            fog.add(device(&mut rng, format!("mix {n}"), true, 0));
        }
        for n in 0..DEVICES {
            let percent = rng.random_range(50..=400);
            let id = fog.add(device(&mut rng, format!("device {n}"), false, percent));
            // As many are away at first as are on average.
            let stays = if rng.random_bool(4.25 / (13.7 + 4.25)) { 1 } else { next(&mut fog, true) };
            fog.net.lock().after(0, stays, What::Befalls(Incident::Vanishes(id, 0)));
        }
        let mut containers = BTreeMap::new();
        let mut due = BEGIN_MS;
        while let Some(befell) = fog.step(BEGIN_MS + WEEK_MS).await {
            rounds += u64::from(fog.changed());
            match befell {
                Some(Incident::Vanishes(id, _)) => {
                    goes += 1;
                    let away = next(&mut fog, false);
                    Script::vanish(&mut fog, id, away);
                }
                Some(Incident::Returns(id)) => {
                    Script::returns(&mut fog, id);
                    let stays = next(&mut fog, true);
                    let at = fog.at();
                    fog.net.lock().after(at, stays, What::Befalls(Incident::Vanishes(id, 0)));
                }
                _ => {}
            }
            if containers.is_empty() && fog.at() > BEGIN_MS / 4 {
                for n in 0..CONTAINERS * usize::from(COPIES) {
                    let copies = u8::try_from(n % usize::from(COPIES)).unwrap() + 1;
                    let (request, _) = request(&mut rng, &fog, copies, 10);
                    let id = request.id;
                    let reply = fog.ask(publisher, NodeRequest::Create(Box::new(request))).await;
                    assert!(matches!(reply, Some(NodeReply::Created(_))), "{reply:?}");
                    containers.insert(id, copies);
                }
            }
            while due <= fog.at() {
                due += ASK_MS;
                for (id, served) in served(&fog, &containers) {
                    let of = &mut asked[usize::from(containers[&id]) - 1];
                    of.all += 1;
                    of.failed += u64::from(!served);
                }
            }
        }
    });
    say(format_args!("week: {goes} departures, {rounds} looks"));
    for (copies, of) in asked.iter().enumerate() {
        let share = 100.0 * (1.0 - of.failed as f64 / of.all as f64);
        say(format_args!("sim.availability_{}_pct {share:.4} of {} requests {} failed", copies + 1, of.all, of.failed));
    }
    assert!(asked[1].failed * 1_000 <= asked[1].all, "two copies serve 99.9 % of requests");
}
