//! From the path in a request to a file of the manifest, or to an answer that needs none.
//!
//! Invariant: a file is only ever found by an exact look-up in the manifest; nothing is opened by name.

use crate::manifest::{Entry, INDEX, Manifest};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolved<'a> {
    /// This file.
    File(&'a Entry),
    /// A folder that was asked for without a slash at the end: there its links would lead astray.
    Folder {
        /// The path with its slash, encoded.
        location: String,
    },
    /// Nothing.
    Missing,
    /// Not a path.
    Bad,
}

/// All that a path of a URL may not hold as it is (RFC 3986, `pchar`), and `%` itself.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Finds what a request's path, as it came, stands for.
pub(crate) fn resolve<'a>(manifest: &'a Manifest, raw: &str) -> Resolved<'a> {
    let Some(rest) = raw.strip_prefix('/') else { return Resolved::Bad };
    let mut parts = Vec::new();
    for part in rest.split('/') {
        match decode(part) {
            // An encoded slash is no separator, and no name holds one.
            Some(part) if part.contains('/') => return Resolved::Missing,
            Some(part) => parts.push(part),
            None => return Resolved::Bad,
        }
    }
    let folder = parts.last().is_none_or(String::is_empty);
    if folder {
        parts.pop();
    }
    if parts.iter().any(|p| matches!(p.as_str(), "" | "." | "..")) {
        return Resolved::Missing;
    }
    let path = parts.join("/");
    let index = if path.is_empty() { INDEX.to_owned() } else { format!("{path}/{INDEX}") };
    if folder {
        return manifest.entry(&index).map_or(Resolved::Missing, Resolved::File);
    }
    if let Some(file) = manifest.entry(&path) {
        return Resolved::File(file);
    }
    if manifest.entry(&index).is_some() {
        let encoded: Vec<String> = parts.iter().map(|p| utf8_percent_encode(p, ESCAPED).to_string()).collect();
        return Resolved::Folder { location: format!("/{}/", encoded.join("/")) };
    }
    Resolved::Missing
}

/// Undoes percent-encoding; `None` for broken escapes, control characters, and what is not UTF-8 then.
fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = if *first == b'%' {
            let (escape, after) = after.split_at_checked(2)?;
            bytes.push(hex(escape[0])? << 4 | hex(escape[1])?);
            after
        } else {
            bytes.push(*first);
            after
        };
    }
    let text = String::from_utf8(bytes).ok()?;
    if text.chars().any(char::is_control) { None } else { Some(text) }
}

fn hex(digit: u8) -> Option<u8> {
    // Below 16, so it fits.
    char::from(digit).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Limits, Manifest, manifest_of};
    use proptest::prelude::*;

    fn site() -> Manifest {
        manifest_of(&["50%.txt", "a b/ü.html", "docs/index.html", "docs/x?y#z.txt", "index.html", "日本/index.html"])
    }

    fn found(raw: &str) -> String {
        match resolve(&site(), raw) {
            Resolved::File(entry) => entry.path().to_owned(),
            Resolved::Folder { location } => format!("to {location}"),
            Resolved::Missing => "missing".to_owned(),
            Resolved::Bad => "bad".to_owned(),
        }
    }

    #[test]
    fn finds_what_is_meant() {
        for (raw, expected) in [
            ("/", "index.html"),
            ("/index.html", "index.html"),
            ("/docs/", "docs/index.html"),
            ("/docs", "to /docs/"),
            ("/%64ocs", "to /docs/"),
            ("/a%20b/%C3%BC.html", "a b/ü.html"),
            ("/a b/ü.html", "a b/ü.html"),
            ("/50%25.txt", "50%.txt"),
            ("/docs/x%3fy%23z.txt", "docs/x?y#z.txt"),
            ("/日本", "to /%E6%97%A5%E6%9C%AC/"),
            ("/a%20b/", "missing"),
            ("/a%20b", "missing"),
            ("/index.html/", "missing"),
            ("/docs%2Findex.html", "missing"),
            ("/../index.html", "missing"),
            ("/%2e%2e/index.html", "missing"),
            ("//docs", "missing"),
            ("//evil.example/", "missing"),
            ("/docs//", "missing"),
            ("/./docs", "missing"),
            ("/docs\\index.html", "missing"),
            ("/50%.txt", "bad"),
            ("/%", "bad"),
            ("/%2", "bad"),
            ("/%zz", "bad"),
            ("/%+1", "bad"),
            ("/%00", "bad"),
            ("/a%0ab", "bad"),
            ("/%ff", "bad"),
            ("*", "bad"),
            ("", "bad"),
        ] {
            assert_eq!(found(raw), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn any_file_is_found_by_its_encoded_name(names in proptest::collection::btree_set("[ -~äö日]{1,8}", 1..6)) {
            let names: Vec<String> = names.into_iter().filter(|n| crate::path::check_path(n).is_ok()).chain(["index.html".to_owned()]).collect();
            let names: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
            let manifest = manifest_of(&names.iter().copied().collect::<Vec<_>>());
            let bytes = manifest.encode().unwrap();
            prop_assert!(Manifest::decode(&bytes, &Limits::default()).is_ok());
            for name in names {
                let raw: String = name.split('/').map(|p| utf8_percent_encode(p, ESCAPED).to_string()).collect::<Vec<_>>().join("/");
                let found = resolve(&manifest, &format!("/{raw}"));
                prop_assert!(matches!(&found, Resolved::File(e) if e.path() == name), "{} gave {:?}", raw, found);
            }
        }

        #[test]
        fn anything_else_is_answered_and_redirects_stay_here(raw in "/?[a-z./%0-9A-F\\\\:?# ü]{0,20}") {
            if let Resolved::Folder { location } = resolve(&site(), &raw) {
                prop_assert!(location.starts_with('/') && !location.starts_with("//") && location.is_ascii());
            }
        }
    }
}
