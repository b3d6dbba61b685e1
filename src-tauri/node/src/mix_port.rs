//! The port at which the mix listened last, kept with the profile and tried first: peers of a mix that restarts then find it where the
//! directory still says it is, before its new entry has spread. It is only a hint: when something else has the port by now, a free one does.

use crate::{
    profile::{Profile, write_private},
    start::StartError,
};
use fogbank_betanet::link;
use fogbank_wire::RelayHint;
use iroh::{Endpoint, SecretKey};
use std::net::{IpAddr, SocketAddr};

/// Where the port is kept, as decimal digits.
const FILE: &str = "mix-port";

/// Binds the mix's endpoint: at its last port if that is free, else at any.
pub(crate) async fn bind(
    profile: &Profile,
    key: &SecretKey,
    listen: IpAddr,
    relay: Option<&RelayHint>,
) -> Result<Endpoint, StartError> {
    let at = |port| link::bind(key.clone(), SocketAddr::new(listen, port), relay);
    let last = load(profile);
    let again = match last {
        Some(port) => at(port).await.inspect_err(|error| tracing::debug!(%error, "the mix's last port is taken")).ok(),
        None => None,
    };
    let endpoint = match again {
        Some(endpoint) => endpoint,
        None => at(0).await.map_err(StartError::Mix)?,
    };
    let port = endpoint.bound_sockets().iter().map(SocketAddr::port).find(|port| *port != 0);
    if let Some(port) = port.filter(|port| Some(*port) != last)
        && let Err(error) = write_private(&profile.path(FILE), port.to_string().as_bytes())
    {
        tracing::warn!(%error, "the mix's port could not be kept; after a restart it may have another");
    }
    Ok(endpoint)
}

/// The last port; what can't be read counts as none.
fn load(profile: &Profile) -> Option<u16> {
    std::fs::read_to_string(profile.path(FILE)).ok()?.trim().parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{Ipv4Addr, UdpSocket},
        time::Duration,
    };

    fn port(endpoint: &Endpoint) -> u16 {
        endpoint.bound_sockets()[0].port()
    }

    /// Takes a port as soon as the endpoint that had it has let go of it, which takes a moment after its end.
    async fn take(port: u16) -> UdpSocket {
        for _ in 0..200 {
            if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("port {port} is never free");
    }

    #[tokio::test]
    async fn the_port_stays_over_a_restart_and_gives_way_when_it_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::open(folder.path()).unwrap();
        let (key, here) = (SecretKey::generate(), IpAddr::from(Ipv4Addr::LOCALHOST));
        let first = bind(&profile, &key, here, None).await.unwrap();
        let kept = port(&first);
        first.close().await;
        drop(first);
        drop(take(kept).await);
        let second = bind(&profile, &key, here, None).await.unwrap();
        assert_eq!(port(&second), kept);
        second.close().await;
        drop(second);
        let _other = take(kept).await;
        let third = bind(&profile, &key, here, None).await.unwrap();
        assert_ne!(port(&third), kept);
        assert_eq!(load(&profile), Some(port(&third)));
        std::fs::write(profile.path(FILE), "no port").unwrap();
        assert_eq!(load(&profile), None);
    }
}
