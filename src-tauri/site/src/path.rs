//! Names of files inside a bundle: relative, '/' between parts, UTF-8, nothing that a browser or a file system could misread.

use std::fmt;

/// The longest part of a path: what common file systems take.
pub const MAX_PART_BYTES: usize = 255;
/// The longest path: as URLs it becomes three times as long at most, which browsers and the header limit of the site runtime take.
pub const MAX_PATH_BYTES: usize = 1024;

/// Why a name is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameFault {
    /// Nothing, or nothing between two slashes.
    Empty,
    /// Begins with a slash.
    Absolute,
    /// A part is `.` or `..`.
    Dots,
    /// A control character.
    Control,
    /// A part is longer than [`MAX_PART_BYTES`].
    PartTooLong,
    /// Longer than [`MAX_PATH_BYTES`].
    TooLong,
    /// Not UTF-8.
    NotUnicode,
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a part of it is empty"),
            Self::Absolute => f.write_str("it is absolute"),
            Self::Dots => f.write_str("a part of it is “.” or “..”"),
            Self::Control => f.write_str("it holds a control character"),
            Self::PartTooLong => write!(f, "a part of it is longer than {MAX_PART_BYTES} bytes"),
            Self::TooLong => write!(f, "it is longer than {MAX_PATH_BYTES} bytes"),
            Self::NotUnicode => f.write_str("it is not UTF-8"),
        }
    }
}

/// Checks a path of a bundle.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_path(path: &str) -> Result<(), NameFault> {
    if path.starts_with('/') {
        return Err(NameFault::Absolute);
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(NameFault::TooLong);
    }
    path.split('/').try_for_each(check_part)
}

/// Checks one part of a path.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_part(part: &str) -> Result<(), NameFault> {
    match part {
        "" => Err(NameFault::Empty),
        "." | ".." => Err(NameFault::Dots),
        _ if part.chars().any(char::is_control) => Err(NameFault::Control),
        _ if part.len() > MAX_PART_BYTES => Err(NameFault::PartTooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_and_odd_names_pass_and_dangerous_ones_do_not() {
        for fine in ["index.html", "a b/ü ß/日本.txt", "..a/b..", "a\\b", "%2e%2e/x", ".well-known/x"] {
            assert_eq!(check_path(fine), Ok(()), "{fine}");
        }
        let long = "x".repeat(MAX_PART_BYTES + 1);
        let deep = "x/".repeat(MAX_PATH_BYTES / 2) + "x";
        for (bad, why) in [
            ("", NameFault::Empty),
            ("/etc/passwd", NameFault::Absolute),
            ("a//b", NameFault::Empty),
            ("a/", NameFault::Empty),
            ("../x", NameFault::Dots),
            ("a/./b", NameFault::Dots),
            ("a/..", NameFault::Dots),
            ("a\nb", NameFault::Control),
            ("a\u{0}", NameFault::Control),
            ("a\u{85}", NameFault::Control),
            (&*long, NameFault::PartTooLong),
            (&*deep, NameFault::TooLong),
        ] {
            assert_eq!(check_path(bad), Err(why), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_stays_inside_any_folder(path in "[a./\\\\\u{0}é]{0,12}") {
            if check_path(&path).is_ok() {
                let joined = std::path::Path::new("/root").join(&path);
                prop_assert!(joined.starts_with("/root"));
                prop_assert!(joined.components().all(|c| !matches!(c, std::path::Component::ParentDir | std::path::Component::CurDir)));
            }
        }
    }
}
