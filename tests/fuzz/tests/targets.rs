//! Every target still gets past the door with what the product makes, and takes a few thousand changes of it without a panic.

use fogbank_fuzz::{Mutator, TARGETS};
use std::time::{Duration, Instant};

/// Inputs for each target ...
const INPUTS: usize = 2_000;
/// ... or as many as can be run in this time, on a machine that has other things to do.
const MOST: Duration = Duration::from_secs(3);

#[test]
fn seeds_are_believed() {
    for target in &TARGETS {
        let seeds = (target.seeds)();
        let believed = seeds.iter().filter(|seed| (target.run)(seed)).count();
        assert!(2 * believed > seeds.len(), "{}: {believed} of {} seeds are believed", target.name, seeds.len());
    }
}

#[test]
fn changed_seeds_do_no_harm() {
    for target in &TARGETS {
        for edge in [&[][..], &[0], &[255], &[255; 300]] {
            (target.run)(edge);
        }
        let began = Instant::now();
        let mut mutator = Mutator::new((target.seeds)(), 1);
        let mut run = 0;
        while run < INPUTS && began.elapsed() < MOST {
            (target.run)(&mutator.draw());
            run += 1;
        }
        assert!(run >= 50, "{}: {run} inputs in {MOST:?}", target.name);
    }
}
