//! Access keys of private addresses that this node visits, kept in its profile for its owner alone.

use crate::profile::{Profile, write_private};
use fogbank_betanet::address::AccessKey;
use fogbank_model::Onion;
use std::{
    collections::{BTreeMap, HashMap},
    io,
};

/// Addresses whose keys are kept: more private sites than a person follows.
const MAX_KEYS: usize = 1_024;
const FILE: &str = "visited-keys.json";

/// Those that are kept. A file that can't be read stays as it is, for a person to look at.
pub(crate) fn load(profile: &Profile) -> HashMap<Onion, AccessKey> {
    read(profile).unwrap_or_else(|error| {
        tracing::warn!(%error, "the keys of private addresses can't be read");
        HashMap::new()
    })
}

fn read(profile: &Profile) -> io::Result<HashMap<Onion, AccessKey>> {
    let bytes = match std::fs::read(profile.path(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        read => read?,
    };
    let texts: BTreeMap<String, String> = serde_json::from_slice(&bytes)?;
    Ok(texts.into_iter().filter_map(|(onion, key)| Some((onion.parse().ok()?, key.parse().ok()?))).collect())
}

/// Changes those that are kept; all that are kept then. One change at a time: the file is read and written.
///
/// # Errors
/// When there are too many, or the file can't be read or written.
pub(crate) fn change(
    profile: &Profile,
    change: impl FnOnce(&mut HashMap<Onion, AccessKey>),
) -> io::Result<HashMap<Onion, AccessKey>> {
    let before = read(profile)?;
    let mut keys = before.clone();
    change(&mut keys);
    if keys.len() > MAX_KEYS {
        return Err(io::Error::other(format!("more than {MAX_KEYS} private addresses")));
    }
    if keys != before {
        let texts: BTreeMap<&str, String> = keys.iter().map(|(onion, key)| (onion.as_str(), key.to_string())).collect();
        write_private(&profile.path(FILE), &serde_json::to_vec_pretty(&texts)?)?;
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_privately_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::open(folder.path()).unwrap();
        assert!(load(&profile).is_empty());
        let onion: Onion = format!("{}.onion", "a".repeat(56)).parse().unwrap();
        for n in [1, 2] {
            let learn = |keys: &mut HashMap<_, _>| assert_eq!(keys.insert(onion.clone(), AccessKey([n; 32])).is_some(), n == 2);
            change(&profile, learn).unwrap();
        }
        assert_eq!(load(&profile), HashMap::from([(onion, AccessKey([2; 32]))]));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(profile.path(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(profile.path(FILE), "damaged").unwrap();
        assert!(load(&profile).is_empty());
        assert_eq!(std::fs::read(profile.path(FILE)).unwrap(), b"damaged");
    }
}
