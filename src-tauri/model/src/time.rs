//! Moments and spans in milliseconds. There is no clock here: whoever acts passes the time in.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

/// A span in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct DurationMs(pub i64);

impl UnixMs {
    /// This moment plus a span; stops at the ends of time instead of wrapping.
    pub fn plus(self, span: DurationMs) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long after `earlier` this is; negative when it is before.
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

impl DurationMs {
    /// A span of whole seconds.
    pub const fn from_s(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }
}
