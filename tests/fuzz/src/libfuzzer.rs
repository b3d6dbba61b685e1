//! The targets under libFuzzer, which brings `main` and takes its options. Which target, `FOGBANK_FUZZ` says.
//!
//! Coverage is the compiler's: `tools/fuzz` compiles our crates with LLVM's SanitizerCoverage pass, which a stable toolchain has.

#![no_main]

use fogbank_fuzz::{Target, target};
use std::sync::OnceLock;

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("FOGBANK_FUZZ").unwrap_or_default();
        let chosen = target(&name).unwrap_or_else(|| panic!("FOGBANK_FUZZ names no target: “{name}”"));
        let _ = CHOSEN.set(chosen);
    },
    |input: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            (target.run)(input);
        }
    }
);
