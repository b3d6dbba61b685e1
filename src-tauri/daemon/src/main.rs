//! `fogbankd`: a node without a window, and the command line that speaks to a running one.
//!
//! `run` is the node; every other command is a client of the control socket of a running node.
//! Deliberately absent: opening a profile's files from a client command.

mod args;
mod federating;
mod load;
mod needs;
mod out;
mod relay;
mod removing;
mod run;
mod show;

use anyhow::Context;
use args::{Arguments, Command, RelayArgs};
use clap::Parser;
use fogbank_node::control::{ControlError, ControlErrorKind, ControlReply, ControlRequest, client::Client};
use fogbank_relay::{RelayOptions, USUAL_CONNECTIONS};
use std::{path::Path, process::ExitCode, time::Duration};
use tokio::runtime::Runtime;

/// A write to the disk that is under way when the node has ended may take so long.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    match start(arguments) {
        Ok(code) => code,
        Err(error) => {
            let what = format!("{error:#}");
            let failed = ControlError { kind: ControlErrorKind::Failed, what, todo: String::new() };
            // Nothing is left to say it to when this fails, too.
            answer(&ControlRequest::Status, ControlReply::Failed(failed), json).unwrap_or(ExitCode::FAILURE)
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<ExitCode> {
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

fn act(runtime: &Runtime, arguments: Arguments, profile: &Path) -> anyhow::Result<ExitCode> {
    let ended = |()| ExitCode::SUCCESS;
    match arguments.command {
        Command::Run(options) => runtime.block_on(run::run(profile, options)).map(ended),
        Command::Relay(RelayArgs { listen: Some(listen), public, rate, .. }) => runtime
            .block_on(relay::run(profile, RelayOptions { listen, public, mbit_per_s: rate, connections: USUAL_CONNECTIONS }))
            .map(ended),
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

/// Prints a reply for people, or as JSON; a refusal goes where errors go, or is an answer in JSON like others.
fn answer(request: &ControlRequest, reply: ControlReply, json: bool) -> anyhow::Result<ExitCode> {
    let code = if matches!(reply, ControlReply::Failed(_)) { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    match reply {
        reply if json => {
            out::say(&format!("{}\n", serde_json::to_string_pretty(&reply).context("the answer is no JSON")?))?;
        }
        ControlReply::Failed(error) => {
            let todo = if error.todo.is_empty() { String::new() } else { format!("\n{}", shown(&error.todo)) };
            out::complain(&format!("fogbankd: {}{todo}\n", shown(&error.what)));
        }
        reply => out::say(&shown(&show::words(request, &reply)))?,
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_do_not_steer_the_terminal() {
        assert_eq!(shown("lid closed\n\u{1b}]0;owned\u{7}"), "lid closed\n\u{fffd}]0;owned\u{fffd}");
    }
}
