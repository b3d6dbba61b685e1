//! What can be said on the command line, and the request that it becomes.

use crate::{
    federating::FederateOptions,
    needs::{Most, Needs, amount, folder_bytes, most},
    removing::Removal,
};
use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fogbank_node::{
    ProxyPort,
    control::{ControlRequest, LevelDto, LoadSpanDto, RelayDto, RoleDto},
};
use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
};

/// Fogbank without a window.
#[derive(Debug, Parser)]
#[command(version, about = "Lend idle compute, publish on it, and browse it through a mix network")]
pub(crate) struct Arguments {
    /// Folder of the node's profile (default: $FOGBANK_PROFILE, else the system's folder for such data: ~/.local/share/fogbank).
    #[arg(long, global = true)]
    profile: Option<PathBuf>,
    /// Print answers as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The profile's folder.
    pub(crate) fn profile(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.profile {
            return std::path::absolute(path).context("the profile's path");
        }
        fogbank_node::usual_profile().context("there is no home folder: name a profile with --profile")
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node until it is ended.
    Run(RunOptions),
    /// Show how the node is.
    Status,
    /// Start a fog that this node coordinates.
    StartFog {
        /// The fog's name.
        name: String,
        /// A test fog: relaxes privacy rules, and says so everywhere.
        #[arg(long)]
        test: bool,
        /// The relay that you run for it, as `fogbankd relay --listen` printed it: devices behind home routers meet there. Whoever runs it
        /// sees which devices talk with each other, from which addresses and how much, though not what.
        #[arg(long)]
        relay: Option<String>,
    },
    /// Start a practice fog: several nodes on this computer, no privacy.
    Practice,
    /// Print a ticket with which others can join.
    Invite {
        /// What the invited may do.
        #[arg(long = "role", value_delimiter = ',', default_values = ["contribute"])]
        roles: Vec<Role>,
        /// For how long it is taken: 30m, 24h, 7d.
        #[arg(long, default_value = "24h", value_parser = seconds)]
        valid: u32,
    },
    /// Join a fog with a ticket.
    Join {
        /// The ticket's text.
        ticket: String,
    },
    /// Leave the fog; what runs here ends.
    Leave,
    /// Learn the way to a fog from a fogbank:// link, to visit without joining.
    Visit {
        /// The link.
        link: String,
    },
    /// Lend this device (on) or stop (off).
    Lend {
        /// on or off.
        switch: Switch,
        /// Let visitors who ask for it come directly, to sites whose publishers offer it: they see this device's address, and it theirs.
        /// Not, unless it is said each time.
        #[arg(long)]
        direct: bool,
    },
    /// How much the mix may take: kilobytes a second, and gigabytes a month in and out. A limit that is not named stays as it is.
    RelayLimits(LimitArgs),
    /// Relay packets as a mix (on) or stop (off); with --listen, run the relay at which a fog's devices behind home routers meet.
    Relay(RelayArgs),
    /// Pause lending.
    Pause,
    /// Go on lending.
    Resume,
    /// Move everything away from this device; relaying goes on. `--undo` takes part again.
    Drain {
        /// Take part again.
        #[arg(long)]
        undo: bool,
    },
    /// Look whether a folder can be put online.
    Check {
        /// The folder.
        folder: PathBuf,
    },
    /// Would this fit now?
    Fit(Needs),
    /// What would its address be like over a week of this fog, with one, two and three copies? By how the fog's devices came and went before.
    Rehearse {
        /// The folder, if there is one.
        folder: Option<PathBuf>,
        /// What it needs.
        #[command(flatten)]
        needs: Needs,
    },
    /// Put a folder online.
    Publish {
        /// The folder; it needs an index.html.
        folder: PathBuf,
        /// Name in lists (default: the folder's).
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        needs: Needs,
        /// Copies at most: more than --copies when those that there are have more to do than they should. Then the fog's allocator hears from hosts
        /// each ten seconds how much the site is asked, and you see it by the minute (`load`).
        #[arg(long, value_name = "COPIES", value_parser = most)]
        most: Option<Most>,
        /// Delay on the way: fast, balanced or strict.
        #[arg(long, default_value = "balanced")]
        level: Level,
        /// Only for those who have the link with its key (see `container`); the fog's allocator and the hosts can read it all the same.
        #[arg(long)]
        private: bool,
        /// For development: visitors who ask for it may come without mixes, to hosts whose owners agree. Both then see each other's address, and
        /// nothing of such a visit is private. It can't be taken back.
        #[arg(long, conflicts_with = "private")]
        direct: bool,
    },
    /// List my containers.
    Containers,
    /// Show one container in full.
    Container {
        /// Its id.
        id: String,
    },
    /// Put other content under a container's address: copies move over one after another, and no visit fails. `container` shows how far it is.
    Update {
        /// Its id.
        id: String,
        /// The folder; it needs an index.html.
        #[arg(required_unless_present = "back")]
        folder: Option<PathBuf>,
        /// Back to the content before, as a further revision.
        #[arg(long, conflicts_with = "folder")]
        back: bool,
    },
    /// Ask for other numbers of copies of a container, from now on.
    Scale {
        /// Its id.
        id: String,
        /// Copies at least.
        #[arg(long)]
        copies: u8,
        /// As for `publish`; without it the copies alone are asked for.
        #[arg(long, value_name = "PERCENT", value_parser = amount, allow_negative_numbers = true)]
        availability: Option<f64>,
        /// As for `publish`; without it, or with "none", the number of copies does not follow load.
        #[arg(long, value_name = "COPIES", value_parser = most)]
        most: Option<Most>,
    },
    /// Show how much the copies of a container are asked, now and before.
    Load {
        /// Its id.
        id: String,
        /// Thirty days by the quarter of an hour, not a day by the minute.
        #[arg(long)]
        month: bool,
    },
    /// Remove a device from the fog for good, or a person (administrators only).
    Remove(Removal),
    /// Say why a container runs where it runs.
    Explain {
        /// Its id.
        id: String,
    },
    /// Stop a container; it can be restarted.
    Stop {
        /// Its id.
        id: String,
    },
    /// Start a stopped or failed container again.
    Restart {
        /// Its id.
        id: String,
    },
    /// Stop a container and forget it, its address included.
    Delete {
        /// Its id.
        id: String,
    },
    /// List the fog's devices (administrators).
    Devices,
    /// Show the mix network as this node sees it.
    Network,
    /// Show the fogs with which the one that this node coordinates is federated, and the line by which others name it.
    Federation,
    /// Make one network with another fog, whose operator names this one too: each can open the other's sites, and their mixes stand together.
    /// Name only fogs whose operators you trust not to fill their list of mixes with their own.
    Federate(FederateOptions),
    /// End the running node.
    Quit,
}

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Address to listen at: 127.0.0.1 keeps everything on this computer.
    #[arg(long, default_value = "0.0.0.0")]
    pub(crate) listen: IpAddr,
    /// Port of the SOCKS5 proxy on this computer for visiting; 0 takes a free one, "off" opens none.
    #[arg(long, default_value = "9250")]
    pub(crate) proxy: ProxyPort,
}

/// A mix of this node, or a fog's relay.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// on or off: whether this node relays packets as a mix.
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    switch: Option<Switch>,
    /// Run a fog's relay at this address, TCP and UDP, until it is ended: 0.0.0.0:3340. It prints the line for `start-fog --relay`, and
    /// keeps its certificate in the profile. Whoever runs a relay sees which devices talk with each other, though not what.
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// The IP address under which others reach the relay, when it listens at another.
    #[arg(long, requires = "listen")]
    pub(crate) public: Option<IpAddr>,
    /// What one connection to the relay may send, Mbit/s.
    #[arg(long, requires = "listen", default_value_t = fogbank_relay::USUAL_MBIT_PER_S)]
    pub(crate) rate: NonZeroU16,
}

/// What is to change of a mix's limits.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct LimitArgs {
    /// Kilobytes a second, or "none".
    #[arg(long, value_name = "KB", value_parser = limit)]
    rate: Option<Limit>,
    /// Gigabytes a month, or "none".
    #[arg(long, value_name = "GB", value_parser = limit)]
    month: Option<Limit>,
}

/// A limit that is set or lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<u32>);

impl LimitArgs {
    /// The request, from what is to change and what the limits are.
    pub(crate) fn request(&self, present: &RelayDto) -> ControlRequest {
        let wanted = |limit: Option<Limit>, present| limit.map_or(present, |Limit(limit)| limit);
        ControlRequest::RelayLimits {
            rate_kb_s: wanted(self.rate, present.rate_kb_s),
            month_gb: wanted(self.month, present.month_gb),
        }
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// A role that an invite grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Lend and relay.
    Contribute,
    /// Publish.
    Publish,
    /// Invite others; see all devices and everybody's sites with their addresses, and stop, restart or delete any of them.
    Administer,
}

/// Delay on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// No added delay.
    Fast,
    /// Mean 15 ms a hop.
    Balanced,
    /// Mean 50 ms a hop.
    Strict,
}

impl Command {
    /// The request that this command is.
    pub(crate) fn request(&self) -> anyhow::Result<ControlRequest> {
        Ok(match self {
            Self::Run(_) => bail!("the node itself is no request"),
            Self::Status => ControlRequest::Status,
            Self::StartFog { name, test, relay } => {
                ControlRequest::StartFog { name: name.clone(), test: *test, relay: relay.clone() }
            }
            Self::Practice => ControlRequest::Practice,
            Self::Invite { roles, valid } => {
                ControlRequest::Invite { roles: roles.iter().map(|r| r.dto()).collect(), valid_s: *valid }
            }
            Self::Join { ticket } => ControlRequest::Join { ticket: ticket.clone() },
            Self::Leave => ControlRequest::Leave,
            Self::Visit { link } => ControlRequest::Visit { link: link.clone() },
            Self::Lend { switch, direct } => ControlRequest::Lend { on: *switch == Switch::On, direct: *direct },
            Self::Relay(RelayArgs { switch: None, .. }) => bail!("the relay itself is no request"),
            Self::Relay(RelayArgs { switch: Some(switch), .. }) => ControlRequest::Relay { on: *switch == Switch::On },
            Self::RelayLimits(_) => bail!("the limits as they are have to be asked for first"),
            Self::Pause => ControlRequest::Pause { on: true },
            Self::Resume => ControlRequest::Pause { on: false },
            Self::Drain { undo } => ControlRequest::Drain { on: !undo },
            Self::Check { folder } => ControlRequest::Folder { path: whole(folder)? },
            Self::Fit(needs) => ControlRequest::Fit {
                requirements: needs.amounts(0),
                instances: needs.copies,
                availability: needs.availability(),
                bytes: 0,
            },
            Self::Rehearse { folder, needs } => {
                let bytes = folder.as_deref().map_or(0, folder_bytes);
                ControlRequest::Rehearse { requirements: needs.amounts(bytes), instances: needs.copies, bytes }
            }
            Self::Publish { folder, name, needs, most, level, private, direct } => {
                let path = whole(folder)?;
                let folder = PathBuf::from(&path);
                let own_name = || folder.file_name().map_or_else(|| "site".into(), |n| n.to_string_lossy().into_owned());
                ControlRequest::Publish {
                    name: name.clone().unwrap_or_else(own_name),
                    requirements: needs.amounts(folder_bytes(&folder)),
                    instances: needs.copies,
                    availability: needs.availability(),
                    most: most.and_then(|Most(most)| most),
                    level: level.dto(),
                    private: *private,
                    direct: *direct,
                    folder: path,
                }
            }
            Self::Containers => ControlRequest::Containers,
            Self::Container { id } => ControlRequest::Container { id: id.clone() },
            Self::Update { id, folder, .. } => {
                ControlRequest::Update { id: id.clone(), folder: folder.as_deref().map(whole).transpose()? }
            }
            Self::Scale { id, copies, availability, most } => ControlRequest::Scale {
                id: id.clone(),
                instances: *copies,
                availability: availability.map(|percent| percent / 100.0),
                most: most.and_then(|Most(most)| most),
            },
            Self::Load { id, month } => {
                ControlRequest::Load { id: id.clone(), span: if *month { LoadSpanDto::Month } else { LoadSpanDto::Day } }
            }
            Self::Remove(removal) => removal.request(),
            Self::Explain { id } => ControlRequest::Explain { id: id.clone() },
            Self::Stop { id } => ControlRequest::Stop { id: id.clone() },
            Self::Restart { id } => ControlRequest::Restart { id: id.clone() },
            Self::Delete { id } => ControlRequest::Delete { id: id.clone() },
            Self::Devices => ControlRequest::Devices,
            Self::Network => ControlRequest::Network,
            Self::Federation => ControlRequest::Federation,
            Self::Federate(options) => options.request()?,
            Self::Quit => ControlRequest::Quit,
        })
    }
}

impl Role {
    fn dto(self) -> RoleDto {
        match self {
            Self::Contribute => RoleDto::Contribute,
            Self::Publish => RoleDto::Publish,
            Self::Administer => RoleDto::Administer,
        }
    }
}

impl Level {
    fn dto(self) -> LevelDto {
        match self {
            Self::Fast => LevelDto::Fast,
            Self::Balanced => LevelDto::Balanced,
            Self::Strict => LevelDto::Strict,
        }
    }
}

/// A folder's whole path as text.
fn whole(folder: &std::path::Path) -> anyhow::Result<String> {
    let folder = std::path::absolute(folder).context("the folder's path")?;
    Ok(folder.to_str().context("the folder's path is no Unicode text: rename the folder")?.to_owned())
}

/// A number above 0, or "none".
fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        number => number
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .map(|n| Limit(Some(n)))
            .ok_or_else(|| format!("“{text}” is no limit: write a whole number above 0, or none")),
    }
}

/// "90s", "30m", "24h" or "7d" in seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("“{text}” is no span of time: write 90s, 30m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let per = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(per).filter(|s| *s > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_node::control::RelayStateDto;

    /// Whoever hands out a role is told all that it lets somebody do.
    #[test]
    fn the_help_says_that_administrators_may_touch_the_sites_of_others() {
        use clap::CommandFactory as _;
        let mut all = Arguments::command();
        let help = all.find_subcommand_mut("invite").map(|invite| invite.render_long_help().to_string()).unwrap_or_default();
        assert!(["everybody's sites", "stop, restart or delete any"].iter().all(|words| help.contains(words)), "{help}");
    }

    #[test]
    fn limits_that_are_not_named_stay() {
        let present =
            RelayDto { on: true, rate_kb_s: Some(1_000), month_gb: Some(50), month_used_mb: 0, state: RelayStateDto::On };
        let ask = |words: &str| {
            let words = ["fogbankd", "relay-limits"].into_iter().chain(words.split_whitespace());
            match Arguments::try_parse_from(words).ok()?.command {
                Command::RelayLimits(limits) => Some(limits.request(&present)),
                other => panic!("{other:?}"),
            }
        };
        let limits = |rate_kb_s, month_gb| Some(ControlRequest::RelayLimits { rate_kb_s, month_gb });
        assert_eq!(ask("--rate 2000"), limits(Some(2_000), Some(50)));
        assert_eq!(ask("--month none"), limits(Some(1_000), None));
        assert_eq!(ask("--month 7 --rate none"), limits(None, Some(7)));
        for wrong in ["", "--rate 0", "--month -1", "--rate many"] {
            assert_eq!(ask(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn spans_of_time() {
        assert_eq!(seconds("30m"), Ok(1800));
        assert_eq!(seconds("7d"), Ok(604_800));
        for wrong in ["", "h", "-1h", "5", "5w", "99999999d", "0s", "5é"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
