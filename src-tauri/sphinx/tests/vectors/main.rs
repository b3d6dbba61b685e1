//! The committed test vectors, checked twice: by an implementation written from the specification alone, which also made them, and by the
//! crate. Beside them, the two are compared on random packets.
//!
//! `FOGBANK_WRITE_VECTORS=1 cargo test -p fogbank-sphinx --test vectors the_specification` writes them anew, from inputs that follow from their names.
//! They are of the shipped packet size: a build of another size (for the sweep) has none.

#![allow(clippy::unwrap_used, reason = "tests")]

mod book;
mod crates;
mod json;
mod random;

use book::{Hop, Last, Out};
use fogbank_sphinx::PACKET_BYTES;
use json::{bytes, hex, hops, hops_json, made, made_hops, packets_json};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Name, number of the epoch, hops, bytes of payload.
const FORWARD: [(&str, u32, usize, usize); 3] =
    [("one hop, empty", 0, 1, 0), ("three hops", 7, 3, 1_000), ("four hops, full", 8, 4, 7_831)];
const REPLIES: [(&str, u32, usize, usize); 2] = [("three hops back", 7, 3, 500), ("one hop back, full", 8, 1, 7_831)];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

fn cases(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file(name)).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["cases"].as_array().unwrap().clone()
}

/// The epoch's bit and the hops of a case.
fn setting(case: &Value) -> (u8, Vec<Hop>) {
    (u8::try_from(case["epoch"].as_u64().unwrap() % 2).unwrap(), hops(&case["hops"]))
}

/// All of a case again, from its inputs alone.
fn forward(case: &Value) -> Value {
    let (epoch, hops) = setting(case);
    let payload = bytes(&case["payload"]);
    let last = Last { command: 2, id: vec![0; 16], surb: vec![0; 16] };
    let packet = book::packet(epoch, &hops, &last, &bytes(&case["random"]), book::bare_body(&payload));
    let (seen, out) = walk(&hops, packet);
    assert!(matches!(out, Ok(Out::Arrive { payload: arrived }) if arrived == payload));
    json!({
        "name": case["name"], "epoch": case["epoch"], "hops": hops_json(&hops), "random": case["random"], "payload": case["payload"],
        "packets": packets_json(&seen),
    })
}

fn reply(case: &Value) -> Value {
    let (epoch, hops) = setting(case);
    let key = bytes(&case["surb_key"]);
    let last = Last { command: 3, id: bytes(&case["client"]), surb: bytes(&case["surb_id"]) };
    let header = book::header(epoch, &hops, &last, &bytes(&case["random"]));
    let surb = [&hops[0].id[..], &header, &key].concat();
    let payload = bytes(&case["payload"]);
    let packet = [header, book::seal(&key, &book::bare_body(&payload))].concat();
    let (seen, out) = walk(&hops, packet);
    let Ok(Out::Reply { client, surb: id, delay_ms, body }) = out else { panic!("no reply") };
    assert_eq!((client, id, delay_ms), (last.id, last.surb, hops[hops.len() - 1].delay_ms));
    assert_eq!(book::read_reply(&hops, &key, &body).unwrap(), payload);
    json!({
        "name": case["name"], "epoch": case["epoch"], "hops": hops_json(&hops), "random": case["random"], "client": case["client"],
        "surb_id": case["surb_id"], "surb_key": case["surb_key"], "surb": hex(&surb), "payload": case["payload"],
        "packets": packets_json(&seen), "delivered_body": hex(&body),
    })
}

/// The packet as each hop gets it, and how it ends.
fn walk(hops: &[Hop], packet: Vec<u8>) -> (Vec<Vec<u8>>, Result<Out, &'static str>) {
    let mut seen = vec![packet];
    for hop in hops {
        match book::mix(&hop.secret, &seen[seen.len() - 1]) {
            Ok((tag, Out::Forward { next, delay_ms, packet })) => {
                assert_eq!((&tag, delay_ms), (&book::senders_keys(hop).tag, hop.delay_ms));
                assert_eq!(next, hops[seen.len()].id);
                seen.push(packet);
            }
            Ok((_, out)) => return (seen, Ok(out)),
            Err(why) => return (seen, Err(why)),
        }
    }
    panic!("it did not end")
}

/// Changes of the second case of `forward.json`: name, offset, what is XORed.
fn changes(packet: &[u8]) -> Vec<(&'static str, usize, Vec<u8>)> {
    let mut one = packet[..32].to_vec();
    one[0] ^= 1;
    vec![
        ("a bit of alpha", 3, vec![4]),
        ("alpha's highest bit, which X25519 ignores", 31, vec![0x80]),
        ("alpha is zero", 0, packet[..32].to_vec()),
        ("alpha is one", 0, one),
        ("a bit of gamma", 47, vec![1]),
        ("the epoch's bit", 48, vec![1]),
        ("another bit beside the epoch's", 48, vec![0x80]),
        ("the first bit of beta", 49, vec![0x80]),
        ("the last bit of beta", 324, vec![1]),
        ("the first bit of the body", 325, vec![0x80]),
        ("the last bit of the body", 8_191, vec![1]),
    ]
}

fn changed(forward: &[Value]) -> Vec<Value> {
    let packet = bytes(&forward[1]["packets"][0]);
    let hops = hops(&forward[1]["hops"]);
    let changed = changes(&packet).into_iter().map(|(name, at, xor)| {
        let (seen, out) = walk(&hops, json::xored(&packet, at, &xor));
        json!({ "name": name, "of": forward[1]["name"], "at": at, "xor": hex(&xor), "refused_by_hop": seen.len() - 1, "refusal": out.err().unwrap() })
    });
    changed.collect()
}

/// Packets that only a sender can make wrong.
fn crafted() -> Vec<Value> {
    let (mut long, mut marked) = (book::bare_body(&[]), book::bare_body(&[]));
    long[32..36].copy_from_slice(&7_832u32.to_be_bytes());
    marked[31] = 1;
    let made = [("an unknown command", 4, book::bare_body(&[])), ("one byte too long", 2, long), ("a check byte", 2, marked)];
    let crafted = made.into_iter().map(|(name, command, inside)| {
        let hops = made_hops(name, 1);
        let last = Last { command, id: vec![0; 16], surb: vec![0; 16] };
        let packet = book::packet(0, &hops, &last, &json::made(name, "random", 207), inside);
        let (_, out) = walk(&hops, packet.clone());
        json!({ "name": name, "secret": hex(&hops[0].secret), "packet": hex(&packet), "refusal": out.err().unwrap() })
    });
    crafted.collect()
}

/// Inputs of a case that follow from its name.
fn inputs((name, epoch, hops, payload): (&str, u32, usize, usize)) -> Value {
    json!({
        "name": name, "epoch": epoch, "hops": hops_json(&made_hops(name, hops)), "random": hex(&made(name, "random", 69 * (4 - hops))),
        "payload": hex(&made(name, "payload", payload)), "client": hex(&made(name, "client", 16)), "surb_id": hex(&made(name, "surb id", 16)),
        "surb_key": hex(&made(name, "surb key", 32)),
    })
}

#[test]
fn the_specification_gives_the_vectors() {
    if PACKET_BYTES != book::PACKET {
        return;
    }
    let writing = std::env::var_os("FOGBANK_WRITE_VECTORS").is_some();
    let from = |name: &str, made: Vec<Value>| if writing { made } else { cases(name) };
    let forward: Vec<Value> = from("forward.json", FORWARD.map(inputs).to_vec()).iter().map(forward).collect();
    let replies: Vec<Value> = from("replies.json", REPLIES.map(inputs).to_vec()).iter().map(reply).collect();
    let refused = [changed(&forward), crafted()].concat();
    for (name, derived) in [("forward.json", forward), ("replies.json", replies), ("refused.json", refused)] {
        if writing {
            let all = json!({ "format": "fogbank sphinx 1", "packet_bytes": book::PACKET, "cases": derived });
            std::fs::write(file(name), serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
        }
        // Not `assert_eq`, which would print a megabyte.
        assert!(cases(name) == derived, "{name} is not what the specification gives");
    }
}
