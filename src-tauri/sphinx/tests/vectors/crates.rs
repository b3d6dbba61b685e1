//! The crate against the vectors, over its public interface: random bytes come from the case instead of a generator.

use crate::{
    book, cases,
    json::{bytes, xored},
};
use fogbank_sphinx::{
    Epoch, Hop, MixPublic, MixSecret, PACKET_BYTES, Packet, Refusal, Surb, Unwrapped, build, make_surb, open, open_reply, reply,
};
use rand::{TryCryptoRng, TryRng};
use serde_json::Value;
use std::convert::Infallible;

/// Hands out a case's random bytes in the order in which a builder asks for them.
struct Script(Vec<u8>);

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("a builder asks for bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("a builder asks for bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<_>>());
        Ok(())
    }
}

impl TryCryptoRng for Script {}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn epoch(case: &Value) -> Epoch {
    Epoch(u32::try_from(case["epoch"].as_u64().unwrap()).unwrap())
}

fn hops(case: &Value) -> &Vec<Value> {
    case["hops"].as_array().unwrap()
}

fn path(case: &Value) -> Vec<Hop> {
    let hop = |hop: &Value| Hop {
        id: array(&hop["id"]),
        key: MixPublic(array(&hop["public"])),
        delay_ms: u32::try_from(hop["delay_ms"].as_u64().unwrap()).unwrap(),
    };
    hops(case).iter().map(hop).collect()
}

/// The ephemeral secrets, then the blocks that no hop uses, then a SURB's key.
fn script(case: &Value) -> Script {
    let ephemerals = hops(case).iter().flat_map(|hop| bytes(&hop["ephemeral"]));
    let key = if case["surb"].is_null() { vec![] } else { bytes(&case["surb_key"]) };
    Script(ephemerals.chain(bytes(&case["random"])).chain(key).collect())
}

/// Walks a packet along a case's hops, comparing it at each; what the last gets, or which refuses and why.
fn walk(case: &Value, mut packet: Packet, compare: bool) -> Result<Unwrapped, (usize, Refusal)> {
    for (i, hop) in hops(case).iter().enumerate() {
        assert!(!compare || packet.as_bytes()[..] == bytes(&case["packets"][i])[..], "the packet at hop {i}");
        let secret = MixSecret::from_bytes(array(&hop["secret"]));
        assert_eq!(secret.public(), MixPublic(array(&hop["public"])));
        let opened = open(&secret, packet).map_err(|why| (i, why))?;
        assert_eq!(opened.replay_tag(), array(&hop["tag"]));
        match opened.peel().map_err(|why| (i, why))? {
            Unwrapped::Forward { next, delay_ms, packet: inner } => {
                assert_eq!(next, array(&hops(case)[i + 1]["id"]));
                assert_eq!(Value::from(delay_ms), hop["delay_ms"]);
                packet = inner;
            }
            end => return Ok(end),
        }
    }
    panic!("it did not end")
}

#[test]
fn the_crate_builds_and_unwraps_the_vectors() {
    if PACKET_BYTES != book::PACKET {
        return;
    }
    for case in cases("forward.json") {
        let mut script = script(&case);
        let packet = build(&mut script, epoch(&case), &path(&case), &bytes(&case["payload"])).unwrap();
        assert!(script.0.is_empty());
        assert_eq!(packet.epoch_bit(), epoch(&case).bit());
        assert_eq!(walk(&case, packet, true).unwrap(), Unwrapped::Arrived { payload: bytes(&case["payload"]) });
    }
    for case in cases("replies.json") {
        let (client, id) = (array(&case["client"]), array(&case["surb_id"]));
        let mut script = script(&case);
        let (surb, secret) = make_surb(&mut script, epoch(&case), &path(&case), client, id).unwrap();
        assert!(script.0.is_empty());
        assert_eq!(surb.to_bytes()[..], bytes(&case["surb"])[..]);
        let (first, packet) = reply(Surb::from_bytes(&surb.to_bytes()).unwrap(), &bytes(&case["payload"])).unwrap();
        assert_eq!(first, array(&hops(&case)[0]["id"]));
        let Ok(Unwrapped::Reply { client: to, surb: came, body, .. }) = walk(&case, packet, true) else { panic!("no reply") };
        assert_eq!((to, came), (client, id));
        assert!(body == bytes(&case["delivered_body"]));
        assert_eq!(open_reply(secret, &body).unwrap(), bytes(&case["payload"]));
    }
}

#[test]
fn the_crate_refuses_what_the_vectors_refuse() {
    if PACKET_BYTES != book::PACKET {
        return;
    }
    let forward = cases("forward.json");
    for case in cases("refused.json") {
        let (hop, why) = if let Some(of) = forward.iter().find(|f| f["name"] == case["of"]) {
            let at = usize::try_from(case["at"].as_u64().unwrap()).unwrap();
            let changed = xored(&bytes(&of["packets"][0]), at, &bytes(&case["xor"]));
            walk(of, Packet::from_bytes(&changed).unwrap(), false).unwrap_err()
        } else {
            let secret = MixSecret::from_bytes(array(&case["secret"]));
            let packet = Packet::from_vec(bytes(&case["packet"])).unwrap();
            (0, open(&secret, packet).and_then(|opened| opened.peel()).unwrap_err())
        };
        let by = case["refused_by_hop"].as_u64().unwrap_or(0);
        assert_eq!((hop as u64, format!("{why:?}")), (by, case["refusal"].as_str().unwrap().to_owned()), "{}", case["name"]);
    }
}
