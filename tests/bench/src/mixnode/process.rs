//! The mixnode under test: one `Mixnode` in a process of its own, with real links, told what to do by lines on its standard input.
//!
//! Being a process makes its CPU time and memory its own: whoever sends to it and takes from it is accounted elsewhere. It ends with its
//! standard input, so it can't outlive the program that started it.

use super::peers;
use anyhow::{Context, Result, ensure};
use fogbank_betanet::{
    clock::FogClock,
    directory::{DirectoryHub, MixEntry, clock},
    link,
    mixnode::{MixConfig, MixCounters, Mixnode, Rate},
    schedule::MIX_LOOP_MEAN,
};
use fogbank_model::FogId;
use fogbank_sphinx::{Epoch, Hop, MixSecret, Packet, build, open_with};
use iroh::SecretKey;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinSet,
};

/// Longer than any order takes.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Packets unwrapped for one measurement of the rate: a quarter of a second.
const UNWRAPS: u32 = 3_000;

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Take this directory.
    Directory { fog: FogId, signed: Vec<u8> },
    /// Say how it is.
    Report,
    /// Unwrap packets on all cores, without links.
    Unwrap,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// Its entry, first of all.
    Listening(MixEntry),
    /// The directory is taken.
    Taken,
    /// How it is.
    Report(Report),
    /// Unwraps in a second of CPU time.
    Unwraps(f64),
}

/// How the process is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// CPU time of all its threads, s.
    pub(crate) cpu_s: f64,
    /// What its mix has done.
    pub(crate) counters: MixCounters,
}

/// Runs the process.
pub(crate) fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(mix())
}

#[expect(clippy::print_stdout, reason = "the answers to the program that started it")]
fn answer(answer: &Answer) -> Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

async fn mix() -> Result<()> {
    let endpoint = link::bind(SecretKey::generate(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).await?;
    let addrs = endpoint.bound_sockets();
    let directory = DirectoryHub::new();
    // The owner's limit is lifted: what is measured is the mix.
    let config =
        MixConfig { directory: directory.clone(), clock: FogClock::default(), rate: Rate::UNLIMITED, loop_mean: MIX_LOOP_MEAN };
    let mix = Mixnode::start(endpoint, config);
    let packet_keys = mix.packet_keys().borrow().clone();
    answer(&Answer::Listening(peers::entry(mix.key(), mix.life(), packet_keys, addrs)))?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Order::Directory { fog, signed } => {
                directory.learn(&fog, signed, clock())?;
                answer(&Answer::Taken)?;
            }
            Order::Report => answer(&Answer::Report(Report { cpu_s: cpu_s(ClockId::ProcessCPUTime), counters: mix.counters() }))?,
            Order::Unwrap => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                let mut threads = JoinSet::new();
                (0..cores).for_each(|_| drop(threads.spawn_blocking(unwrap_rate)));
                let mut rates = Vec::new();
                while let Some(rate) = threads.join_next().await {
                    rates.push(rate??);
                }
                answer(&Answer::Unwraps(rates.iter().sum::<f64>() / rates.len() as f64))?;
            }
        }
    }
    mix.shutdown().await;
    Ok(())
}

/// Unwraps a second of this thread's CPU time: what the mix's workers do with a packet before they look where it goes.
fn unwrap_rate() -> Result<f64> {
    let mut rng = rand::rng();
    let secret = MixSecret::generate(&mut rng);
    let public = secret.public();
    let after = MixSecret::generate(&mut rng).public();
    let path = [public, after].map(|key| Hop { id: [1; 16], key, delay_ms: 0 });
    let bytes = build(&mut rng, Epoch(0), &path, &[7; 1024])?.as_bytes().to_vec();
    let began = cpu_s(ClockId::ThreadCPUTime);
    for _ in 0..UNWRAPS {
        let packet = Packet::from_bytes(black_box(&bytes))?;
        black_box(open_with(&secret, &public, packet)?.peel()?);
    }
    Ok(f64::from(UNWRAPS) / (cpu_s(ClockId::ThreadCPUTime) - began))
}

fn cpu_s(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The process, as those see it who started it. It is killed with this value.
pub(crate) struct MixProcess {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// As the directory is to list it.
    pub(crate) entry: MixEntry,
}

impl MixProcess {
    /// Starts this same program as a mixnode.
    pub(crate) async fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("mix").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting the mixnode process")?;
        let orders = child.stdin.take().context("its input")?;
        let mut answers = BufReader::new(child.stdout.take().context("its output")?).lines();
        let Answer::Listening(entry) = heard(&mut answers).await? else { anyhow::bail!("it does not say where it listens") };
        Ok(Self { child, orders, answers, entry })
    }

    /// Gives it a directory.
    pub(crate) async fn tell(&mut self, fog: FogId, signed: Vec<u8>) -> Result<()> {
        let taken = self.order(&Order::Directory { fog, signed }).await?;
        ensure!(matches!(taken, Answer::Taken), "it did not take the directory: {taken:?}");
        Ok(())
    }

    /// How it is.
    pub(crate) async fn report(&mut self) -> Result<Report> {
        match self.order(&Order::Report).await? {
            Answer::Report(report) => Ok(report),
            other => anyhow::bail!("no report: {other:?}"),
        }
    }

    /// How many packets it unwraps in a second of CPU time while it unwraps on all cores.
    pub(crate) async fn unwraps_per_cpu_s(&mut self) -> Result<f64> {
        match self.order(&Order::Unwrap).await? {
            Answer::Unwraps(rate) => Ok(rate),
            other => anyhow::bail!("no rate: {other:?}"),
        }
    }

    /// Resident memory, MB (10⁶ bytes), as Linux counts it.
    pub(crate) fn resident_mb(&self) -> Result<f64> {
        let pid = self.child.id().context("the mixnode process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    async fn order(&mut self, order: &Order) -> Result<Answer> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        self.orders.write_all(line.as_bytes()).await.context("the mixnode process has ended")?;
        heard(&mut self.answers).await
    }
}

async fn heard(answers: &mut Lines<BufReader<ChildStdout>>) -> Result<Answer> {
    let line = tokio::time::timeout(ANSWER_DEADLINE, answers.next_line()).await.context("the mixnode process is silent")??;
    Ok(serde_json::from_str(&line.context("the mixnode process has ended")?)?)
}
