//! What went over a link: `tcpdump` writes it down, and this reads it: Ethernet, IPv4, UDP and TCP, of files that this computer wrote.
//!
//! Invariants: lengths are checked before anything is taken; a file that breaks off in the middle of a record (as one does while tcpdump
//! still writes) ends there; nothing panics. Deliberately absent: fragments, IPv6 and everything else; such frames are counted,
//! those of IPv6 that carry UDP or TCP apart.

use crate::nets::{INTERFACE, Place};
use anyhow::{Context, Result, bail, ensure};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Room for 40 s of 100 Mbit/s; a link of these tests carries a hundredth.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// No frame is longer.
const MAX_FRAME_BYTES: usize = 65_535 + 14;
const START_DEADLINE: Duration = Duration::from_secs(10);
const END_DEADLINE: Duration = Duration::from_secs(10);

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// Another protocol over IPv4.
    Other,
}

/// One packet that went over a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// By which protocol.
    pub transport: Transport,
    /// Sender and port (0 where there are no ports).
    pub from: (Ipv4Addr, u16),
    /// Receiver and port.
    pub to: (Ipv4Addr, u16),
    /// What the transport carried; for other protocols all that IP carried.
    pub payload: Vec<u8>,
}

/// All that went over a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capture {
    /// IPv4 packets, in order.
    pub datagrams: Vec<Datagram>,
    /// IPv6 packets that carry UDP or TCP, whatever is in them.
    pub over_ipv6: usize,
    /// Frames of other kinds (ARP, IPv6 neighbour discovery).
    pub others: usize,
}

/// A capture that is being written.
#[derive(Debug)]
pub struct Tap {
    child: Child,
    file: PathBuf,
}

impl Tap {
    /// Begins to write down what goes over the link of a place, into `folder/NAMESPACE.pcap`.
    ///
    /// # Errors
    /// When tcpdump does not begin.
    pub async fn start(place: &Place, folder: &Path) -> Result<Self> {
        let file = folder.join(format!("{}.pcap", place.namespace));
        let mut child = Command::new("ip")
            // Each packet is written at once, as it is, and with room for bursts; names are not looked up.
            .args([
                "netns",
                "exec",
                &place.namespace,
                "tcpdump",
                "-n",
                "-U",
                "--immediate-mode",
                "-s",
                "0",
                "-B",
                "16384",
                "-Z",
                "root",
                "-i",
                INTERFACE,
            ])
            .arg("-w")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting tcpdump")?;
        let mut lines = BufReader::new(child.stderr.take().context("its words")?).lines();
        let listens = timeout(START_DEADLINE, async {
            while let Some(line) = lines.next_line().await? {
                if line.contains("listening on") {
                    return Ok(true);
                }
            }
            anyhow::Ok(false)
        });
        ensure!(listens.await.context("tcpdump did not begin")??, "tcpdump ended at once");
        Ok(Self { child, file })
    }

    /// What went over it so far.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn so_far(&self) -> Result<Capture> {
        let length = std::fs::metadata(&self.file)?.len();
        ensure!(length <= MAX_FILE_BYTES, "a capture of {length} bytes");
        parse(&std::fs::read(&self.file)?)
    }

    /// Ends it, and reads what went over the link.
    ///
    /// # Errors
    /// When it does not end or its file can't be read.
    pub async fn end(mut self) -> Result<Capture> {
        let pid =
            self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?)).context("tcpdump has ended")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        timeout(END_DEADLINE, self.child.wait()).await.context("tcpdump does not end")??;
        self.so_far()
    }
}

impl Capture {
    /// Packets between two addresses, in either direction.
    pub fn between(&self, a: IpAddr, b: IpAddr) -> impl Iterator<Item = &Datagram> {
        self.datagrams.iter().filter(move |d| {
            let ends = [IpAddr::from(d.from.0), IpAddr::from(d.to.0)];
            ends == [a, b] || ends == [b, a]
        })
    }

    /// How often bytes occur in what was carried.
    pub fn occurrences(&self, needle: &[u8]) -> usize {
        let in_one = |d: &Datagram| d.payload.windows(needle.len().max(1)).filter(|w| *w == needle).count();
        self.datagrams.iter().map(in_one).sum()
    }

    /// Bytes that were carried.
    pub fn payload_bytes(&self) -> usize {
        self.datagrams.iter().map(|d| d.payload.len()).sum()
    }
}

/// Reads a file of tcpdump (microseconds, Ethernet; RFC draft-ietf-opsawg-pcap).
///
/// # Errors
/// When it is another kind of file.
pub fn parse(bytes: &[u8]) -> Result<Capture> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const ETHERNET: u32 = 1;
    let mut capture = Capture::default();
    let Some((header, mut rest)) = bytes.split_at_checked(24) else {
        bail!("no header of a capture");
    };
    ensure!(word(header, 0) == Some(MAGIC), "no capture in microseconds of this computer's byte order");
    ensure!(word(header, 20) == Some(ETHERNET), "a capture of another kind of link");
    while let (Some(s), Some(us), Some(kept), Some(whole)) = (word(rest, 0), word(rest, 4), word(rest, 8), word(rest, 12)) {
        let length = kept as usize;
        ensure!(length <= MAX_FRAME_BYTES, "a frame of {length} bytes");
        ensure!(kept == whole, "a frame was cut: {kept} of {whole} bytes");
        let Some(frame) = rest.get(16..16 + length) else { break };
        let at_us = i64::from(s) * 1_000_000 + i64::from(us);
        match datagram(frame, at_us) {
            Some(datagram) => capture.datagrams.push(datagram),
            None if carries_over_ipv6(frame) => capture.over_ipv6 += 1,
            None => capture.others += 1,
        }
        rest = &rest[16 + length..];
    }
    Ok(capture)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Whether it is an IPv6 packet whose first header is UDP's or TCP's.
fn carries_over_ipv6(frame: &[u8]) -> bool {
    short(frame, 12) == Some(0x86dd) && matches!(frame.get(20), Some(6 | 17))
}

/// An IPv4 packet in an Ethernet frame.
fn datagram(frame: &[u8], at_us: i64) -> Option<Datagram> {
    if short(frame, 12)? != 0x0800 {
        return None;
    }
    let ip = frame.get(14..)?;
    let header = usize::from(ip.first()? & 0x0f) * 4;
    // Frames shorter than 60 bytes are padded: IP says where it ends.
    let body = ip.get(header.max(20)..usize::from(short(ip, 2)?))?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    let (from, to) = (address(12)?, address(16)?);
    let (transport, skip) = match ip.get(9)? {
        17 => (Transport::Udp, 8),
        6 => (Transport::Tcp, usize::from(body.get(12)? >> 4) * 4),
        _ => (Transport::Other, 0),
    };
    let ports = if transport == Transport::Other { (0, 0) } else { (short(body, 0)?, short(body, 2)?) };
    let payload = body.get(skip..)?.to_vec();
    Some(Datagram { at_us, transport, from: (from, ports.0), to: (to, ports.1), payload })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn file(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
            bytes.extend(word.to_ne_bytes());
        }
        for frame in frames {
            let length = u32::try_from(frame.len()).unwrap();
            for word in [7u32, 250_000, length, length] {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(frame);
        }
        bytes
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(0x0800u16.to_be_bytes());
        let length = u16::try_from(28 + payload.len()).unwrap();
        frame.extend([0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend(4000u16.to_be_bytes());
        frame.extend(5000u16.to_be_bytes());
        frame.extend((length - 20).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame.resize(frame.len().max(60), 0);
        frame
    }

    #[test]
    fn datagrams_are_read_without_padding_and_the_rest_is_counted() {
        let mut arp = vec![0; 60];
        arp[12..14].copy_from_slice(&0x0806u16.to_be_bytes());
        let mut six = vec![0; 80];
        six[12..14].copy_from_slice(&0x86ddu16.to_be_bytes());
        let discovery = six.clone();
        six[20] = 17;
        let capture = parse(&file(&[udp(b"marker"), arp, six, discovery])).unwrap();
        assert_eq!((capture.others, capture.over_ipv6), (2, 1));
        let (from, to) = ((Ipv4Addr::new(192, 0, 2, 1), 4000), (Ipv4Addr::new(192, 0, 2, 2), 5000));
        let want = Datagram { at_us: 7_250_000, transport: Transport::Udp, from, to, payload: b"marker".to_vec() };
        assert_eq!(capture.datagrams, [want]);
        assert_eq!(capture.occurrences(b"ark"), 1);
        assert_eq!(capture.between(to.0.into(), from.0.into()).count(), 1);
        assert_eq!(capture.between(to.0.into(), to.0.into()).count(), 0);
    }

    #[test]
    fn what_breaks_off_ends_there_and_nothing_panics() {
        let whole = file(&[udp(b"one"), udp(b"two")]);
        assert_eq!(parse(&whole[..whole.len() - 1]).unwrap().datagrams.len(), 1);
        for cut in 0..whole.len() {
            let _ = parse(&whole[..cut]);
        }
        for at in 24..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = parse(&changed);
        }
        assert!(parse(b"not a capture at all, but long enough").is_err());
    }
}
