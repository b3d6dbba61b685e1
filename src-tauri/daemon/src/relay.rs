//! `fogbankd relay --listen`: the relay at which a fog's devices behind home routers meet.
//!
//! Its log can't be turned up: the libraries' would name who talks with whom.

use crate::{out, run::stop_signal};
use anyhow::Context;
use fogbank_node::Profile;
use fogbank_relay::{LOG, Relay, RelayIdentity, RelayOptions};
use std::path::Path;
use tracing_subscriber::EnvFilter;

/// Where the relay's certificate and token lie in the profile.
const IDENTITY: &str = "relay.json";

/// Runs it until a signal ends it.
pub(crate) async fn run(profile: &Path, options: RelayOptions) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new(LOG)).with_writer(std::io::stderr).init();
    let profile = Profile::open(profile)?;
    let identity = RelayIdentity::load(&profile.path(IDENTITY))?;
    let relay = Relay::start(&identity, options).await.context("the relay did not start")?;
    out::say(&format!(
        "relay {}\n\
         Whoever runs this relay sees which devices talk with each other, from which addresses and how much, though not what.\n\
         Use it for a fog: fogbankd start-fog NAME --relay LINE, with the line above from fogrelay:// on.\n\
         ready\n",
        relay.hint()
    ))?;
    stop_signal().await?;
    relay.shutdown().await?;
    Ok(())
}
