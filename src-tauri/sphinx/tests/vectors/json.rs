//! How the vectors stand in their files, and the inputs that follow from names.

use crate::book::{self, Hop};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

pub(crate) fn hex(bytes: &[u8]) -> Value {
    Value::String(HEXLOWER.encode(bytes))
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// Bytes that look random, for an input of a case.
pub(crate) fn made(case: &str, input: &str, n: usize) -> Vec<u8> {
    let mut out = vec![0; n];
    let mut hasher = blake3::Hasher::new_derive_key("fogbank sphinx 1 test vectors");
    hasher.update(format!("{case}: {input}").as_bytes()).finalize_xof().fill(&mut out);
    out
}

pub(crate) fn made_hops(case: &str, n: usize) -> Vec<Hop> {
    let hop = |i: usize| Hop {
        id: made(case, &format!("id {i}"), 16),
        secret: made(case, &format!("secret {i}"), 32),
        ephemeral: made(case, &format!("ephemeral {i}"), 32),
        delay_ms: 15 * (i as u32 + 1),
    };
    (0..n).map(hop).collect()
}

/// Inputs and derived keys of hops.
pub(crate) fn hops_json(hops: &[Hop]) -> Value {
    let hop = |hop: &Hop| {
        let keys = book::senders_keys(hop);
        json!({
            "id": hex(&hop.id), "secret": hex(&hop.secret), "public": hex(&book::public(&hop.secret)), "delay_ms": hop.delay_ms,
            "ephemeral": hex(&hop.ephemeral), "alpha": hex(&book::public(&hop.ephemeral)), "shared": hex(&keys.shared),
            "route": hex(&keys.route), "hash": hex(&keys.hash), "body": hex(&keys.body), "tag": hex(&keys.tag),
        })
    };
    hops.iter().map(hop).collect()
}

/// The inputs of hops alone.
pub(crate) fn hops(value: &Value) -> Vec<Hop> {
    let hop = |hop: &Value| Hop {
        id: bytes(&hop["id"]),
        secret: bytes(&hop["secret"]),
        ephemeral: bytes(&hop["ephemeral"]),
        delay_ms: u32::try_from(hop["delay_ms"].as_u64().unwrap()).unwrap(),
    };
    value.as_array().unwrap().iter().map(hop).collect()
}

pub(crate) fn packets_json(packets: &[Vec<u8>]) -> Value {
    packets.iter().map(|packet| hex(packet)).collect()
}

pub(crate) fn xored(packet: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut changed = packet.to_vec();
    for (byte, with) in changed[at..].iter_mut().zip(with) {
        *byte ^= with;
    }
    changed
}
