//! The house rules that a compiler doesn't check: who may depend on whom, small rooms, and that every room says what it is for.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

/// Lines of a source file at most: past that it is split by concern.
const MAX_LINES: usize = 500;

/// Which of our crates a crate may build on. Never the other way; nothing below the shell knows Tauri.
const HOUSE: [(&str, &[&str]); 19] = [
    ("fogbank-model", &[]),
    ("fogbank-sphinx", &[]),
    ("fogbank-placement", &["model"]),
    ("fogbank-rehearsal", &["model", "placement"]),
    ("fogbank-wire", &["model"]),
    ("fogbank-store", &["model"]),
    ("fogbank-betanet", &["model", "wire", "sphinx"]),
    ("fogbank-site", &[]),
    ("fogbank-proxy", &["model", "betanet", "site"]),
    ("fogbank-allocator", &["model", "placement", "rehearsal", "wire", "store", "betanet"]),
    ("fogbank-agent", &["model", "wire", "betanet", "site"]),
    ("fogbank-node", &["model", "wire", "store", "betanet", "allocator", "agent", "proxy"]),
    ("fogbank-relay", &["wire"]),
    ("fogbank-daemon", &["model", "node", "relay"]),
    ("fogbank", &["node"]),
    ("fogbank-harness", &["node"]),
    ("fogbank-bench", &["model", "placement", "rehearsal", "sphinx", "wire", "betanet", "node", "harness"]),
    ("fogbank-fuzz", &["model", "sphinx", "wire", "betanet", "site", "proxy"]),
    ("fogbank-privacy", &["model", "sphinx", "wire", "betanet"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Files that git tracks or would track, with these endings.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "git lists the files of this folder");
    let text = String::from_utf8(listed.stdout).unwrap();
    let wanted = |p: &PathBuf| p.extension().is_some_and(|e| endings.iter().any(|w| e.to_string_lossy() == *w));
    text.lines().map(PathBuf::from).filter(wanted).filter(|p| root().join(p).is_file()).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn crates_build_only_on_those_below_them() {
    let asked = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let house: BTreeMap<&str, &[&str]> = HOUSE.into_iter().collect();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let allowed = house.get(name).unwrap_or_else(|| panic!("{name} has no place in the house yet"));
        seen.insert(name.to_owned());
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let in_tests = dependency["kind"] == "dev";
            if let Some(ours) = on.strip_prefix("fogbank-") {
                assert!(in_tests || allowed.contains(&ours), "{name} may not build on {on}");
            }
            let shell = name == "fogbank";
            assert!(shell || !on.starts_with("tauri"), "{name} is below the shell and may not know {on}");
        }
    }
    assert_eq!(seen.len(), HOUSE.len(), "the house names a crate that is not there");
}

#[test]
fn no_file_outgrows_its_room() {
    let long: Vec<String> = files(&["rs", "ts", "svelte", "kt", "swift", "mjs"])
        .iter()
        .filter(|p| !read(p).starts_with("// Generated"))
        .map(|p| (p, read(p).lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(p, lines)| format!("{} has {lines} lines", p.display()))
        .collect();
    assert!(long.is_empty(), "split by concern: {long:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let opens_with = |path: &PathBuf, openings: &[&str]| {
        let text = read(path);
        let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
        openings.iter().any(|o| first.trim_start().starts_with(o))
    };
    let rust = files(&["rs"]).into_iter().filter(|p| !opens_with(p, &["//!"]));
    let pages = files(&["ts", "svelte", "mjs"]).into_iter().filter(|p| !opens_with(p, &["//", "/*", "<!--"]));
    let silent: Vec<PathBuf> = rust.chain(pages).collect();
    assert!(silent.is_empty(), "these begin without a word about what they are for: {silent:#?}");
}

#[test]
fn only_the_host_port_knows_tauri() {
    let knowing: Vec<PathBuf> = files(&["ts", "svelte"])
        .into_iter()
        .filter(|p| !p.starts_with("ui/src/host") && read(p).contains("@tauri-apps/"))
        .collect();
    assert!(knowing.is_empty(), "only ui/src/host/ may import @tauri-apps: {knowing:#?}");
}

#[test]
fn what_the_pages_are_made_of_is_permissive() {
    // MPL-2.0 is copyleft by the file, as in deny.toml.
    const SHIPPED: [&str; 7] = ["MIT", "Apache-2.0", "ISC", "0BSD", "BSD-3-Clause", "MPL-2.0", "MIT OR Apache-2.0"];
    // Its package names no licence; the file LICENSE in it is MIT.
    const LOOKED_AT: &str = "node_modules/svelte-toolbelt";
    let lock: Value = serde_json::from_str(&read(Path::new("ui/package-lock.json"))).unwrap();
    for (name, package) in lock["packages"].as_object().unwrap().iter().filter(|(name, _)| !name.is_empty()) {
        let licence = package["license"].as_str().unwrap_or(if name == LOOKED_AT { "MIT" } else { "none" });
        assert!(!licence.contains("GPL"), "{name} is under {licence}");
        let shipped = package["dev"] != true && package["devOptional"] != true;
        let same = |l: &&str| *l == licence || licence == "Apache-2.0 OR MIT";
        assert!(!shipped || SHIPPED.iter().any(same), "{name} is shipped and under {licence}");
    }
}

#[test]
fn lock_files_name_no_host_but_the_public_index() {
    let cargo = read(Path::new("Cargo.lock"));
    let sources = cargo.lines().filter(|l| l.starts_with("source = "));
    let foreign: Vec<&str> =
        sources.filter(|l| *l != "source = \"registry+https://github.com/rust-lang/crates.io-index\"").collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(!read(Path::new("ui/package-lock.json")).contains("\"resolved\": \"http"), "the npm lock file names a host");
}
