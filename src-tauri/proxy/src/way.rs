//! The way to one address in one isolation: every request of a browser to it is answered here.

use crate::{
    app,
    cache::{Key, View},
    isolation::Asker,
    page::{self, Trouble},
    port::Shared,
    sealed,
};
use fogbank_betanet::client::{ConnectError, Opened, Visitor};
use fogbank_model::Onion;
use fogbank_site::{Body, Root};
use futures_util::{FutureExt as _, future::BoxFuture};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// How long a browser may keep a connection without a request, and how long the head of one may take: browsers give up after about as long.
pub(crate) const HEAD_WAIT: Duration = Duration::from_secs(120);
/// Headers of one request: browsers send about 20.
const MAX_HEADERS: usize = 100;
/// The head of a request, and what is buffered of a response: a path of [`fogbank_site::MAX_PATH_BYTES`] three times over, and cookies.
const MAX_BUFFER_BYTES: usize = 64 << 10;

/// The rules by which requests of browsers are read.
pub(crate) fn rules() -> http1::Builder {
    let mut rules = http1::Builder::new();
    rules
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES)
        // Who ends their side has left: else a page of events that was closed would hold its place until the next event.
        .half_close(false)
        .auto_date_header(false);
    rules
}

/// What goes on over a connection after its HTTP has ended (CONNECT, WebSockets): in the connection's own task, and so within the port's bounds.
#[derive(Clone, Default)]
pub(crate) struct Later(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Later {
    pub(crate) fn put(&self, then: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(then.boxed());
    }

    pub(crate) async fn run(self) {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(then) = then {
            then.await;
        }
    }
}

/// One address in one isolation.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: Key,
    /// `None` while no fog is known; opens addresses as they were asked for.
    visitor: Option<Visitor>,
}

/// What is known of an address before the first request to it.
pub(crate) enum First {
    /// It is a sealed site whose manifest is here.
    Known,
    /// A stream to it.
    Opened(Box<Opened>),
    /// It can't be opened.
    Failed(ConnectError),
    /// No fog is known.
    NoFog,
}

impl Way {
    pub(crate) fn new(shared: Arc<Shared>, onion: Onion, Asker { isolation, direct }: Asker) -> Self {
        let visitor = shared.visitor.as_ref().map(|visitor| if direct { visitor.directly() } else { visitor.clone() });
        // Who asks to come directly has an isolation of its own by its user name.
        Self { shared, key: Key { onion, isolation }, visitor }
    }

    /// Looks whether the address can be opened.
    pub(crate) async fn first(&self) -> First {
        if self.kept().is_some() {
            return First::Known;
        }
        match self.open().await {
            Ok(opened) => First::Opened(Box::new(opened)),
            Err(Trouble::Connect(error)) => First::Failed(error),
            Err(_) => First::NoFog,
        }
    }

    /// What is kept of a sealed site, while a tunnel to it stands.
    fn kept(&self) -> Option<Arc<View>> {
        self.shared.cache.view(&self.key).filter(|view| self.shows(view.root))
    }

    /// Whether what is kept of this version of a sealed site may be shown: a tunnel stands to a copy that serves just that. A request that began before
    /// an update may keep the older one after a newer one was confirmed.
    pub(crate) fn shows(&self, root: Root) -> bool {
        let seal = self.visitor.as_ref().and_then(|v| v.open_seal(&self.key.onion, &self.key.isolation));
        seal.is_some_and(|seal| Root(seal.root) == root)
    }

    /// Whether a tunnel to the address stands and may be used at this moment. Nothing that was kept is shown else, and no kept connection used.
    pub(crate) fn is_open(&self) -> bool {
        self.visitor.as_ref().is_some_and(|v| v.is_open(&self.key.onion, &self.key.isolation))
    }

    fn visitor(&self) -> Result<&Visitor, Trouble> {
        self.visitor.as_ref().ok_or(Trouble::NoFog)
    }

    /// A fresh stream to a copy.
    pub(crate) async fn open(&self) -> Result<Opened, Trouble> {
        let opened = self.visitor()?.open(&self.key.onion, &self.key.isolation).await;
        let opened = opened.inspect_err(|error| tracing::info!(%error, "an address could not be opened"));
        let opened = opened.map_err(Trouble::Connect)?;
        if let Some(seal) = &opened.seal {
            self.shared.cache.confirm(&self.key, Root(seal.root));
            // It may have been an app before.
            self.shared.pool.forget(&self.key);
        }
        Ok(opened)
    }

    /// Answers a request; whatever can't be done is said in a page.
    pub(crate) async fn answer(&self, request: Request<Incoming>, first: Option<First>, later: &Later) -> Response<Body> {
        let head = request.method() == hyper::Method::HEAD;
        match self.try_answer(request, first, later).await {
            Ok(response) => response,
            Err(trouble) => page::of(&trouble, head),
        }
    }

    async fn try_answer(
        &self,
        request: Request<Incoming>,
        first: Option<First>,
        later: &Later,
    ) -> Result<Response<Body>, Trouble> {
        let opened = match first {
            Some(First::Opened(opened)) => Some(*opened),
            Some(First::Failed(error)) => return Err(Trouble::Connect(error)),
            Some(First::NoFog) => return Err(Trouble::NoFog),
            Some(First::Known) | None => None,
        };
        if opened.is_none()
            && let Some(view) = self.kept()
        {
            return sealed::answer(self, view, &request.into_parts().0).await;
        }
        // A connection to an app that was kept may serve; only then nothing is opened.
        if opened.is_none() && self.is_open() && self.shared.pool.has(&self.key) && request.method().is_safe() {
            return app::forward(self, None, request, later).await;
        }
        let opened = match opened {
            Some(opened) => opened,
            None => self.open().await?,
        };
        if opened.seal.is_none() {
            return app::forward(self, Some(opened.stream), request, later).await;
        }
        let view = sealed::view(self, opened).await?;
        sealed::answer(self, view, &request.into_parts().0).await
    }
}

/// Answers all requests of a connection that a program has opened to an address.
pub(crate) async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, way: Way, first: First) {
    let (first, later) = (Mutex::new(Some(first)), Later::default());
    let service = service_fn(|request: Request<Incoming>| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (way, later) = (way.clone(), later.clone());
        async move { Ok::<_, Infallible>(way.answer(request, first, &later).await) }
    });
    if let Err(error) = rules().serve_connection(TokioIo::new(io), service).with_upgrades().await {
        tracing::debug!(%error, "a visitor's connection broke");
    }
    later.run().await;
}
