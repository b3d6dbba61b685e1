//! The covering instances of `../shared/bench` and the solver that they are measured beside: PuLP with CBC, one thread, 30 s at most.
//!
//! Deliberately absent: installing Python's packages (`tools/setup`, which says where its interpreter is in `FOGBANK_BENCH_PYTHON`).

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const SCRIPTS: &str = "../shared/bench";
/// What CBC may take for one instance, seconds.
const LIMIT_S: &str = "30";

/// One container on a fog: what is asked for, and each device's cost and what it has free, all in the instance's whole units.
pub(crate) struct Instance {
    pub(crate) asked: [u64; 4],
    pub(crate) devices: Vec<(u64, [u64; 4])>,
}

/// What PuLP came to.
pub(crate) struct Theirs {
    /// Building the model and solving it, seconds.
    pub(crate) took_s: f64,
    pub(crate) cost: f64,
}

/// The instances' files in a temporary folder, and who solves them.
pub(crate) struct Pulp {
    python: PathBuf,
    scripts: PathBuf,
    folder: PathBuf,
}

impl Pulp {
    /// Makes the instances; `None` where the scripts or Python with PuLP are not there.
    pub(crate) fn find() -> Result<Option<Self>> {
        let Ok(scripts) = Path::new(SCRIPTS).canonicalize() else { return Ok(None) };
        let Some(python) = env::var_os("FOGBANK_BENCH_PYTHON").map(PathBuf::from) else { return Ok(None) };
        let folder = env::temp_dir().join("placement");
        fs::create_dir_all(&folder)?;
        let made = Command::new(&python).arg(scripts.join("gen_instances.py")).current_dir(&folder).status();
        ensure!(made.context("starting Python")?.success(), "the instances could not be made");
        Ok(Some(Self { python, scripts, folder }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join("inst").join(name)
    }

    pub(crate) fn instance(&self, name: &str) -> Result<Instance> {
        let text = fs::read_to_string(self.path(name)).with_context(|| format!("reading {name}"))?;
        let mut rows = text.lines().map(|line| line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>());
        let mut next = || rows.next().transpose().with_context(|| format!("reading {name}"));
        let Some([_, asked @ ..]) = next()?.as_deref().map(<[u64; 5]>::try_from).transpose()? else { bail!("{name} is empty") };
        let mut devices = Vec::new();
        while let Some(row) = next()? {
            let [cost, free @ ..] = <[u64; 5]>::try_from(row.as_slice())?;
            devices.push((cost, free));
        }
        Ok(Instance { asked, devices })
    }

    /// Solves them by PuLP, by name.
    pub(crate) fn solve(&self, names: &[String]) -> Result<HashMap<String, Theirs>> {
        let files = names.iter().map(|name| self.path(name));
        let ran = Command::new(&self.python)
            .arg(self.scripts.join("pulp_baseline.py"))
            .args(["--limit", LIMIT_S])
            .args(files)
            .output()
            .context("starting Python")?;
        ensure!(ran.status.success(), "PuLP failed: {}", String::from_utf8_lossy(&ran.stderr));
        let mut theirs = HashMap::new();
        for line in String::from_utf8(ran.stdout)?.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let &[name, _, build, solve, _, _, _, cost] = fields.as_slice() else { bail!("PuLP printed “{line}”") };
            let took_s = build.parse::<f64>()? + solve.parse::<f64>()?;
            theirs.insert(name.to_owned(), Theirs { took_s, cost: cost.parse()? });
        }
        Ok(theirs)
    }
}
