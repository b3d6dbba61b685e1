//! Sealed sites: contents from whichever copy gives them, checked before they are passed on.
//!
//! Invariants: a copy that gives something else is left for good, one that breaks off for a while, and the request goes on at another from the
//! byte that was reached; each request tries a bounded number of times without getting on; bytes of two versions of a site are never mixed. When
//! the site is updated before a byte of an answer is out, the answer is of the new version; one that is under way is finished by copies of the old
//! one while they are gone to, or by those of the new one where that has the very same content, and else breaks off.

use crate::{
    cache::{SMALL_BYTES, View},
    page::Trouble,
    way::Way,
};
use bytes::{Bytes, BytesMut};
use fogbank_betanet::{
    client::{CopyOf, Opened},
    tunnel::Stream,
};
use fogbank_site::{Body, Contents, Entry, Files, Limits, Manifest, Root, TakeError, respond, take_manifest};
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{Response, body::Frame, http::request::Parts};
use std::{io, ops::Range, sync::Arc};

/// Copies tried in a row without a byte gained: more than a site usually has, so that each gets its turn.
const MAX_TRIES: u32 = 6;

/// How often one request begins anew because the site was changed just then: updates follow each other by seconds at least.
const MAX_CHANGES: u32 = 3;

/// What went wrong in a row.
#[derive(Default)]
struct Tries {
    count: u32,
    lies: u32,
}

impl Tries {
    /// Judges a copy that failed: what is to be told when nothing more is tried.
    fn failed(&mut self, copy: &CopyOf, error: TakeError) -> Result<(), Trouble> {
        self.count += 1;
        if error.is_lie() {
            tracing::warn!(%error, "a copy of a site was caught and left");
            copy.lied();
            self.lies += 1;
        } else {
            tracing::info!(%error, "a copy of a site failed");
            // A stream may break where its copy is well (a film was paused for longer than the host waits): others of the tunnel go on.
            if self.count > 1 || matches!(error, TakeError::Silent | TakeError::OtherVersion) {
                copy.failed();
            }
        }
        if let TakeError::Manifest(error) = error {
            return Err(Trouble::Publisher(error));
        }
        match error {
            _ if self.count < MAX_TRIES => Ok(()),
            _ if self.lies > 0 => Err(Trouble::Lied { copies: self.lies }),
            TakeError::OtherVersion => Err(Trouble::OtherVersion),
            error => Err(Trouble::Broke { why: error.to_string() }),
        }
    }

    /// No copy can be reached any more; if some lied, that is why.
    fn unreached(&self, trouble: Trouble) -> Trouble {
        if self.lies > 0 { Trouble::Lied { copies: self.lies } } else { trouble }
    }
}

/// Takes a site's manifest, from the copy that was reached or from others.
pub(crate) async fn view(way: &Way, opened: Opened) -> Result<Arc<View>, Trouble> {
    let mut tries = Tries::default();
    let mut opened = opened;
    loop {
        let Opened { stream, seal, copy } = opened;
        let root = Root(seal.ok_or(Trouble::Changed)?.root);
        if let Some(kept) = way.shared.cache.view(&way.key).filter(|kept| kept.root == root && way.shows(root)) {
            return Ok(kept);
        }
        match take_manifest(stream, root, &Limits::default()).await {
            Ok(manifest) => return Ok(way.shared.cache.keep(&way.key, root, manifest)),
            Err(error) => tries.failed(&copy, error)?,
        }
        opened = way.open().await.map_err(|trouble| tries.unreached(trouble))?;
    }
}

/// Answers a request from a site.
pub(crate) async fn answer(way: &Way, mut known: Arc<View>, request: &Parts) -> Result<Response<Body>, Trouble> {
    for _ in 0..MAX_CHANGES {
        match respond(&Sealed { way: way.clone(), view: known }, request).await {
            Err(Trouble::Changed) => known = view(way, way.open().await?).await?,
            answered => return answered,
        }
    }
    Err(Trouble::Changed)
}

struct Sealed {
    way: Way,
    view: Arc<View>,
}

impl Files for Sealed {
    type Error = Trouble;

    fn manifest(&self) -> &Manifest {
        &self.view.manifest
    }

    async fn open(&self, entry: &Entry, range: Range<u64>) -> Result<Body, Trouble> {
        let kept = self.way.shared.cache.file(&self.way.key, self.view.root, entry.blob());
        if let Some(bytes) = kept.filter(|bytes| bytes.len() as u64 == entry.bytes() && self.way.shows(self.view.root)) {
            // Within the length of a small file.
            let part = bytes.slice(range.start as usize..range.end as usize);
            return Ok(Full::from(part).map_err(|never| match never {}).boxed_unsync());
        }
        let mut source = Source::new(self.way.clone(), self.view.clone(), entry, range);
        // Until the first bytes are there and good, a page can still say what is wrong.
        let first = source.next().await?;
        let rest = stream::unfold((first, Some(source)), |(ready, source)| async move {
            if let Some(bytes) = ready {
                return Some((Ok(Frame::data(bytes)), (None, source)));
            }
            let mut source = source?;
            match source.next().await {
                Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), (None, Some(source)))),
                Ok(None) => None,
                // The browser sees that the response breaks off: it was told how long it is.
                Err(trouble) => Some((Err(io::Error::other(format!("{trouble:?}"))), (None, None))),
            }
        });
        Ok(StreamBody::new(rest).boxed_unsync())
    }
}

/// Bytes of one content, from one copy after another.
struct Source {
    way: Way,
    view: Arc<View>,
    number: usize,
    bytes: u64,
    left: Range<u64>,
    /// Whether some of it has been given out.
    begun: bool,
    from: Option<(Contents<Stream>, CopyOf)>,
    tries: Tries,
    /// The whole of a small file, to be kept.
    gathered: Option<BytesMut>,
}

impl Source {
    fn new(way: Way, view: Arc<View>, entry: &Entry, range: Range<u64>) -> Self {
        let whole = range == (0..entry.bytes());
        let gathered = (whole && entry.bytes() <= SMALL_BYTES).then(BytesMut::new);
        let (number, bytes) = (entry.blob(), entry.bytes());
        Self { way, view, number, bytes, left: range, begun: false, from: None, tries: Tries::default(), gathered }
    }

    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        while !self.left.is_empty() {
            let (mut contents, copy) = match self.from.take() {
                Some(from) => from,
                None => self.ask().await?,
            };
            match contents.next().await {
                Ok(Some(bytes)) => {
                    self.left.start += bytes.len() as u64;
                    self.begun = true;
                    self.from = Some((contents, copy));
                    // It gets on.
                    self.tries.count = 0;
                    self.gather(&bytes);
                    return Ok(Some(bytes));
                }
                Ok(None) => self.tries.failed(&copy, TakeError::Cut)?,
                Err(error) => self.tries.failed(&copy, error)?,
            }
        }
        Ok(None)
    }

    /// Asks copies until one begins to give what is left.
    async fn ask(&mut self) -> Result<(Contents<Stream>, CopyOf), Trouble> {
        loop {
            let opened = self.way.open().await.map_err(|trouble| self.tries.unreached(trouble))?;
            if opened.seal.is_none_or(|seal| Root(seal.root) != self.view.root) {
                self.follow(opened).await?;
                continue;
            }
            let Opened { stream, copy, .. } = opened;
            let (view, left) = (&self.view, self.left.clone());
            match Contents::ask(stream, view.root, &view.manifest, self.number, self.bytes, left).await {
                Ok(contents) => return Ok((contents, copy)),
                Err(error) => self.tries.failed(&copy, error)?,
            }
        }
    }

    /// Goes on by the version that has come online meanwhile, if it has the content of which some has been given out already.
    async fn follow(&mut self, opened: Opened) -> Result<(), Trouble> {
        if !self.begun {
            return Err(Trouble::Changed);
        }
        let newer = view(&self.way, opened).await?;
        let content = self.view.manifest.content(self.number);
        let same = (0..newer.manifest.contents()).find(|number| newer.manifest.content(*number) == content);
        self.number = same.ok_or(Trouble::Changed)?;
        self.view = newer;
        Ok(())
    }

    fn gather(&mut self, bytes: &Bytes) {
        let Some(gathered) = &mut self.gathered else { return };
        gathered.extend_from_slice(bytes);
        if gathered.len() as u64 == self.bytes
            && let Some(whole) = self.gathered.take()
        {
            self.way.shared.cache.keep_file(&self.way.key, self.view.root, self.number, whole.freeze());
        }
    }
}
