//! What part of a file a request wants, and whether it has it already (RFC 9110, sections 13 and 14).
//!
//! Entity tags are the hashes of the contents, so they are strong and right by themselves. There are no dates of change, on purpose: they would
//! tell when a host fetched its copy.

use std::ops::Range;

/// What to send of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// All of it.
    Whole,
    /// These bytes; neither empty nor beyond the end.
    Part(Range<u64>),
    /// What was asked for lies beyond the end.
    Beyond,
}

/// The piece that a `Range` header asks for. What is malformed, of another unit or more than one range is answered by the whole file, as the RFC
/// allows.
pub(crate) fn piece(header: Option<&[u8]>, bytes: u64) -> Piece {
    let Some(range) = header.and_then(|h| std::str::from_utf8(h).ok()).and_then(single) else { return Piece::Whole };
    let range = match range {
        // The last bytes: as many as there are.
        (None, Some(last)) => bytes.saturating_sub(last)..bytes,
        (Some(first), None) => first..bytes,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        _ => return Piece::Whole,
    };
    if range.start >= range.end { Piece::Beyond } else { Piece::Part(range) }
}

/// The one range of a header.
fn single(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let number = |text: &str| match text {
        "" => Some(None),
        // A number too large for u64 is beyond any file.
        _ if text.bytes().all(|b| b.is_ascii_digit()) => Some(Some(text.parse().unwrap_or(u64::MAX))),
        _ => None,
    };
    match (number(first)?, number(last)?) {
        (None, None) => None,
        range => Some(range),
    }
}

/// Whether a list of entity tags (`If-None-Match`, `If-Match`) names this one. `weakly`: a `W/` in front does not count.
pub(crate) fn names(list: &[u8], tag: &str, weakly: bool) -> bool {
    let Ok(list) = std::str::from_utf8(list) else { return false };
    // Our own tags hold no comma, so that a comma inside another's tag can't hide one of ours wrongly.
    list.split(',').map(str::trim).any(|one| one == "*" || one == tag || (weakly && one.strip_prefix("W/") == Some(tag)))
}

/// Whether `If-Range` lets a range be sent: only with exactly this tag. Dates never match, as none are given out.
pub(crate) fn still(header: Option<&[u8]>, tag: &str) -> bool {
    header.is_none_or(|h| h == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rfcs_cases() {
        for (header, expected) in [
            ("bytes=0-0", Piece::Part(0..1)),
            ("bytes=0-9", Piece::Part(0..10)),
            ("bytes=5-", Piece::Part(5..10)),
            ("bytes=-3", Piece::Part(7..10)),
            ("bytes=-99", Piece::Part(0..10)),
            ("bytes=8-99999999999999999999999", Piece::Part(8..10)),
            ("Bytes= 2-3 ", Piece::Part(2..4)),
            ("bytes=10-", Piece::Beyond),
            ("bytes=99999999999999999999999-", Piece::Beyond),
            ("bytes=-0", Piece::Beyond),
            ("bytes=3-2", Piece::Whole),
            ("bytes=0-1,5-6", Piece::Whole),
            ("bytes=", Piece::Whole),
            ("bytes=-", Piece::Whole),
            ("bytes=a-b", Piece::Whole),
            ("bytes=+1-2", Piece::Whole),
            ("lines=1-2", Piece::Whole),
            ("", Piece::Whole),
        ] {
            assert_eq!(piece(Some(header.as_bytes()), 10), expected, "{header}");
        }
        assert_eq!(piece(None, 10), Piece::Whole);
        assert_eq!(piece(Some(b"bytes=0-"), 0), Piece::Beyond);
        assert_eq!(piece(Some(&[0xff]), 10), Piece::Whole);
    }

    #[test]
    fn tags() {
        for (list, strong, weak) in [
            (&b"\"a\""[..], true, true),
            (b"\"b\", \"a\"", true, true),
            (b"W/\"a\"", false, true),
            (b"*", true, true),
            (b"\"b\"", false, false),
            (b"a", false, false),
            (b"\xff", false, false),
        ] {
            assert_eq!((names(list, "\"a\"", false), names(list, "\"a\"", true)), (strong, weak), "{list:?}");
        }
        assert!(still(None, "\"a\"") && still(Some(b"\"a\""), "\"a\""));
        assert!(!still(Some(b"W/\"a\""), "\"a\"") && !still(Some(b"Wed, 21 Oct 2026 07:28:00 GMT"), "\"a\""));
    }

    proptest! {
        #[test]
        fn never_beyond_the_file(header in "bytes=[0-9]{0,22}-[0-9]{0,22}", bytes: u64) {
            if let Piece::Part(range) = piece(Some(header.as_bytes()), bytes) {
                prop_assert!(range.start < range.end && range.end <= bytes);
            }
        }

        #[test]
        fn garbage_never_panics(header: Vec<u8>, bytes: u64) {
            let _ = (piece(Some(&header), bytes), names(&header, "\"a\"", true), still(Some(&header), "\"a\""));
        }
    }
}
