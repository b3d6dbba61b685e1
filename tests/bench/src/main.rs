//! `make bench`: measures, prints a table, and writes `target/bench.json` below the current folder.
//!
//! Ratios come from one run, peer and part in turn, so that a busy machine slows both. Arguments: a prefix of the names; or `sweep-row`, for
//! `tools/sweep`; or `mix`, a mixnode process that this program starts itself and ends with its standard input.

#![expect(clippy::print_stdout, reason = "a command for people")]

mod browse;
mod demo;
mod figure;
mod mixnode;
mod packets;
mod placing;
mod run;
mod week;

use anyhow::{Context, Result, bail};
use figure::Figure;

/// What a part of the benchmarks gives.
type Measure = fn() -> Result<Vec<Figure>>;

fn main() -> Result<()> {
    let only = run::only();
    match only.as_str() {
        "mix" => return mixnode::process::main(),
        "sweep-row" => {
            println!("{}", browse::sweep_row()?);
            return Ok(());
        }
        _ => {}
    }
    let parts: [(&str, Measure); 6] = [
        ("demo", demo::figures),
        ("sphinx", packets::figures),
        ("placement", placing::figures),
        ("sim", week::figures),
        ("mixnode", mixnode::figures),
        ("browse", browse::figures),
    ];
    let mut figures = Vec::new();
    for (name, measure) in parts {
        // "sph", "sphinx" and "sphinx.unwrap_vs_dh" all ask for the part "sphinx".
        if name.starts_with(&only) || only.starts_with(&format!("{name}.")) {
            figures.extend(measure().with_context(|| format!("measuring {name}"))?);
        }
    }
    figures.retain(|f| f.name.starts_with(&only));
    if figures.is_empty() {
        bail!("no figure's name begins with “{only}”");
    }
    figure::print(&figures);
    std::fs::create_dir_all("target")?;
    std::fs::write("target/bench.json", serde_json::to_vec_pretty(&figures)?).context("writing target/bench.json")
}
