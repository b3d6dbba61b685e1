//! What visitors ask of one instance: requests, bytes sent, what is open at once, and how long answers take to begin.
//!
//! Invariants: nothing is kept of who asks or what; a window is emptied when it is taken; memory is bounded whatever visitors do.
//! Deliberately absent: processor time and memory. All sites of a device run in this one process, so neither can be told apart for one of them,
//! and neither is made up.

use fogbank_model::Instance;
use fogbank_wire::Traffic;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// Times to a first byte that are kept of a window; of more, the first. A median of so many is off by a few percent.
const MAX_TIMES: usize = 1_024;

/// A window, from when it began.
#[derive(Debug)]
struct Window {
    began: Instant,
    requests: u32,
    sent: u64,
    tunnels: usize,
    streams: usize,
    times_ms: Vec<u32>,
}

/// The meter of one instance.
#[derive(Debug)]
pub(crate) struct Meter(Mutex<Window>);

impl Default for Meter {
    fn default() -> Self {
        let began = Instant::now();
        Self(Mutex::new(Window { began, requests: 0, sent: 0, tunnels: 0, streams: 0, times_ms: Vec::new() }))
    }
}

impl Meter {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much is open just now.
    pub(crate) fn open(&self, tunnels: usize, streams: usize) {
        let mut window = self.window();
        (window.tunnels, window.streams) = (window.tunnels.max(tunnels), window.streams.max(streams));
    }

    /// A request has been read whole; what is written to the stream from now on is its answer.
    pub(crate) fn answering<S>(self: &Arc<Self>, stream: S) -> Answering<S> {
        let mut window = self.window();
        window.requests = window.requests.saturating_add(1);
        Answering { stream, meter: self.clone(), asked: Some(Instant::now()) }
    }

    fn wrote(&self, bytes: usize, waited: Option<Duration>) {
        let mut window = self.window();
        window.sent = window.sent.saturating_add(bytes as u64);
        if let Some(waited) = waited.filter(|_| window.times_ms.len() < MAX_TIMES) {
            window.times_ms.push(u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
        }
    }

    /// What was measured since it was taken last, as of one [`Traffic::WINDOW`], for an instance that was given so much bandwidth and takes so many
    /// tunnels.
    pub(crate) fn take(&self, bandwidth_kbps: u64, tunnels: usize) -> Traffic {
        let fresh = Self::default().0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut window = std::mem::replace(&mut *self.window(), fresh);
        // Windows are taken late when the device is busy or slept meanwhile.
        let nominal_ms = Traffic::WINDOW.0.max(1) as f64;
        let windows = (window.began.elapsed().as_millis() as f64 / nominal_ms).max(0.1);
        let each = |sum: f64| (sum / windows).round() as u32;
        let at_once = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let middle = window.times_ms.len() / 2;
        let median = (!window.times_ms.is_empty()).then(|| *window.times_ms.select_nth_unstable(middle).1);
        let measured = Traffic {
            requests: each(window.requests.into()),
            sent_kb: each(window.sent as f64 / 1e3),
            tunnels: at_once(window.tunnels),
            streams: at_once(window.streams),
            first_byte_ms: median,
        };
        measured.told(bandwidth_kbps, tunnels, Instance::MAX_STREAMS)
    }
}

/// A stream on which an answer goes out.
#[derive(Debug)]
pub(crate) struct Answering<S> {
    stream: S,
    meter: Arc<Meter>,
    /// When it was asked, until the first byte is out.
    asked: Option<Instant>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Answering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = result
            && written > 0
        {
            let waited = self.asked.take().map(|asked| asked.elapsed());
            self.meter.wrote(written, waited);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncWriteExt as _, duplex},
        time::sleep,
    };

    const KBPS: u64 = 1_000;

    #[tokio::test(start_paused = true)]
    async fn requests_bytes_and_times_are_measured_and_emptied() {
        let meter = Arc::new(Meter::default());
        for number in 0..100u64 {
            let (near, _far) = duplex(64 << 10);
            let mut answer = meter.answering(near);
            sleep(Duration::from_millis(if number % 10 == 0 { 900 } else { 20 })).await;
            answer.write_all(&[7; 10_000]).await.unwrap();
            answer.write_all(&[7; 5_000]).await.unwrap();
        }
        meter.open(20, 40);
        meter.open(10, 20);
        sleep(Duration::from_millis(200)).await;
        // 10 × 900 ms + 90 × 20 ms + 200 ms are 11 s.
        let taken = meter.take(KBPS, 256);
        assert_eq!(taken, Traffic { requests: 88, sent_kb: 1_408, tunnels: 20, streams: 40, first_byte_ms: Some(20) });
        sleep(Duration::from_secs(10)).await;
        assert_eq!(meter.take(KBPS, 256), Traffic::default());
    }

    #[tokio::test(start_paused = true)]
    async fn visitors_without_end_take_no_memory_without_end() {
        let meter = Arc::new(Meter::default());
        for _ in 0..5 * MAX_TIMES {
            let (near, _far) = duplex(64);
            meter.answering(near).write_all(&[7]).await.unwrap();
        }
        assert!(meter.window().times_ms.len() <= MAX_TIMES);
        assert_eq!(meter.take(KBPS, 256).first_byte_ms, Some(0), "taken at once, it is no division by nothing");
    }
}
