//! Ways into a fog and out of it: starting one, joining by a ticket, visiting by a link, leaving.
//!
//! Invariant: a refusal leaves the node as it was.

use crate::{
    aligning::PRACTICE,
    answers,
    control::{ControlError, ControlErrorKind},
    membership::Standing,
    node::Inner,
    parts::Visiting,
    settings::{Membership, OwnFog, Settings, VisitedFog},
    visited_keys,
};
use fogbank_betanet::{
    address::{AccessKey, FogLink},
    uplink::UplinkStatus,
};
use fogbank_model::{BundleId, ContainerName, ContainerSpec, FogId, Image, Level, Onion, Resources};
use fogbank_wire::{NodeReply, NodeRequest, Refusal, RefusalKind, RelayHint, Ticket, Welcome};
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// A join waits this long for the allocator's word: a connection (5 s at most) and a hello.
const JOIN_WAIT: Duration = Duration::from_secs(8);
/// An allocator that is there answers within a second; whoever leaves does not wait longer for one that is not.
const GOODBYE_WAIT: Duration = Duration::from_secs(3);
/// The practice fog's nodes start one after another, each within a second or two; a busy computer is waited for.
const PRACTICE_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether the practice fog is ready.
const PRACTICE_LOOK: Duration = Duration::from_millis(100);
/// A fog's name as lists show it.
const MAX_NAME_CHARS: usize = 64;

impl Inner {
    /// Starts a fog of which this node is the allocator and the first member.
    pub(crate) async fn start_fog(
        &self,
        name: &str,
        test: bool,
        practice: bool,
        relay: Option<&str>,
    ) -> Result<(), ControlError> {
        let before = self.settings();
        if before.membership.is_some() || before.fog.is_some() {
            return Err(answers::invalid("this node is in a fog already", "Leave that one first, or use another profile."));
        }
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            let words = format!("a fog's name has 1 to {MAX_NAME_CHARS} characters and no control characters");
            return Err(answers::invalid(words, "Choose another name."));
        }
        let named =
            |text: &str| text.parse::<RelayHint>().map_err(|e| answers::invalid(e.to_string(), "Start a relay first, or none."));
        let relay = relay.map(named).transpose()?;
        let own = OwnFog { name: name.to_owned(), test, practice, port: 0, relay };
        self.change(|s| s.fog = Some(own)).await?;
        self.settle(before).await
    }

    /// Waits until what comes next works in the practice fog: putting a site of the usual size online, and opening its address.
    pub(crate) async fn practice_ready(&self) -> Result<(), ControlError> {
        let name: ContainerName = "fit".parse().map_err(|e| answers::failed(format!("{e}"), ""))?;
        let requirements = Resources { cpu_millicores: 100, memory_mb: 64, storage_mb: 10, bandwidth_kbps: 1_000 };
        let image = Image::Site { bundle: BundleId([0; 32]), bytes: 1, files: 1 };
        let usual =
            ContainerSpec { name, image, requirements, instances: 2, availability: None, most: None, level: Level::default() };
        let ask = NodeRequest::Ask(Box::new(usual));
        let ready = async {
            loop {
                let fits = match self.ask(&ask).await {
                    Ok(NodeReply::Capacity(room)) => room.infeasible.is_none(),
                    Err(error) if error.kind == ControlErrorKind::NoFog => return Err(error),
                    _ => false,
                };
                let opens = |v: Arc<Visiting>| matches!(*v.uplink.status().borrow(), UplinkStatus::Ready { .. });
                if fits && self.parts().visiting.is_none_or(opens) {
                    return Ok(());
                }
                sleep(PRACTICE_LOOK).await;
            }
        };
        if let Ok(ready) = timeout(PRACTICE_WAIT, ready).await {
            return ready;
        }
        let what = format!("the practice fog has started, but is not ready after {} seconds", PRACTICE_WAIT.as_secs());
        // Its devices are this computer; what keeps one from lending is for its owner to know.
        let own = self.ground.identity.device_id();
        let hinders = match self.ask(&NodeRequest::Devices).await {
            Ok(NodeReply::Devices(devices)) => {
                devices.into_iter().filter(|d| d.id != own).map(|d| d.why).find(|why| !why.is_empty())
            }
            _ => None,
        };
        Err(match hinders {
            Some(why) => answers::failed(format!("{what}: {why}"), "Its devices lend only what this computer can spare."),
            None => {
                answers::failed(what, "This computer may be busy: try again in a minute. The node’s log says what hinders it.")
            }
        })
    }

    /// Joins a fog and waits for its allocator's word.
    pub(crate) async fn join(&self, ticket: Ticket) -> Result<(), ControlError> {
        let before = self.settings();
        let mut fresh = Membership::of(ticket);
        if let Some(current) = &before.membership {
            if current.fog != fresh.fog {
                return Err(answers::invalid(
                    "this node is in another fog already",
                    "Leave that one first, or use another profile.",
                ));
            }
            fresh.granted = fresh.granted.and(current.granted);
            fresh.adds = true;
        }
        let wanted = fresh.granted;
        self.change(|s| s.membership = Some(fresh)).await?;
        self.settle(before).await?;
        // A member stays one whatever it shows; what it asked for is told from what it has.
        match self.settings().membership.filter(|m| wanted.within(m.granted) != wanted) {
            None => Ok(()),
            Some(_) => {
                let words = "the invite has expired or is not known: what this device may do is as before";
                Err(answers::refused(Refusal::new(RefusalKind::Expired, words)))
            }
        }
    }

    /// Waits for the allocator's welcome and keeps what it says; without one all becomes as it was before.
    async fn settle(&self, before: Settings) -> Result<(), ControlError> {
        match self.welcome().await {
            Ok(welcome) => {
                let heard = |s: &mut Settings| {
                    if let Some(m) = &mut s.membership {
                        (m.name, m.test, m.granted) = (welcome.fog, welcome.test, welcome.granted);
                        (m.invite, m.adds) = (None, false);
                    }
                };
                self.change(heard).await
            }
            Err(refused) => {
                self.change(|s| *s = before).await?;
                Err(refused)
            }
        }
    }

    async fn welcome(&self) -> Result<Welcome, ControlError> {
        let Some(member) = self.parts().member else { return Err(answers::no_fog()) };
        let mut standing = member.standing();
        let decided = standing.wait_for(|s| matches!(s, Standing::Member(_) | Standing::Refused(_)));
        let decided = timeout(JOIN_WAIT, decided).await.map(|r| r.map(|s| s.clone()));
        match decided {
            Ok(Ok(Standing::Member(welcome))) => Ok(welcome),
            Ok(Ok(Standing::Refused(refusal))) => Err(answers::refused(refusal)),
            _ => Err(answers::away(&member.standing().borrow().why())),
        }
    }

    /// Learns the way to a fog from a link, to visit without joining.
    pub(crate) async fn visit(&self, link: FogLink) -> Result<(), ControlError> {
        let Some(fog) = link.fog else {
            return Err(answers::invalid("the link does not say which fog it belongs to", "Ask for the whole link."));
        };
        match self.settings().membership {
            Some(membership) if membership.fog == fog => return self.learn_linked(link.onion, link.access, fog),
            Some(_) if self.counts(&fog) => return self.learn_linked(link.onion, link.access, fog),
            Some(_) => {
                let todo = "Leave this fog first, or visit with another profile.";
                let what = "this node is a member of another fog than the link's, and the two are not federated";
                return Err(answers::invalid(what, todo));
            }
            // A fog that is visited already brings there too, and its guards stay.
            None if self.settings().visits.is_some_and(|v| v.fog != fog) && self.counts(&fog) => {
                return self.learn_linked(link.onion, link.access, fog);
            }
            None => {}
        }
        if self.proxy.is_none() {
            return Err(answers::invalid("this node runs without its proxy for visiting", "Start it without “--proxy off”."));
        }
        if link.via.is_empty() {
            return Err(answers::invalid("the link names no mix to begin with", "Ask for the whole link."));
        }
        let mixes = link.via.into_iter().map(|via| (via.key, vec![via.addr])).collect();
        self.change(|s| s.visits = Some(VisitedFog { fog, mixes })).await?;
        self.learn_linked(link.onion, link.access, fog)
    }

    /// Whether a fog is the own one, or federated with it.
    fn counts(&self, fog: &FogId) -> bool {
        self.hub.current().is_some_and(|known| known.directory.counts(fog))
    }

    fn learn_linked(&self, onion: Onion, access: Option<AccessKey>, fog: FogId) -> Result<(), ControlError> {
        if let Some(visiting) = self.parts().visiting {
            visiting.visitor.is_of(&onion, fog);
        }
        access.map_or(Ok(()), |key| self.learn_key(onion, key))
    }

    /// Keeps the access key of a private address, and uses it from now on.
    pub(crate) fn learn_key(&self, onion: Onion, key: AccessKey) -> Result<(), ControlError> {
        let kept = self.change_keys(|keys| {
            keys.insert(onion, key);
        });
        kept.map_err(|e| answers::failed(format!("the address's key can't be kept: {e}"), "Free some disk space and try again."))
    }

    /// Changes the access keys that are kept, and those in use with them.
    pub(crate) fn change_keys(&self, change: impl FnOnce(&mut HashMap<Onion, AccessKey>)) -> io::Result<()> {
        let _one = self.lock_keys();
        let keys = visited_keys::change(&self.ground.profile, change)?;
        if let Some(visiting) = self.parts().visiting {
            visiting.visitor.unlock(keys);
        }
        Ok(())
    }

    /// Leaves the fog: what runs here ends. A practice fog ends as a whole, with everything published in it.
    pub(crate) async fn leave(&self) -> Result<(), ControlError> {
        let before = self.settings();
        let Some(membership) = before.membership else { return Err(answers::no_fog()) };
        if before.fog.as_ref().is_some_and(|own| !own.practice) {
            let todo = "Its members depend on it. To give it up, end the node and delete its profile folder.";
            return Err(answers::invalid("this node coordinates the fog", todo));
        }
        let left = |s: &mut Settings| {
            s.fog = None;
            s.membership = None;
            (s.lend, s.lend_direct, s.relay, s.paused, s.draining) = (false, false, false, false, false);
        };
        self.change_and(left, self.say_goodbye()).await?;
        // Nothing of this fog is there for the next one to see: neither others' content nor what was published here.
        let held: Vec<BundleId> = self.bundles.held().borrow().keys().copied().collect();
        for id in held {
            let dropped = async {
                self.bundles.disown(id).await?;
                self.bundles.forget(id).await
            };
            if let Err(error) = dropped.await {
                tracing::warn!(%error, bundle = id.short(), "content of the fog that was left stays for now");
            }
        }
        if before.fog.is_some() {
            let profile = &self.ground.profile;
            let removed = remove(|| std::fs::remove_dir_all(profile.path(PRACTICE)))
                .and_then(|()| remove(|| std::fs::remove_file(profile.path("fog.key"))))
                .and_then(|()| {
                    ["", "-wal", "-shm"]
                        .iter()
                        .try_for_each(|end| remove(|| std::fs::remove_file(profile.path(&format!("fog.sqlite{end}")))))
                })
                .and_then(|()| self.keys(membership.fog).forget_all());
            removed.map_err(|e| answers::failed(format!("the practice fog ended, but some of its files stayed: {e}"), ""))?;
        }
        Ok(())
    }

    /// Tells the allocator that this device leaves for good, if it is there. To one that is away, it is no member any more once it joins anew.
    async fn say_goodbye(&self) {
        let asked = timeout(GOODBYE_WAIT, self.ask(&NodeRequest::Leave)).await;
        if !matches!(asked, Ok(Ok(NodeReply::Done))) {
            tracing::warn!("the allocator was not told that this device left its fog");
        }
    }

    /// Asks the allocator; what is not an answer is an error.
    pub(crate) async fn ask(&self, request: &NodeRequest) -> Result<NodeReply, ControlError> {
        let Some(member) = self.parts().member else { return Err(answers::no_fog()) };
        match member.ask(request).await {
            Some(Ok(NodeReply::Refused(refusal))) => Err(answers::refused(refusal)),
            Some(Ok(reply)) => Ok(reply),
            Some(Err(error)) => Err(answers::call_failed(error)),
            None => Err(answers::away(&member.standing().borrow().why())),
        }
    }
}

fn remove(act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match act() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
