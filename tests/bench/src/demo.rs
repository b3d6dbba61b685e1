//! The demo's figures, from the run that `tools/bench` made just before.

use crate::figure::Figure;
use anyhow::{Context, Result};

/// Where the demo leaves them.
const FILE: &str = "target/demo.json";

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let bytes = std::fs::read(FILE).with_context(|| format!("{FILE} is not there: run `make demo`"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{FILE} can't be read"))
}
