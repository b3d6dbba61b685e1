//! Putting a folder online: checked, imported as a bundle, given an address, and asked of the allocator.
//!
//! Invariants: what can be refused is refused before a large folder is read; a refusal leaves nothing behind; asking again after a lost
//! answer goes under the same id, so nothing is created twice; when no answer came at all, the next look at the allocator's list decides
//! whether address and content stay, and what a crash left of an import goes at the next start.

use crate::{
    answers,
    container_keys::{ContainerKeys, Content, DAYS_AHEAD},
    control::{Amounts, ControlError, ControlErrorKind, ControlReply, FolderDto, LevelDto, ProgressDto},
    node::Inner,
    profile::Profile,
};
use fogbank_agent::bundle::{self, Bundles, ImportedBundle, Limits, check_folder};
use fogbank_betanet::{address::AccessKey, directory::clock, seal::SiteSeal};
use fogbank_model::{BundleId, ContainerId, ContainerName, ContainerSpec, FogId, Image};
use fogbank_wire::{ContainerRequest, ContainerSummary, NodeReply, NodeRequest, ServiceProof};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// An allocator that restarts is back within seconds; a publisher insists for this long before it says that it is away.
const INSIST: Duration = Duration::from_secs(30);
/// Pause between two questions.
const AGAIN: Duration = Duration::from_millis(300);

/// What a person wants online.
pub(crate) struct Wish {
    pub(crate) folder: String,
    pub(crate) name: String,
    pub(crate) requirements: Amounts,
    pub(crate) instances: u8,
    pub(crate) availability: Option<f64>,
    pub(crate) most: Option<u8>,
    pub(crate) level: LevelDto,
    /// Only for those who have the link's key.
    pub(crate) private: bool,
    /// Whether visitors may come without mixes.
    pub(crate) direct: bool,
}

/// How far the folder that is being put online is. One at a time: two would only slow each other.
#[derive(Debug, Default, Clone)]
pub(crate) struct Progress(Arc<Mutex<Option<ProgressDto>>>);

/// One folder on its way; nothing is any more when it is dropped.
pub(crate) struct OnItsWay(Progress);

impl Progress {
    pub(crate) fn now(&self) -> Option<ProgressDto> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<ProgressDto>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) -> Result<OnItsWay, ControlError> {
        let mut now = self.lock();
        if now.is_some() {
            return Err(answers::invalid("another folder is being put online", "Wait until it is done."));
        }
        *now = Some(ProgressDto { step: "looking at the folder".to_owned(), done_bytes: 0, total_bytes: 0 });
        Ok(OnItsWay(self.clone()))
    }
}

impl OnItsWay {
    pub(crate) fn step(&self, words: &str, done_bytes: u64, total_bytes: u64) {
        *self.0.lock() = Some(ProgressDto { step: words.to_owned(), done_bytes, total_bytes });
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// Looks whether a folder can be put online.
pub(crate) async fn folder(path: &str) -> Result<FolderDto, ControlError> {
    let folder = absolute(path)?;
    let (files, bytes) = look(folder.clone()).await?;
    let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(FolderDto { name, files, bytes })
}

pub(crate) fn absolute(path: &str) -> Result<PathBuf, ControlError> {
    let path = Path::new(path);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(answers::invalid(format!("“{}” is no whole path", path.display()), "Name the folder from the root on."))
    }
}

pub(crate) async fn look(folder: PathBuf) -> Result<(u32, u64), ControlError> {
    let looked = tokio::task::spawn_blocking(move || check_folder(&folder, &Limits::default())).await;
    let looked = looked.map_err(|error| answers::failed(error.to_string(), ""))?;
    looked.map_err(|error| answers::invalid(error.to_string(), ""))
}

pub(crate) fn not_a_publisher() -> ControlError {
    ControlError {
        kind: ControlErrorKind::Refused,
        what: "this node may not publish in this fog".to_owned(),
        todo: "Ask for an invite that lets you publish, and join with it.".to_owned(),
    }
}

/// Puts a folder online.
pub(crate) async fn publish(inner: &Inner, wish: Wish) -> Result<ControlReply, ControlError> {
    let on_its_way = inner.progress.begin()?;
    let membership = inner.settings().membership.ok_or_else(answers::no_fog)?;
    if !membership.granted.publisher {
        return Err(not_a_publisher());
    }
    if wish.private && wish.direct {
        let todo = "Choose one: only people with the link's key, or visitors who come directly.";
        return Err(answers::invalid("what is private can't be offered without mixes", todo));
    }
    let name: ContainerName = wish.name.parse().map_err(|e| answers::invalid(format!("{e}"), "Choose another name."))?;
    let folder = absolute(&wish.folder)?;
    let (files, bytes) = look(folder.clone()).await?;
    let requirements = answers::requirements(&wish.requirements)?;
    let spec = |image| ContainerSpec {
        name: name.clone(),
        image,
        requirements,
        instances: wish.instances,
        availability: wish.availability,
        most: wish.most,
        level: answers::level(wish.level),
    };
    let guessed = spec(Image::Site { bundle: BundleId([0; 32]), bytes, files });
    guessed.check().map_err(|e| answers::invalid(e.to_string(), ""))?;
    if let NodeReply::Capacity(room) = inner.ask(&NodeRequest::Ask(Box::new(guessed))).await?
        && let Some(why) = room.infeasible
    {
        return Err(answers::does_not_fit(&why));
    }

    on_its_way.step("reading the files", 0, bytes);
    let told = |p: bundle::ImportProgress| on_its_way.step("reading the files", p.done_bytes, p.total_bytes);
    let imported = inner.bundles.import(&folder, &Limits::default(), told).await;
    let imported = imported.map_err(|e| answers::invalid(e.to_string(), "Nothing was put online."))?;

    if inner.settings().membership.is_none_or(|m| m.fog != membership.fog) {
        let _ = inner.bundles.disown(imported.id).await;
        return Err(answers::invalid("this node left the fog meanwhile", "Nothing was put online."));
    }
    on_its_way.step("asking the allocator", imported.bytes, imported.bytes);
    let spec = spec(Image::Site { bundle: imported.id, bytes: imported.bytes, files: imported.files });
    let access = wish.private.then(|| AccessKey::generate(&mut rand::rng()));
    match create(inner, membership.fog, spec, &imported, access, wish.direct).await {
        Ok(created) => Ok(created),
        // It may have been created: the address stays until the list shows whether it was, when the allocator is back.
        Err((error, _)) if error.kind == ControlErrorKind::AllocatorAway => Err(error),
        Err((error, id)) => {
            forget(inner, membership.fog, id).await;
            let _ = inner.bundles.disown(imported.id).await;
            Err(error)
        }
    }
}

/// Asks for the container; an error comes with the id that it was asked under.
async fn create(
    inner: &Inner,
    fog: FogId,
    spec: ContainerSpec,
    imported: &ImportedBundle,
    access: Option<AccessKey>,
    direct: bool,
) -> Result<ControlReply, (ControlError, ContainerId)> {
    let id = ContainerId(rand::random());
    let failed = |error: String| (answers::failed(error, "Nothing was put online."), id);
    // By the own clock: the allocator does not choose for which days it may sign.
    let now = clock();
    // What visitors hold every host to. The time makes a revision that rises.
    let content = Content { bundle: imported.id, revision: u64::try_from(now.0).unwrap_or(0) };
    let identity = inner.keys(fog).create(id, content, access, direct).map_err(|error| failed(error.to_string()))?;
    let seal = SiteSeal { root: imported.root.0, revision: content.revision };
    let proof = identity.pre_sign_sealed(now, DAYS_AHEAD, &seal, &mut rand::rng()).map_err(|error| failed(error.to_string()))?;
    let proof = ServiceProof { access: access.map(|key| key.0), ..proof };
    let onion = identity.onion().to_string();
    let request = NodeRequest::Create(Box::new(ContainerRequest { id, spec, proof }));
    match insist(inner, &request).await {
        Ok(NodeReply::Created(id)) => {
            created(inner, fog, id);
            Ok(ControlReply::Created { id: id.to_string(), onion })
        }
        Ok(NodeReply::Infeasible(why)) => Err((answers::does_not_fit(&why), id)),
        Ok(_) => Err(failed("the allocator gave another answer than was asked for".to_owned())),
        Err(error) => Err((error, id)),
    }
}

/// The allocator has a container.
fn created(inner: &Inner, fog: FogId, id: ContainerId) {
    let keys = inner.keys(fog);
    if let Err(error) = keys.answered(id) {
        tracing::warn!(%error, "that a container was created is not kept; the allocator's list shows it again");
    }
    // Its own publisher may look at it, too.
    if let Some((identity, Some(key))) = keys.load(id)
        && let Err(error) = inner.learn_key(identity.onion().clone(), key)
    {
        tracing::warn!(what = error.what, "a private site can't be visited from here");
    }
}

/// Containers that the allocator was asked for without an answer, and for which nobody waits now.
pub(crate) fn unanswered(inner: &Inner, fog: FogId) -> Vec<ContainerId> {
    if inner.progress.now().is_some() { Vec::new() } else { inner.keys(fog).unanswered() }
}

/// Decides about those that went unanswered by a list that the allocator gave since.
pub(crate) async fn settle(inner: &Inner, fog: FogId, unanswered: Vec<ContainerId>, list: &[ContainerSummary]) {
    for id in unanswered {
        if list.iter().any(|c| c.id == id) {
            created(inner, fog, id);
        } else {
            tracing::info!(container = id.short(), "it was never created: its address and its content go");
            forget(inner, fog, id).await;
        }
    }
}

/// Lets own bundles go that no container names: a crash came between an import and the key of its container.
pub(crate) async fn tidy(profile: &Profile, bundles: &Bundles) {
    let named = match ContainerKeys::bundles(profile) {
        Ok(named) => named,
        Err(error) => {
            tracing::warn!(%error, "own content is not tidied up");
            return;
        }
    };
    let held = bundles.held();
    let own: Vec<BundleId> = held.borrow().iter().filter(|(_, h)| h.own).map(|(id, _)| *id).collect();
    for id in own.into_iter().filter(|id| !named.contains(id)) {
        if let Err(error) = bundles.disown(id).await {
            tracing::warn!(%error, bundle = id.short(), "own content that no container has stays for now");
        }
    }
}

/// Asks until there is an answer, for as long as an allocator takes to restart.
pub(crate) async fn insist(inner: &Inner, request: &NodeRequest) -> Result<NodeReply, ControlError> {
    let began = Instant::now();
    loop {
        match inner.ask(request).await {
            Err(error) if error.kind == ControlErrorKind::AllocatorAway && began.elapsed() < INSIST => sleep(AGAIN).await,
            answer => return answer,
        }
    }
}

/// Forgets the address with its keys and, when no other container has the same content, this node's own copy of it.
pub(crate) async fn forget(inner: &Inner, fog: FogId, id: ContainerId) {
    if let Some((identity, Some(_))) = inner.keys(fog).load(id) {
        let changed = inner.change_keys(|keys| {
            keys.remove(identity.onion());
        });
        if let Err(error) = changed {
            tracing::warn!(%error, "the key of a deleted private address stays");
        }
    }
    for bundle in inner.keys(fog).forget(id) {
        if let Err(error) = inner.bundles.disown(bundle).await {
            tracing::warn!(%error, "the content of a deleted container could not be let go");
        }
    }
}

/// Whether this node has a bundle of its own.
pub(crate) fn is_here(inner: &Inner, bundle: BundleId) -> bool {
    inner.bundles.held().borrow().get(&bundle).is_some_and(|held| held.own)
}
