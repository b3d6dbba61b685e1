//! The runtime of sites over an in-memory stream: a real bundle, asked for as visitors ask.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::{noise, site};
use fogbank_agent::{
    bundle::{Bundles, Limits, Manifest, Root},
    site::{Patience, Site},
};
use fogbank_site::{
    Contents, TakeError,
    ask::{ASK_VERSION, NOT_HERE, OTHER_VERSION},
    take_manifest,
};
use std::{ops::Range, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::JoinHandle,
};

struct Served {
    site: Site,
    kept: TempDir,
}

impl Served {
    async fn new(folder: &Path) -> (Self, Root) {
        let kept = tempfile::tempdir().unwrap();
        let bundles = Bundles::open(kept.path()).await.unwrap();
        let bundle = bundles.import(folder, &Limits::default(), |_| ()).await.unwrap();
        let site = Site::open(&bundles, bundle.id).await.unwrap();
        assert_eq!(site.root(), bundle.root, "what the publisher signs is what the host gives");
        (Self { site, kept }, bundle.root)
    }

    fn connect(&self) -> (DuplexStream, JoinHandle<()>) {
        let (near, far) = duplex(16 << 10);
        let site = self.site.clone();
        (near, tokio::spawn(async move { site.serve(far).await }))
    }

    async fn manifest(&self, root: Root) -> Result<Manifest, TakeError> {
        take_manifest(self.connect().0, root, &Limits::default()).await
    }

    async fn bytes(&self, root: Root, manifest: &Manifest, path: &str, range: Range<u64>) -> Result<Vec<u8>, TakeError> {
        let entry = manifest.entry(path).unwrap();
        let stream = self.connect().0;
        let mut contents = Contents::ask(stream, root, manifest, entry.blob(), entry.bytes(), range).await?;
        let mut all = Vec::new();
        while let Some(bytes) = contents.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

#[tokio::test]
async fn a_folder_comes_back_whole_and_in_parts() {
    let (large, odd) = (noise(b"l", 300_000), noise(b"o", 16 << 10));
    let folder =
        site(&[("index.html", b"front"), ("a/large.bin", &large), ("odd.bin", &odd), ("twin.html", b"front"), ("empty", b"")]);
    let (served, root) = Served::new(folder.path()).await;
    let manifest = served.manifest(root).await.unwrap();
    assert_eq!(manifest.entries().len(), 5);
    let at = |path: &str| manifest.entry(path).unwrap();
    assert_eq!(at("index.html").blob(), at("twin.html").blob(), "equal files are one content");
    assert_eq!(manifest.content(at("a/large.bin").blob()).unwrap(), blake3::hash(&large).as_bytes(), "a plain hash");
    for range in [0..300_000, 0..1, 16_383..16_385, 100_000..200_001, 299_999..300_000, 16_384..32_768] {
        let expected = &large[range.start as usize..range.end as usize];
        assert!(served.bytes(root, &manifest, "a/large.bin", range.clone()).await.unwrap() == expected, "{range:?}");
    }
    assert!(served.bytes(root, &manifest, "odd.bin", 0..16_384).await.unwrap() == odd);
    assert_eq!(served.bytes(root, &manifest, "index.html", 1..4).await.unwrap(), b"ron");
}

#[tokio::test]
async fn what_is_not_of_this_site_is_not_here() {
    let (served, root) = Served::new(site(&[("index.html", b"front")]).path()).await;
    assert!(matches!(served.manifest(Root([7; 32])).await, Err(TakeError::Withheld)));
    let manifest = served.manifest(root).await.unwrap();
    let other = served.bytes(Root([7; 32]), &manifest, "index.html", 0..5).await;
    assert!(matches!(other, Err(TakeError::Withheld)), "{other:?}");
    let beyond = served.bytes(root, &manifest, "index.html", 0..6).await;
    assert!(matches!(beyond, Err(TakeError::Withheld)), "{beyond:?}");
    // What is no ask is answered with the one byte that says why.
    let asks = [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], OTHER_VERSION),
        (&[ASK_VERSION + 1, 3, 0, 0, 0][..], OTHER_VERSION),
        (&[ASK_VERSION, 3, 9, 9, 9][..], NOT_HERE),
    ];
    for (ask, answer) in asks {
        let (mut stream, done) = served.connect();
        stream.write_all(ask).await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, [answer], "{ask:?}");
        done.await.unwrap();
    }
}

#[tokio::test]
async fn visitors_learn_nothing_by_which_bundles_are_named() {
    let content = noise(b"c", 100_000);
    let folder = site(&[("index.html", b"front"), ("c.bin", &content)]);
    let ((one, root_one), (_two, root_two)) = (Served::new(folder.path()).await, Served::new(folder.path()).await);
    // The same folder has the same root twice, and yet another bundle each time: the root tells nothing of the bundle.
    assert_eq!(root_one, root_two);
    let manifest = one.manifest(root_one).await.unwrap().encode().unwrap();
    let bundles = std::fs::read_dir(one.kept.path().join("data")).unwrap();
    let names: Vec<String> =
        bundles.map(|f| f.unwrap().file_name().to_string_lossy().split('.').next().unwrap().to_owned()).collect();
    assert!(!names.is_empty(), "the store names its files by the blobs' hashes");
    let hex: String = manifest.iter().map(|b| format!("{b:02x}")).collect();
    for name in names.iter().filter(|n| n.len() == 64) {
        assert!(!hex.contains(name.as_str()), "a blob's name is in the manifest");
    }
}

#[tokio::test]
async fn a_host_whose_disk_rots_breaks_off_and_does_not_lie() {
    let content = noise(b"c", 400_000);
    let (served, root) = Served::new(site(&[("index.html", b"front"), ("c.bin", &content)]).path()).await;
    let manifest = served.manifest(root).await.unwrap();
    let data = served.kept.path().join("data");
    let file = std::fs::read_dir(data)
        .unwrap()
        .map(|f| f.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "data") && std::fs::metadata(p).unwrap().len() == 400_032);
    let file = file.expect("the large file's blob lies on the disk");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[200_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let rotten = served.bytes(root, &manifest, "c.bin", 0..400_000).await.unwrap_err();
    // Over a tunnel a dropped stream is a broken one; in memory it just ends. Either way no wrong byte was sent.
    assert!(matches!(rotten, TakeError::Cut | TakeError::Broke(_)), "{rotten:?}");
}

#[tokio::test]
async fn who_asks_or_reads_nothing_is_let_go() {
    let (mut served, root) = Served::new(site(&[("index.html", b"front"), ("large", &noise(b"n", 1 << 20))]).path()).await;
    let manifest = served.manifest(root).await.unwrap();
    let short = Duration::from_millis(200);
    served.site = served.site.with_patience(Patience { ask: short, write: short });
    let (mute, mute_done) = served.connect();
    let (mut slow, slow_done) = served.connect();
    slow.write_all(&[ASK_VERSION, 40]).await.unwrap();
    let (deaf, deaf_done) = served.connect();
    let entry = manifest.entry("large").unwrap();
    let deaf = Contents::ask(deaf, root, &manifest, entry.blob(), entry.bytes(), 0..1 << 20).await.unwrap();
    for (who, done) in [("mute", mute_done), ("slow", slow_done), ("deaf", deaf_done)] {
        tokio::time::timeout(Duration::from_secs(10), done).await.expect(who).unwrap();
    }
    drop((mute, slow, deaf));
}

/// A gigabyte through one stream. Run by hand: `cargo test --test site -- --ignored --nocapture`; prints the most memory it took.
#[cfg(target_os = "linux")]
#[ignore = "takes a gigabyte of disk; measured by hand"]
#[tokio::test]
async fn memory_does_not_grow_with_the_file() {
    let folder = site(&[("index.html", b"front")]);
    let file = std::fs::File::create(folder.path().join("huge")).unwrap();
    file.set_len(1 << 30).unwrap();
    let (served, root) = Served::new(folder.path()).await;
    let manifest = served.manifest(root).await.unwrap();
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let entry = manifest.entry("huge").unwrap();
    let before = peak();
    for pass in ["with its hashes computed", "with its hashes known"] {
        let began = std::time::Instant::now();
        let mut contents =
            Contents::ask(served.connect().0, root, &manifest, entry.blob(), entry.bytes(), 0..1 << 30).await.unwrap();
        let first_s = began.elapsed().as_secs_f64();
        let mut total = 0;
        while let Some(bytes) = contents.next().await.unwrap() {
            total += bytes.len();
        }
        assert_eq!(total, 1 << 30);
        let rate = total as f64 / began.elapsed().as_secs_f64() / 1e6;
        eprintln!("{pass}: first bytes after {first_s:.2} s, {rate:.0} MB/s");
    }
    eprintln!("import peak {before} kB, serve peak {} kB", peak());
    assert!(peak() < before + 30_000, "{} kB before, {} kB after", before, peak());
}
