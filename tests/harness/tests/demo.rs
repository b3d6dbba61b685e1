//! The demo itself: the main job over processes, end to end. It fails when anything that it shows was not seen. The nodes are those of the last
//! build of `fogbank-daemon`; `cargo test --workspace` builds both.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

#[test]
fn the_main_job_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    // Its figures go where it runs: those of `make demo` stay as they are.
    let status = Command::new(env!("CARGO_BIN_EXE_fogbank-demo"))
        .current_dir(folder.path())
        .env_remove("KEEP")
        .env_remove("SITE")
        .status();
    assert!(status.unwrap().success());
    assert!(folder.path().join("target/demo.json").is_file());
}
