//! In which networks a mix is, as far as its addresses tell. Pure.
//!
//! Two mixes of one network are not used beside each other ([`crate::paths`]), so an address that a mix claims keeps others away from it. Whoever listed
//! eight, in the networks of honest mixes, would shut those out beside his own, and come to be all of a client's guards. So a mix has one address of each
//! family that counts for networks, and in the family in which the fog's allocator sees its device that one. What is left: where it
//! is seen in one family, or over the fog's relay in none, the rest is its own word, and a mix behind a router says no network at all.

use super::{MAX_MIX_ADDRS, MixEntry};
use std::net::{IpAddr, SocketAddr};

impl MixEntry {
    /// Whether one network operator likely sees both: the same /16, for IPv6 the same /32.
    pub(crate) fn shares_network(&self, other: &Self) -> bool {
        self.addrs.iter().any(|x| other.addrs.iter().any(|y| same_network(x.ip(), y.ip())))
    }
}

/// Whether many networks use an address alike (loopback, private, link-local, behind a provider's translator): it says nothing about networks, and
/// is reached from within one only.
pub fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            // 100.64.0.0/10 (RFC 6598).
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The addresses under which a mix is listed, of those that it says: of global ones the first of each family, and in the family in which its device
/// was `seen` from outside that one, at the port that it says; then local ones, as many as may be.
pub fn of_one_computer(said: &[SocketAddr], seen: Option<IpAddr>) -> Vec<SocketAddr> {
    let seen = seen.map(|ip| ip.to_canonical()).filter(|ip| !is_local(*ip));
    let (local, global): (Vec<SocketAddr>, Vec<SocketAddr>) = said.iter().partition(|addr| is_local(addr.ip()));
    let first = |v4: bool| {
        let seen = seen.filter(|seen| seen.is_ipv4() == v4);
        let mut of_family = global.iter().filter(|addr| addr.ip().to_canonical().is_ipv4() == v4);
        let first = of_family.clone().next()?;
        let there = of_family.find(|addr| seen == Some(addr.ip().to_canonical()));
        // Where it has several lines it is met at the one that leads to the fog.
        Some(there.copied().unwrap_or_else(|| SocketAddr::new(seen.unwrap_or(first.ip()), first.port())))
    };
    [first(true), first(false)].into_iter().flatten().chain(local).take(MAX_MIX_ADDRS).collect()
}

fn same_network(a: IpAddr, b: IpAddr) -> bool {
    match (a.to_canonical(), b.to_canonical()) {
        (a, b) if is_local(a) || is_local(b) => false,
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..2] == b.octets()[..2],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..2] == b.segments()[..2],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn local_addresses_are_of_no_network() {
        for local in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.2",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            let local = local.parse().unwrap();
            assert!(is_local(local) && !same_network(local, local), "{local}");
        }
        for global in ["198.51.100.7", "100.63.0.1", "100.128.0.1", "2001:db8::1", "::ffff:198.51.100.7"] {
            let global = global.parse().unwrap();
            assert!(!is_local(global) && same_network(global, global), "{global}");
        }
        let same = |a: &str, b: &str| same_network(a.parse().unwrap(), b.parse().unwrap());
        assert!(
            same("198.51.100.7", "198.51.3.1")
                && same("198.51.100.7", "::ffff:198.51.3.1")
                && !same("198.51.100.7", "198.52.100.7")
        );
        assert!(
            same("2001:db8:1::1", "2001:db8:2::1") && !same("2001:db8::1", "2001:db9::1") && !same("2001:db8::1", "198.51.100.7")
        );
    }

    #[test]
    fn a_mix_is_in_one_network_of_each_family_however_many_it_claims() {
        let many = addrs(&[
            "20.1.0.1:1",
            "10.0.0.1:1",
            "20.2.0.1:1",
            "[2a00:1::1]:1",
            "[::ffff:20.3.0.1]:1",
            "[2a00:2::1]:1",
            "127.0.0.1:1",
        ]);
        assert_eq!(of_one_computer(&many, None), addrs(&["20.1.0.1:1", "[2a00:1::1]:1", "10.0.0.1:1", "127.0.0.1:1"]));
        let seen = |ip: &str| of_one_computer(&many, Some(ip.parse().unwrap()));
        assert_eq!(seen("20.2.0.1"), addrs(&["20.2.0.1:1", "[2a00:1::1]:1", "10.0.0.1:1", "127.0.0.1:1"]));
        assert_eq!(seen("::ffff:20.3.0.1"), addrs(&["[::ffff:20.3.0.1]:1", "[2a00:1::1]:1", "10.0.0.1:1", "127.0.0.1:1"]));
        assert_eq!(seen("2a00:2::1"), addrs(&["20.1.0.1:1", "[2a00:2::1]:1", "10.0.0.1:1", "127.0.0.1:1"]));
        assert_eq!(
            seen("20.9.0.1"),
            addrs(&["20.9.0.1:1", "[2a00:1::1]:1", "10.0.0.1:1", "127.0.0.1:1"]),
            "where it is seen, not where it says"
        );
        let hidden = addrs(&["10.0.0.1:1"]);
        assert_eq!(of_one_computer(&hidden, Some("20.9.0.1".parse().unwrap())), hidden, "who is behind a router says no more");
        assert_eq!(seen("10.0.0.9"), of_one_computer(&many, None), "seen from within a network: that says nothing");
        let flood = addrs(&["10.0.0.1:1"; 20]);
        assert_eq!(of_one_computer(&flood, None).len(), MAX_MIX_ADDRS);
    }
}
