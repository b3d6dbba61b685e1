//! The window's TypeScript types are generated from the control messages. `make bindings` writes them; this test finds drift.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use fogbank_node::control::{ControlReply, ControlRequest};
use std::{any::TypeId, collections::BTreeMap, path::Path};
use ts_rs::{Config, TS, TypeVisitor};

const FILE: &str = "../../ui/src/host/bindings.ts";
const HEADER: &str = "// Generated from src-tauri/node/src/control by `make bindings`. Do not edit: a test compares the two.\n";

/// Collects a type and everything that it names.
#[derive(Default)]
struct Collected {
    config: Config,
    seen: Vec<TypeId>,
    declared: BTreeMap<String, String>,
}

impl TypeVisitor for Collected {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        if self.seen.contains(&TypeId::of::<T>()) {
            return;
        }
        self.seen.push(TypeId::of::<T>());
        // Only our own types have a file to be written to; numbers and lists are TypeScript's.
        if T::output_path().is_some() {
            let docs = T::docs().unwrap_or_default();
            self.declared.insert(T::ident(&self.config), format!("{docs}export {}\n", T::decl(&self.config)));
        }
        T::visit_dependencies(self);
        T::visit_generics(self);
    }
}

#[test]
fn the_window_speaks_the_nodes_language() {
    let mut collected = Collected::default();
    collected.visit::<ControlRequest>();
    collected.visit::<ControlReply>();
    let fresh = format!("{HEADER}\n{}", collected.declared.into_values().collect::<Vec<_>>().join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("FOGBANK_WRITE_BINDINGS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(&path).expect("ui/src/host/bindings.ts");
    assert!(kept == fresh, "ui/src/host/bindings.ts is not what the Rust types say: run `make bindings`");
}
