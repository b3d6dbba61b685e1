//! What a program may ask the proxy for.

use fogbank_model::Onion;

/// The port of sites. Another one is passed on to apps alone.
pub(crate) const SITE_PORT: u16 = 80;

/// The onion address that a host name stands for; a subdomain in front is the site's own affair, as with Tor. `None` for every other name.
pub(crate) fn onion(name: &str) -> Option<Onion> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let (rest, top) = name.rsplit_once('.')?;
    let label = rest.rsplit_once('.').map_or(rest, |(_, label)| label);
    format!("{label}.{top}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    #[test]
    fn only_onions_pass() {
        for good in [ONION.to_owned(), format!("{ONION}."), format!("www.{ONION}"), ONION.to_uppercase()] {
            assert_eq!(onion(&good).unwrap().as_str(), ONION, "{good}");
        }
        let short = &ONION[1..];
        for bad in ["example.org", "localhost", "127.0.0.1", "::1", "onion", ".onion", "", short, &format!("{ONION}.example.org")]
        {
            assert!(onion(bad).is_none(), "{bad}");
        }
    }
}
