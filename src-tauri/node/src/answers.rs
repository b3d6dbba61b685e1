//! From what allocators and devices say to what people are shown.

use crate::control::{
    Amounts, ContainerDetailDto, ContainerDto, ControlError, ControlErrorKind, DeviceDto, ExplainedDto, FitDto, InstanceDto,
    LevelDto, LoadDto, LoadNowDto, LoadRowDto, LoadSpanDto, OutlookDto, RehearsedDto, RoleDto, StepDto, TrustDto, UpdateDto,
    VerdictDto,
};
use fogbank_betanet::{
    address::{AccessKey, FogLink},
    client::Trust,
    link::Way,
};
use fogbank_model::{Dimension, Image, Infeasible, Level, Outlook, Resources, UnixMs};
use fogbank_wire::{
    CallError, Capacity, ContainerDetail, ContainerSummary, DeviceView, Explained, ExplainedDevice, InstanceView, LoadSpan,
    LoadView, Refusal, RefusalKind, Rehearsed, Roles, UpdateView,
};

pub(crate) fn amounts(r: &Resources) -> Amounts {
    let shown = |d: Dimension| r.get(d) as f64 / d.units_per_shown() as f64;
    Amounts {
        cpu_cores: shown(Dimension::Cpu),
        memory_mb: shown(Dimension::Memory),
        storage_mb: shown(Dimension::Storage),
        bandwidth_mbps: shown(Dimension::Bandwidth),
    }
}

/// The way of a link, as a word that programs read too.
pub(crate) fn way(way: Way) -> &'static str {
    match way {
        Way::None => "none",
        Way::Direct => "direct",
        Way::Relay => "relay",
    }
}

/// What a person asked for, checked.
pub(crate) fn requirements(a: &Amounts) -> Result<Resources, ControlError> {
    Resources::parse(a.cpu_cores, a.memory_mb, a.storage_mb, a.bandwidth_mbps)
        .map_err(|e| invalid(e.to_string(), "Ask for a positive amount that a device can have."))
}

pub(crate) fn level(level: LevelDto) -> Level {
    match level {
        LevelDto::Fast => Level::Fast,
        LevelDto::Balanced => Level::Balanced,
        LevelDto::Strict => Level::Strict,
    }
}

pub(crate) fn trust(trust: Trust) -> TrustDto {
    match trust {
        Trust::Unknown => TrustDto::Unknown,
        Trust::Unchecked => TrustDto::NotVerified,
        Trust::Checked => TrustDto::Verified,
        Trust::Broken => TrustDto::Broken,
    }
}

pub(crate) fn level_dto(level: Level) -> LevelDto {
    match level {
        Level::Fast => LevelDto::Fast,
        Level::Balanced => LevelDto::Balanced,
        Level::Strict => LevelDto::Strict,
    }
}

pub(crate) fn roles(granted: &[RoleDto]) -> Roles {
    granted.iter().fold(Roles::default(), |roles, role| match role {
        RoleDto::Contribute => Roles { agent: true, mixnode: true, ..roles },
        RoleDto::Publish => Roles { publisher: true, ..roles },
        RoleDto::Administer => Roles { admin: true, ..roles },
    })
}

pub(crate) fn role_dtos(roles: Roles) -> Vec<RoleDto> {
    let list = [
        (roles.agent || roles.mixnode, RoleDto::Contribute),
        (roles.publisher, RoleDto::Publish),
        (roles.admin, RoleDto::Administer),
    ];
    list.into_iter().filter(|(has, _)| *has).map(|(_, role)| role).collect()
}

/// What a node knows of a container that it published.
pub(crate) struct Published {
    /// The key of a private one.
    pub(crate) access: Option<AccessKey>,
    /// Whether visitors may come without mixes.
    pub(crate) direct: bool,
}

/// A line of the list; `published`: if it was published here.
pub(crate) fn container(c: ContainerSummary, published: Option<&Published>) -> ContainerDto {
    ContainerDto {
        id: c.id.to_string(),
        name: c.name,
        onion: c.onion.to_string(),
        private: published.is_some_and(|p| p.access.is_some()),
        direct: published.is_some_and(|p| p.direct),
        state: c.state.name().to_owned(),
        reason: c.reason,
        ready: c.ready,
        wanted: c.wanted,
        created_ms: c.created.0,
    }
}

pub(crate) fn instance(view: &InstanceView) -> InstanceDto {
    let i = &view.instance;
    InstanceDto {
        id: i.id.to_string(),
        container: i.container.to_string(),
        device: i.device.to_string(),
        device_name: view.device_name.clone(),
        state: i.state.name().to_owned(),
        reason: i.reason.clone(),
        given: amounts(&i.given),
        revision: i.revision,
    }
}

fn update(update: &UpdateView) -> UpdateDto {
    let Image::Site { bytes, .. } = update.revision.image;
    UpdateDto {
        revision: update.revision.number,
        state: update.revision.state.name().to_owned(),
        words: update.words.clone(),
        ready: update.ready,
        wanted: update.wanted,
        began_ms: update.revision.began.0,
        bytes,
    }
}

pub(crate) fn detail(d: &ContainerDetail, link: &FogLink, published: Option<&Published>, back: bool) -> ContainerDetailDto {
    let c = &d.container;
    let Image::Site { bytes, files, .. } = c.spec.image;
    let ready = d.instances.iter().filter(|v| v.instance.state == fogbank_model::InstanceState::Ready).count();
    ContainerDetailDto {
        container: ContainerDto {
            id: c.id.to_string(),
            name: c.spec.name.to_string(),
            onion: c.onion.to_string(),
            private: link.access.is_some(),
            direct: published.is_some_and(|p| p.direct),
            state: c.state.name().to_owned(),
            reason: c.reason.clone(),
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            wanted: d.wanted,
            created_ms: c.created.0,
        },
        link: link.to_string(),
        requirements: amounts(&c.spec.requirements),
        availability: c.spec.availability,
        expected_availability: d.availability,
        most: c.spec.most.filter(|_| c.spec.scales()),
        load: d.load.clone(),
        level: level_dto(c.spec.level),
        bytes,
        files,
        holders: d.holders,
        placement: d.placement.clone().unwrap_or_else(|| "not placed yet".to_owned()),
        history: d
            .history
            .iter()
            .map(|t| StepDto { at_ms: t.at.0, state: t.to.name().to_owned(), reason: t.reason.clone() })
            .collect(),
        instances: d.instances.iter().map(instance).collect(),
        revision: d.container.revision,
        update: d.update.as_ref().map(update),
        back,
    }
}

pub(crate) fn device(d: DeviceView) -> DeviceDto {
    DeviceDto {
        id: d.id.to_string(),
        name: d.name,
        connected: d.connected,
        roles: role_dtos(d.granted),
        lent: amounts(&d.lent),
        free: amounts(&d.free),
        availability: d.availability,
        reliability: d.reliability,
        instances: u32::try_from(d.instances.len()).unwrap_or(u32::MAX),
        why: match d.aside {
            Some((failures, until)) => format!("{}; {}", set_aside(failures, until, fogbank_betanet::clock::system()), d.why),
            None => d.why,
        },
    }
}

/// That a device is left alone for a while, for people.
fn set_aside(failures: u8, until: UnixMs, now: UnixMs) -> String {
    let times = if failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") };
    format!("set aside for {} s: it refused {times} what it offers", until.since(now).0.max(0) / 1_000)
}

pub(crate) fn explained(e: Explained) -> ExplainedDto {
    let device = |d: ExplainedDevice| VerdictDto { name: d.name, runs: d.runs, words: d.words };
    ExplainedDto {
        plan: e.plan,
        load: e.load,
        devices: e.devices.into_iter().map(device).collect(),
        others: e.others,
        remedies: e.remedies,
    }
}

pub(crate) fn load_span(span: LoadSpanDto) -> LoadSpan {
    match span {
        LoadSpanDto::Day => LoadSpan::Day,
        LoadSpanDto::Month => LoadSpan::Month,
    }
}

pub(crate) fn load(l: &LoadView) -> LoadDto {
    LoadDto {
        ready: l.ready,
        wanted: l.wanted,
        least: l.least,
        most: l.most,
        why: l.why.clone(),
        now: l.now.map(|n| LoadNowDto {
            at_ms: n.at.0,
            network: n.network,
            concurrency: n.concurrency,
            latency: n.latency,
            traffic: n.traffic,
        }),
        changes: l.changes.0,
        most_changes: l.changes.1,
        rows: l
            .rows
            .iter()
            .map(|r| LoadRowDto {
                at_ms: r.at.0,
                peak: r.peak,
                network: r.network,
                concurrency: r.concurrency,
                latency: r.latency,
                traffic: r.traffic,
                ready: r.ready,
                wanted: r.wanted,
            })
            .collect(),
    }
}

pub(crate) fn rehearsed(r: &Rehearsed) -> RehearsedDto {
    let outlook = |o: &Outlook| OutlookDto {
        copies: o.copies,
        availability: o.availability,
        within: o.within,
        failed: o.failed,
        losses_a_day: o.losses_a_day,
        longest_outage_s: o.longest_outage.0 as f64 / 1e3,
    };
    RehearsedDto { devices: r.devices, watched_days: r.watched_h / 24.0, outlooks: r.outlooks.iter().map(outlook).collect() }
}

pub(crate) fn fit(c: &Capacity) -> FitDto {
    let words = match &c.infeasible {
        None => format!("Fits: {} of {} devices could take a copy.", c.suitable, c.devices),
        Some(infeasible) => format!("It {infeasible}."),
    };
    FitDto {
        fits: c.infeasible.is_none(),
        words,
        free: amounts(&c.free),
        devices: c.devices,
        suitable: c.suitable,
        largest: c.infeasible.as_ref().and_then(|i| i.largest.as_ref()).map(amounts),
    }
}

pub(crate) fn invalid(what: impl Into<String>, todo: &str) -> ControlError {
    ControlError { kind: ControlErrorKind::Invalid, what: what.into(), todo: todo.to_owned() }
}

pub(crate) fn failed(what: impl Into<String>, todo: &str) -> ControlError {
    ControlError { kind: ControlErrorKind::Failed, what: what.into(), todo: todo.to_owned() }
}

pub(crate) fn no_fog() -> ControlError {
    ControlError {
        kind: ControlErrorKind::NoFog,
        what: "this node is in no fog".to_owned(),
        todo: "Start a fog, or join one with a ticket.".to_owned(),
    }
}

pub(crate) fn away(why: &str) -> ControlError {
    ControlError {
        kind: ControlErrorKind::AllocatorAway,
        what: format!("the fog's allocator is away: {why}"),
        todo: "What runs goes on. This works again when the allocator is back.".to_owned(),
    }
}

pub(crate) fn does_not_fit(infeasible: &Infeasible) -> ControlError {
    ControlError {
        kind: ControlErrorKind::Infeasible,
        what: format!("it {infeasible}"),
        todo: "Ask for less, or wait for more devices. Nothing was created.".to_owned(),
    }
}

pub(crate) fn refused(refusal: Refusal) -> ControlError {
    let kind = match refusal.kind {
        RefusalKind::NotFound => ControlErrorKind::NotFound,
        RefusalKind::Invalid | RefusalKind::WrongState => ControlErrorKind::Invalid,
        RefusalKind::Busy | RefusalKind::Failed => ControlErrorKind::Failed,
        RefusalKind::Version
        | RefusalKind::UnknownKey
        | RefusalKind::Invite
        | RefusalKind::Expired
        | RefusalKind::NotGranted
        | RefusalKind::NotServed => ControlErrorKind::Refused,
    };
    ControlError { kind, what: refusal.message, todo: String::new() }
}

pub(crate) fn call_failed(error: CallError) -> ControlError {
    match error {
        CallError::Refused(refusal) => refused(refusal),
        other => away(&other.to_string()),
    }
}
