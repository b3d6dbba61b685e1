//! Bars with their intervals, as SVG.

use crate::stats::Estimate;
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 46.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 30.0;
/// Told apart by those who see no colours, too: they differ in lightness.
const COLOURS: [&str; 4] = ["#1b3a5c", "#3f7cac", "#95c0a5", "#e4b363"];

/// Groups of bars: one group a label, one bar a series.
pub(crate) fn bars(title: &str, labels: &[String], series: &[(&str, Vec<Estimate>)], most: f64) -> String {
    let floor = HEIGHT - BOTTOM;
    let y = |value: f64| floor - value.clamp(0.0, most) / most * (floor - TOP);
    let group = (WIDTH - LEFT - 10.0) / labels.len().max(1) as f64;
    let bar = group * 0.8 / series.len().max(1) as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{title}</text>\n"
    );
    for step in 0..=4 {
        let value = most * f64::from(step) / 4.0;
        let at = y(value);
        let _ = writeln!(text, "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/>", WIDTH - 10.0);
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", LEFT - 6.0, at + 4.0);
    }
    for (at, (name, values)) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let legend = LEFT + at as f64 * 170.0;
        let _ = writeln!(text, "<rect x=\"{legend:.1}\" y=\"28\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"38\">{name}</text>", legend + 17.0);
        for (place, value) in values.iter().enumerate() {
            let x = LEFT + group * (place as f64 + 0.1) + bar * at as f64;
            let (top, middle) = (y(value.value), x + bar / 2.0);
            let _ = writeln!(
                text,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                bar - 2.0,
                floor - top
            );
            if value.high > value.low {
                let _ = writeln!(text, "<path d=\"M{middle:.1} {:.1}V{:.1}\" stroke=\"#000\"/>", y(value.low), y(value.high));
            }
        }
    }
    for (place, label) in labels.iter().enumerate() {
        let x = LEFT + group * (place as f64 + 0.5);
        let _ = writeln!(text, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", floor + 18.0);
    }
    text + "</svg>\n"
}
