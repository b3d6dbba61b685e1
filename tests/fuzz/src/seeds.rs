//! Writes the seeds of all targets, one folder each, and prints the targets' names: `fuzz-seeds FOLDER`.

use anyhow::Context as _;
use fogbank_fuzz::TARGETS;
use std::{env, fs, path::PathBuf};

#[expect(clippy::print_stdout, reason = "the command line: tools/fuzz reads the names")]
fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(env::args_os().nth(1).context("which folder should the seeds go to?")?);
    for target in &TARGETS {
        let folder = root.join(target.name);
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let file = folder.join(format!("seed-{number:02}"));
            fs::write(&file, seed).with_context(|| format!("can't write {}", file.display()))?;
        }
        println!("{}", target.name);
    }
    Ok(())
}
