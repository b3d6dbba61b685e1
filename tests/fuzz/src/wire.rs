//! The control protocol and the hello: every kind of frame that a peer sends.

use crate::samples::{CONTAINER, NOW, fog_id, mode};
use fogbank_model::{BundleId, ContainerId, DeviceId, DurationMs, InstanceId, MixId, Resources};
use fogbank_wire::{
    Coming, DeviceReply, DeviceRequest, Enrol, FederateReply, FederateRequest, Greeting, Hello, MixInfo, NodeReply, NodeRequest,
    OwnerCertificate, PacketKeys, Purpose, Refusal, RefusalKind, Roles, Ticket, VERSION, Welcome, decode, encode, read_frame,
};
use iroh::SecretKey;
use serde::{Serialize, de::DeserializeOwned};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const DEVICE: DeviceId = DeviceId([4; 32]);

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let key = SecretKey::from_bytes(&[9; 32]);
    let addrs = vec![([10, 0, 0, 1], 4_000).into(), (std::net::Ipv6Addr::LOCALHOST, 5).into()];
    let mix = MixInfo::new(&key, DEVICE, [1; 8], PacketKeys { first: 7, keys: vec![[2; 32]; 13] }, addrs.clone()).unwrap();
    let enrol = Enrol {
        certificate: OwnerCertificate::issue(&key, DEVICE).unwrap(),
        name: "a laptop".to_owned(),
        roles: Roles::ALL,
        mix: Some(mix.clone()),
        addrs: addrs.clone(),
        comes: Coming::Joins([3; 16]),
    };
    let welcome = Welcome { fog: "ours".to_owned(), test: true, granted: Roles::ALL, now: NOW, heartbeat: DurationMs::from_s(1) };
    let refusal = Refusal::new(RefusalKind::Busy, "later");
    let (container, instance) = (ContainerId([1; 16]), InstanceId([2; 16]));
    let ticket = Ticket {
        version: VERSION,
        fog: fog_id(),
        addrs: addrs.clone(),
        roles: Roles::ALL,
        expires: NOW,
        secret: [8; 16],
        relay: None,
    };
    let sources = vec![(DEVICE, addrs)];
    let permit = permit(&key);
    let frames = [
        (0, encode(&Hello { version: VERSION, purpose: Purpose::Control(Box::new(enrol)) })),
        (0, encode(&Hello { version: VERSION, purpose: Purpose::Mix })),
        (0, encode(&Hello { version: VERSION, purpose: Purpose::Federate })),
        (0, encode(&Hello { version: VERSION, purpose: Purpose::Blobs(permit.clone()) })),
        (1, encode(&Greeting::Welcome(Some(welcome)))),
        (1, encode(&Greeting::Refused(refusal.clone()))),
        (2, encode(&NodeRequest::Relays { mix: Box::new(mix), probes: vec![(MixId([1; 16]), 900)], clients: 3 })),
        (2, encode(&NodeRequest::Renew { id: container, proof: CONTAINER.proof.clone() })),
        (2, encode(&NodeRequest::Invite { roles: Roles::ALL, valid: DurationMs::from_s(60) })),
        (2, encode(&NodeRequest::Container(container))),
        (3, encode(&NodeReply::Ticket(ticket))),
        (3, encode(&NodeReply::Directory(vec![1; 90]))),
        (3, encode(&NodeReply::Refused(refusal.clone()))),
        (4, encode(&DeviceRequest::Reserve { instance, container, given: Resources::LIMIT, expires: NOW, epoch: 3 })),
        (4, encode(&DeviceRequest::Lease { instance, leases: vec![vec![1; 300]; 2] })),
        (4, encode(&DeviceRequest::Keep { bundle: BundleId([1; 32]), bytes: 9, sources, permit })),
        (5, encode(&DeviceReply::Refused(refusal.clone()))),
        (6, encode(&FederateRequest::Directory(vec![1; 90]))),
        (7, encode(&FederateReply::Refused(refusal))),
    ];
    frames.into_iter().map(|(kind, bytes)| mode(kind, &bytes.unwrap())).collect()
}

fn permit(key: &SecretKey) -> fogbank_wire::Signed<fogbank_wire::BundlePermit> {
    let permit = fogbank_wire::BundlePermit { bundle: BundleId([1; 32]), device: DEVICE, expires: NOW };
    fogbank_wire::Signed::seal(key, "a permit", &permit).unwrap()
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((kind, rest)) = input.split_first() else { return false };
    match kind % 8 {
        0 => match reads::<Hello>(rest) {
            Some(Hello { purpose: Purpose::Control(enrol), .. }) => {
                let _ = enrol.certificate.check(DEVICE);
                let _ = enrol.mix.map(|mix| mix.check(DEVICE));
                true
            }
            hello => hello.is_some(),
        },
        1 => reads::<Greeting>(rest).is_some(),
        2 => reads::<NodeRequest>(rest).is_some(),
        3 => reads::<NodeReply>(rest).is_some(),
        4 => reads::<DeviceRequest>(rest).is_some(),
        5 => reads::<DeviceReply>(rest).is_some(),
        6 => reads::<FederateRequest>(rest).is_some(),
        _ => reads::<FederateReply>(rest).is_some(),
    }
}

/// Reads a frame's content, and a whole frame from a pipe; what is read is the same when it is written and read again.
fn reads<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut pipe = bytes;
    // Everything is there already, so that reading never waits.
    let whole = pin!(read_frame::<T>(&mut pipe, 64 << 10)).poll_now();
    let framed = [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let mut pipe = &framed[..];
    let framed = pin!(read_frame::<T>(&mut pipe, 64 << 10)).poll_now();
    drop(whole);
    let read = decode::<T>(bytes).ok();
    assert_eq!(
        read.is_some(),
        framed.is_some_and(|f| f.is_ok()) || (read.is_some() && bytes.len() > 64 << 10),
        "a frame and its content"
    );
    if let Some(message) = &read {
        let once = encode(message).unwrap();
        let twice = encode(&decode::<T>(&once).unwrap()).unwrap();
        assert_eq!(once, twice, "a message says something else when it is passed on");
    }
    read
}

trait PollNow: Future {
    /// The result, if there is one without waiting.
    fn poll_now(self) -> Option<Self::Output>;
}

impl<F: Future> PollNow for std::pin::Pin<&mut F> {
    fn poll_now(mut self) -> Option<Self::Output> {
        match self.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}
