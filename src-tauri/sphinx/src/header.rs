//! The header: α, γ, the epoch bit and β, built from the last hop to the first and peeled from the first to the last.

use crate::{
    BuildError, Epoch, Geometry, Hop, MAX_HOPS, Refusal,
    keys::{HopKeys, MixSecret},
    lioness::apply_stream,
};
use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

const ALPHA: usize = Geometry::ALPHA_BYTES;
const GAMMA: usize = Geometry::GAMMA_BYTES;
const ID: usize = Geometry::ID_BYTES;
const ROUTE: usize = Geometry::ROUTE_BYTES;
const BETA: usize = Geometry::BETA_BYTES;

/// Where the parts of a header lie.
pub(crate) const GAMMA_AT: usize = ALPHA;
pub(crate) const EPOCH_AT: usize = GAMMA_AT + GAMMA;
pub(crate) const BETA_AT: usize = EPOCH_AT + 1;

/// What a routing block tells its mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Send on to this mix.
    Forward { next: [u8; ID] },
    /// You are the recipient.
    Arrive,
    /// Hand the body to this client; it knows it by the SURB's id.
    Reply { client: [u8; ID], surb: [u8; ID] },
}

const FORWARD: u8 = 1;
const ARRIVE: u8 = 2;
const REPLY: u8 = 3;

/// A header with its keys, as the builder has it.
pub(crate) struct Built {
    pub(crate) header: [u8; Geometry::HEADER_BYTES],
    /// Keys of each hop, first hop first.
    pub(crate) keys: Vec<HopKeys>,
}

/// Builds a header along a path whose keys are all of one epoch; `last` is what the last hop is told.
pub(crate) fn build(rng: &mut impl CryptoRng, epoch: Epoch, path: &[Hop], last: Command) -> Result<Built, BuildError> {
    if path.is_empty() || path.len() > MAX_HOPS {
        return Err(BuildError::PathLength { hops: path.len() });
    }
    let mut alphas = Vec::with_capacity(path.len());
    let mut keys = Vec::with_capacity(path.len());
    for hop in path {
        let ephemeral = MixSecret::generate(rng);
        let alpha = ephemeral.public().0;
        let shared = ephemeral.hop_keys(&hop.key.0, &alpha, &hop.key);
        keys.push(shared.map_err(|_| BuildError::BadKey { mix: hop.id })?);
        alphas.push(alpha);
    }

    // Filler: what the padding of the earlier hops will have become when the last hop sees it.
    let before_last = path.len() - 1;
    let mut filler = Vec::with_capacity(before_last * ROUTE);
    for (i, keys) in keys[..before_last].iter().enumerate() {
        filler.resize((i + 1) * ROUTE, 0);
        let mut stream = [0; BETA + ROUTE];
        apply_stream(&keys.route, &mut stream);
        for (byte, stream) in filler.iter_mut().zip(&stream[BETA - i * ROUTE..]) {
            *byte ^= stream;
        }
        stream.zeroize();
    }

    let mut beta = [0; BETA];
    rng.fill_bytes(&mut beta[ROUTE..BETA - filler.len()]);
    write_route(&mut beta, last, path[before_last].delay_ms, &[0; ALPHA], &[0; GAMMA]);
    apply_stream(&keys[before_last].route, &mut beta[..BETA - filler.len()]);
    beta[BETA - filler.len()..].copy_from_slice(&filler);
    let mut gamma = mac(&keys[before_last], epoch.byte(), &beta);
    for i in (0..before_last).rev() {
        beta.copy_within(..BETA - ROUTE, ROUTE);
        write_route(&mut beta, Command::Forward { next: path[i + 1].id }, path[i].delay_ms, &alphas[i + 1], &gamma);
        apply_stream(&keys[i].route, &mut beta);
        gamma = mac(&keys[i], epoch.byte(), &beta);
    }

    let mut header = [0; Geometry::HEADER_BYTES];
    header[..ALPHA].copy_from_slice(&alphas[0]);
    header[GAMMA_AT..EPOCH_AT].copy_from_slice(&gamma);
    header[EPOCH_AT] = epoch.byte();
    header[BETA_AT..].copy_from_slice(&beta);
    Ok(Built { header, keys })
}

/// Whether γ is this hop's for the epoch byte and β, in constant time.
pub(crate) fn authentic(keys: &HopKeys, header: &[u8]) -> bool {
    mac(keys, header[EPOCH_AT], &header[BETA_AT..]).ct_eq(&header[GAMMA_AT..EPOCH_AT]).into()
}

/// What one hop learns from its header.
pub(crate) struct Peeled {
    pub(crate) command: Command,
    pub(crate) delay_ms: u32,
    /// The next hop's header.
    pub(crate) next: [u8; Geometry::HEADER_BYTES],
}

/// Takes one routing block off an authentic header.
pub(crate) fn peel(keys: &HopKeys, header: &[u8]) -> Result<Peeled, Refusal> {
    let mut wide = [0; BETA + ROUTE];
    wide[..BETA].copy_from_slice(&header[BETA_AT..]);
    apply_stream(&keys.route, &mut wide);
    let (route, beta) = wide.split_at(ROUTE);
    let (kind, rest) = (route[0], &route[1..]);
    let (id, rest) = rest.split_at(ID);
    let (delay, rest) = rest.split_at(4);
    let (alpha, gamma) = rest.split_at(ALPHA);
    let taken = |bytes: &[u8]| {
        let mut id = [0; ID];
        id.copy_from_slice(bytes);
        id
    };
    let command = match kind {
        FORWARD => Command::Forward { next: taken(id) },
        ARRIVE => Command::Arrive,
        REPLY => Command::Reply { client: taken(id), surb: taken(gamma) },
        _ => return Err(Refusal::Command),
    };
    let mut next = [0; Geometry::HEADER_BYTES];
    next[..ALPHA].copy_from_slice(alpha);
    next[GAMMA_AT..EPOCH_AT].copy_from_slice(gamma);
    next[EPOCH_AT] = header[EPOCH_AT];
    next[BETA_AT..].copy_from_slice(beta);
    let mut delay_ms = [0; 4];
    delay_ms.copy_from_slice(delay);
    Ok(Peeled { command, delay_ms: u32::from_be_bytes(delay_ms), next })
}

fn write_route(beta: &mut [u8; BETA], command: Command, delay_ms: u32, alpha: &[u8; ALPHA], gamma: &[u8; GAMMA]) {
    let (kind, id, gamma) = match command {
        Command::Forward { next } => (FORWARD, next, *gamma),
        Command::Arrive => (ARRIVE, [0; ID], *gamma),
        Command::Reply { client, surb } => (REPLY, client, surb),
    };
    let (route, _) = beta.split_at_mut(ROUTE);
    route[0] = kind;
    route[1..=ID].copy_from_slice(&id);
    route[1 + ID..5 + ID].copy_from_slice(&delay_ms.to_be_bytes());
    route[5 + ID..5 + ID + ALPHA].copy_from_slice(alpha);
    route[5 + ID + ALPHA..].copy_from_slice(&gamma);
}

fn mac(keys: &HopKeys, epoch: u8, beta: &[u8]) -> [u8; GAMMA] {
    let mut hasher = blake3::Hasher::new_keyed(&keys.mac);
    hasher.update(&[epoch]).update(beta);
    let mut gamma = [0; GAMMA];
    hasher.finalize_xof().fill(&mut gamma);
    gamma
}
