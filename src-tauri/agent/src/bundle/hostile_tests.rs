//! Bundles that lie, from a publisher who makes them by hand: none is taken, and little of it is moved. Sources that do not want to give.

use super::*;
use fogbank_model::{DeviceId, UnixMs};
use fogbank_site::Part;
use fogbank_wire::{ALPN, BundlePermit, Greeting, Group, Purpose, Signed, Strangers, receive_hello, write_frame};
use iroh::{
    Endpoint, RelayMode, SecretKey,
    endpoint::{SendStream, VarInt, presets},
};
use iroh_blobs::{
    BlobFormat,
    protocol::Request,
    provider::{StreamPair, events::EventSender, handle_get},
    util::SendStream as BlobStream,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::LazyLock,
};

static FOG: LazyLock<SecretKey> = LazyLock::new(SecretKey::generate);

struct Side {
    endpoint: Endpoint,
    bundles: Bundles,
    _folder: tempfile::TempDir,
}

impl Side {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundles = Bundles::open(folder.path()).await.unwrap();
        let builder = Endpoint::builder(presets::Minimal)
            .alpns(vec![ALPN.to_vec()])
            .relay_mode(RelayMode::Disabled)
            .clear_address_lookup()
            .clear_ip_transports();
        let endpoint = builder.bind_addr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap().bind().await.unwrap();
        Self { endpoint, bundles, _folder: folder }
    }

    /// A blob of the liar's.
    async fn blob(&self, bytes: Vec<u8>) -> Hash {
        // The tag keeps it for the test's time.
        let mut tag = self.bundles.store().blobs().add_bytes(bytes).temp_tag().await.unwrap();
        tag.leak();
        tag.hash()
    }

    /// A file of the liar's, behind a salt as every file is.
    async fn file(&self, bytes: &[u8]) -> Hash {
        self.blob([&[3; SALT_BYTES], bytes].concat()).await
    }

    /// A sequence of blobs, offered as a bundle.
    async fn offer(&self, hashes: Vec<Hash>) -> BundleId {
        let sequence: HashSeq = hashes.into_iter().collect();
        let options = (Bytes::from(sequence), BlobFormat::HashSeq);
        let tag = self.bundles.store().blobs().add_bytes_with_opts(options).temp_tag().await.unwrap();
        let id = BundleId(*tag.hash().as_bytes());
        self.bundles.hold(id, Kind::Own, Held::default()).await.unwrap();
        id
    }
}

fn part(path: &str, bytes: u64, blob: u32) -> Part {
    Part { path: path.to_owned(), bytes, blob }
}

async fn take(liar: &Side, victim: &Side, id: BundleId, limits: Limits) -> (Result<Fetched, FetchError>, u64) {
    let device = DeviceId(*victim.endpoint.id().as_bytes());
    let permit = BundlePermit { bundle: id, device, expires: UnixMs(i64::MAX) };
    let permit = Signed::seal(&FOG, BundlePermit::CONTEXT, &permit).unwrap();
    let (endpoint, bundles, key) = (liar.endpoint.clone(), liar.bundles.clone(), fogbank_model::FogId(*FOG.public().as_bytes()));
    let serving = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (Purpose::Blobs(permit), reply) = receive_hello(&connection).await.unwrap() else { panic!("another purpose") };
        let _ = bundles.serve(connection, reply, key, &permit, Strangers::new(1).begin(Group::Relayed).unwrap()).await;
    });
    let sources = vec![(DeviceId(*liar.endpoint.id().as_bytes()), liar.endpoint.bound_sockets())];
    let wanted = Wanted { bundle: id, sources, permit, limits, silence: SILENCE };
    let mut moved = 0;
    let had = victim.bundles.has(id);
    let taken = victim.bundles.keep(&victim.endpoint, &wanted, |p| moved = p.moved_bytes).await;
    // What is here already is not asked for, and then nobody comes.
    serving.abort();
    if let Err(error) = serving.await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
    assert_eq!(victim.bundles.has(id), had || taken.is_ok());
    (taken, moved)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_is_not_taken() {
    let (liar, victim) = (Side::start().await, Side::start().await);
    let page = liar.file(b"hello").await;
    let huge = liar.file(&vec![7; 5 << 20]).await;
    let index = || part(INDEX, 5, 0);
    let manifest = async |parts: Vec<Part>| {
        let contents = parts.iter().map(|p| p.blob).max().map_or(0, |most| most as usize + 1);
        liar.file(&Manifest::build(parts, vec![[0; 32]; contents]).encode().unwrap()).await
    };

    // An honest one is taken by the same means.
    let honest = liar.offer(vec![manifest(vec![index()]).await, page]).await;
    take(&liar, &victim, honest, Limits::default()).await.0.unwrap();

    let escaping = liar.offer(vec![manifest(vec![part("../x", 5, 0), index()]).await, page]).await;
    let indexless = liar.offer(vec![manifest(vec![part("x", 5, 0)]).await, page]).await;
    let spare = liar.offer(vec![manifest(vec![index()]).await, page, huge]).await;
    let missing = liar.offer(vec![manifest(vec![index(), part("x", 1, 1)]).await, page]).await;
    let garbage = liar.offer(vec![liar.blob(noise()).await, page]).await;
    let nothing = liar.offer(Vec::new()).await;
    for (what, id) in [
        ("escaping", escaping),
        ("indexless", indexless),
        ("spare", spare),
        ("missing", missing),
        ("garbage", garbage),
        ("nothing", nothing),
    ] {
        let (taken, moved) = take(&liar, &victim, id, Limits::default()).await;
        assert!(matches!(taken, Err(FetchError::Content(_))) && moved == 0, "{what}: {taken:?}, {moved}");
    }

    // A file that is larger than its manifest says is cut off, one that is smaller is noticed at the end.
    let swollen = liar.offer(vec![manifest(vec![index(), part("x", 10, 1)]).await, page, huge]).await;
    let (taken, moved) = take(&liar, &victim, swollen, Limits::default()).await;
    assert!(matches!(&taken, Err(FetchError::Content(ManifestError::TooMuch { limit: 79, .. }))), "{taken:?}");
    assert!(moved < 1 << 20, "{moved}");
    let shrunk = liar.offer(vec![manifest(vec![part(INDEX, 6, 0)]).await, page]).await;
    let (taken, _) = take(&liar, &victim, shrunk, Limits::default()).await;
    assert!(matches!(taken, Err(FetchError::Content(_))), "{taken:?}");

    // Beyond the limits nothing of the files is asked for, and of the lists not more than the limits.
    let over = Limits { max_bytes: 4, ..Limits::default() };
    let (taken, moved) = take(&liar, &victim, liar.offer(vec![manifest(vec![index()]).await, page]).await, over).await;
    assert!(matches!(taken, Err(FetchError::Content(_))) && moved == 0, "it is here, but larger than agreed: {taken:?}");
    let other = liar.offer(vec![manifest(vec![index(), part("y", 5, 0)]).await, page]).await;
    let (taken, moved) = take(&liar, &victim, other, over).await;
    assert!(matches!(taken, Err(FetchError::Content(ManifestError::TooMuch { what: "bytes", .. }))) && moved == 0, "{taken:?}");
    let long = liar.offer(vec![liar.blob(vec![1; 3 << 20]).await, page]).await;
    let short = Limits { max_manifest_bytes: 1 << 20, ..Limits::default() };
    let (taken, _) = take(&liar, &victim, long, short).await;
    assert!(matches!(&taken, Err(FetchError::Sources(f)) if matches!(f[0].1, SourceFault::TooMuch { .. })), "{taken:?}");
    let many = liar.offer(vec![page; 100_000]).await;
    let few = Limits { max_files: 10, ..Limits::default() };
    let (taken, _) = take(&liar, &victim, many, few).await;
    assert!(matches!(&taken, Err(FetchError::Sources(f)) if matches!(f[0].1, SourceFault::TooMuch { .. })), "{taken:?}");
}

fn noise() -> Vec<u8> {
    let mut bytes = vec![0; 10_000];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// A stream that is never silent and never done.
struct Dribbling(SendStream);

impl Dribbling {
    async fn wait() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl BlobStream for Dribbling {
    async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        Self::wait().await;
        self.0.write_chunk(bytes).await.map_err(Into::into)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::wait().await;
        self.0.write_all(bytes).await.map_err(Into::into)
    }

    async fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self, code: VarInt) -> io::Result<()> {
        self.0.reset(code).map_err(Into::into)
    }

    async fn stopped(&mut self) -> io::Result<Option<VarInt>> {
        self.0.stopped().await.map_err(Into::into)
    }

    fn id(&self) -> u64 {
        self.0.id().index()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dribbles_is_left_for_the_next() {
    let (source, victim, site) = (Side::start().await, Side::start().await, tempfile::tempdir().unwrap());
    std::fs::write(site.path().join(INDEX), b"hello").unwrap();
    for n in 0..150 {
        std::fs::write(site.path().join(n.to_string()), [n]).unwrap();
    }
    let id = source.bundles.import(site.path(), &Limits::default(), |_| ()).await.unwrap().id;
    let (endpoint, bundles) = (source.endpoint.clone(), source.bundles.clone());
    tokio::spawn(async move {
        // The first that comes is kept waiting, the others are served.
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (_, mut reply) = receive_hello(&connection).await.unwrap();
        write_frame(&mut reply, &Greeting::Welcome(None)).await.unwrap();
        reply.finish().unwrap();
        while let Ok((send, mut recv)) = connection.accept_bi().await {
            let (Request::Get(get), _) = Request::read_async(&mut recv).await.unwrap() else { panic!("another request") };
            let pair = StreamPair::new(0, recv, Dribbling(send), EventSender::DEFAULT);
            let _ = handle_get(pair, bundles.store().clone(), get).await;
        }
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (Purpose::Blobs(permit), reply) = receive_hello(&connection).await.unwrap() else { panic!("another purpose") };
        let fog = fogbank_model::FogId(*FOG.public().as_bytes());
        bundles.serve(connection, reply, fog, &permit, Strangers::new(1).begin(Group::Relayed).unwrap()).await.unwrap();
    });
    let device = DeviceId(*victim.endpoint.id().as_bytes());
    let permit = BundlePermit { bundle: id, device, expires: UnixMs(i64::MAX) };
    let permit = Signed::seal(&FOG, BundlePermit::CONTEXT, &permit).unwrap();
    let from = (DeviceId(*source.endpoint.id().as_bytes()), source.endpoint.bound_sockets());
    let silence = Duration::from_millis(300);
    let wanted = Wanted { bundle: id, sources: vec![from], permit, limits: Limits::default(), silence };
    let fetched = victim.bundles.keep(&victim.endpoint, &wanted, |_| ()).await;
    assert!(matches!(&fetched, Err(FetchError::Sources(f)) if matches!(f[0].1, SourceFault::Slow(_))), "{fetched:?}");
    let fetched = victim.bundles.keep(&victim.endpoint, &wanted, |_| ()).await.unwrap();
    assert!(fetched.files == 151 && fetched.moved_bytes < 151 * 33, "what came stays: {fetched:?}");
}
