//! Contents as a visitor takes them of a host that is not believed: the answer as it comes; and what a publisher can do, who signs a length that
//! a content has not.

use super::{LONG, SITE, answered, taken};
use crate::samples::mode;
use fogbank_site::{MAX_BUNDLE_BYTES, ask::Ask};
use std::ops::Range;

/// What is asked for, by the mode: within the last group, over groups, at both ends, all of a small one.
fn wanted(choice: u8) -> (usize, Range<u64>) {
    match choice % 4 {
        0 => (LONG, 98_304..98_604),
        1 => (LONG, 98_400..98_401),
        2 => (LONG, 98_303..98_305),
        _ => (1, 0..13),
    }
}

fn honest(choice: u8) -> Vec<u8> {
    let (number, Range { start, end }) = wanted(choice);
    answered(Ask::Content { root: SITE.root(), number: u32::try_from(number).unwrap(), start, end })
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // That over two groups is longer than what is fuzzed; it is there for what is cut off.
    let mut seeds: Vec<Vec<u8>> = [0, 1, 3].iter().map(|choice| mode(*choice << 1, &honest(*choice))).collect();
    let bytes = SITE.manifest().sizes()[LONG];
    for (claimed, start, end) in [(bytes, 98_304, bytes), (bytes + 1, 98_304, bytes), (16_385, 0, 16_385), (1, 0, 1)] {
        let numbers = [claimed, start, end].map(u64::to_be_bytes).concat();
        seeds.push(mode(1, &[&numbers, &honest(0)[..]].concat()));
    }
    seeds.push(mode(2 << 1, &honest(2)));
    seeds
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    if mode % 2 == 1 {
        return signed_wrongly(rest);
    }
    let (number, wanted) = wanted(mode >> 1);
    let (all, ended) = taken(rest, number, SITE.manifest().sizes()[number], wanted.clone());
    let right = SITE.content().of(number, wanted);
    assert!(right.starts_with(&all), "what the publisher did not sign was passed on");
    assert_eq!(ended.is_ok(), all.len() == right.len(), "{ended:?}");
    ended.is_ok()
}

/// Of what a wrong length leads to, nothing but the content's own bytes comes, or nothing.
fn signed_wrongly(input: &[u8]) -> bool {
    let Some((numbers, said)) = input.split_first_chunk::<24>() else { return false };
    let [claimed, start, end] = [0, 8, 16].map(|at| u64::from_be_bytes(numbers[at..at + 8].try_into().unwrap()));
    let claimed = (claimed % MAX_BUNDLE_BYTES).max(1);
    let start = start % claimed;
    let end = start + 1 + end % (claimed - start);
    let (all, ended) = taken(said, LONG, claimed, start..end);
    assert!(all.len() <= said.len(), "more than came");
    assert!(ended.is_err() || all.len() as u64 == end - start);
    ended.is_ok()
}
