//! Sphinx: unwrapping and building a packet of the shipped size, next to the bare key exchange that every unwrap contains.

use crate::figure::Figure;
use anyhow::Result;
use fogbank_sphinx::{Epoch, Hop, MixSecret, PACKET_BYTES, build, open_with};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Rounds of each in turn; the median of the rounds' ratios is not moved by a neighbour's burst.
const ROUNDS: usize = 21;
/// Operations in one round: some 10 ms each.
const OPERATIONS: u32 = 200;

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut rng = rand::rng();
    let secrets: Vec<_> = (0..4).map(|_| MixSecret::generate(&mut rng)).collect();
    let path: Vec<_> = secrets.iter().map(|s| Hop { id: [1; 16], key: s.public(), delay_ms: 0 }).collect();
    let packet = build(&mut rng, Epoch(0), &path, &[7; 2048])?;
    let public = secrets[0].public();

    let mut rounds: Vec<[f64; 3]> = Vec::new();
    for _ in 0..ROUNDS {
        let exchange = time(|| x25519_dalek::x25519(black_box([7; 32]), black_box(public.0)));
        let unwrap = time(|| open_with(&secrets[0], &public, black_box(packet.clone())).and_then(|p| p.peel()));
        let built = time(|| build(&mut rng, Epoch(0), &path, black_box(&[7; 2048])));
        rounds.push([exchange.as_secs_f64(), unwrap.as_secs_f64(), built.as_secs_f64()]);
    }
    let median = |of: &dyn Fn(&[f64; 3]) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    let (exchange, unwrap) = (median(&|r| r[0]), median(&|r| r[1]));
    let shipped = format!("x25519-dalek, one exchange ({:.1} us)", exchange * 1e6);
    Ok(vec![
        Figure::times("sphinx.shipped_vs_dh", &shipped, median(&|r| r[1] / r[0]), 1.0, 4.0),
        Figure::plain("sphinx.unwrap_us", unwrap * 1e6, "us"),
        Figure::plain("sphinx.unwrap_mb_s", PACKET_BYTES as f64 / unwrap / 1e6, "MB/s"),
        Figure::plain("sphinx.build_us", median(&|r| r[2]) * 1e6, "us"),
    ])
}

/// Time of one operation.
fn time<T>(mut operation: impl FnMut() -> T) -> Duration {
    let began = Instant::now();
    for _ in 0..OPERATIONS {
        black_box(operation());
    }
    began.elapsed() / OPERATIONS
}
