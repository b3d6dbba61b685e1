//! Network namespaces of Linux: an internet, computers on it, and homes behind routers that translate addresses.
//!
//! Only documentation addresses (RFC 5737) and private ones are used, and no namespace is connected to this computer's own network.
//! Invariant: all namespaces of a [`Nets`] go with it, also when a test fails; processes in them must have ended before (they are killed when
//! their values are dropped, so declare the [`Nets`] first).

#![expect(clippy::print_stderr, reason = "a namespace that stays must be said, and a test that is skipped")]

use anyhow::{Context, Result, bail, ensure};
use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
};

/// How a home's router hands out ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// Keeps a socket's port for all whom it sends to: two homes can find a direct path.
    Steady,
    /// Another random port for each peer (a symmetric NAT): what one peer sees is of no use to another.
    Symmetric,
}

/// Several namespaces around one that is the internet.
#[derive(Debug)]
pub struct Nets {
    prefix: String,
    made: Vec<String>,
    homes: u8,
    hosts: u8,
}

/// A place where processes run: a namespace, and the address to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// Its address there.
    pub ip: IpAddr,
    /// The address that the internet sees.
    pub seen_as: IpAddr,
}

/// The interface of every computer and of every home's inner network.
pub const INTERFACE: &str = "eth0";
const INTERNET: &str = "net";
/// Programs of the system that the tests need, and why.
const PROGRAMS: [&str; 3] = ["ip", "nft", "tcpdump"];

impl Nets {
    /// A new one for a test. Where there can be none, the test is skipped aloud, or fails if `$FOGBANK_NAMESPACES` is
    /// set: where nobody reads what is said.
    ///
    /// # Errors
    /// When the system refuses, or there can be none and that is no excuse.
    pub fn unless_missing() -> Result<Option<Self>> {
        let Some(why) = Self::missing() else { return Self::new().map(Some) };
        ensure!(std::env::var_os("FOGBANK_NAMESPACES").is_none(), "this must run: {why}");
        eprintln!("SKIPPED, nothing was tested: {why}");
        Ok(None)
    }

    /// Why there can be no namespaces here, if there can't.
    fn missing() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("network namespaces need root".to_owned());
        }
        for program in PROGRAMS {
            let found = Command::new(program).arg(if program == "ip" { "-V" } else { "--version" }).output();
            if found.is_err() {
                return Some(format!("there is no {program}: tools/setup test installs it"));
            }
        }
        let name = format!("fogprobe{}", std::process::id());
        let made = run("ip", &["netns", "add", &name]).and_then(|()| {
            let table = run("ip", &["netns", "exec", &name, "nft", "add", "table", "ip", "probe"]);
            run("ip", &["netns", "del", &name])?;
            table
        });
        made.err().map(|why| format!("this system lets nobody make network namespaces with a packet filter: {why:#}"))
    }

    /// The internet: a bridge with room for 200 computers, and a router to the homes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self> {
        let tag: u32 = rand::random();
        let mut nets = Self { prefix: format!("fog{tag:08x}"), made: Vec::new(), homes: 0, hosts: 0 };
        let internet = nets.add(INTERNET)?;
        in_namespace(&internet, "ip", &["link", "add", "bridge", "type", "bridge"])?;
        in_namespace(&internet, "ip", &["addr", "add", "192.0.2.1/24", "dev", "bridge"])?;
        in_namespace(&internet, "ip", &["link", "set", "bridge", "up"])?;
        in_namespace(&internet, "sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
        Ok(nets)
    }

    fn full(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// The namespace that is the internet.
    pub fn internet(&self) -> String {
        self.full(INTERNET)
    }

    fn add(&mut self, name: &str) -> Result<String> {
        let full = self.full(name);
        run("ip", &["netns", "add", &full])?;
        self.made.push(full.clone());
        in_namespace(&full, "ip", &["link", "set", "lo", "up"])?;
        Ok(full)
    }

    /// Connects an interface of one namespace with one of another. Datagrams are seen on it as the wire has them: a sender's segments
    /// are not joined.
    fn wire(&self, a: (&str, &str), b: (&str, &str)) -> Result<()> {
        in_namespace(a.0, "ip", &["link", "add", a.1, "type", "veth", "peer", "name", b.1, "netns", b.0])?;
        for (namespace, interface) in [a, b] {
            in_namespace(namespace, "ip", &["link", "set", interface, "gso_max_segs", "1"])?;
            in_namespace(namespace, "ip", &["link", "set", interface, "up"])?;
        }
        Ok(())
    }

    /// A computer with a public address.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn computer(&mut self, name: &str) -> Result<Place> {
        ensure!(self.hosts < 200, "the internet is full");
        let namespace = self.add(name)?;
        let ip = Ipv4Addr::new(192, 0, 2, 10 + self.hosts);
        self.hosts += 1;
        let port = format!("c{}", self.hosts);
        let internet = self.internet();
        self.wire((&namespace, INTERFACE), (&internet, &port))?;
        in_namespace(&internet, "ip", &["link", "set", &port, "master", "bridge"])?;
        in_namespace(&namespace, "ip", &["addr", "add", &format!("{ip}/24"), "dev", INTERFACE])?;
        in_namespace(&namespace, "ip", &["route", "add", "default", "via", "192.0.2.1"])?;
        Ok(Place { namespace, ip: ip.into(), seen_as: ip.into() })
    }

    /// A home with a computer in it, behind a router that translates addresses and lets nothing in that nobody inside asked for.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn home(&mut self, name: &str, router: Router) -> Result<Place> {
        ensure!(self.homes < 60, "no more homes");
        let (home, door) = (self.add(name)?, self.add(&format!("{name}-r"))?);
        let internet = self.internet();
        let n = self.homes;
        self.homes += 1;
        let (outer, isp) = (Ipv4Addr::new(198, 51, 100, 4 * n + 2), Ipv4Addr::new(198, 51, 100, 4 * n + 1));
        let (inner, ip) = (Ipv4Addr::new(192, 168, n + 1, 1), Ipv4Addr::new(192, 168, n + 1, 2));
        let port = format!("h{n}");
        self.wire((&home, INTERFACE), (&door, "lan"))?;
        self.wire((&door, "wan"), (&internet, &port))?;
        in_namespace(&home, "ip", &["addr", "add", &format!("{ip}/24"), "dev", INTERFACE])?;
        in_namespace(&home, "ip", &["route", "add", "default", "via", &inner.to_string()])?;
        in_namespace(&door, "ip", &["addr", "add", &format!("{inner}/24"), "dev", "lan"])?;
        in_namespace(&door, "ip", &["addr", "add", &format!("{outer}/30"), "dev", "wan"])?;
        in_namespace(&door, "ip", &["route", "add", "default", "via", &isp.to_string()])?;
        in_namespace(&internet, "ip", &["addr", "add", &format!("{isp}/30"), "dev", &port])?;
        in_namespace(&door, "sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
        let ports = if router == Router::Symmetric { " fully-random" } else { "" };
        filter(
            &door,
            &format!(
                "table ip router {{
                    chain out {{
                        type nat hook postrouting priority 100
                        oifname \"wan\" masquerade{ports}
                    }}
                    chain through {{
                        type filter hook forward priority 0; policy drop
                        iifname \"lan\" accept
                        ct state established,related accept
                    }}
                    chain own {{
                        type filter hook input priority 0; policy drop
                        iifname \"lo\" accept
                        iifname \"lan\" accept
                        ct state established,related accept
                    }}
                }}\n"
            ),
        )?;
        Ok(Place { namespace: home, ip: ip.into(), seen_as: outer.into() })
    }

    /// Counts UDP datagrams between two addresses on the internet from now on, and lets them pass or not.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn watch(&self, a: &Place, b: &Place, pass: bool) -> Result<()> {
        let verdict = if pass { "accept" } else { "drop" };
        let (a, b) = (a.seen_as, b.seen_as);
        filter(
            &self.internet(),
            &format!(
                "table ip between {{
                    counter seen {{ }}
                    chain through {{
                        type filter hook forward priority 0
                        ip saddr {a} ip daddr {b} meta l4proto udp counter name seen {verdict}
                        ip saddr {b} ip daddr {a} meta l4proto udp counter name seen {verdict}
                    }}
                }}\n"
            ),
        )
    }

    /// Datagrams that [`Self::watch`] has counted: how many, and their bytes.
    ///
    /// # Errors
    /// When nothing is watched.
    pub fn watched(&self) -> Result<(u64, u64)> {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.internet(), "nft", "list", "counter", "ip", "between", "seen"])
            .output()
            .context("running nft")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let after = |word: &str| {
            let mut words = text.split_whitespace().skip_while(|w| *w != word).skip(1);
            words.next().and_then(|n| n.parse::<u64>().ok())
        };
        Ok((after("packets").context("no counter")?, after("bytes").context("no counter")?))
    }
}

impl Drop for Nets {
    fn drop(&mut self) {
        for name in self.made.iter().rev() {
            if let Err(error) = run("ip", &["netns", "del", name]) {
                eprintln!("the namespace {name} stays: {error:#}");
            }
        }
    }
}

/// Runs a program in a namespace to its end.
///
/// # Errors
/// When it can't be run or fails; its words are quoted.
pub fn in_namespace(namespace: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let mut all = vec!["netns", "exec", namespace, program];
    all.extend(arguments);
    run("ip", &all)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Loads rules of the packet filter into a namespace.
fn filter(namespace: &str, rules: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", namespace, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("running nft")?;
    child.stdin.take().context("its input")?.write_all(rules.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
