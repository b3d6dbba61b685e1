//! What people paste: links to share, tickets, onion addresses, access keys.

use crate::samples::{CONTAINER, NOW, fog_id, mode};
use fogbank_betanet::address::{AccessKey, Address, FogLink, Period, Via};
use fogbank_model::{ContainerName, Onion};
use fogbank_wire::{PeerAddress, Roles, Ticket, VERSION, decode, encode};

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let via = ["127.0.0.1:4000", "[2001:db8::1]:4000"].map(|addr| Via { key: [5; 32], addr: addr.parse().unwrap() });
    let onion = CONTAINER.proof.onion.clone();
    let bare = FogLink { onion: onion.clone(), via: Vec::new(), fog: None, access: None };
    let link = FogLink { onion: onion.clone(), via: via.to_vec(), fog: Some(fog_id()), access: Some(AccessKey([8; 32])) };
    let addrs = vec!["127.0.0.1:4433".parse().unwrap()];
    let ticket = Ticket { version: VERSION, fog: fog_id(), addrs, roles: Roles::ALL, expires: NOW, secret: [9; 16], relay: None };
    vec![
        mode(0, link.to_string().as_bytes()),
        mode(0, bare.to_string().as_bytes()),
        mode(1, ticket.to_string().as_bytes()),
        mode(2, &encode(&ticket).unwrap()),
        mode(3, onion.to_string().as_bytes()),
        mode(4, AccessKey([7; 32]).to_string().as_bytes()),
        mode(5, "a name of a container".as_bytes()),
        mode(6, &[0x58; 32]),
        mode(7, PeerAddress { fog: fog_id(), addrs: via.map(|via| via.addr).to_vec() }.to_string().as_bytes()),
    ]
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    let text = String::from_utf8_lossy(rest);
    match mode % 8 {
        0 => text.parse::<FogLink>().is_ok_and(|link| {
            assert!(link.via.len() <= FogLink::MAX_VIA);
            assert_eq!(link.to_string().parse::<FogLink>().as_ref(), Ok(&link), "a link that is copied leads to the same place");
            true
        }),
        1 => text.parse::<Ticket>().is_ok(),
        2 => decode::<Ticket>(rest).is_ok_and(|ticket| match ticket.to_string().parse::<Ticket>() {
            Ok(again) => {
                assert_eq!(again, ticket);
                true
            }
            // Of another version, or longer than a ticket may be.
            Err(_) => false,
        }),
        3 => text.parse::<Onion>().is_ok_and(|onion| {
            assert_eq!(onion.to_string().parse::<Onion>().as_ref(), Ok(&onion));
            Address::parse(&onion).is_ok_and(|address| address.blinded(Period::at(NOW)).is_ok())
        }),
        4 => text.parse::<AccessKey>().is_ok_and(|key| key.to_string().parse::<AccessKey>().is_ok_and(|again| again == key)),
        5 => text.parse::<ContainerName>().is_ok_and(|name| name.as_str().chars().count() <= ContainerName::MAX_CHARS),
        7 => text.parse::<PeerAddress>().is_ok_and(|peer| {
            assert!(peer.is_sound());
            assert_eq!(peer.to_string().parse().as_ref(), Ok(&peer), "an address that is copied names the same fog");
            true
        }),
        _ => rest.first_chunk().is_some_and(|public| match Address::from_public(*public) {
            Ok(address) => {
                assert!(Address::parse(address.onion()).is_ok(), "an address that does not read itself");
                let far = [Period(0), Period::at(NOW), Period(u32::MAX)];
                far.iter().for_each(|period| assert!(address.blinded(*period).is_ok()));
                true
            }
            Err(_) => false,
        }),
    }
}
