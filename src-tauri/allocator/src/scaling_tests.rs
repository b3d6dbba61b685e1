//! Load over time, from what devices tell to what is decided: copies come, wait for room, and go.

use super::*;
use crate::decide::{
    Action, decide,
    tests::{device, instance, world},
};
use fogbank_model::{Instance, Resources};
use fogbank_placement::scaling::MOST_LOAD;
use fogbank_wire::Traffic;
use proptest::prelude::*;

/// What one copy of two is given.
const EACH: Resources = Resources { cpu_millicores: 100, memory_mb: 32, storage_mb: 10, bandwidth_kbps: 800 };
/// What that bandwidth carries within a window, thousands of bytes.
const FULL_KB: f64 = 1_000.0;

/// A fog in which what is decided is done within a check.
struct Play {
    scaler: Scaler,
    world: World,
    /// Whether there is room for more copies.
    room: bool,
    ended: Vec<String>,
}

impl Play {
    fn new(most: Option<u8>) -> Self {
        let ready = vec![instance(1, InstanceState::Ready), instance(2, InstanceState::Ready)];
        let mut world = world(ContainerState::Running, ready);
        world.devices.extend((5..=32).map(device));
        let container = &mut world.containers[0];
        (container.container.spec.most, container.container.spec.requirements) = (most, EACH.plus(&EACH));
        container.instances.iter_mut().for_each(|i| (i.instance.given, i.traffic) = (EACH, Some(Traffic::default())));
        Self { scaler: Scaler::default(), world, room: true, ended: Vec::new() }
    }

    fn container(&mut self) -> &mut SeenContainer {
        &mut self.world.containers[0]
    }

    /// One check with so much demand in copies' worth, shared by those that serve; then what is decided is done.
    fn check(&mut self, demand: f64) -> Vec<Action> {
        self.world.now = self.world.now.plus(DurationMs::from_s(10));
        let ready = self.container().ready().count() as f64;
        for i in self.container().instances.iter_mut().filter(|i| i.instance.state == InstanceState::Ready) {
            let sent_kb = (demand / ready * FULL_KB) as u32;
            i.traffic = Some(Traffic { requests: 20, sent_kb, tunnels: 3, streams: 5, first_byte_ms: Some(10) });
        }
        self.step()
    }

    fn step(&mut self) -> Vec<Action> {
        self.scaler.check(&self.world);
        let scaled = self.scaler.of(&self.world.containers[0]);
        self.container().scaled = scaled;
        let actions = decide(&self.world);
        for action in &actions {
            self.act(action);
        }
        actions
    }

    fn act(&mut self, action: &Action) {
        let (room, now) = (self.room, self.world.now);
        let container = &mut self.world.containers[0];
        match action {
            Action::Place { .. } if !room => container.lacks = Some("does not fit: no device could take one".to_owned()),
            Action::Place { .. } => {
                container.lacks = None;
                let free = (1..=32).find(|n| container.instances.iter().all(|i| i.instance.id != InstanceId([*n; 16])));
                let mut new = instance(free.unwrap(), InstanceState::Ready);
                (new.instance.given, new.instance.since, new.traffic) = (EACH, now, Some(Traffic::default()));
                let device = self.world.devices.iter_mut().find(|d| d.id == new.instance.device).unwrap();
                device.listed.as_mut().unwrap().push(new.instance.id);
                container.instances.push(new);
            }
            Action::Drain { instance, reason } => {
                self.ended.push(reason.clone());
                container.instances.retain(|i| i.instance.id != *instance);
            }
            Action::Explain { reason, .. } => container.container.reason.clone_from(reason),
            Action::MoveContainer { to, reason, .. } => {
                (container.container.state, container.container.reason) = (*to, reason.clone());
            }
            _ => {}
        }
    }

    fn copies(&self) -> usize {
        self.world.containers[0].ready().count()
    }
}

#[test]
fn copies_come_for_load_and_go_when_it_is_over() {
    let mut play = Play::new(Some(6));
    for _ in 0..3 {
        assert_eq!(play.copies(), 2);
        play.check(3.0);
    }
    // Three copies' worth at 80 % each are four copies: one place a round.
    play.check(3.0);
    assert_eq!(play.copies(), 4);
    for _ in 0..30 {
        play.check(3.0);
        assert_eq!((play.copies(), play.container().container.state), (4, ContainerState::Running));
    }
    assert_eq!(
        play.container().container.reason,
        "every copy serves; 2 beyond the 2 asked for, for load 150 % for 30 s: network"
    );
    for _ in 0..3 {
        play.check(0.1);
    }
    let words = (play.copies(), play.container().container.reason.clone());
    assert_eq!(words, (3, "every copy serves; 1 beyond the 2 asked for, for load".to_owned()));
    for _ in 0..30 {
        play.check(0.1);
    }
    assert_eq!((play.copies(), play.container().container.reason.as_str()), (2, "every copy serves"));
    assert_eq!(play.ended.len(), 2);
    assert!(
        play.ended[0].starts_with("one copy too many: load at most") && play.ended[0].ends_with("% for 30 s"),
        "{:?}",
        play.ended
    );
}

#[test]
fn what_has_no_room_is_said_and_done_when_devices_appear() {
    let mut play = Play::new(Some(6));
    play.room = false;
    for _ in 0..6 {
        play.check(2.0);
    }
    let words = "2 of 3 copies ready, one more is wanted for load 100 % for 30 s: network, and waiting for room: it does not fit";
    assert!(play.container().container.reason.starts_with(words), "{}", play.container().container.reason);
    assert_eq!(play.container().container.state, ContainerState::Running, "what was asked for serves");
    // A device that asks to be left is not held up by what is wanted for load.
    play.world.devices.iter_mut().find(|d| d.id == DeviceId([2; 32])).unwrap().draining = Some("closing".to_owned());
    assert!(!play.check(2.0).iter().any(|a| matches!(a, Action::Drain { .. })), "one copy alone is not enough");
    play.world.devices.iter_mut().for_each(|d| d.draining = None);
    play.room = true;
    play.check(2.0);
    assert_eq!((play.copies(), play.container().lacks.clone()), (3, None));
}

#[test]
fn after_a_restart_copies_stay_until_enough_was_seen() {
    let mut play = Play::new(Some(6));
    for _ in 0..4 {
        play.check(3.0);
    }
    assert_eq!(play.copies(), 4);
    play.scaler = Scaler::load(vec![(ContainerId([1; 16]), play.world.now, 6)]);
    for check in 0..40 {
        play.check(0.1);
        assert_eq!(play.copies(), 4, "six changes within the hour, {check}");
    }
    play.scaler = Scaler::default();
    for _ in 0..2 {
        play.check(0.1);
        assert_eq!(play.copies(), 4);
    }
    for _ in 0..5 {
        play.check(0.1);
    }
    assert!(play.copies() < 4);
}

#[test]
fn a_clock_that_is_set_back_stops_nothing_for_long() {
    let mut play = Play::new(Some(6));
    for _ in 0..4 {
        play.check(2.0);
    }
    assert_eq!(play.copies(), 3);
    play.world.now = play.world.now.plus(DurationMs::from_s(-24 * 3600));
    for _ in 0..4 {
        play.check(3.0);
    }
    assert_eq!(play.copies(), 4);
}

#[test]
fn what_devices_tell_is_asked_for_where_it_counts() {
    let mut play = Play::new(None);
    play.check(3.0);
    assert_eq!(play.scaler.of(&play.world.containers[0]), None);
    play.world.now = play.world.now.plus(DurationMs::from_s(10));
    let (orders, _) = play.scaler.check(&play.world);
    assert!(orders.len() == 2 && orders.iter().all(|o| !o.on), "{orders:?}");
    // It is to scale from now on.
    play.container().container.spec.most = Some(3);
    play.container().instances.iter_mut().for_each(|i| i.traffic = None);
    play.world.devices[1].connected = false;
    play.world.now = play.world.now.plus(DurationMs::from_s(10));
    let (orders, _) = play.scaler.check(&play.world);
    assert_eq!(orders, [Measure { device: DeviceId([1; 32]), instance: InstanceId([1; 16]), on: true }]);
    assert!(play.scaler.check(&play.world).0.is_empty(), "not before the next check");
}

#[test]
fn a_publisher_who_asks_for_less_has_less_at_once() {
    let mut play = Play::new(Some(6));
    for _ in 0..4 {
        play.check(3.0);
    }
    play.container().container.spec.most = Some(3);
    play.check(3.0);
    assert_eq!(play.copies(), 3);
    play.container().container.spec.most = None;
    play.check(3.0);
    assert_eq!(play.copies(), 2);
}

#[test]
fn minutes_are_gathered_and_taken_once() {
    let mut play = Play::new(Some(2 + 4));
    play.world.now = UnixMs(60_000 * 1_000);
    let mut rows = Vec::new();
    for _ in 0..13 {
        rows.extend(play.scaler.minute(play.world.now));
        play.check(3.0);
    }
    let peaks: Vec<(i64, u16, u8, u8)> = rows.iter().map(|(_, r)| (r.at.0 / 60_000, r.peak, r.wanted, r.changes)).collect();
    assert_eq!(peaks, [(1_000, 1_500, 4, 1), (1_001, 750, 4, 0)]);
    assert!((800..=1_200).contains(&rows[0].1.network) && rows[0].1.traffic >= 400, "{rows:?}");
}

fn any_traffic() -> impl Strategy<Value = Option<Traffic>> {
    let told = (any::<u32>(), any::<u32>(), any::<u16>(), any::<u16>(), any::<Option<u32>>());
    let told = told.prop_map(|(requests, sent_kb, tunnels, streams, first_byte_ms)| Traffic {
        requests,
        sent_kb,
        tunnels,
        streams,
        first_byte_ms,
    });
    prop_oneof![1 => Just(None), 2 => Just(Some(Traffic::default())), 3 => told.prop_map(Some)]
}

proptest! {
    /// Whatever devices tell, of whatever was given: bounds hold, and nobody's word counts for more than twice what his copy has.
    #[test]
    fn what_is_told_counts_for_so_much(
        told in prop::collection::vec((any_traffic(), 0u64..=Resources::LIMIT.bandwidth_kbps), 1..40), most in 2u8..=32,
    ) {
        let mut play = Play::new(Some(most));
        for (traffic, given) in told {
            play.world.now = play.world.now.plus(DurationMs::from_s(10));
            for i in &mut play.container().instances {
                (i.traffic, i.instance.given.bandwidth_kbps) = (traffic, given.max(EACH.bandwidth_kbps));
            }
            play.step();
            let copies = play.world.containers[0].counting().count();
            prop_assert!((2..=usize::from(most)).contains(&copies), "{copies}");
        }
        prop_assert!(play.ended.len() <= 32 * 6);
    }

    #[test]
    fn one_liar_is_one_copy(others in 0u32..500, lie in any_traffic()) {
        let mut play = Play::new(Some(6));
        let honest = Traffic { requests: 20, sent_kb: others, tunnels: 1, streams: 1, first_byte_ms: None };
        play.container().instances[0].traffic = lie;
        play.container().instances[1].traffic = Some(honest);
        let now = play.world.now;
        let sample = samples::sample(play.world.containers[0].ready(), &play.scaler.policy, now).unwrap();
        let network = sample.parts[2].unwrap();
        prop_assert!(network <= (MOST_LOAD + f64::from(others) / FULL_KB) / 2.0 + 1e-9 || lie.is_none(), "{network}");
        prop_assert!(sample.traffic <= MOST_LOAD / play.scaler.policy.per_request + 2.0);
    }
}

#[test]
fn streams_that_may_be_open_are_those_that_a_host_serves() {
    let mut play = Play::new(Some(6));
    let streams = u16::try_from(Instance::MAX_STREAMS).unwrap();
    let full = Traffic { streams, tunnels: 1, ..Traffic::default() };
    play.container().instances.iter_mut().for_each(|i| i.traffic = Some(full));
    let sample = samples::sample(play.world.containers[0].ready(), &play.scaler.policy, play.world.now).unwrap();
    assert_eq!(sample.parts, [None, None, Some(0.0), Some(1.0), None]);
}
