//! A fog with one namespace for each node, and a capture of every link.

use anyhow::{Context as _, Result};
use fogbank_harness::{
    Curl, Does, Fetched, Nets, Place, PlacedFog, Process,
    capture::{Capture, Tap},
    wait_for,
};
use fogbank_node::control::{ControlRequest, LevelDto};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    ops::ControlFlow::{Break, Continue},
    path::PathBuf,
    sync::Mutex,
    time::Duration,
};

/// A text in a page, and the path of that page.
pub(crate) const MARKER: &str = "MARKER-8f2c-do-you-see-me";
pub(crate) const MARKER_PATH: &str = "marked-path-51d7/page.html";
/// Mixes: as many as a test fog asks for, and one.
const MIXES: usize = 5;
/// Guards answer, introductions are made, and a page is there by then.
const PAGE: Duration = Duration::from_secs(30);
/// Just more than a visitor's proxy keeps, so that each load is one; it outlasts a window at `strict`, and ends within a second or two.
const PICTURE: usize = 136_000;

/// The fog.
pub(crate) struct Watched {
    fog: PlacedFog,
    pub(crate) visitor: Process,
    pub(crate) visitor_place: Place,
    pub(crate) host_place: Place,
    pub(crate) middle_place: Place,
    pub(crate) onion: String,
    /// The addresses of all computers of the fog.
    pub(crate) places: BTreeSet<Ipv4Addr>,
    taps: Mutex<Vec<(String, Tap)>>,
    again: PathBuf,
}

/// When a page was loaded.
pub(crate) struct Load {
    pub(crate) began_us: i64,
    pub(crate) ended_us: i64,
}

impl Watched {
    /// A host that is no mix, a visitor that is no member, mixes, and the allocator, each on a computer of its own.
    pub(crate) async fn start(nets: &mut Nets, level: LevelDto) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fogbank-wire-").tempdir()?;
        let captures = folder.path().join("captures");
        let again = folder.path().join("again");
        for folder in [&captures, &again] {
            std::fs::create_dir_all(folder)?;
        }
        let (mut taps, mut places) = (Vec::new(), BTreeSet::new());
        let mut computer = async |nets: &mut Nets, name: &str| {
            let place = nets.computer(name)?;
            let IpAddr::V4(ip) = place.ip else { unreachable!("all addresses here are IPv4") };
            places.insert(ip);
            taps.push((name.to_owned(), Tap::start(&place, &captures).await?));
            anyhow::Ok(place)
        };
        let middle = computer(nets, "middle").await?;
        let host_place = computer(nets, "host").await?;
        let visitor_place = computer(nets, "visitor").await?;
        let mut fog = PlacedFog::start(folder, &middle, None).await?;
        fog.member(&host_place, "host", Does { lends: true, relays: false }).await?;
        for n in 0..MIXES {
            let name = format!("mix{n}");
            let place = computer(nets, &name).await?;
            fog.member(&place, &name, Does { relays: true, lends: false }).await?;
        }
        fog.gathered(1, MIXES).await?;
        let site = fog.folder().join("site");
        let marked = site.join(MARKER_PATH);
        std::fs::create_dir_all(marked.parent().context("a folder")?)?;
        std::fs::write(site.join("index.html"), "<h1>watched</h1>")?;
        // A visitor's proxy keeps what it has loaded: each load is of a file of its own.
        for n in 0..8 {
            std::fs::write(site.join(format!("warm-{n}")), vec![b'w'; 100 + n])?;
        }
        std::fs::write(site.join("short"), [b's'; 100])?;
        std::fs::write(site.join("long"), [b'l'; 5_000])?;
        std::fs::write(site.join("picture"), vec![b'p'; PICTURE])?;
        std::fs::write(marked, format!("<p>{MARKER}</p>"))?;
        let container = fog.publish(&site, level).await?;
        let visitor = fog.visitor(&visitor_place, &container.link).await?;
        let onion = container.container.onion.clone();
        Ok(Self { fog, visitor, visitor_place, host_place, middle_place: middle, onion, places, taps: Mutex::new(taps), again })
    }

    /// Loads a page, as often as it takes; says when the load that worked went on.
    pub(crate) async fn load(&self, curl: &Curl, path: &str) -> Result<(Fetched, Load)> {
        wait_for(&format!("{path} comes"), PAGE, async || {
            let began_us = super::now_us();
            let page = curl.get(path).await?;
            let load = Load { began_us, ended_us: super::now_us() };
            Ok(if page.is_ok() { Break((page, load)) } else { Continue(format!("curl {}, HTTP {}", page.exit, page.status)) })
        })
        .await
    }

    /// What no link may show, and its name.
    pub(crate) fn secrets(&self) -> [(&'static str, String); 4] {
        let name = self.onion.trim_end_matches(".onion").to_owned();
        [
            ("the marker", MARKER.to_owned()),
            ("the marked path", "marked-path-51d7".to_owned()),
            ("the address", name.clone()),
            ("the address in capitals", name.to_uppercase()),
        ]
    }

    /// Ends the captures of all links; by the name of the node.
    pub(crate) async fn captures(&self) -> Result<BTreeMap<String, Capture>> {
        let taps = std::mem::take(&mut *self.taps.lock().unwrap());
        let mut captures = BTreeMap::new();
        for (name, tap) in taps {
            captures.insert(name, tap.end().await?);
        }
        Ok(captures)
    }

    /// Another capture of a link.
    pub(crate) async fn tap_again(&self, place: &Place) -> Result<Tap> {
        Tap::start(place, &self.again).await
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        self.visitor.ask(ControlRequest::Quit).await?;
        self.visitor.ended(Duration::from_secs(10)).await?;
        self.fog.end().await
    }
}
