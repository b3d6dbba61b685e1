//! The tunnel: what is inside datagrams, and the whole state machine under a peer that has the keys and keeps no rule.

use crate::samples::mode;
use fogbank_betanet::{
    sim::{Forger, MAX_DATAGRAM_BYTES, Machine, reread},
    tunnel::{IntroductionKey, Keys, SEND_BUFFER, Side, TunnelConfig, initiate, respond},
};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// Steps of one run: enough to fill every table, few enough for a thousand runs a second.
const STEPS: usize = 400;
/// Small windows, so that an input of a few hundred bytes can overrun them.
const CONFIG: TunnelConfig = TunnelConfig { stream_window: 4_096, window: 16_384, max_in_flight: 32 };

static KEY: LazyLock<IntroductionKey> = LazyLock::new(IntroductionKey::generate);

fn pair() -> (Keys, Keys) {
    let (initiation, first) = initiate(&KEY.public(), b"", b"").unwrap();
    let (host, answer) = respond(&KEY, b"", &first).unwrap().0.answer(b"").unwrap();
    (initiation.finish(&answer).unwrap().0, host)
}

/// Frames as [`reread`] reads them: each kind once.
fn frames() -> Vec<Vec<u8>> {
    let id = 0u32.to_be_bytes();
    let stream =
        |kind: u8, at: u64, data: &[u8]| [&[kind], &id[..], &at.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat();
    let with = |kind: u8, number: u64| [&[kind], &id[..], &number.to_be_bytes()].concat();
    vec![
        stream(1, 0, b"GET / HTTP/1.1"),
        stream(2, 14, b"the end"),
        [&[3, 0, 5, 1][..], &9u64.to_be_bytes(), &[0, 0, 0, 4]].concat(),
        with(4, 9_000),
        [&[5], &90_000u64.to_be_bytes()[..]].concat(),
        with(6, 3),
        vec![7],
        vec![8],
        vec![9],
        [&[10], &id[..]].concat(),
    ]
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = frames().iter().map(|frame| mode(0, frame)).collect();
    seeds.push(mode(0, &frames().concat()));
    for side in [1, 2] {
        let mut script = vec![200, 210, 220, 230];
        for frame in frames() {
            script.push(u8::try_from(frame.len()).unwrap());
            script.extend(frame);
            script.extend([201, 240, 231]);
        }
        seeds.push(mode(side, &script));
    }
    seeds
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    match mode % 3 {
        0 => {
            let Some(again) = reread(rest) else { return false };
            assert_eq!(reread(&again), Some(again.clone()), "frames that are written are read as they were");
            true
        }
        1 => hostile(Side::Host, rest),
        _ => hostile(Side::Visitor, rest),
    }
}

/// Plays a script against one end: bytes below 200 are the length of a datagram's content that follows, the others are what the end itself
/// does, or time that passes.
fn hostile(side: Side, mut script: &[u8]) -> bool {
    let (visitor, host) = pair();
    let (mine, theirs) = if side == Side::Host { (host, visitor) } else { (visitor, host) };
    let began = Instant::now();
    let mut now = began;
    let mut machine = Machine::new(mine, side, CONFIG, MAX_DATAGRAM_BYTES, now);
    let forger = Forger::new(theirs);
    let mut number = 0;
    let mut streams: Vec<u32> = Vec::new();
    let mut written = 0;
    let mut read = 0;
    for _ in 0..STEPS {
        let Some((step, rest)) = script.split_first() else { break };
        script = rest;
        let stream = streams.get(usize::from(*step) % streams.len().max(1)).copied().unwrap_or(u32::from(*step));
        match step {
            0..200 => {
                let (content, rest) = script.split_at(usize::from(*step).min(script.len()));
                script = rest;
                // Numbers rise, jump and come again.
                number = match step {
                    190..195 => u64::MAX - 1,
                    195..200 => number,
                    _ => number.wrapping_add(1 + u64::from(step % 7) * 300),
                };
                if let Some(datagram) = forger.seal(number, content) {
                    machine.handle_datagram(now, &datagram);
                }
            }
            200..210 => streams.extend(if side == Side::Visitor { machine.open() } else { machine.accept() }),
            210..220 => written += machine.write(stream, &[7; 3_000]),
            220..225 => machine.finish(stream),
            225..230 => {
                machine.release(stream);
                streams.retain(|s| *s != stream);
            }
            230..240 => read += machine.read(stream, &mut [0; 700]),
            240..250 => now += Duration::from_millis(1 << (step - 240)),
            _ => {
                now += Duration::from_secs(u64::from(step - 249));
                machine.handle_timeout(now);
            }
        }
        // The driver's work: at most one window of datagrams at a time.
        for _ in 0..CONFIG.max_in_flight {
            if machine.poll_transmit(now).is_none() {
                break;
            }
        }
        if machine.next_timeout().is_some_and(|at| at <= now) {
            machine.handle_timeout(now);
        }
    }
    assert!(written as u64 <= SEND_BUFFER + STEPS as u64 * 3_000);
    read > 0 || machine.closed().is_some()
}
