//! Answers in words, for a terminal.

use crate::load;
use fogbank_node::control::{
    AdversaryDto, Amounts, ContainerDetailDto, ControlReply, ControlRequest, ExplainedDto, FederationDto, GradeDto, LevelDto,
    LevelPrivacyDto, LoadSpanDto, NetworkDto, PrivacyDto, RehearsedDto, RelayDto, RelayStateDto, RoleDto, StatusDto, TrustDto,
    ViewDto, WitnessesDto,
};
use std::{fmt::Write, time::SystemTime};

/// An answer as lines of text.
pub(crate) fn words(request: &ControlRequest, reply: &ControlReply) -> String {
    let mut out = String::new();
    // Writing to a String can't fail, so the results are dropped.
    let _ = match reply {
        ControlReply::Done => writeln!(out, "{}", done(request)),
        ControlReply::Failed(error) => writeln!(out, "{}", error.what),
        ControlReply::Status(status) => show_status(&mut out, status),
        ControlReply::Ticket(ticket) => writeln!(out, "{ticket}"),
        ControlReply::Folder(f) => writeln!(out, "“{}” can be put online: {} files, {} bytes", f.name, f.files, f.bytes),
        ControlReply::Fit(fit) => writeln!(out, "{}", fit.words),
        ControlReply::Removed(count) => {
            writeln!(out, "{count} {} removed", if *count == 1 { "device was" } else { "devices were" })
        }
        ControlReply::Explained(explained) => show_explained(&mut out, explained),
        ControlReply::Load(load) => {
            let span = if let ControlRequest::Load { span, .. } = request { *span } else { LoadSpanDto::Day };
            load::show(&mut out, span, load, now_ms())
        }
        ControlReply::Rehearsed(rehearsed) => show_rehearsed(&mut out, rehearsed),
        ControlReply::Updated { revision } => {
            writeln!(out, "revision  {revision}\nfogbankd container ID shows how far it is; fogbankd update ID --back goes back")
        }
        ControlReply::Created { id, onion } => writeln!(out, "container {id}\naddress   {onion}"),
        ControlReply::Progress(None) => writeln!(out, "nothing is on its way"),
        ControlReply::Progress(Some(p)) => writeln!(out, "{}: {} of {} bytes", p.step, p.done_bytes, p.total_bytes),
        ControlReply::Containers(list) if list.is_empty() => writeln!(out, "no containers yet: fogbankd publish FOLDER"),
        ControlReply::Containers(list) => list.iter().try_for_each(|c| {
            writeln!(out, "{}  {:<10} {} of {} ready  {}  {}", c.id, c.state, c.ready, c.wanted, c.onion, c.name)
        }),
        ControlReply::Container(detail) => show_container(&mut out, detail),
        ControlReply::Devices(list) => list.iter().try_for_each(|d| {
            let link = if d.connected { "connected" } else { "away" };
            let (stays, reliable) = (d.availability * 100.0, d.reliability * 100.0);
            writeln!(
                out,
                "{}  {}  {link:<9} lends {}  {} instances  stays an hour: {stays:.0} %  reliable: {reliable:.0} %  {}",
                d.id,
                d.name,
                amounts(&d.lent),
                d.instances,
                d.why
            )
        }),
        ControlReply::Network(network) => show_network(&mut out, network),
        ControlReply::Federation(federation) => show_federation(&mut out, federation),
    };
    out
}

fn done(request: &ControlRequest) -> &'static str {
    match request {
        ControlRequest::Quit => "the node ends",
        ControlRequest::Join { .. } => "joined",
        ControlRequest::Leave => "left the fog",
        ControlRequest::StartFog { .. } => "the fog is there: fogbankd invite",
        ControlRequest::Federate { .. } => "named: it counts once that fog names this one too (fogbankd federation)",
        ControlRequest::EndFederation { .. } => "ended: with the next list of mixes, nothing of that fog is used",
        ControlRequest::NeedWitnesses { .. } => {
            "wanted: it holds once enough of the other fogs have signed the change (fogbankd federation)"
        }
        ControlRequest::LetWitnesses { .. } => "let: that fog may change its witnesses for an hour",
        ControlRequest::AbandonWitnesses => {
            "given up: members must leave this fog and join anew; other fogs end the federation and name it again"
        }
        ControlRequest::Practice => "the practice fog is ready (it gives no privacy): fogbankd publish FOLDER",
        _ => "done",
    }
}

fn show_status(out: &mut String, status: &StatusDto) -> std::fmt::Result {
    writeln!(out, "Fogbank {}, process {}", status.version, status.pid)?;
    writeln!(out, "device   {}", status.device)?;
    match &status.fog {
        None => writeln!(out, "fog      none: start one, or join one with a ticket")?,
        Some(fog) => {
            let link = if fog.connected { "connected" } else { fog.why.as_str() };
            let test = if fog.test { " (test fog: no privacy)" } else { "" };
            let roles: Vec<_> = fog.roles.iter().map(|r| role(*r)).collect();
            writeln!(out, "fog      {}{test}, {link}; may {}", fog.name, roles.join(", "))?;
            if let Some(relay) = &fog.relay {
                writeln!(out, "relay    {relay}: who runs it sees which devices talk with each other, though not what")?;
            }
        }
    }
    match &status.lend {
        None => writeln!(out, "lending  off")?,
        Some(lend) => {
            writeln!(out, "lending  {}: {}; {} instances", amounts(&lend.lent), lend.why, lend.instances.len())?;
            if lend.direct {
                writeln!(
                    out,
                    "DIRECT   visitors who ask for it see this device's address; `lend on` without --direct ends that"
                )?;
            }
        }
    }
    writeln!(out, "relaying {}", relaying(status.relaying))?;
    writeln!(out, "proxy    {}", status.proxy.as_deref().unwrap_or("off"))
}

fn show_container(out: &mut String, detail: &ContainerDetailDto) -> std::fmt::Result {
    let c = &detail.container;
    writeln!(out, "{}  {}  {} of {} ready", c.name, c.state, c.ready, c.wanted)?;
    writeln!(out, "why       {}", c.reason)?;
    writeln!(out, "address   {}", c.onion)?;
    writeln!(out, "link      {}", detail.link)?;
    writeln!(
        out,
        "revision  {}{}",
        detail.revision,
        if detail.back { " (update --back goes back to the one before)" } else { "" }
    )?;
    if let Some(update) = &detail.update {
        let state = match update.state.as_str() {
            "coming" => "is coming",
            "moving" => "is under way",
            "given_up" => "was given up, what was there before goes on",
            _ => "is done",
        };
        writeln!(out, "update    to {} {state}: {}", update.revision, update.words)?;
    }
    if c.direct {
        writeln!(out, "DIRECT    visitors who ask for it come without mixes: they and the host see each other's address")?;
    }
    writeln!(out, "needs     {}; {} files, {} bytes", amounts(&detail.requirements), detail.files, detail.bytes)?;
    let wanted = detail.availability.map(|share| format!(", {} % asked for", percent(share))).unwrap_or_default();
    writeln!(out, "stays     {} % over the next hour{wanted}", percent(detail.expected_availability))?;
    if let Some(load) = &detail.load {
        writeln!(out, "load      {load}")?;
    }
    writeln!(out, "held by   {}", holders(detail.holders))?;
    writeln!(out, "placement {}", detail.placement)?;
    let began_ms = detail.history.first().map_or(0, |step| step.at_ms);
    for step in &detail.history {
        let after_s = (step.at_ms - began_ms) as f64 / 1e3;
        writeln!(out, "  after {after_s:>9.3} s  {:<10} {}", step.state, step.reason)?;
    }
    for i in &detail.instances {
        let other = if i.revision == detail.revision { String::new() } else { format!(" of revision {}", i.revision) };
        writeln!(out, "  on {}: {}{other} with {} ({})", i.device_name, i.state, amounts(&i.given), i.reason)?;
    }
    Ok(())
}

/// In percent, as exactly as it differs from certainty.
fn percent(share: f64) -> String {
    let digits = (0..=3).find(|digits| 1.0 - share > 0.1f64.powi(digits + 2)).unwrap_or(3);
    format!("{:.*}", usize::try_from(digits).unwrap_or(0), share * 100.0)
}

fn show_explained(out: &mut String, explained: &ExplainedDto) -> std::fmt::Result {
    writeln!(out, "it runs {}", explained.plan)?;
    if let Some(load) = &explained.load {
        writeln!(out, "{load}")?;
    }
    for device in &explained.devices {
        writeln!(out, "  {} {}: {}", if device.runs { "on" } else { "not on" }, device.name, device.words)?;
    }
    for (kind, count) in &explained.others {
        writeln!(out, "  {count} others {kind}")?;
    }
    for remedy in &explained.remedies {
        writeln!(out, "  what was asked for would fit with {remedy}")?;
    }
    Ok(())
}

fn show_rehearsed(out: &mut String, rehearsed: &RehearsedDto) -> std::fmt::Result {
    let (devices, days) = (rehearsed.devices, rehearsed.watched_days);
    writeln!(
        out,
        "a week of this fog, rehearsed: {devices} devices, each watched for {days:.1} days so far; what is not known is taken as usual"
    )?;
    for o in &rehearsed.outlooks {
        let copies = if o.copies == 1 { "copy  " } else { "copies" };
        writeln!(
            out,
            "{:>3} {copies}  there {} % of the time (± {:.3}), {:.3} % of requests fail, {:.1} copies lost a day, longest outage {:.0} s",
            o.copies,
            percent(o.availability),
            o.within * 100.0,
            o.failed * 100.0,
            o.losses_a_day,
            o.longest_outage_s
        )?;
    }
    Ok(())
}

/// Who holds the content, and what it means when these are few.
fn holders(count: u32) -> String {
    match count {
        0 => "no device besides the publisher: it is there only while the publisher's device is".to_owned(),
        1 => "1 device besides the publisher: few; with another, the site stays when that one leaves".to_owned(),
        more => format!("{more} devices besides the publisher"),
    }
}

fn show_federation(out: &mut String, federation: &FederationDto) -> std::fmt::Result {
    writeln!(out, "this fog {}", federation.address)?;
    show_witnesses(out, &federation.witnesses)?;
    if federation.fogs.is_empty() {
        writeln!(out, "federated with none: fogbankd federate fogpeer://…, here and there")?;
    }
    for fog in &federation.fogs {
        let link = if fog.connected { "connected" } else { fog.why.as_str() };
        writeln!(out, "fog      {}", fog.fog)?;
        writeln!(out, "         {}", fog.words)?;
        let list = fog.made_ms.map_or("no list of mixes yet".to_owned(), |made| {
            format!("{} mixes, as of {} min ago", fog.mixes, (now_ms() - made).max(0) / 60_000)
        });
        writeln!(out, "         {list}; its allocator at {}: {link}", fog.address)?;
    }
    Ok(())
}

fn show_witnesses(out: &mut String, witnesses: &WitnessesDto) -> std::fmt::Result {
    let WitnessesDto { fogs, needed, .. } = witnesses;
    let now_ms = now_ms();
    let list = witnesses.made_ms.zip(witnesses.expires_ms).map_or("there is none yet".to_owned(), |(made, expires)| {
        let (age_min, left_h) = ((now_ms - made).max(0) / 60_000, (expires - now_ms).max(0) / 3_600_000);
        format!("the one in use is {age_min} min old and holds for {left_h} h more")
    });
    if fogs.is_empty() {
        writeln!(out, "signing  this fog signs its list of mixes alone; {list}")?;
    } else {
        let count = fogs.len();
        writeln!(out, "signing  {needed} of {count} other fogs must sign each new list of mixes; {list}")?;
    }
    for trouble in &witnesses.troubles {
        writeln!(out, "         {trouble}")?;
    }
    for (fog, answer) in fogs {
        let answer = if answer.is_empty() { "signs" } else { answer };
        writeln!(out, "         {fog}: {answer}")?;
    }
    if !fogs.is_empty() && !witnesses.one_view {
        writeln!(out, "         with so few, who steals this fog's key can show different people different lists")?;
    }
    Ok(())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64)
}

fn show_network(out: &mut String, network: &NetworkDto) -> std::fmt::Result {
    writeln!(out, "mixes    {} listed, {} usable, {} needed", network.mixes, network.usable, network.needed)?;
    let gate = if network.waiting.is_empty() { "addresses can be opened" } else { network.waiting.as_str() };
    writeln!(out, "gate     {gate}")?;
    if let Some(privacy) = &network.privacy {
        show_privacy(out, privacy)?;
    }
    writeln!(out, "relay    {}", relay(&network.relay))?;
    for (side, peers) in [("visiting", &network.peers), ("hosting", &network.host_peers)] {
        for peer in peers {
            writeln!(out, "{side:<8} first mix {} at {}: {}", peer.mix, peer.addr, peer.way)?;
        }
    }
    for visit in &network.visits {
        let mark = match visit.trust {
            TrustDto::Unknown => "",
            TrustDto::NotVerified => "; not verified: an app, its host could alter it",
            TrustDto::Verified => "; verified: what it shows is its publisher's",
            TrustDto::Broken => "; broken: no copy gives what the publisher signed",
        };
        writeln!(out, "visit    {}  {}{mark}", visit.onion, visit.words)?;
        if visit.direct.is_some() {
            writeln!(out, "         PRIVACY NONE: direct, you and the host see each other's address")?;
        }
        if visit.caught > 0 {
            writeln!(out, "         {} lying copies were caught and left", visit.caught)?;
        }
    }
    for (title, counters) in
        [("mix", &network.mix_counters), ("visiting", &network.visit_counters), ("hosting", &network.host_counters)]
    {
        for (name, count) in counters {
            writeln!(out, "{title:<8} {name} {count}")?;
        }
    }
    Ok(())
}

/// The privacy meter: each adversary at the level that is usual, then what other levels change.
fn show_privacy(out: &mut String, privacy: &PrivacyDto) -> std::fmt::Result {
    if privacy.test {
        writeln!(out, "PRIVACY  NONE: this is a test fog. Use it to try things, for nothing else.")?;
    }
    let PrivacyDto { users_at_least, users_at_most, mixes, owners, .. } = privacy;
    writeln!(
        out,
        "privacy  one of {users_at_least} to {users_at_most} people online (an estimate); {mixes} mixes of {owners} owners"
    )?;
    let usual = privacy.levels.iter().find(|l| l.level == LevelDto::Balanced);
    for view in usual.iter().flat_map(|l| &l.views).filter(|v| v.adversary != AdversaryDto::Global) {
        show_view(out, adversary(view.adversary), view)?;
    }
    for at in &privacy.levels {
        let Some(view) = at.views.iter().find(|v| v.adversary == AdversaryDto::Global) else { continue };
        show_view(out, &format!("watcher of both ends, {}", level(at.level)), view)?;
        writeln!(out, "         {}", figures(at))?;
    }
    Ok(())
}

fn show_view(out: &mut String, who: &str, view: &ViewDto) -> std::fmt::Result {
    let grade = match view.grade {
        GradeDto::None => "NONE",
        GradeDto::Weak => "weak",
        GradeDto::Fair => "fair",
        GradeDto::Good => "good",
    };
    writeln!(out, "  {grade:<6} {who}: {}", view.words)
}

/// The numbers behind.
fn figures(at: &LevelPrivacyDto) -> String {
    let bits = at.packet_bits.map_or("a packet's sender: not measured".to_owned(), |b| format!("a packet's sender: {b:.1} bits"));
    let offered = if at.offered { "" } else { "; not offered here" };
    format!("pages found {:.1} %; {bits}; cover {} bytes/s{offered}", at.pages_found * 100.0, at.cover_bytes_s)
}

fn adversary(adversary: AdversaryDto) -> &'static str {
    match adversary {
        AdversaryDto::Host => "host",
        AdversaryDto::Mix => "your first mix",
        AdversaryDto::Allocator => "allocator",
        AdversaryDto::Owner => "one owner with all mixes",
        AdversaryDto::Global => "watcher of both ends",
    }
}

fn level(level: LevelDto) -> &'static str {
    match level {
        LevelDto::Fast => "fast",
        LevelDto::Balanced => "balanced",
        LevelDto::Strict => "strict",
    }
}

/// The relay's limits in one line.
fn relay(relay: &RelayDto) -> String {
    let limit = |of: Option<u32>, unit: &str| of.map_or("no limit".to_owned(), |n| format!("{n} {unit}"));
    format!(
        "{}; {}, {}; {} MB relayed this month",
        relaying(relay.state),
        limit(relay.rate_kb_s, "KB/s"),
        limit(relay.month_gb, "GB a month"),
        relay.month_used_mb
    )
}

/// Whether the mix relays, and if it rests, why and what would end that.
fn relaying(state: RelayStateDto) -> &'static str {
    match state {
        RelayStateDto::On => "on",
        RelayStateDto::Off => "off",
        RelayStateDto::MonthUsed => "rests until next month: this month's limit is used up; `relay-limits` raises it",
        RelayStateDto::NotGranted => "rests: the fog does not let this device relay; join with an invite that lets it contribute",
        RelayStateDto::Starting => "starting",
    }
}

fn amounts(a: &Amounts) -> String {
    format!("{} cores, {} MB memory, {} MB storage, {} Mbit/s", a.cpu_cores, a.memory_mb, a.storage_mb, a.bandwidth_mbps)
}

fn role(role: RoleDto) -> &'static str {
    match role {
        RoleDto::Contribute => "contribute",
        RoleDto::Publish => "publish",
        RoleDto::Administer => "administer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_that_rests_is_not_said_to_be_off() {
        let status = |relaying| {
            let status =
                StatusDto { version: String::new(), pid: 1, device: String::new(), fog: None, lend: None, relaying, proxy: None };
            let words = words(&ControlRequest::Status, &ControlReply::Status(Box::new(status)));
            words.lines().find_map(|line| line.strip_prefix("relaying ")).map(str::to_owned).unwrap_or_default()
        };
        assert_eq!([status(RelayStateDto::On), status(RelayStateDto::Off)], ["on", "off"]);
        assert!(status(RelayStateDto::MonthUsed).starts_with("rests until next month"));
        assert!(status(RelayStateDto::NotGranted).contains("the fog does not let"));
    }
}
