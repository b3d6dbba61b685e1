//! Why a container runs where it runs: what that costs against the least, and of each device why it was chosen or passed over.
//!
//! Publishers are told of the devices that run their container by name, as they see them anyway, and of all others how many there are of a kind;
//! administrators, who see all devices, are told of each.

use crate::{
    place::snapshot_without,
    world::{SeenContainer, SeenDevice, World},
};
use fogbank_model::{DeviceId, Resources};
use fogbank_placement::{Policy, Verdict, explain, remedies, standing};
use fogbank_wire::{Explained, ExplainedDevice};
use std::collections::BTreeMap;

/// Devices that are told of one by one at most, those that were chosen first.
const MOST_DEVICES: usize = 1_000;

/// Explains. `all`: for somebody who sees all devices.
pub(crate) fn explained(world: &World, container: &SeenContainer, policy: &Policy, all: bool) -> Explained {
    let snapshot = &snapshot_without(world, container);
    let given: Vec<(DeviceId, Resources)> = container.counting().map(|i| (i.instance.device, i.instance.given)).collect();
    let plan = standing(snapshot, policy, &given);
    let mut devices: Vec<ExplainedDevice> = Vec::new();
    let mut others: BTreeMap<&str, u32> = BTreeMap::new();
    let mut verdicts = explain(snapshot, policy, &given);
    verdicts.sort_by_key(|(id, verdict)| (!verdict.is_chosen(), *id));
    for (id, verdict) in verdicts {
        let Some(device) = world.device(id) else { continue };
        let runs = given.iter().any(|(host, _)| *host == id);
        if (runs || all) && devices.len() < MOST_DEVICES {
            devices.push(ExplainedDevice { name: device.name.clone(), runs, words: words(device, &verdict) });
        } else {
            *others.entry(kind(&verdict)).or_default() += 1;
        }
    }
    Explained {
        plan: match plan {
            _ if given.is_empty() => "nowhere now".to_owned(),
            Some(plan) => plan.to_string(),
            None => "where it was placed before; now it would not fit".to_owned(),
        },
        load: None,
        devices,
        others: others.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
        remedies: remedies(snapshot, policy).iter().map(ToString::to_string).collect(),
    }
}

/// Why a device runs it or not.
fn words(device: &SeenDevice, verdict: &Verdict) -> String {
    match verdict {
        Verdict::NotSuitable if !device.connected => "it is not connected".to_owned(),
        Verdict::NotSuitable if device.expected.aside.is_some() => {
            "it refused what it offers and is set aside for a while".to_owned()
        }
        Verdict::NotSuitable => match &device.draining {
            Some(why) => format!("it is to be left: {why}"),
            None => format!("it takes nothing: {}", device.why),
        },
        other => other.to_string(),
    }
}

/// What several devices have in common, without saying anything of one.
const fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Chosen { .. } => "chosen",
        Verdict::NotSuitable => "do not lend now, are not connected, are leaving or are set aside",
        Verdict::TooSmall { .. } => "have no room for one copy",
        Verdict::ChangesTooMuch { .. } => "would be a change too many",
        Verdict::OwnerHasOne { .. } => "belong to somebody who has a copy already",
        Verdict::Dearer { .. } => "cost more than they are worth",
        Verdict::NotNeeded { .. } => "would be worth their cost, but are not needed beside the others",
    }
}
