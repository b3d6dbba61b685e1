//! Unwraps a second next to the bare key exchange, in one run on one thread. `make bench` reads the ratio.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use fogbank_sphinx::{Hop, MixSecret, build, open_with};
use std::{hint::black_box, time::Instant};

const ROUNDS: usize = 20_000;

fn main() {
    let mut rng = rand::rng();
    let secrets: Vec<_> = (0..4).map(|_| MixSecret::generate(&mut rng)).collect();
    let path: Vec<_> = secrets.iter().map(|s| Hop { id: [1; 16], key: s.public(), delay_ms: 0 }).collect();
    let packet = build(&mut rng, &path, &[7; 2048]).unwrap();
    let public = secrets[0].public();

    let began = Instant::now();
    for _ in 0..ROUNDS {
        black_box(x25519_dalek::x25519(black_box([7; 32]), black_box(public.0)));
    }
    let exchange = began.elapsed().as_secs_f64() / ROUNDS as f64;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        black_box(open_with(&secrets[0], &public, black_box(packet.clone())).unwrap().peel().unwrap());
    }
    let unwrap = began.elapsed().as_secs_f64() / ROUNDS as f64;
    let began = Instant::now();
    for _ in 0..ROUNDS / 10 {
        black_box(build(&mut rng, &path, black_box(&[7; 2048])).unwrap());
    }
    let built = began.elapsed().as_secs_f64() * 10.0 / ROUNDS as f64;
    println!(
        "x25519 {:.1} us, unwrap {:.1} us ({:.2} x), build {:.1} us",
        exchange * 1e6,
        unwrap * 1e6,
        unwrap / exchange,
        built * 1e6
    );
}
