//! What the control interface says of how much a container's copies are asked.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// How finely load is told, and for how long back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum LoadSpanDto {
    /// A day, by the minute.
    Day,
    /// Thirty days, by the quarter of an hour.
    Month,
}

/// How much a container's copies are asked, now and before. Each load is a share of what the copies that serve have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct LoadDto {
    /// Copies that serve.
    pub ready: u8,
    /// Copies wanted now.
    pub wanted: u8,
    /// Copies at least.
    pub least: u8,
    /// Copies at most; as many as at least when their number does not follow load.
    pub most: u8,
    /// Why so many are wanted, for people.
    pub why: String,
    /// What was measured last; absent when nothing is measured now.
    pub now: Option<LoadNowDto>,
    /// How often the wanted number changed within the last hour.
    pub changes: u8,
    /// How often it may.
    pub most_changes: u8,
    /// Minutes or quarters of an hour in which something was asked or changed, oldest first.
    pub rows: Vec<LoadRowDto>,
}

/// What was measured last. Processor and memory can't be told apart for one site, so they are not there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct LoadNowDto {
    /// When.
    #[ts(type = "number")]
    pub at_ms: i64,
    /// Bytes sent, of the bandwidth that was given.
    pub network: f64,
    /// Visitors' tunnels or streams, of those that copies take.
    pub concurrency: f64,
    /// Time from a request to the first byte of its answer, of the time that is aimed at; absent with too few requests.
    pub latency: Option<f64>,
    /// Requests a second.
    pub traffic: f64,
}

/// A minute or a quarter of an hour: means, but for the peak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct LoadRowDto {
    /// When it began.
    #[ts(type = "number")]
    pub at_ms: i64,
    /// The highest load at any check.
    pub peak: f32,
    /// Share of the bandwidth.
    pub network: f32,
    /// Share of tunnels or streams.
    pub concurrency: f32,
    /// Share of the time that is aimed at; 0 when it was not measured.
    pub latency: f32,
    /// Requests a second.
    pub traffic: f32,
    /// Copies that served.
    pub ready: u8,
    /// Copies wanted.
    pub wanted: u8,
}
