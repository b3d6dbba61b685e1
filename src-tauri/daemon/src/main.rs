//! `fogbankd`: a node without a window, and the command line that speaks to a running one.
//!
//! `run` is the node; every other command is a client of the control socket of a running node.
//! Deliberately absent: opening a profile's files from a client command.

#![expect(clippy::print_stdout, reason = "this is the command line")]
#![expect(clippy::print_stderr, reason = "this is the command line")]

mod args;
mod federating;
mod relay;
mod run;
mod show;

use anyhow::{Context, bail};
use args::{Arguments, Command, RelayArgs};
use clap::Parser;
use fogbank_node::control::{ControlReply, ControlRequest, client::Client};
use fogbank_relay::RelayOptions;
use std::{path::Path, process::ExitCode, time::Duration};
use tokio::runtime::Runtime;

/// A write to the disk that is under way when the node has ended may take so long.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fogbankd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let profile = arguments.profile()?;
    let threads = match arguments.command {
        Command::Run(_) | Command::Relay(RelayArgs { listen: Some(_), .. }) => {
            std::thread::available_parallelism().map_or(2, usize::from)
        }
        _ => 1,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let outcome = act(&runtime, arguments, &profile);
    // What was left behind on a thread of its own is not waited for.
    runtime.shutdown_timeout(LAST_WAIT);
    outcome
}

fn act(runtime: &Runtime, arguments: Arguments, profile: &Path) -> anyhow::Result<()> {
    match arguments.command {
        Command::Run(options) => runtime.block_on(run::run(profile, options)),
        Command::Relay(RelayArgs { listen: Some(listen), public, rate, .. }) => {
            runtime.block_on(relay::run(profile, RelayOptions { listen, public, mbit_per_s: rate }))
        }
        command => runtime.block_on(async {
            let client = Client::connect(profile).await?;
            let request = match &command {
                Command::RelayLimits(limits) => match client.call(&ControlRequest::Network).await? {
                    ControlReply::Network(network) => limits.request(&network.relay),
                    other => return answer(&ControlRequest::Network, other, arguments.json),
                },
                command => command.request()?,
            };
            let reply = client.call(&request).await?;
            answer(&request, reply, arguments.json)
        }),
    }
}

/// Text without what would steer the terminal: names and reasons come from other people.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Prints a reply for people, or as JSON; a refusal becomes the error.
fn answer(request: &ControlRequest, reply: ControlReply, json: bool) -> anyhow::Result<()> {
    if let ControlReply::Failed(error) = reply {
        bail!("{}{}{}", shown(&error.what), if error.todo.is_empty() { "" } else { "\n" }, shown(&error.todo));
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&reply).context("the answer is no JSON")?);
    } else {
        print!("{}", shown(&show::words(request, &reply)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_do_not_steer_the_terminal() {
        assert_eq!(shown("lid closed\n\u{1b}]0;owned\u{7}"), "lid closed\n\u{fffd}]0;owned\u{fffd}");
    }
}
