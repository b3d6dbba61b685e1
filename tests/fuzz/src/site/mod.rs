//! Sites: what a visitor reads of a host, and what a host reads of a visitor.

pub(crate) mod ask;
pub(crate) mod contents;
pub(crate) mod manifest;

use bytes::Bytes;
use fogbank_site::{Content, Contents, Given, Limits, Manifest, Part, TakeError, ask::Ask, give};
use std::{
    io,
    ops::Range,
    sync::{Arc, LazyLock},
};
use tokio::{
    io::{empty, join, sink},
    runtime::{Builder, Runtime},
};

/// What is read lies in memory, so nothing waits; the protocols only want a clock for their deadlines.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());

/// A site: one content of several groups whose last is short, so that its answer is too, a small one and an empty one.
static SITE: LazyLock<Arc<Given<Memory>>> = LazyLock::new(|| {
    let files = [("a/b c.css", Vec::new()), ("index.html", b"<h1>here</h1>".to_vec()), ("long.bin", noise(6 * 16_384 + 300))];
    let hashes = files.iter().map(|(_, bytes)| *blake3::hash(bytes).as_bytes()).collect();
    let part =
        |(n, (path, bytes)): (u32, &(&str, Vec<u8>))| Part { path: (*path).to_owned(), bytes: bytes.len() as u64, blob: n };
    let encoded = Manifest::build((0..).zip(&files).map(part).collect(), hashes).encode().unwrap();
    let manifest = Manifest::decode(&encoded, &Limits::default()).unwrap();
    let contents = files.into_iter().map(|(_, bytes)| Bytes::from(bytes)).collect();
    Arc::new(Given::new(manifest, encoded.into(), Memory(contents)))
});

/// The number of the long content.
const LONG: usize = 2;

struct Memory(Vec<Bytes>);

impl Memory {
    fn of(&self, number: usize, range: Range<u64>) -> Bytes {
        let whole = &self.0[number];
        let at = |byte: u64| usize::try_from(byte).unwrap().min(whole.len());
        whole.slice(at(range.start)..at(range.end))
    }
}

impl Content for Memory {
    async fn read(&self, number: usize, range: Range<u64>) -> io::Result<Bytes> {
        Ok(self.of(number, range))
    }
}

/// Bytes no two groups of which are alike.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// What the host says to an ask.
fn answered(ask: Ask) -> Vec<u8> {
    let mut said = Vec::new();
    RUNTIME.block_on(give(LazyLock::force(&SITE), ask, join(empty(), &mut said))).unwrap();
    said
}

/// What a visitor takes of a host that says this when it is asked for a part of the content of a number, which the manifest says is so long; and
/// how it ended.
fn taken(said: &[u8], number: usize, bytes: u64, wanted: Range<u64>) -> (Vec<u8>, Result<(), TakeError>) {
    let mut all = Vec::new();
    let ended = RUNTIME.block_on(async {
        let mut contents = Contents::ask(join(said, sink()), SITE.root(), SITE.manifest(), number, bytes, wanted).await?;
        while let Some(some) = contents.next().await? {
            assert!(!some.is_empty(), "nothing was given out");
            all.extend_from_slice(&some);
        }
        Ok(())
    });
    (all, ended)
}
