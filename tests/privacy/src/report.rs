//! The report: everything is measured, printed as Markdown tables, and put between the marks of `docs/privacy/README.md`, with plots beside.

#![expect(clippy::print_stdout, reason = "a command for people")]

use crate::{
    adapter::Design,
    cells::{ADVERSARIES, Cell, HOSTS, Settings, VISITORS, Wanted, groups, network, on_all, run_all},
    chance::{self, Chance},
    correlate::{Found, controls},
    guards::{self, FLOOD_DAYS, Flood, PACKETS_A_SECOND, Until},
    session::Setting,
    stats::Estimate,
    svg,
};
use anyhow::{Context as _, Result, bail};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{fmt::Write as _, path::Path};

/// Sessions and hosts drawn where only paths and guards count: a share of 10 % is known to 1.3 %.
const SESSIONS: usize = 2_000;
const HOSTS_SEARCHED: usize = 2_000;
/// The size of network at which parts and spreads are compared.
const MIDDLE: usize = 20;
/// Visits that all begin within half a second: the hardest for the watcher.
const TOGETHER_US: u64 = 500_000;

/// Everything that was measured.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Measured {
    seed: u64,
    cells: Vec<Cell>,
    parts: Vec<Cell>,
    together: Vec<Cell>,
    controls: (Found, Found),
    chances: Vec<Chance>,
    discovery: Vec<Until>,
    floods: Vec<Flood>,
}

/// Measures all.
pub(crate) fn measure(settings: &Settings) -> Measured {
    let wanted = |n, design, spread, packets| Wanted { n, design, spread, packets };
    let spread = settings.spread;
    let told = |cell: &Cell| println!("measured: {} mixes, {}", cell.n, cell.design);
    let every = settings.sizes.iter().flat_map(|n| Design::ALL.map(|design| wanted(*n, design, spread, true)));
    let cells = run_all(settings, &every.collect::<Vec<_>>(), &told);
    // Where parts are compared with each other, fewer pairs will do.
    let fewer = settings.fewer();
    let parts = run_all(&fewer, &Design::PARTS.map(|design| wanted(MIDDLE, design, spread, false)), &told);
    let together = run_all(&fewer, &Design::ALL.map(|design| wanted(MIDDLE, design, TOGETHER_US, false)), &told);

    let (net, doors, mut rng) = network(settings.seed, MIDDLE);
    let setting = Setting { network: &net, doors: &doors, design: Design::TOR, spread, window: settings.window };
    // Twice as many, since half are hosts and half are visitors where nothing is to be found.
    let controls = controls(&groups(&setting, 2 * settings.alone, 1, settings.seed), settings.window);

    let with_hostile = |n: &usize| {
        let mut hostile: Vec<usize> = [1, n / 10, n / 5].into_iter().filter(|k| *k > 0).collect();
        hostile.dedup();
        hostile.into_iter().map(|k| (*n, k)).collect::<Vec<_>>()
    };
    let counted: Vec<(usize, usize)> = settings.sizes.iter().flat_map(with_hostile).collect();
    let counts = on_all(settings.jobs, &counted, &|(n, k)| {
        let (net, _, _) = network(settings.seed, *n);
        let mut rng = StdRng::seed_from_u64(settings.seed.wrapping_mul(15_485_863).wrapping_add((n * 1_009 + k) as u64));
        let counts = (chance::count(&net, *k, SESSIONS, &mut rng), guards::discovery(&net, *k, HOSTS_SEARCHED, &mut rng));
        println!("counted paths and guards: {k} hostile mixes of {n}");
        counts
    });
    let (chances, discovery): (Vec<Chance>, Vec<Vec<Until>>) = counts.into_iter().unzip();
    let discovery = discovery.concat();
    let floods = [(100, 1), (100, 100), (1_000, 1), (1_000, 1_000)].into_iter();
    let floods = floods.flat_map(|(relays, owners)| guards::flood(100, relays, owners, &mut rng)).collect();
    Measured { seed: settings.seed, cells, parts, together, controls, chances, discovery, floods }
}

fn percent(e: Estimate) -> String {
    format!("{:.1} ({:.1}–{:.1})", e.value * 100.0, e.low * 100.0, e.high * 100.0)
}

/// Shares that may be far below a tenth of a percent.
fn small_percent(e: Estimate) -> String {
    let digits = |share: f64| match share * 100.0 {
        0.0 => "0".to_owned(),
        p if p < 0.1 => format!("{p:.0e}"),
        p => format!("{p:.1}"),
    };
    format!("{} ({}–{})", digits(e.value), digits(e.low), digits(e.high))
}

fn bits(e: Estimate) -> String {
    format!("{:.2} ({:.2}–{:.2})", e.value, e.low, e.high)
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn found(f: &Found) -> String {
    let by = match f.by {
        "likelihood" => "L",
        "timing" => "T",
        "correlation" => "C",
        several => several,
    };
    format!("{} {by}", percent(f.true_positives))
}

fn wrong(cells: &[Cell], of: fn(&Cell) -> &Found) -> usize {
    cells.iter().map(|c| of(c).negatives).min().unwrap_or(0)
}

/// The tables, by the names of their places in the report.
fn tables(m: &Measured) -> Vec<(&'static str, String)> {
    let flows = |cells: &[Cell]| -> Vec<Vec<String>> {
        let row = |c: &Cell| vec![c.n.to_string(), c.design.to_owned(), found(&c.alone), found(&c.shared), found(&c.one_guard)];
        cells.iter().map(row).collect()
    };
    let flow_head =
        ["mixes", "design", "1 user a host, %", "5 and 50 users, 5 a host, %", "through one of three guards at each end, %"];
    let number = |x: f64, digits: usize| if x.is_infinite() { "∞".to_owned() } else { format!("{x:.digits$}") };
    let packets = |hostile: bool| -> Vec<Vec<String>> {
        let rows = m.cells.iter().flat_map(|c| c.packets.iter().map(move |p| (c, p)));
        rows.filter(|(_, p)| (p.hostile > 0.0) == hostile)
            .map(|(c, p)| {
                let mut row = vec![c.n.to_string(), c.design.to_owned()];
                row.push(if hostile { format!("{:.0} %", p.hostile * 100.0) } else { p.users.to_string() });
                row.extend([
                    bits(p.entropy),
                    p.untold.map_or_else(|| "–".to_owned(), bits),
                    number(p.degree.value, 2),
                    number(p.likelihood, 1),
                ]);
                row.push(format!("{:.0}", p.ruled_out * 100.0));
                row
            })
            .collect()
    };
    // Of a cell the results are by hostile mixes and then by users.
    let taken = m.cells.iter().flat_map(|c| c.taken.chunk_by(|a, b| a.hostile == b.hostile).map(move |t| (c, t)));
    let taken = taken.map(|(c, t)| {
        let mut row = vec![format!("{} of {}", t.first().map_or(0, |t| t.hostile), c.n), c.design.to_owned()];
        row.extend(t.iter().map(|t| found(&t.found)));
        // Of 5 and of 50 users the clients are the same.
        row.push(t.iter().take(2).map(|t| number(t.both_ends * 100.0, 1)).collect::<Vec<_>>().join("; "));
        row.push(t.last().map_or_else(String::new, |t| number(t.followed * 100.0, 1)));
        row
    });
    let taken_head = [
        "hostile",
        "design",
        "1 user, %",
        "5 users, %",
        "50 users, %",
        "beside both ends (1 user; more), %",
        "a packet's whole way (50 users), %",
    ];
    let tail = ["entropy, bits", "mixes’ contents lumped, bits", "degree", "likelihood difference", "other ruled out, %"];
    let pages = m.cells.iter().chain(&m.parts).map(|c| {
        let seconds = if c.loaded > 0.5 { number(c.page_s, 1) } else { "more than 30".to_owned() };
        vec![
            c.n.to_string(),
            c.design.to_owned(),
            seconds,
            format!("{:.0}", c.loaded * 100.0),
            format!("{:.0}", c.page_packets),
            c.failed.to_string(),
        ]
    });
    let chances = m.chances.iter().map(|c| {
        vec![
            format!("{} of {}", c.hostile, c.n),
            format!("{:.0e}", c.formula * 100.0),
            small_percent(c.packet),
            small_percent(c.page),
            small_percent(c.both_ends),
            small_percent(c.visitor_and_rendezvous),
        ]
    });
    let span = |packets: f64| {
        let seconds = packets / PACKETS_A_SECOND;
        match seconds {
            s if s < 120.0 => format!("{packets:.0} ({s:.1} s)"),
            s if s < 172_800.0 => format!("{packets:.1e} ({:.0} h)", s / 3_600.0),
            s => format!("{packets:.1e} ({:.0} days)", s / 86_400.0),
        }
    };
    let discovery = m.discovery.iter().map(|u| {
        vec![
            format!("{} of {}", u.hostile, u.n),
            u.layers.to_owned(),
            u.beside.to_owned(),
            format!("{:.1}", u.at_once * 100.0),
            span(u.early_packets),
            span(u.median_packets),
        ]
    });
    let floods = m.floods.iter().map(|f| {
        let mut row =
            vec![format!("{} of {} owner{}", f.relays, f.owners, if f.owners == 1 { "" } else { "s" }), f.rule.to_owned()];
        row.extend(f.share.iter().map(|s| format!("{:.1}", s * 100.0)));
        row.push(format!("{:.1}", f.both_ends * 100.0));
        row
    });
    let days: Vec<String> = FLOOD_DAYS.iter().map(|d| format!("day {d:.0}, %")).collect();
    let mut flood_head = vec!["flood", "drawn"];
    flood_head.extend(days.iter().map(String::as_str));
    flood_head.push("both ends, day 60, %");
    let (same, strangers) = (&m.controls.0, &m.controls.1);
    let controls = [("a flow with itself", same), ("two flows that have nothing to do with each other", strangers)];
    vec![
        ("flows", table(&flow_head, flows(&m.cells))),
        ("taken", table(&taken_head, taken.collect())),
        ("parts", table(&flow_head, flows(&m.parts))),
        ("together", table(&flow_head, flows(&m.together))),
        (
            "controls",
            table(
                &["control", "true positives, %", "right pairs", "wrong pairs"],
                controls
                    .iter()
                    .map(|(n, f)| vec![(*n).to_owned(), found(f), f.positives.to_string(), f.negatives.to_string()])
                    .collect(),
            ),
        ),
        ("packets", table(&[&["mixes", "design", "users"], &tail[..]].concat(), packets(false))),
        ("hostile", table(&[&["mixes", "design", "hostile mixes"], &tail[..]].concat(), packets(true))),
        (
            "pages",
            table(
                &["mixes", "design", "median page, s", "loaded in 30 s, %", "packets a visit", "tunnels lost"],
                pages.collect(),
            ),
        ),
        (
            "chance",
            table(
                &[
                    "hostile",
                    "1/n⁷, %",
                    "a packet's whole way, %",
                    "one packet of a page, %",
                    "a guard at both ends, %",
                    "visitor's guard and rendezvous, %",
                ],
                chances.collect(),
            ),
        ),
        (
            "guards",
            table(
                &["hostile", "layers", "stands beside", "within a second, %", "one host in ten, packets", "median, packets"],
                discovery.collect(),
            ),
        ),
        ("flood", table(&flood_head, floods.collect())),
        (
            "settings",
            format!(
                "Seed {}. Wrong pairs in a cell: {} with one user a host, {} with five; where parts are compared, {} and {}. {VISITORS} visitors a host where hosts are shared; {HOSTS} hosts watched at once for 50 users; who is hostile is drawn {ADVERSARIES} times, which multiplies pairs.\n",
                m.seed,
                wrong(&m.cells, |c| &c.alone),
                wrong(&m.cells, |c| &c.shared),
                wrong(&m.parts, |c| &c.alone),
                wrong(&m.parts, |c| &c.shared),
            ),
        ),
    ]
}

/// Prints the tables.
pub(crate) fn print(measured: &Measured) {
    for (name, table) in tables(measured) {
        println!("\n## {name}\n{table}");
    }
}

/// Puts the tables into the report and the plots beside it.
pub(crate) fn write(measured: &Measured, folder: &Path) -> Result<()> {
    let page = folder.join("README.md");
    let mut text = std::fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    for (name, table) in tables(measured) {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let Some((head, rest)) = text.split_once(&begin) else { bail!("{} has no place for “{name}”", page.display()) };
        let Some((_, tail)) = rest.split_once(&end) else { bail!("{}: the place for “{name}” has no end", page.display()) };
        text = format!("{head}{begin}{table}{end}{tail}");
    }
    std::fs::write(&page, text).with_context(|| format!("writing {}", page.display()))?;
    for (name, plot) in plots(measured) {
        std::fs::write(folder.join(name), plot).with_context(|| format!("writing {name}"))?;
    }
    let json = serde_json::to_vec_pretty(measured)?;
    std::fs::write(folder.join("figures.json"), json).context("writing figures.json")
}

fn plots(m: &Measured) -> Vec<(&'static str, String)> {
    let mut sizes: Vec<usize> = m.cells.iter().map(|c| c.n).collect();
    sizes.dedup();
    let labels: Vec<String> = sizes.iter().map(|n| format!("{n} mixes")).collect();
    let by_design = |of: &dyn Fn(&Cell) -> Estimate| -> Vec<(&'static str, Vec<Estimate>)> {
        let row = |d: &Design| (d.name, m.cells.iter().filter(|c| c.design == d.name).map(of).collect());
        Design::ALL.iter().map(row).collect()
    };
    let percent = |e: Estimate| e.times(100.0);
    // Five users; mixes by their number, and of each number by how many are hostile.
    let five = |c: &Cell| c.taken.iter().filter(|t| t.users == VISITORS).cloned().collect::<Vec<_>>();
    let first = |c: &&Cell| c.design == Design::ALL[0].name;
    let hostile: Vec<String> =
        m.cells.iter().filter(first).flat_map(|c| five(c).into_iter().map(|t| format!("{} of {}", t.hostile, c.n))).collect();
    let taken: Vec<(&'static str, Vec<Estimate>)> = Design::ALL
        .iter()
        .map(|d| {
            let cells = m.cells.iter().filter(|c| c.design == d.name);
            (d.name, cells.flat_map(five).map(|t| percent(t.found.true_positives)).collect())
        })
        .collect();
    let fifty = |c: &Cell| c.packets.iter().find(|p| p.users == VISITORS * HOSTS && p.hostile == 0.0).map(|p| p.entropy);
    let none = Estimate { value: 0.0, low: 0.0, high: 0.0 };
    let flood: Vec<(&'static str, Vec<Estimate>)> = m
        .floods
        .iter()
        .filter(|f| f.relays == 1_000 && f.owners == 1)
        .map(|f| (f.rule, f.share.iter().map(|s| Estimate { value: s * 100.0, low: s * 100.0, high: s * 100.0 }).collect()))
        .collect();
    let days: Vec<String> = FLOOD_DAYS.iter().map(|d| format!("day {d:.0}")).collect();
    vec![
        (
            "flows.svg",
            svg::bars(
                "Flows found at 1 false positive in 1,000, % (watcher of all links, 5 visitors a host)",
                &labels,
                &by_design(&|c| percent(c.shared.true_positives)),
                100.0,
            ),
        ),
        (
            "hostile.svg",
            svg::bars("Flows found at 1 false positive in 1,000 by k hostile mixes of n, % (5 users)", &hostile, &taken, 100.0),
        ),
        (
            "packets.svg",
            svg::bars(
                "Entropy of a packet’s sender, bits (50 users; at most 5.64)",
                &labels,
                &by_design(&|c| fifty(c).unwrap_or(none)),
                6.0,
            ),
        ),
        ("flood.svg", svg::bars("Share of paths for 1,000 new relays of one owner among 100 old ones, %", &days, &flood, 100.0)),
    ]
}
