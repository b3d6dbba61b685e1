//! The first stream of every connection: who speaks which version, and what the connection is for. And calls after it.
//!
//! One ALPN for all purposes, because ALPNs are readable on the wire.

use crate::{Enrol, FrameError, Refusal, RefusalKind, Signed, VERSION, Welcome, permit::BundlePermit, read_frame, write_frame};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::time::timeout;

/// The one ALPN.
pub const ALPN: &[u8] = b"fogbank/1";

/// A peer that has not said hello by then is dropped: three round trips around the world and a slow phone.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// A call that has no answer by then has failed. Every answer is prepared within a second; the rest is for the network.
pub const EXCHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// A hello with certificate, mix key, eight addresses and a permit is below 1 KiB.
const MAX_HELLO_BYTES: usize = 4 << 10;

/// The first frame of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the speaker. First in the frame, so that any version can read it.
    pub version: u16,
    /// What the connection is for.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Purpose {
    /// A device, publisher or administrator and its allocator; both sides call.
    Control(Box<Enrol>),
    /// Fetching one bundle by iroh-blobs, by leave of the fog.
    Blobs(Signed<BundlePermit>),
    /// Packets, between mixes or from a client to its guard.
    Mix,
    /// A visitor that a host expects, without mixes between them (betanet's `direct`).
    Direct,
    /// An allocator and that of a federated fog; both sides call ([`crate::FederateRequest`]).
    Federate,
}

/// The answer to a hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Greeting {
    /// Go on. A fog says what it is; others have nothing to say.
    Welcome(Option<Welcome>),
    /// No, and why.
    Refused(Refusal),
}

/// One request and its reply type.
pub trait Call: Serialize {
    /// What comes back.
    type Reply: DeserializeOwned;
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The peer said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection could not carry it.
    #[error("the connection is lost: {0}")]
    Lost(#[source] iroh::endpoint::ConnectionError),
    /// What came back was no answer.
    #[error(transparent)]
    Frame(FrameError),
    /// Nothing came back in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Says hello on a fresh connection and waits for the greeting.
///
/// # Errors
/// When the peer refuses, breaks off, or is silent for [`HELLO_DEADLINE`].
pub async fn greet(connection: &Connection, purpose: Purpose) -> Result<Option<Welcome>, CallError> {
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.map_err(CallError::Lost)?;
        write_frame(&mut send, &Hello { version: VERSION, purpose }).await.map_err(CallError::Frame)?;
        let _ = send.finish();
        match read_frame(&mut recv, MAX_HELLO_BYTES).await.map_err(CallError::Frame)? {
            Greeting::Welcome(welcome) => Ok(welcome),
            Greeting::Refused(refusal) => Err(CallError::Refused(refusal)),
        }
    };
    timeout(HELLO_DEADLINE, exchange).await.map_err(|_| CallError::TimedOut(HELLO_DEADLINE))?
}

/// Lets in who said hello: what a member is told, `None` for all others. False when the peer did not take the answer within [`HELLO_DEADLINE`];
/// then its connection is of no use. A peer that grants no bytes could else hold its place for ever without having been let in.
pub async fn welcome(mut reply: SendStream, welcome: Option<Welcome>) -> bool {
    let greeting = Greeting::Welcome(welcome);
    matches!(timeout(HELLO_DEADLINE, write_frame(&mut reply, &greeting)).await, Ok(Ok(()))) && reply.finish().is_ok()
}

/// Says no to who said hello, and gives the answer [`HELLO_DEADLINE`] to be read.
pub(crate) async fn turn_away(mut reply: SendStream, refusal: Refusal) {
    let said = async {
        let _ = write_frame(&mut reply, &Greeting::Refused(refusal)).await;
        let _ = reply.finish();
        let _ = reply.stopped().await;
    };
    let _ = timeout(HELLO_DEADLINE, said).await;
}

/// Waits for a peer's hello. A peer of another version is answered here, so the purpose is always one of ours.
///
/// # Errors
/// When the peer breaks off, talks garbage, is of another version, or is silent for [`HELLO_DEADLINE`].
pub async fn receive_hello(connection: &Connection) -> Result<(Purpose, SendStream), CallError> {
    let exchange = async {
        let (mut send, mut recv) = connection.accept_bi().await.map_err(CallError::Lost)?;
        let frame: Vec<u8> = read_raw(&mut recv).await.map_err(CallError::Frame)?;
        let theirs = postcard::take_from_bytes::<u16>(&frame).map(|(version, _)| version);
        if let Ok(theirs) = theirs
            && theirs != VERSION
        {
            let refusal = Refusal::new(
                RefusalKind::Version,
                format!("you speak version {theirs}, this node speaks {VERSION}: update the older of the two"),
            );
            let _ = write_frame(&mut send, &Greeting::Refused(refusal.clone())).await;
            let _ = send.finish();
            return Err(CallError::Refused(refusal));
        }
        let hello: Hello = crate::decode(&frame).map_err(CallError::Frame)?;
        Ok((hello.purpose, send))
    };
    timeout(HELLO_DEADLINE, exchange).await.map_err(|_| CallError::TimedOut(HELLO_DEADLINE))?
}

/// Asks one thing on a stream of its own.
///
/// # Errors
/// When there is no answer within [`EXCHANGE_DEADLINE`].
pub async fn call<C: Call>(connection: &Connection, request: &C) -> Result<C::Reply, CallError> {
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.map_err(CallError::Lost)?;
        write_frame(&mut send, request).await.map_err(CallError::Frame)?;
        let _ = send.finish();
        read_frame(&mut recv, crate::MAX_FRAME_BYTES).await.map_err(CallError::Frame)
    };
    timeout(EXCHANGE_DEADLINE, exchange).await.map_err(|_| CallError::TimedOut(EXCHANGE_DEADLINE))?
}

/// One frame's bytes, undecoded.
async fn read_raw(recv: &mut RecvStream) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.map_err(|e| FrameError::Broken(std::io::Error::other(e)))?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_HELLO_BYTES {
        return Err(FrameError::TooLong { bytes: length, limit: MAX_HELLO_BYTES });
    }
    let mut bytes = vec![0; length];
    recv.read_exact(&mut bytes).await.map_err(|e| FrameError::Broken(std::io::Error::other(e)))?;
    Ok(bytes)
}
