//! How much a container's copies are asked, in words and as a curve for a terminal.

use fogbank_node::control::{LoadDto, LoadRowDto, LoadSpanDto};
use std::fmt::Write;

/// Columns of the curve: a day by the minute, 24 in each; a month by the quarter of an hour, 48.
const COLUMNS: i64 = 60;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A full bar is so much load.
const FULL: f32 = 1.0;
/// Rows that are told one by one, the last ones.
const ROWS: usize = 12;

/// Shows it. `now_ms`: where the curve ends.
pub(crate) fn show(out: &mut String, span: LoadSpanDto, load: &LoadDto, now_ms: i64) -> std::fmt::Result {
    let LoadDto { ready, wanted, least, most, why, .. } = load;
    writeln!(out, "copies    {ready} ready, {wanted} wanted, of {least} to {most}")?;
    writeln!(out, "why       {why}")?;
    match &load.now {
        None => writeln!(out, "now       nothing is measured")?,
        Some(now) => {
            let latency = now.latency.map(|share| format!("{} of the time to the first byte that is aimed at", percent(share)));
            writeln!(out, "network   {} of the bandwidth that was given", percent(now.network))?;
            writeln!(out, "visitors  {} of the tunnels and streams that copies take", percent(now.concurrency))?;
            writeln!(out, "latency   {}", latency.as_deref().unwrap_or("too few requests to say"))?;
            writeln!(out, "requests  {:.1} a second", now.traffic)?;
            writeln!(out, "          processor and memory can't be told apart for one site of a device")?;
        }
    }
    writeln!(out, "changes   {} within the last hour, of {} at most", load.changes, load.most_changes)?;
    let (words, step_ms, span_ms) = match span {
        LoadSpanDto::Day => ("the last day", 60_000, 24 * 3_600_000),
        LoadSpanDto::Month => ("the last 30 days", 15 * 60_000, 30 * 24 * 3_600_000),
    };
    if load.rows.is_empty() {
        return writeln!(out, "{words}: nothing was asked");
    }
    writeln!(out, "{words}, highest load (a full bar is {} or more):", percent(FULL.into()))?;
    writeln!(out, "  {}", curve(&load.rows, now_ms, span_ms))?;
    writeln!(
        out,
        "  {:>10}  {:>5} {:>8} {:>8} {:>8} {:>9}  copies",
        "ago", "peak", "network", "visitors", "latency", "requests"
    )?;
    for row in load.rows.iter().rev().take(ROWS) {
        writeln!(
            out,
            "  {:>10}  {:>5} {:>8} {:>8} {:>8} {:>7.1}/s  {} of {}",
            ago(now_ms.saturating_sub(row.at_ms.saturating_add(step_ms))),
            percent(row.peak.into()),
            percent(row.network.into()),
            percent(row.concurrency.into()),
            percent(row.latency.into()),
            row.traffic,
            row.ready,
            row.wanted
        )?;
    }
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn ago(ms: i64) -> String {
    match ms.max(0) / 60_000 {
        minutes if minutes < 120 => format!("{minutes} min"),
        minutes if minutes < 48 * 60 => format!("{} h", minutes / 60),
        minutes => format!("{} d", minutes / (24 * 60)),
    }
}

/// The highest load in each part of the span, the present at the right; a blank where nothing was asked.
fn curve(rows: &[LoadRowDto], now_ms: i64, span_ms: i64) -> String {
    let mut columns = [None::<f32>; COLUMNS as usize];
    let began = now_ms.saturating_sub(span_ms);
    for row in rows {
        let column = row.at_ms.saturating_sub(began).saturating_mul(COLUMNS) / span_ms;
        if let Some(most) = usize::try_from(column).ok().and_then(|column| columns.get_mut(column)) {
            *most = Some(most.unwrap_or(0.0).max(row.peak));
        }
    }
    let last = BARS.len() - 1;
    // What is no number becomes the lowest bar.
    let bar = |load: f32| BARS[((load / FULL * last as f32).round() as usize).min(last)];
    columns.iter().map(|load| load.map_or(' ', bar)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at_ms: i64, peak: f32) -> LoadRowDto {
        LoadRowDto { at_ms, peak, network: peak, concurrency: 0.0, latency: 0.0, traffic: 1.0, ready: 2, wanted: 3 }
    }

    #[test]
    fn the_curve_ends_now_and_takes_any_number() {
        let (day, now) = (24 * 3_600_000, 1_790_000_000_000);
        let rows = [row(now - day, 0.0), row(now - day / 2, 0.5), row(now - 1, 3.0), row(now + 1, 1.0), row(i64::MIN, 1.0)];
        let drawn: Vec<char> = curve(&rows, now, day).chars().collect();
        assert_eq!((drawn.len(), drawn[0], drawn[30], drawn[59], drawn[1]), (60, '▁', '▅', '█', ' '));
        assert_eq!(curve(&[row(now - 1, f32::NAN)], now, day).trim(), "▁");
        let load = LoadDto {
            ready: 2,
            wanted: 3,
            least: 2,
            most: 6,
            why: "load 91 % for 30 s: network".to_owned(),
            now: None,
            changes: 1,
            most_changes: 6,
            rows: rows.to_vec(),
        };
        let mut out = String::new();
        assert!(show(&mut out, LoadSpanDto::Day, &load, now).is_ok());
        assert!(out.contains("2 ready, 3 wanted, of 2 to 6") && out.contains("300 %") && out.contains("11 h"), "{out}");
    }
}
