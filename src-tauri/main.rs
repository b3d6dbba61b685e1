//! main
fn main() { fogbank_app::run() }
