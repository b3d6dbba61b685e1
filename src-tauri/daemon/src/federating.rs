//! What an operator says about other fogs on the command line.

use anyhow::{Result, bail};
use clap::Args;
use fogbank_node::control::ControlRequest;

/// What to do about other fogs: one thing at a time.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct FederateOptions {
    /// The line that `federation` prints there: fogpeer://…
    peer: Option<String>,
    /// End it with the fog of this id.
    #[arg(long, value_name = "FOG")]
    end: Option<String>,
    /// So many of the other fogs must sign each new list of mixes, or “usual”. They must agree to fewer than before.
    #[arg(long, value_name = "N", value_parser = needed)]
    needed: Option<Needed>,
    /// Let another fog change its witnesses as it likes for an hour, also to fewer. Speak with its operator first: it may be a thief who asks.
    #[arg(long = "let", value_name = "FOG")]
    lets: Option<String>,
    /// Give all witnesses up without asking them, when they are gone for good: members must leave this fog and join anew.
    #[arg(long)]
    abandon_witnesses: bool,
}

/// How many witnesses must sign; `None` is as many as is usual.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed(Option<u8>);

fn needed(text: &str) -> std::result::Result<Needed, String> {
    if text == "usual" {
        return Ok(Needed(None));
    }
    text.parse().map(|n| Needed(Some(n))).map_err(|_| "a number, or “usual”".to_owned())
}

impl FederateOptions {
    pub(crate) fn request(&self) -> Result<ControlRequest> {
        let Self { peer, end, needed, lets, abandon_witnesses } = self;
        Ok(match (peer, end, needed, lets, abandon_witnesses) {
            (Some(peer), ..) => ControlRequest::Federate { peer: peer.clone() },
            (_, Some(fog), ..) => ControlRequest::EndFederation { fog: fog.clone() },
            (.., Some(Needed(needed)), _, _) => ControlRequest::NeedWitnesses { needed: *needed },
            (.., Some(fog), _) => ControlRequest::LetWitnesses { fog: fog.clone() },
            (.., true) => ControlRequest::AbandonWitnesses,
            _ => bail!("name a fog, or one to end it with"),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use clap::{FromArgMatches as _, error::ErrorKind};

    fn said(words: &[&str]) -> std::result::Result<ControlRequest, ErrorKind> {
        let command = FederateOptions::augment_args(clap::Command::new("federate").no_binary_name(true));
        let matches = command.try_get_matches_from(words).map_err(|error| error.kind())?;
        Ok(FederateOptions::from_arg_matches(&matches).unwrap().request().unwrap())
    }

    #[test]
    fn one_thing_at_a_time() {
        let (fog, peer) = ("x".to_owned(), "fogpeer://x".to_owned());
        assert_eq!(said(&["fogpeer://x"]), Ok(ControlRequest::Federate { peer }));
        assert_eq!(said(&["--end", "x"]), Ok(ControlRequest::EndFederation { fog: fog.clone() }));
        assert_eq!(said(&["--needed", "2"]), Ok(ControlRequest::NeedWitnesses { needed: Some(2) }));
        assert_eq!(said(&["--needed", "usual"]), Ok(ControlRequest::NeedWitnesses { needed: None }));
        assert_eq!(said(&["--let", "x"]), Ok(ControlRequest::LetWitnesses { fog }));
        assert_eq!(said(&["--abandon-witnesses"]), Ok(ControlRequest::AbandonWitnesses));
        assert_eq!(said(&["--needed", "many"]), Err(ErrorKind::ValueValidation));
        assert_eq!(said(&["--needed", "1", "--end", "x"]), Err(ErrorKind::ArgumentConflict));
        assert_eq!(said(&[]), Err(ErrorKind::MissingRequiredArgument));
    }
}
