//! Measured figures with their goals, printed and kept in `target/demo.json`.

use anyhow::{Context, Result};
use serde::Serialize;

/// One figure, in the shape of `target/bench.json`.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    goal: String,
    peer: Option<String>,
    ratio: Option<f64>,
    holds: bool,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// Notes a figure that should not be above its goal.
    pub(crate) fn at_most(&mut self, name: &'static str, value: f64, unit: &'static str, goal: f64) {
        self.0.push(Figure { name, value, unit, goal: format!("<= {goal}"), peer: None, ratio: None, holds: value <= goal });
    }

    /// Whether every figure is within its goal.
    pub(crate) fn hold(&self) -> bool {
        self.0.iter().all(|f| f.holds)
    }

    /// Prints them, and writes them to `target/demo.json` below the current folder.
    pub(crate) fn write(&self) -> Result<()> {
        println!();
        for f in &self.0 {
            let verdict = if f.holds { "holds" } else { "MISSED" };
            println!("  {:<22} {:>9.2} {:<9} goal {:<8} {verdict}", f.name, f.value, f.unit, f.goal);
        }
        println!();
        std::fs::create_dir_all("target")?;
        std::fs::write("target/demo.json", serde_json::to_vec_pretty(&self.0)?).context("writing target/demo.json")
    }
}
