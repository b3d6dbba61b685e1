//! How many connections the system lets this process have: each takes a descriptor, and one that has not said the token yet takes two.
//!
//! A relay that ran out of them could not even refuse anybody, and whoever knocks most would shut its door.

use crate::INSIDE_A_STRANGER;

/// For all else that is open: the listeners, the library's clock and pipes, the log.
const ELSE: u64 = 128;

/// As many of these connections as there are descriptors for, after asking the system for all that it gives.
pub(crate) fn enough_for(connections: usize) -> usize {
    let Some(most) = most() else { return connections };
    let fit = fitting(most);
    if fit < connections {
        tracing::warn!(
            connections,
            fit,
            "the system lets this process open fewer connections than wanted: raise its limit of open files"
        );
    }
    fit.min(connections)
}

/// Each connection inside takes one, and for so many inside there is one stranger with two.
fn fitting(descriptors: u64) -> usize {
    let inside = INSIDE_A_STRANGER as u64;
    usize::try_from(descriptors.saturating_sub(ELSE) * inside / (inside + 2)).unwrap_or(usize::MAX).max(1)
}

#[cfg(unix)]
fn most() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, all).is_ok() { limit.maximum } else { limit.current }
}

/// No such limit is known elsewhere.
#[cfg(not(unix))]
fn most() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_strangers_fit_in_what_there_is() {
        for descriptors in [256, 1_024, 4_096, 1 << 20] {
            let fit = fitting(descriptors) as u64;
            let strangers = fit.div_ceil(INSIDE_A_STRANGER as u64);
            assert!(fit + 2 * strangers <= descriptors - ELSE + 2, "{descriptors}: {fit}");
            assert!(fit * 5 / 4 + 8 >= descriptors - ELSE, "{descriptors}: {fit} wastes some");
        }
        assert_eq!(fitting(0), 1);
        assert_eq!(enough_for(1), 1);
    }
}
