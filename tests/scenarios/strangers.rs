//! Peers that are no members, speak garbage, half-open or never read: each is answered or let go, and the fog goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use anyhow::Result;
use fogbank_harness::{Fog, FogPlan, Process};
use fogbank_node::control::{ControlReply, ControlRequest, RoleDto};
use fogbank_wire::{
    ALPN, CallError, Coming, Enrol, Greeting, Hello, NodeRequest, OwnerCertificate, Purpose, RefusalKind, Roles, Ticket, VERSION,
    call, greet, read_frame, write_frame,
};
use iroh::{Endpoint, EndpointAddr, PublicKey, RelayMode, SecretKey, endpoint::presets};
use std::{io::Write, os::unix::net::UnixStream, time::Duration};
use tokio::time::timeout;

/// Far above every deadline of a hello (5 s) or a request (10 s).
const LET_GO: Duration = Duration::from_secs(20);

async fn stranger() -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal).secret_key(SecretKey::generate()).relay_mode(RelayMode::Disabled);
    builder.clear_address_lookup().bind().await.unwrap()
}

fn allocator(ticket: &Ticket) -> EndpointAddr {
    let id = PublicKey::from_bytes(&ticket.fog.0).unwrap();
    ticket.addrs.iter().fold(EndpointAddr::new(id), |addr, ip| addr.with_ip_addr(*ip))
}

fn enrol(endpoint: &Endpoint, owner: &SecretKey, invite: Option<[u8; 16]>, roles: Roles) -> Purpose {
    let device = fogbank_model::DeviceId(*endpoint.id().as_bytes());
    let certificate = OwnerCertificate::issue(owner, device).unwrap();
    let comes = invite.map_or(Coming::Back, Coming::Joins);
    Purpose::Control(Box::new(Enrol { certificate, name: "stranger".to_owned(), roles, mix: None, addrs: vec![], comes }))
}

async fn refusal(endpoint: &Endpoint, to: &EndpointAddr, purpose: Purpose) -> (RefusalKind, String) {
    let connection = endpoint.connect(to.clone(), ALPN).await.unwrap();
    match greet(&connection, purpose).await {
        Err(CallError::Refused(refusal)) => (refusal.kind, refusal.message),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_known_are_refused_in_words() -> Result<()> {
    let fog = Fog::start(FogPlan::default()).await?;
    let ticket: Ticket = fog.ticket(&[RoleDto::Publish]).await?.parse()?;
    let to = allocator(&ticket);
    let (endpoint, owner) = (stranger().await, SecretKey::generate());
    let publisher = Roles { publisher: true, ..Roles::default() };

    let (kind, words) = refusal(&endpoint, &to, enrol(&endpoint, &owner, None, publisher)).await;
    assert!(kind == RefusalKind::UnknownKey && words.contains("invite"), "{words}");
    let (kind, words) = refusal(&endpoint, &to, enrol(&endpoint, &owner, Some([7; 16]), publisher)).await;
    assert!(kind == RefusalKind::Invite && words.contains("not known"), "{words}");
    let (kind, words) = refusal(&endpoint, &to, enrol(&endpoint, &owner, Some(ticket.secret), Roles::ALL)).await;
    assert!(kind == RefusalKind::NotGranted && words.contains("does not cover"), "{words}");
    // Another device's certificate under an own key.
    let other = stranger().await;
    let (kind, _) = refusal(&endpoint, &to, enrol(&other, &owner, Some(ticket.secret), publisher)).await;
    assert_eq!(kind, RefusalKind::UnknownKey);
    let (kind, _) = refusal(&endpoint, &to, Purpose::Mix).await;
    assert_eq!(kind, RefusalKind::NotServed);

    // A member's role can't be stretched by asking for more on its connection.
    let connection = endpoint.connect(to.clone(), ALPN).await?;
    greet(&connection, enrol(&endpoint, &owner, Some(ticket.secret), publisher)).await?;
    for forbidden in
        [NodeRequest::Devices, NodeRequest::Invite { roles: Roles::ALL, valid: fogbank_model::DurationMs::from_s(60) }]
    {
        let reply = call(&connection, &forbidden).await?;
        assert!(matches!(&reply, fogbank_wire::NodeReply::Refused(r) if r.kind == RefusalKind::NotGranted), "{reply:?}");
    }
    fog.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_peer_is_told_to_update() -> Result<()> {
    let fog = Fog::start(FogPlan::default()).await?;
    let ticket: Ticket = fog.ticket(&[RoleDto::Publish]).await?.parse()?;
    let endpoint = stranger().await;
    let connection = endpoint.connect(allocator(&ticket), ALPN).await?;
    let (mut send, mut recv) = connection.open_bi().await?;
    write_frame(&mut send, &Hello { version: VERSION + 1, purpose: Purpose::Mix }).await?;
    let answer: Greeting = read_frame(&mut recv, 4096).await?;
    assert!(
        matches!(&answer, Greeting::Refused(r) if r.kind == RefusalKind::Version && r.message.contains("update")),
        "{answer:?}"
    );
    fog.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_half_opens_and_silence_hold_nobody_up() -> Result<()> {
    let fog = Fog::start(FogPlan { devices: 1, ..FogPlan::default() }).await?;
    let ticket: Ticket = fog.ticket(&[RoleDto::Publish]).await?.parse()?;
    let to = allocator(&ticket);
    let mut letting_go = Vec::new();

    // Garbage instead of a hello; a frame that claims to be huge; a frame that never ends.
    for bytes in [vec![0xff; 4096], u32::MAX.to_be_bytes().to_vec(), [&200u32.to_be_bytes()[..], b"half"].concat()] {
        let endpoint = stranger().await;
        let connection = endpoint.connect(to.clone(), ALPN).await?;
        let (mut send, _recv) = connection.open_bi().await?;
        let _ = send.write_all(&bytes).await;
        letting_go.push((endpoint, connection, Some((send, _recv))));
    }
    // A connection that says nothing at all.
    let endpoint = stranger().await;
    let connection = endpoint.connect(to.clone(), ALPN).await?;
    letting_go.push((endpoint, connection, None));

    // A member that sends requests in pieces and never reads an answer, more of them than are taken at once.
    let (endpoint, owner) = (stranger().await, SecretKey::generate());
    let rude = endpoint.connect(to.clone(), ALPN).await?;
    greet(&rude, enrol(&endpoint, &owner, Some(ticket.secret), Roles { publisher: true, ..Roles::default() })).await?;
    let mut kept = Vec::new();
    for n in 0..60 {
        let Ok(Ok((mut send, recv))) = timeout(Duration::from_secs(1), rude.open_bi()).await else { break };
        if n % 2 == 0 {
            write_frame(&mut send, &NodeRequest::Containers).await?;
        } else {
            send.write_all(&[0, 0, 1]).await?;
        }
        kept.push((send, recv));
    }
    assert!(kept.len() > 32, "the allocator holds a connection open for calls");

    // Meanwhile others are served at once.
    let newcomer = timeout(LET_GO, Process::start(fog.folder(), "newcomer", false)).await??;
    let text = fog.ticket(&[RoleDto::Contribute]).await?;
    timeout(Duration::from_secs(5), newcomer.ask(ControlRequest::Join { ticket: text })).await??;
    assert_eq!(
        fog.allocator.devices().await?.iter().filter(|d| d.connected).count(),
        4,
        "allocator, device, rude member, newcomer"
    );

    for (_endpoint, connection, _streams) in &letting_go {
        timeout(LET_GO, connection.closed()).await.expect("a peer that says nothing sensible is let go");
    }
    drop(kept);
    fog.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_takes_no_nonsense_and_is_its_owners_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::start(folder.path(), "node", false).await?;
    let socket = node.profile().join("control.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket)?.permissions());
    assert_eq!(mode & 0o077, 0, "others can open the control socket");
    for nonsense in [
        &b"hello\n"[..],
        b"{\"ask\":\"join\",\"ticket\":\"x\",\"more\":1}\n",
        b"{\"ask\":\"publish\",\"cpu\":NaN}\n",
        &[0xff; 100],
        b"\n",
    ] {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(nonsense)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer)?;
        assert!(answer.contains("does not understand"), "{answer}");
    }
    // A line without an end is cut off at the limit.
    let mut endless = UnixStream::connect(&socket)?;
    let _ = endless.write_all(&vec![b'x'; 1 << 20]);
    let ControlReply::Status(_) = node.ask(ControlRequest::Status).await? else { panic!("no status") };
    node.quit().await
}
