//! The format by the book: written from `SPECIFICATION.md` alone, as slow and plain as its text, and sharing no code with the crate.

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher},
};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

pub(crate) const PACKET: usize = 8_192;
const BLOCK: usize = 69;
const BETA: usize = 276;
const HEADER: usize = 325;

/// A hop as its sender plans it, with the secrets of both.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(crate) id: Vec<u8>,
    pub(crate) secret: Vec<u8>,
    pub(crate) ephemeral: Vec<u8>,
    pub(crate) delay_ms: u32,
}

/// What X25519 and D give for a hop.
pub(crate) struct Keys {
    pub(crate) shared: Vec<u8>,
    pub(crate) route: Vec<u8>,
    pub(crate) hash: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) tag: Vec<u8>,
}

/// What the last block says: command, id, and what stands in γ's place.
pub(crate) struct Last {
    pub(crate) command: u8,
    pub(crate) id: Vec<u8>,
    pub(crate) surb: Vec<u8>,
}

#[derive(PartialEq, Eq)]
pub(crate) enum Out {
    Forward { next: Vec<u8>, delay_ms: u32, packet: Vec<u8> },
    Arrive { payload: Vec<u8> },
    Reply { client: Vec<u8>, surb: Vec<u8>, delay_ms: u32, body: Vec<u8> },
}

fn array(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap()
}

pub(crate) fn public(secret: &[u8]) -> Vec<u8> {
    x25519(array(secret), X25519_BASEPOINT_BYTES).to_vec()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

fn s(key: &[u8], n: usize) -> Vec<u8> {
    let mut zeros = vec![0; n];
    ChaCha20::new(&array(key).into(), &[0; 12].into()).apply_keystream(&mut zeros);
    zeros
}

fn h(key: &[u8], message: &[u8]) -> Vec<u8> {
    blake3::keyed_hash(&array(key), message).as_bytes().to_vec()
}

fn d(context: &str, material: &[u8], n: usize) -> Vec<u8> {
    let mut out = vec![0; n];
    blake3::Hasher::new_derive_key(context).update(material).finalize_xof().fill(&mut out);
    out
}

fn keys(secret: &[u8], other: &[u8], alpha: &[u8], mix: &[u8]) -> Keys {
    let shared = x25519(array(secret), array(other)).to_vec();
    let all = d("fogbank sphinx 1 hop keys", &[&shared, alpha, mix].concat(), 112);
    Keys { shared, route: all[..32].to_vec(), hash: all[32..64].to_vec(), body: all[64..96].to_vec(), tag: all[96..].to_vec() }
}

/// A hop's keys as its sender gets them.
pub(crate) fn senders_keys(hop: &Hop) -> Keys {
    let mix = public(&hop.secret);
    keys(&hop.ephemeral, &mix, &public(&hop.ephemeral), &mix)
}

fn layer_keys(key: &[u8]) -> Vec<Vec<u8>> {
    d("fogbank sphinx 1 body layer", key, 128).chunks(32).map(<[u8]>::to_vec).collect()
}

fn blanked(right: &[u8]) -> Vec<u8> {
    [&[0; HEADER + 32], right].concat()
}

pub(crate) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let k = layer_keys(key);
    let (left, right) = body.split_at(32);
    let right = xor(right, &s(&xor(left, &k[0]), right.len()));
    let left = xor(left, &h(&k[1], &blanked(&right)));
    let right = xor(&right, &s(&xor(&left, &k[2]), right.len()));
    let left = xor(&left, &h(&k[3], &blanked(&right)));
    [left, right].concat()
}

pub(crate) fn peel(key: &[u8], body: &[u8]) -> Vec<u8> {
    let k = layer_keys(key);
    let (left, right) = body.split_at(32);
    let left = xor(left, &h(&k[3], &blanked(right)));
    let right = xor(right, &s(&xor(&left, &k[2]), right.len()));
    let left = xor(&left, &h(&k[1], &blanked(&right)));
    let right = xor(&right, &s(&xor(&left, &k[0]), right.len()));
    [left, right].concat()
}

pub(crate) fn bare_body(payload: &[u8]) -> Vec<u8> {
    let mut body = [&[0; 32], &u32::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat();
    body.resize(PACKET - HEADER, 0);
    body
}

fn read(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    let length = u32::from_be_bytes(body[32..36].try_into().unwrap()) as usize;
    if body[..32] != [0; 32] || length > body.len() - 36 {
        return Err("Garbled");
    }
    Ok(body[36..36 + length].to_vec())
}

/// Steps 1 to 5 of the specification's section on headers.
pub(crate) fn header(epoch: u8, hops: &[Hop], last: &Last, random: &[u8]) -> Vec<u8> {
    let n = hops.len();
    let keys: Vec<Keys> = hops.iter().map(senders_keys).collect();
    let streams: Vec<Vec<u8>> = keys.iter().map(|k| s(&k.route, BETA + BLOCK)).collect();

    let mut filler = Vec::new();
    for (i, stream) in (1..n).zip(&streams) {
        filler = xor(&[&filler[..], &[0; BLOCK]].concat(), &stream[BETA + BLOCK - BLOCK * i..]);
    }

    let mut block = vec![last.command];
    block.extend_from_slice(&last.id);
    block.extend_from_slice(&hops[n - 1].delay_ms.to_be_bytes());
    block.extend_from_slice(&[0; 32]);
    block.extend_from_slice(&last.surb);
    let own = [&block[..], random].concat();
    let mut beta = [xor(&own, &streams[n - 1][..BETA - BLOCK * (n - 1)]), filler].concat();
    let gamma = |keys: &Keys, beta: &[u8]| h(&keys.hash, &[&[epoch], beta].concat())[..16].to_vec();
    let mut mac = gamma(&keys[n - 1], &beta);
    for i in (0..n - 1).rev() {
        let mut block = vec![1];
        block.extend_from_slice(&hops[i + 1].id);
        block.extend_from_slice(&hops[i].delay_ms.to_be_bytes());
        block.extend_from_slice(&public(&hops[i + 1].ephemeral));
        block.extend_from_slice(&mac);
        beta = xor(&[&block[..], &beta[..BETA - BLOCK]].concat(), &streams[i][..BETA]);
        mac = gamma(&keys[i], &beta);
    }
    [&public(&hops[0].ephemeral)[..], &mac, &[epoch], &beta].concat()
}

/// A sender's packet around any inside, so that wrong ones can be made, too.
pub(crate) fn packet(epoch: u8, hops: &[Hop], last: &Last, random: &[u8], inside: Vec<u8>) -> Vec<u8> {
    let body = hops.iter().rev().fold(inside, |body, hop| seal(&senders_keys(hop).body, &body));
    [header(epoch, hops, last, random), body].concat()
}

/// What a mix does, but for its memory of tags.
pub(crate) fn mix(secret: &[u8], packet: &[u8]) -> Result<(Vec<u8>, Out), &'static str> {
    let (alpha, gamma, epoch, beta, body) = (&packet[..32], &packet[32..48], packet[48], &packet[49..HEADER], &packet[HEADER..]);
    if epoch > 1 {
        return Err("Header");
    }
    let keys = keys(secret, alpha, alpha, &public(secret));
    if keys.shared == [0; 32] {
        return Err("SmallOrder");
    }
    if h(&keys.hash, &packet[48..HEADER])[..16] != *gamma {
        return Err("Header");
    }
    let wide = xor(&[beta, &[0; BLOCK]].concat(), &s(&keys.route, BETA + BLOCK));
    let (block, next_beta) = wide.split_at(BLOCK);
    let (id, delay_ms) = (block[1..17].to_vec(), u32::from_be_bytes(block[17..21].try_into().unwrap()));
    let body = peel(&keys.body, body);
    let out = match block[0] {
        1 => Out::Forward { next: id, delay_ms, packet: [&block[21..], &[epoch], next_beta, &body].concat() },
        2 => Out::Arrive { payload: read(&body)? },
        3 => Out::Reply { client: id, surb: block[53..].to_vec(), delay_ms, body },
        _ => return Err("Command"),
    };
    Ok((keys.tag, out))
}

/// What a SURB's maker does with a reply's body.
pub(crate) fn read_reply(hops: &[Hop], key: &[u8], body: &[u8]) -> Result<Vec<u8>, &'static str> {
    let sealed = hops.iter().rev().fold(body.to_vec(), |body, hop| seal(&senders_keys(hop).body, &body));
    read(&peel(key, &sealed))
}
