// Generated from src-tauri/node/src/control by `make bindings`. Do not edit: a test compares the two.

/**
 * Who might look.
 */
export type AdversaryDto = "host" | "mix" | "allocator" | "owner" | "global";

/**
 * Amounts in the units that people use.
 */
export type Amounts = { 
/**
 * Processor cores.
 */
cpu_cores: number, 
/**
 * Memory, MB.
 */
memory_mb: number, 
/**
 * Storage, MB.
 */
storage_mb: number, 
/**
 * Bandwidth, Mbit/s.
 */
bandwidth_mbps: number, };

/**
 * A container in full.
 */
export type ContainerDetailDto = { 
/**
 * The line of the list.
 */
container: ContainerDto, 
/**
 * The link to share: `fogbank://…`.
 */
link: string, 
/**
 * R.
 */
requirements: Amounts, 
/**
 * Probability with which at least one copy's device is to stay over the next hour, where that was asked for.
 */
availability: number | null, 
/**
 * The same as it is now, of the devices whose copies serve.
 */
expected_availability: number, 
/**
 * Copies at most, where their number follows load.
 */
most: number | null, 
/**
 * How much its copies are asked and how many are wanted for it, where their number follows load.
 */
load: string | null, 
/**
 * Delay on the way.
 */
level: LevelDto, 
/**
 * Bytes of the site.
 */
bytes: number, 
/**
 * Files of the site.
 */
files: number, 
/**
 * Devices other than the publisher's that hold the content whole.
 */
holders: number, 
/**
 * Why the instances are where they are, for people.
 */
placement: string, 
/**
 * States with times and reasons, oldest first.
 */
history: Array<StepDto>, 
/**
 * Instances, live ones first.
 */
instances: Array<InstanceDto>, 
/**
 * Of the content that visitors are told of: rises with each content that its publisher signed, the time of signing in milliseconds or more.
 */
revision: number, 
/**
 * The update that was asked for last, if there was one.
 */
update: UpdateDto | null, 
/**
 * Whether this node has the content of before, to go back to.
 */
back: boolean, };

/**
 * A line in the list of containers.
 */
export type ContainerDto = { 
/**
 * Its id.
 */
id: string, 
/**
 * Its name.
 */
name: string, 
/**
 * Its onion address.
 */
onion: string, 
/**
 * Whether the address opens only with the key, which its link holds.
 */
private: boolean, 
/**
 * Whether it was published here as one that visitors may come to directly: host and visitor then see each other's address.
 */
direct: boolean, 
/**
 * State: pending, allocating, starting, running, migrating, stopping, stopped or failed.
 */
state: string, 
/**
 * Why, for people.
 */
reason: string, 
/**
 * Instances that serve.
 */
ready: number, 
/**
 * Instances wanted.
 */
wanted: number, 
/**
 * When it was created.
 */
created_ms: number, };

/**
 * Why something was not done: for people first.
 */
export type ControlError = { 
/**
 * For code.
 */
kind: ControlErrorKind, 
/**
 * What happened.
 */
what: string, 
/**
 * What to do about it; may be empty.
 */
todo: string, };

/**
 * Kinds of failure.
 */
export type ControlErrorKind = "invalid" | "infeasible" | "no_fog" | "allocator_away" | "refused" | "not_found" | "failed";

/**
 * What comes back.
 */
export type ControlReply = { "reply": "done" } | { "reply": "failed", "value": ControlError } | { "reply": "status", "value": StatusDto } | { "reply": "ticket", "value": string } | { "reply": "folder", "value": FolderDto } | { "reply": "fit", "value": FitDto } | { "reply": "explained", "value": ExplainedDto } | { "reply": "load", "value": LoadDto } | { "reply": "removed", "value": number } | { "reply": "rehearsed", "value": RehearsedDto } | { "reply": "updated", "value": { 
/**
 * The revision under which its content was signed.
 */
revision: number, } } | { "reply": "created", "value": { 
/**
 * Its id.
 */
id: string, 
/**
 * Its onion address.
 */
onion: string, } } | { "reply": "progress", "value": ProgressDto | null } | { "reply": "containers", "value": Array<ContainerDto> } | { "reply": "container", "value": ContainerDetailDto } | { "reply": "devices", "value": Array<DeviceDto> } | { "reply": "network", "value": NetworkDto } | { "reply": "federation", "value": FederationDto };

/**
 * What can be asked of a node.
 */
export type ControlRequest = { "ask": "status" } | { "ask": "start_fog", 
/**
 * Its name, shown to everyone in it.
 */
name: string, 
/**
 * A test fog relaxes privacy rules, and says so everywhere.
 */
test: boolean, 
/**
 * The relay that its operator runs, as `fogbankd relay --listen` prints it, for devices behind home routers. Whoever runs it sees
 * which devices talk with each other, though not what.
 */
relay?: string, } | { "ask": "practice" } | { "ask": "join", 
/**
 * The text of the invite.
 */
ticket: string, } | { "ask": "leave" } | { "ask": "visit", 
/**
 * The link.
 */
link: string, } | { "ask": "lend", 
/**
 * Which.
 */
on: boolean, 
/**
 * Whether visitors who ask for it may come directly, to sites whose publishers offer it: they see this device's address. Not, unless it
 * is said each time lending is switched.
 */
direct?: boolean, } | { "ask": "relay_limits", 
/**
 * Kilobytes a second; absent: as many as come.
 */
rate_kb_s: number | null, 
/**
 * Gigabytes a month in and out; absent: as many as come.
 */
month_gb: number | null, } | { "ask": "relay", 
/**
 * Which.
 */
on: boolean, } | { "ask": "pause", 
/**
 * Which.
 */
on: boolean, } | { "ask": "drain", 
/**
 * Which.
 */
on: boolean, } | { "ask": "invite", 
/**
 * What the invited may do.
 */
roles: Array<RoleDto>, 
/**
 * For how long it is taken, seconds.
 */
valid_s: number, } | { "ask": "folder", 
/**
 * Absolute path.
 */
path: string, } | { "ask": "fit", 
/**
 * R.
 */
requirements: Amounts, 
/**
 * Copies at least.
 */
instances: number, 
/**
 * Probability in (0,1) with which at least one copy's device is to stay over the next hour; absent: the copies alone are asked for.
 */
availability?: number, 
/**
 * Bytes of the folder, when known.
 */
bytes: number, } | { "ask": "rehearse", 
/**
 * R.
 */
requirements: Amounts, 
/**
 * Copies at least.
 */
instances: number, 
/**
 * Bytes of the folder, when known.
 */
bytes: number, } | { "ask": "publish", 
/**
 * Absolute path of the folder.
 */
folder: string, 
/**
 * Shown in lists.
 */
name: string, 
/**
 * R.
 */
requirements: Amounts, 
/**
 * Copies at least.
 */
instances: number, 
/**
 * Probability in (0,1) with which at least one copy's device is to stay over the next hour; absent: the copies alone are asked for.
 */
availability?: number, 
/**
 * Copies at most, when those that there are have more to do than they should; absent: their number does not follow load.
 */
most?: number, 
/**
 * Delay on the way.
 */
level: LevelDto, 
/**
 * Only for those who have the link with its key.
 */
private?: boolean, 
/**
 * Whether visitors who ask for it may come without mixes, to hosts whose owners agree: both then see each other's address. For
 * development. It can't be taken back, and nothing private offers it.
 */
direct?: boolean, } | { "ask": "progress" } | { "ask": "containers" } | { "ask": "container", 
/**
 * Which.
 */
id: string, } | { "ask": "scale", 
/**
 * Which.
 */
id: string, 
/**
 * Copies at least.
 */
instances: number, 
/**
 * As when it was published; absent: the copies alone are asked for.
 */
availability?: number, 
/**
 * As when it was published; absent: the number of copies does not follow load.
 */
most?: number, } | { "ask": "load", 
/**
 * Which.
 */
id: string, 
/**
 * How finely, and for how long back.
 */
span: LoadSpanDto, } | { "ask": "remove", 
/**
 * Its id.
 */
device: string, 
/**
 * Also all other devices of its owner, and what the owner published.
 */
person: boolean, 
/**
 * Make all invites void as well: whoever has a ticket that holds could come back under another key.
 */
void_invites: boolean, 
/**
 * Whoever was removed with this device may join again, by a ticket.
 */
undo: boolean, } | { "ask": "update", 
/**
 * Which.
 */
id: string, 
/**
 * The folder; absent: back to the content before.
 */
folder?: string, } | { "ask": "explain", 
/**
 * Which.
 */
id: string, } | { "ask": "stop", 
/**
 * Which.
 */
id: string, } | { "ask": "restart", 
/**
 * Which.
 */
id: string, } | { "ask": "delete", 
/**
 * Which.
 */
id: string, } | { "ask": "devices" } | { "ask": "network" } | { "ask": "federation" } | { "ask": "federate", 
/**
 * Its address, as `federation` says it there.
 */
peer: string, } | { "ask": "end_federation", 
/**
 * Its id.
 */
fog: string, } | { "ask": "need_witnesses", 
/**
 * How many; absent for as many as is usual.
 */
needed: number | null, } | { "ask": "let_witnesses", 
/**
 * Its id.
 */
fog: string, } | { "ask": "abandon_witnesses" } | { "ask": "quit" };

/**
 * A device of the fog.
 */
export type DeviceDto = { 
/**
 * Its id.
 */
id: string, 
/**
 * Its name.
 */
name: string, 
/**
 * Whether it is connected.
 */
connected: boolean, 
/**
 * What it may do.
 */
roles: Array<RoleDto>, 
/**
 * What it lends.
 */
lent: Amounts, 
/**
 * What of it is free.
 */
free: Amounts, 
/**
 * Probability in [0,1] that it stays for the next hour when it is there, by its own past.
 */
availability: number, 
/**
 * Share in (0,1) of what it took on that it kept.
 */
reliability: number, 
/**
 * Live instances on it.
 */
instances: number, 
/**
 * Why it lends or does not, for people.
 */
why: string, };

/**
 * Why a container runs where it runs.
 */
export type ExplainedDto = { 
/**
 * What it costs where it is, held against the least that it could cost now.
 */
plan: string, 
/**
 * How much its copies are asked and how many are wanted for it; of one whose copies follow load.
 */
load: string | null, 
/**
 * Why devices were chosen or passed over: those that run it, and for administrators the others.
 */
devices: Array<VerdictDto>, 
/**
 * Of the others, what they have in common and how many that are.
 */
others: Array<[string, number]>, 
/**
 * Where what is asked for does not fit: changes after each of which it would, the smallest first.
 */
remedies: Array<string>, };

/**
 * A fog that is named here.
 */
export type FederatedFogDto = { 
/**
 * Its id.
 */
fog: string, 
/**
 * Where it was said to be.
 */
address: string, 
/**
 * Whether its allocator is connected now.
 */
connected: boolean, 
/**
 * Why not; empty when it is.
 */
why: string, 
/**
 * Whether it names this fog too.
 */
mutual: boolean, 
/**
 * Whether its sites can be opened and its mixes found.
 */
counts: boolean, 
/**
 * Whether its mixes are drawn for ways through the network.
 */
drawn: boolean, 
/**
 * How it stands, for people.
 */
words: string, 
/**
 * Mixes that it lists.
 */
mixes: number, 
/**
 * When it made the list that is here, milliseconds since 1970 by its clock; absent while there is none.
 */
made_ms: number | null, };

/**
 * The fog that this node coordinates among others.
 */
export type FederationDto = { 
/**
 * What another fog's operator names it by. Nothing in it is secret.
 */
address: string, 
/**
 * The fogs that are named here.
 */
fogs: Array<FederatedFogDto>, 
/**
 * How this fog's list of mixes is witnessed.
 */
witnesses: WitnessesDto, };

/**
 * Whether something fits.
 */
export type FitDto = { 
/**
 * Whether it does.
 */
fits: boolean, 
/**
 * For people: "fits on 3 of 9 devices", or what is short and by how much.
 */
words: string, 
/**
 * Free in all.
 */
free: Amounts, 
/**
 * Devices that lend now.
 */
devices: number, 
/**
 * Of these, how many could take one copy.
 */
suitable: number, 
/**
 * The largest request that would fit.
 */
largest: Amounts | null, };

/**
 * The fog that a node is in.
 */
export type FogDto = { 
/**
 * Its id.
 */
id: string, 
/**
 * Its name.
 */
name: string, 
/**
 * A test fog gives no real privacy.
 */
test: boolean, 
/**
 * All its nodes run on this computer.
 */
practice: boolean, 
/**
 * Whether this node is its allocator.
 */
allocator: boolean, 
/**
 * Whether the allocator answers.
 */
connected: boolean, 
/**
 * Why it is not connected, for people; empty when it is.
 */
why: string, 
/**
 * What this node may do.
 */
roles: Array<RoleDto>, 
/**
 * Address of the fog's relay, if it has one: who runs it sees which devices talk with each other.
 */
relay: string | null, };

/**
 * A folder that can be put online.
 */
export type FolderDto = { 
/**
 * Its name: a proposal for the container's.
 */
name: string, 
/**
 * Files in it.
 */
files: number, 
/**
 * Bytes of them together.
 */
bytes: number, };

/**
 * How much protection there is.
 */
export type GradeDto = "none" | "weak" | "fair" | "good";

/**
 * An instance.
 */
export type InstanceDto = { 
/**
 * Its id.
 */
id: string, 
/**
 * Its container's id.
 */
container: string, 
/**
 * Its device's id.
 */
device: string, 
/**
 * Its device's name.
 */
device_name: string, 
/**
 * State: reserved, fetching, starting, ready, unready, draining, ended or lost.
 */
state: string, 
/**
 * Why, for people.
 */
reason: string, 
/**
 * What it was given.
 */
given: Amounts, 
/**
 * Of the content that it serves; 0 where it is not known.
 */
revision: number, };

/**
 * What a device lends.
 */
export type LendDto = { 
/**
 * Whether it takes instances now.
 */
open: boolean, 
/**
 * Why it does or does not, for people.
 */
why: string, 
/**
 * Whether its owner has paused it.
 */
paused: boolean, 
/**
 * Whether it is being drained.
 */
draining: boolean, 
/**
 * Whether visitors who ask for it come directly, and so see this device's address.
 */
direct: boolean, 
/**
 * What it lends.
 */
lent: Amounts, 
/**
 * Instances that it runs.
 */
instances: Array<InstanceDto>, };

/**
 * Delay on the way to a container.
 */
export type LevelDto = "fast" | "balanced" | "strict";

/**
 * The privacy meter at one level.
 */
export type LevelPrivacyDto = { 
/**
 * Which.
 */
level: LevelDto, 
/**
 * Whether hosts of this fog offer it: at strict, only with cover in both directions.
 */
offered: boolean, 
/**
 * Bytes a second that this device sends as cover while it visits.
 */
cover_bytes_s: number, 
/**
 * Entropy of a single packet's sender to one who watches all links, bits; absent when nothing was measured with the cover that is sent.
 */
packet_bits: number | null, 
/**
 * Share in [0,1] of pages that one who watches both ends finds, as measured in simulation.
 */
pages_found: number, 
/**
 * Probability in [0,1] that one of the own guards is a host's guard too.
 */
mix_both_ends: number, 
/**
 * Probability in [0,1] that the owner who stands best has mixes at both ends.
 */
owner_both_ends: number, 
/**
 * What each adversary could learn.
 */
views: Array<ViewDto>, };

/**
 * How much a container's copies are asked, now and before. Each load is a share of what the copies that serve have.
 */
export type LoadDto = { 
/**
 * Copies that serve.
 */
ready: number, 
/**
 * Copies wanted now.
 */
wanted: number, 
/**
 * Copies at least.
 */
least: number, 
/**
 * Copies at most; as many as at least when their number does not follow load.
 */
most: number, 
/**
 * Why so many are wanted, for people.
 */
why: string, 
/**
 * What was measured last; absent when nothing is measured now.
 */
now: LoadNowDto | null, 
/**
 * How often the wanted number changed within the last hour.
 */
changes: number, 
/**
 * How often it may.
 */
most_changes: number, 
/**
 * Minutes or quarters of an hour in which something was asked or changed, oldest first.
 */
rows: Array<LoadRowDto>, };

/**
 * What was measured last. Processor and memory can't be told apart for one site, so they are not there.
 */
export type LoadNowDto = { 
/**
 * When.
 */
at_ms: number, 
/**
 * Bytes sent, of the bandwidth that was given.
 */
network: number, 
/**
 * Visitors' tunnels or streams, of those that copies take.
 */
concurrency: number, 
/**
 * Time from a request to the first byte of its answer, of the time that is aimed at; absent with too few requests.
 */
latency: number | null, 
/**
 * Requests a second.
 */
traffic: number, };

/**
 * A minute or a quarter of an hour: means, but for the peak.
 */
export type LoadRowDto = { 
/**
 * When it began.
 */
at_ms: number, 
/**
 * The highest load at any check.
 */
peak: number, 
/**
 * Share of the bandwidth.
 */
network: number, 
/**
 * Share of tunnels or streams.
 */
concurrency: number, 
/**
 * Share of the time that is aimed at; 0 when it was not measured.
 */
latency: number, 
/**
 * Requests a second.
 */
traffic: number, 
/**
 * Copies that served.
 */
ready: number, 
/**
 * Copies wanted.
 */
wanted: number, };

/**
 * How finely load is told, and for how long back.
 */
export type LoadSpanDto = "day" | "month";

/**
 * The mix network as this node sees it.
 */
export type NetworkDto = { 
/**
 * Mixes that this node could use now.
 */
usable: number, 
/**
 * Mixes that privacy asks for.
 */
needed: number, 
/**
 * Why addresses can't be opened now, for people; empty when they can.
 */
waiting: string, 
/**
 * Mixes in the directory.
 */
mixes: number, 
/**
 * What others could learn of a visit; absent while there is no list of mixes.
 */
privacy: PrivacyDto | null, 
/**
 * Addresses that are open or being opened from here.
 */
visits: Array<VisitDto>, 
/**
 * This node's mix, as others' lists of peers name it; it need not relay.
 */
own_mix: string, 
/**
 * What this node's mix may take, and has taken this month.
 */
relay: RelayDto, 
/**
 * Counters of this node's mix, by name; empty when it does not relay.
 */
mix_counters: Record<string, number>, 
/**
 * Counters of the visiting side, by name.
 */
visit_counters: Record<string, number>, 
/**
 * Counters of the hosting side, by name.
 */
host_counters: Record<string, number>, 
/**
 * Guards with which the visiting side exchanges packets.
 */
peers: Array<PeerDto>, 
/**
 * Socket addresses of the visiting side.
 */
own_addrs: Array<string>, 
/**
 * Guards with which the hosting side exchanges packets.
 */
host_peers: Array<PeerDto>, 
/**
 * Socket addresses of the hosting side.
 */
host_addrs: Array<string>, };

/**
 * The same with one number of copies.
 */
export type OutlookDto = { 
/**
 * So many.
 */
copies: number, 
/**
 * Share of the time in which at least one serves.
 */
availability: number, 
/**
 * How far that may be off: two standard errors.
 */
within: number, 
/**
 * Share of requests that no copy serves within the time that visitors wait.
 */
failed: number, 
/**
 * Copies lost a day, and replaced where there was room.
 */
losses_a_day: number, 
/**
 * The longest time in which none served, seconds.
 */
longest_outage_s: number, };

/**
 * A guard, as seen from the side that uses it.
 */
export type PeerDto = { 
/**
 * The mix.
 */
mix: string, 
/**
 * Its socket address.
 */
addr: string, 
/**
 * Whether the link is up.
 */
up: boolean, 
/**
 * By which way packets go: "direct", "relay", or "none" while the link is down.
 */
way: string, };

/**
 * What others could learn of a visit from here: the privacy meter.
 */
export type PrivacyDto = { 
/**
 * A test fog gives no privacy.
 */
test: boolean, 
/**
 * Mixes that can be used, the own one aside.
 */
mixes: number, 
/**
 * Of how many owners they are.
 */
owners: number, 
/**
 * People who could be the one who sends, at least.
 */
users_at_least: number, 
/**
 * People who could be the one who sends, at most; a count that nobody vouches for.
 */
users_at_most: number, 
/**
 * The reading at each level.
 */
levels: Array<LevelPrivacyDto>, };

/**
 * How far a folder on its way online is.
 */
export type ProgressDto = { 
/**
 * For people: "reading files".
 */
step: string, 
/**
 * Bytes done.
 */
done_bytes: number, 
/**
 * Bytes in all, when known.
 */
total_bytes: number, };

/**
 * What a container's address would be like over a week of this fog, by how its devices came and went before.
 */
export type RehearsedDto = { 
/**
 * Devices that lend, or did.
 */
devices: number, 
/**
 * For how many days each was watched on average; what is not known yet is taken to be as usual.
 */
watched_days: number, 
/**
 * With so many copies each.
 */
outlooks: Array<OutlookDto>, };

/**
 * The owner's limits on relaying, and how much of the month is used.
 */
export type RelayDto = { 
/**
 * Whether its owner lets it relay.
 */
on: boolean, 
/**
 * Kilobytes a second that the mix takes; absent: as many as come.
 */
rate_kb_s: number | null, 
/**
 * Gigabytes a month in and out; absent: as many as come.
 */
month_gb: number | null, 
/**
 * Megabytes relayed this month, in and out.
 */
month_used_mb: number, 
/**
 * Whether the mix relays now, and if it does not though its owner lets it, why.
 */
state: RelayStateDto, };

/**
 * Whether a mix relays.
 */
export type RelayStateDto = "on" | "off" | "month_used" | "not_granted" | "starting";

/**
 * A role that an invite grants.
 */
export type RoleDto = "contribute" | "publish" | "administer";

/**
 * How a node is.
 */
export type StatusDto = { 
/**
 * Version of Fogbank.
 */
version: string, 
/**
 * The process that runs it.
 */
pid: number, 
/**
 * Id of the device.
 */
device: string, 
/**
 * The fog, when in one.
 */
fog: FogDto | null, 
/**
 * What this device lends; none when it has not the role.
 */
lend: LendDto | null, 
/**
 * Whether it relays packets, or why it does not.
 */
relaying: RelayStateDto, 
/**
 * Address of the SOCKS5 proxy for visiting, when it is open.
 */
proxy: string | null, };

/**
 * A step in a container's life.
 */
export type StepDto = { 
/**
 * When.
 */
at_ms: number, 
/**
 * To which state.
 */
state: string, 
/**
 * Why, for people.
 */
reason: string, };

/**
 * Whether what an address shows is its publisher's.
 */
export type TrustDto = "unknown" | "not_verified" | "verified" | "broken";

/**
 * An update of a container's content, and how far it is.
 */
export type UpdateDto = { 
/**
 * Under which revision.
 */
revision: number, 
/**
 * coming (visitors don't hear of it yet), moving (copy by copy), served, or given_up (what was there before goes on).
 */
state: string, 
/**
 * How far it is and what it waits for, or what became of it, for people.
 */
words: string, 
/**
 * Copies that serve it.
 */
ready: number, 
/**
 * Copies wanted.
 */
wanted: number, 
/**
 * When it was asked for.
 */
began_ms: number, 
/**
 * Bytes of the new content.
 */
bytes: number, };

/**
 * Why one device runs a container or not.
 */
export type VerdictDto = { 
/**
 * Its name.
 */
name: string, 
/**
 * Whether a copy is there or on its way there.
 */
runs: boolean, 
/**
 * Why, for people.
 */
words: string, };

/**
 * What one adversary could learn.
 */
export type ViewDto = { 
/**
 * Who.
 */
adversary: AdversaryDto, 
/**
 * How much protection there is.
 */
grade: GradeDto, 
/**
 * For people: one or two sentences.
 */
words: string, };

/**
 * An address that is open or being opened.
 */
export type VisitDto = { 
/**
 * The address.
 */
onion: string, 
/**
 * For people: "open", "waiting: 3 of 4 mixes".
 */
words: string, 
/**
 * Whether what it shows is its publisher's.
 */
trust: TrustDto, 
/**
 * Copies that were caught giving something else than the publisher signed, and left.
 */
caught: number, 
/**
 * Of a visit that was asked for without mixes, so that its host and this computer see each other's address: what the meter says of it,
 * whoever looks. Absent of all others: they are as private as their level.
 */
direct?: GradeDto, };

/**
 * The other fogs that sign this one's list of mixes.
 */
export type WitnessesDto = { 
/**
 * Who they are, and what each answered last; empty for one that signed.
 */
fogs: Array<[string, string]>, 
/**
 * How many of them must sign.
 */
needed: number, 
/**
 * What the operator said that the number should be, if that was said.
 */
wish: number | null, 
/**
 * Whether nobody can be shown a list of his own as long as no witness is false.
 */
one_view: boolean, 
/**
 * When the list in use was made, milliseconds since 1970; absent while there is none.
 */
made_ms: number | null, 
/**
 * Until when it holds.
 */
expires_ms: number | null, 
/**
 * Why there is no newer one, for people; empty when all is well.
 */
troubles: Array<string>, };
