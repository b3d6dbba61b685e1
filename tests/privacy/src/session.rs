//! A host and its visitors in virtual time: the product's tunnels, mailboxes, SURB accounts, paths and schedules over modelled links.
//!
//! Invariants: what happens is a function of the design, the network and the seed; one packet is followed from its maker to its end.
//! Deliberately absent: introductions (one packet each way before a visit; the host begins that much later), and other sites.

use crate::{
    adapter::{Design, Network},
    client::{Client, Delivery, End, Outgoing, Use, pair},
    net::{Doors, Hop, LOSS, Step, Us},
    trace::{Access, Group, Kind, Packet},
};
use fogbank_betanet::{
    schedule::Slot,
    sim::{MAX_DATAGRAM_BYTES, Rendezvous, SURBS_A_PACKET, surbs_beside},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::{Duration, Instant},
};

/// How often an end looks for silence and the host says its first word again, as the product's rendezvous does.
const TICK_US: Us = 500_000;
/// How often the first word is said again.
const FIRST_AGAIN: usize = 5;
/// The host's first word: it stands for the handshake's answer.
const HELLO: &[u8] = b"hello";
/// A timer that is due while the link has no room is looked at again after this.
const BLOCKED_US: Us = 5_000;

/// What does not differ from group to group.
pub(crate) struct Setting<'a> {
    pub(crate) network: &'a Network,
    pub(crate) doors: &'a Doors,
    pub(crate) design: Design,
    /// Visits begin within this ...
    pub(crate) spread: Us,
    /// ... and are watched up to here.
    pub(crate) window: Us,
}

enum Event {
    Open(usize),
    AtRendezvous { end: usize, packet: usize, surbs: Vec<u64>, relay: Option<Vec<u8>> },
    AtGuard { client: usize, guard: u8, delivery: Delivery },
    Deliver { client: usize, guard: u8, delivery: Option<Delivery> },
    Timer(usize),
    Tick(usize),
    UpSlot(usize),
    DownSlot(usize, u8),
    Loop(usize),
}

struct Sim<'a> {
    setting: &'a Setting<'a>,
    rng: StdRng,
    now: Us,
    base: Instant,
    order: BinaryHeap<Reverse<(Us, usize)>>,
    events: Vec<Option<Event>>,
    clients: Vec<Client>,
    ends: Vec<End>,
    rendezvous: Vec<Rendezvous>,
    /// SURBs that are out: whose, and the way back.
    surbs: HashMap<u64, (usize, Vec<Step>)>,
    next_surb: u64,
    group: Group,
}

/// Runs one host with its visitors.
pub(crate) fn run(setting: &Setting<'_>, visitors: usize, seed: u64) -> Group {
    let mut rng = StdRng::seed_from_u64(seed);
    let base = Instant::now();
    let clients: Vec<Client> = (0..=visitors).map(|_| Client::new(setting.network, &setting.design, base, &mut rng)).collect();
    let access = clients.iter().map(|c| Access { guards: c.guards.clone(), ..Access::default() }).collect();
    let group = Group { access, page_us: vec![None; visitors], ..Group::default() };
    let mut sim = Sim {
        setting,
        rng,
        now: 0,
        base,
        order: BinaryHeap::new(),
        events: Vec::new(),
        clients,
        ends: Vec::new(),
        rendezvous: Vec::new(),
        surbs: HashMap::new(),
        next_surb: 0,
        group,
    };
    for client in 0..sim.clients.len() {
        sim.begin_client(client);
    }
    for visitor in 1..=visitors {
        sim.begin_visit(visitor);
    }
    while let Some(Reverse((at, number))) = sim.order.pop() {
        if at > setting.window {
            break;
        }
        sim.now = at;
        if let Some(event) = sim.events[number].take() {
            sim.handle(event);
        }
    }
    for access in &mut sim.group.access {
        access.up.sort_unstable();
        access.down.sort_unstable();
    }
    sim.group
}

impl Sim<'_> {
    fn at(&mut self, at: Us, event: Event) {
        self.order.push(Reverse((at.max(self.now), self.events.len())));
        self.events.push(Some(event));
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    /// The first microsecond not before an instant.
    fn us(&self, at: Instant) -> Us {
        let since = at.saturating_duration_since(self.base).as_nanos();
        Us::try_from(since.div_ceil(1_000)).unwrap_or(Us::MAX)
    }

    fn begin_client(&mut self, client: usize) {
        let c = &self.clients[client];
        let up = c.up.as_ref().map(|u| u.next());
        let down: Vec<Option<Instant>> = c.down.iter().map(|d| d.as_ref().map(|d| d.next())).collect();
        let loops = c.loops.as_ref().map(|l| l.next());
        if let Some(at) = up {
            self.at(self.us(at), Event::UpSlot(client));
        }
        for (guard, at) in (0u8..).zip(down) {
            if let Some(at) = at {
                self.at(self.us(at), Event::DownSlot(client, guard));
            }
        }
        if let Some(at) = loops {
            self.at(self.us(at), Event::Loop(client));
        }
    }

    /// A visitor and the host get an end each, and begin at a moment of the spread.
    fn begin_visit(&mut self, visitor: usize) {
        let start = self.rng.random_range(0..=self.setting.spread);
        let (network, level) = (self.setting.network, self.setting.design.level);
        let meeting = network.rendezvous(&self.clients[visitor].identity, &mut self.rng);
        let Some(pair) = pair(MAX_DATAGRAM_BYTES, level, self.base, &mut self.rng) else { return };
        // The introduction takes a packet's way to the host.
        let out = network.out(&self.clients[visitor].identity, meeting, level, &mut self.rng);
        let back = network.back(&self.clients[0].identity, meeting, level, &mut self.rng);
        let introduction = [out, back].concat();
        let hops = self.setting.doors.walk(self.clients[visitor].door, start, 0, &introduction, &mut self.rng);
        let told = hops.last().map_or(start, |h| h.left) + self.clients[0].door;
        for ((machine, account, what), (client, began)) in pair.into_iter().zip([(visitor, start), (0, told)]) {
            let number = self.ends.len();
            let out =
                self.setting.design.circuit.then(|| network.out(&self.clients[client].identity, meeting, level, &mut self.rng));
            let circuit = out.map(|out| [out.clone(), out.into_iter().rev().skip(1).collect()]);
            self.clients[client].ends.push(number);
            self.ends.push(End {
                client,
                machine,
                account,
                what,
                rendezvous: meeting,
                circuit,
                began,
                open: false,
                heard: false,
                again: 0,
                timer: None,
            });
            self.at(began, Event::Open(number));
        }
        self.rendezvous.push(Rendezvous::new(self.base));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Open(end) => {
                self.ends[end].open = true;
                let hello = matches!(self.ends[end].what, Use::Serve(_)).then(|| HELLO.to_vec());
                self.message(end, hello);
                self.pump(self.ends[end].client);
                self.at(self.now + TICK_US, Event::Tick(end));
            }
            Event::AtRendezvous { end, packet, surbs, relay } => self.meet(end, packet, &surbs, relay),
            Event::AtGuard { client, guard, delivery } => {
                let shaped = self.clients[client].down.get_mut(usize::from(guard)).and_then(Option::as_mut);
                match shaped {
                    // A guard whose queue for a client is full drops.
                    Some(rate) => drop(rate.offer(delivery)),
                    None => self.bring(client, guard, Some(delivery)),
                }
            }
            Event::Deliver { client, guard, delivery } => self.delivered(client, guard, delivery),
            Event::Timer(end) => {
                self.ends[end].timer = None;
                let now = self.instant();
                if self.ends[end].machine.next_timeout().is_some_and(|at| at <= now) {
                    self.ends[end].machine.handle_timeout(now);
                }
                self.pump(self.ends[end].client);
            }
            Event::Tick(end) => self.tick(end),
            Event::UpSlot(client) => {
                let now = self.instant();
                let Some(rate) = self.clients[client].up.as_mut() else { return };
                let slot = rate.take(now);
                let next = rate.next();
                if let Some(slot) = slot {
                    self.send(
                        client,
                        match slot {
                            Slot::Packet(packet) => packet,
                            Slot::Cover => Outgoing::Drop,
                        },
                    );
                }
                self.at(self.us(next), Event::UpSlot(client));
                self.pump(client);
            }
            Event::DownSlot(client, guard) => {
                let now = self.instant();
                let Some(rate) = self.clients[client].down.get_mut(usize::from(guard)).and_then(Option::as_mut) else { return };
                let slot = rate.take(now);
                let next = rate.next();
                match slot {
                    Some(Slot::Packet(delivery)) => self.bring(client, guard, Some(delivery)),
                    Some(Slot::Cover) => self.bring(client, guard, None),
                    None => {}
                }
                self.at(self.us(next), Event::DownSlot(client, guard));
            }
            Event::Loop(client) => {
                let now = self.instant();
                let Some(loops) = self.clients[client].loops.as_mut() else { return };
                let due = loops.take(now, &mut self.rng);
                let next = loops.next();
                if due {
                    match self.clients[client].up.as_mut() {
                        Some(rate) => drop(rate.offer(Outgoing::Loop)),
                        None => self.send(client, Outgoing::Loop),
                    }
                }
                self.at(self.us(next), Event::Loop(client));
            }
        }
    }

    fn tick(&mut self, end: usize) {
        let now = self.instant();
        let e = &mut self.ends[end];
        if e.machine.closed().is_some() {
            return;
        }
        let again = matches!(e.what, Use::Serve(_)) && !e.heard && e.again < FIRST_AGAIN;
        e.account.silent(now);
        if again {
            e.again += 1;
            self.message(end, Some(HELLO.to_vec()));
        }
        self.pump(self.ends[end].client);
        self.at(self.now + TICK_US, Event::Tick(end));
    }

    /// Sends what a client's ends have to send, in turn, while there is room.
    fn pump(&mut self, client: usize) {
        let now = self.instant();
        let (ends, turn) = (self.clients[client].ends.clone(), self.clients[client].turn);
        self.clients[client].turn = turn.wrapping_add(1);
        let mut idle = 0;
        for end in ends.iter().cycle().skip(turn % ends.len().max(1)) {
            if idle >= ends.len() || !self.clients[client].has_room() {
                break;
            }
            let datagram = if self.ends[*end].open { self.ends[*end].machine.poll_transmit(now) } else { None };
            if datagram.is_some() {
                self.message(*end, datagram);
                idle = 0;
            } else if self.ends[*end].open && self.ends[*end].account.missing() >= SURBS_A_PACKET {
                self.message(*end, None);
                idle = 0;
            } else {
                idle += 1;
            }
        }
        let room = self.clients[client].has_room();
        for end in ends {
            let Some(at) = self.ends[end].machine.next_timeout().map(|at| self.us(at)) else { continue };
            let at = at.max(self.now + if room { 1 } else { BLOCKED_US });
            if self.ends[end].open && self.ends[end].timer.is_none_or(|set| at < set) {
                self.ends[end].timer = Some(at);
                self.at(at, Event::Timer(end));
            }
        }
    }

    /// One packet of an end: a datagram, and the missing SURBs that fit beside it.
    fn message(&mut self, end: usize, relay: Option<Vec<u8>>) {
        let now = self.instant();
        let (network, level) = (self.setting.network, self.setting.design.level);
        let e = &mut self.ends[end];
        let room = relay.as_ref().map_or(SURBS_A_PACKET, |d| surbs_beside(d.len()));
        let count = e.account.missing().min(room);
        e.account.sent(count, relay.is_some(), now);
        let (client, from) = (e.client, e.rendezvous);
        let mut surbs = Vec::with_capacity(count);
        for _ in 0..count {
            let back = match &self.ends[end].circuit {
                Some([_, back]) => back.clone(),
                None => network.back(&self.clients[client].identity, from, level, &mut self.rng),
            };
            self.next_surb += 1;
            self.surbs.insert(self.next_surb, (end, back));
            surbs.push(self.next_surb);
        }
        let outgoing = Outgoing::Message { end, relay, surbs };
        match self.clients[client].up.as_mut() {
            // Asked for room before, but for the first word and its repetitions, which a full queue may lose.
            Some(rate) => drop(rate.offer(outgoing)),
            None => self.send(client, outgoing),
        }
    }

    /// A packet leaves a client over its access link.
    fn send(&mut self, client: usize, outgoing: Outgoing) {
        let (network, level) = (self.setting.network, self.setting.design.level);
        let c = &mut self.clients[client];
        let leaves = self.now.max(c.free);
        c.free = leaves + c.packet_us;
        let to = match &outgoing {
            Outgoing::Message { end, .. } => self.ends[*end].rendezvous,
            Outgoing::Loop | Outgoing::Drop => network.anywhere(&mut self.rng),
        };
        let circuit = match &outgoing {
            Outgoing::Message { end, .. } => self.ends[*end].circuit.as_ref().map(|[out, _]| out.clone()),
            _ => None,
        };
        let out = circuit.unwrap_or_else(|| network.out(&c.identity, to, level, &mut self.rng));
        let mut hops = self.setting.doors.walk(c.door, c.free, 0, &out, &mut self.rng);
        let Some((first, last)) = hops.first().zip(hops.last()).map(|(f, l)| (*f, *l)) else { return };
        self.group.access[client].up.push((leaves, c.guard_place(first.mix)));
        let number = self.group.packets.len();
        let lost = self.rng.random_bool(LOSS);
        if lost {
            hops.truncate(1);
        }
        let kind = match &outgoing {
            Outgoing::Message { relay: Some(_), .. } => Kind::Data,
            Outgoing::Message { .. } => Kind::Refill,
            Outgoing::Loop => Kind::Loop,
            Outgoing::Drop => Kind::Drop,
        };
        let tunnel = if let Outgoing::Message { end, .. } = &outgoing { u32::try_from(end / 2).ok() } else { None };
        self.group.packets.push(Packet { kind, from: u32::try_from(client).ok(), to: None, tunnel, hops });
        match outgoing {
            _ if lost => {}
            Outgoing::Message { end, relay, surbs } => {
                let relay = relay.map(|data| [&number.to_be_bytes()[..], &data].concat());
                self.at(last.arrived, Event::AtRendezvous { end, packet: number, surbs, relay });
            }
            Outgoing::Loop => {
                let back = network.back(&self.clients[client].identity, to, level, &mut self.rng);
                self.homeward(number, last.mix, last.left, client, &back, Delivery { end: None, data: None, left: 0 });
            }
            Outgoing::Drop => {}
        }
    }

    fn meet(&mut self, end: usize, packet: usize, surbs: &[u64], relay: Option<Vec<u8>>) {
        let now = self.instant();
        let (mine, peer) = (end as u64, (end ^ 1) as u64);
        let at = self.ends[end].rendezvous;
        let _ = packet;
        for answer in self.rendezvous[end / 2].message(now, mine, peer, surbs, relay) {
            let Some((to, back)) = self.surbs.remove(&answer.surb) else { continue };
            let (number, data) = match answer.data.as_ref().and_then(|d| d.split_first_chunk::<8>()) {
                Some((number, data)) => (usize::from_be_bytes(*number), Some(data.to_vec())),
                None => {
                    // The mix itself made it.
                    self.group.packets.push(Packet { kind: Kind::Restock, from: None, to: None, tunnel: None, hops: Vec::new() });
                    (self.group.packets.len() - 1, None)
                }
            };
            if let Some(here) = self.group.packets[number].hops.last_mut() {
                // It may have waited for a SURB.
                here.left = here.left.max(self.now);
            }
            let client = self.ends[to].client;
            self.homeward(number, at, self.now, client, &back, Delivery { end: Some(to), data, left: answer.left });
        }
    }

    /// The second half of a packet's way: from a mix by a SURB to a client's guard.
    fn homeward(&mut self, number: usize, from: u16, start: Us, client: usize, back: &[Step], delivery: Delivery) {
        let doors = self.setting.doors;
        let mut hops: Vec<Hop> = doors.walk(doors.of(from), start, 4, back, &mut self.rng);
        if self.rng.random_bool(LOSS) {
            hops.truncate(1);
        } else if let Some(guard) = hops.last().copied() {
            self.group.packets[number].to = u32::try_from(client).ok();
            let place = self.clients[client].guard_place(guard.mix);
            self.at(guard.left, Event::AtGuard { client, guard: place, delivery });
        }
        self.group.packets[number].hops.extend(hops);
    }

    /// A guard sends a client something, or cover.
    fn bring(&mut self, client: usize, guard: u8, delivery: Option<Delivery>) {
        let c = &self.clients[client];
        let mix = c.guards.get(usize::from(guard)).copied().unwrap_or(0);
        let at = self.setting.doors.home(mix, self.now, c.door, &mut self.rng);
        self.at(at, Event::Deliver { client, guard, delivery });
    }

    fn delivered(&mut self, client: usize, guard: u8, delivery: Option<Delivery>) {
        self.group.access[client].down.push((self.now, guard));
        let Some((end, delivery)) = delivery.and_then(|d| d.end.map(|end| (end, d))) else { return };
        let now = self.instant();
        let e = &mut self.ends[end];
        if e.machine.closed().is_some() {
            return;
        }
        e.account.came_back(delivery.left, now);
        if let Some(data) = delivery.data {
            e.heard = true;
            if data != HELLO {
                e.machine.handle_datagram(now, &data);
            }
        }
        if e.heard {
            match &mut e.what {
                Use::Serve(serving) => serving.go_on(&mut e.machine),
                Use::Visit(visit) => {
                    visit.go_on(&mut e.machine);
                    let done = &mut self.group.page_us[end / 2];
                    if visit.is_over() && done.is_none() {
                        *done = Some(self.now - e.began);
                    }
                }
            }
        }
        if e.machine.closed().is_some() {
            self.group.failed += 1;
        }
        self.pump(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(design: Design, seed: u64) -> Group {
        let mut rng = StdRng::seed_from_u64(5);
        let network = Network::new(20, &mut rng);
        let doors = Doors::new(20, &mut rng);
        run(&Setting { network: &network, doors: &doors, design, spread: 1_000_000, window: 30_000_000 }, 2, seed)
    }

    #[test]
    fn pages_load_at_every_level_and_the_seed_decides_all() {
        for design in Design::ALL {
            let (one, again, other) = (group(design, 3), group(design, 3), group(design, 4));
            let name = design.name;
            assert_eq!(one.failed, 0, "{name}");
            let loaded = one.page_us.iter().flatten().count();
            assert!(loaded == 2 || design == Design::STRICT, "{name}: {:?}", one.page_us);
            for (a, b) in one.access.iter().zip(&again.access) {
                assert!(a.up == b.up && a.down == b.down, "{name}: one seed gives one course");
            }
            assert_ne!(one.access[1].up, other.access[1].up, "{name}");
            let whole = one.packets.iter().filter(|p| p.kind == Kind::Data && p.to.is_some());
            assert!(whole.clone().count() > 500, "{name}");
            for packet in whole {
                let places: Vec<u8> = packet.hops.iter().map(|h| h.place).collect();
                assert_eq!(places, [0, 1, 2, 3, 4, 5, 6], "{name}");
                assert!(packet.hops.windows(2).all(|w| w[0].left < w[1].arrived), "{name}");
            }
        }
    }

    #[test]
    fn at_constant_rate_an_access_link_shows_nothing() {
        let strict = group(Design::STRICT, 3);
        for access in &strict.access {
            let gaps = access.up.windows(2).map(|w| w[1].0 - w[0].0);
            assert!(gaps.clone().all(|gap| gap.abs_diff(41_000) <= 1), "{:?}", gaps.max());
            assert!(access.up.len().abs_diff(30_000 / 41) <= 2 && access.down.len().abs_diff(30_000 / 41) <= 8);
        }
    }
}
