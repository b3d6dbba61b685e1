//! What strangers ask a host: any bytes, and what the host answers to any ask that can be read, which is true whatever was asked for.

use super::{LONG, RUNTIME, SITE, answered, taken};
use fogbank_site::{
    Root,
    ask::{Ask, COMES, MAX_ASK_BYTES, NoAsk},
};

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let root = SITE.root();
    let part = |number, start, end| Ask::Content { root, number, start, end };
    let asks = [
        Ask::Manifest { root },
        Ask::Manifest { root: Root([7; 32]) },
        part(0, 0, 1),
        part(1, 0, 13),
        part(LONG as u32, 98_304, 98_604),
        part(LONG as u32, 16_383, 16_385),
        part(u32::MAX, u64::MAX - 1, u64::MAX),
    ];
    asks.iter().map(|ask| ask.encode().unwrap()).collect()
}

pub(crate) fn run(input: &[u8]) -> bool {
    let mut stream = input;
    match RUNTIME.block_on(Ask::read(&mut stream)) {
        Ok(Ok(ask)) => {
            let read = input.len() - stream.len();
            assert!(read <= MAX_ASK_BYTES + 2, "an ask of {read} bytes");
            let said = ask.encode().unwrap();
            assert_eq!(RUNTIME.block_on(Ask::read(&mut &said[..])).unwrap().as_ref(), Ok(&ask), "an ask that is passed on");
            answer(&ask);
            // The same of the site that is here.
            let root = SITE.root();
            answer(&match ask {
                Ask::Manifest { .. } => Ask::Manifest { root },
                Ask::Content { number, start, end, .. } => Ask::Content { root, number, start, end },
            });
            true
        }
        Ok(Err(no)) => {
            assert_eq!(no == NoAsk::OtherVersion, input[0] != fogbank_site::ask::ASK_VERSION);
            let _ = no.answer();
            false
        }
        Err(_) => false,
    }
}

/// What the host says is refused, or all of what was asked for.
fn answer(ask: &Ask) {
    let said = answered(ask.clone());
    assert!(!said.is_empty());
    let Ask::Content { root, number, start, end } = *ask else { return };
    if said[0] != COMES {
        assert_eq!(said.len(), 1);
        return;
    }
    assert_eq!(root, SITE.root(), "another site's is given");
    let (number, bytes) = (number as usize, SITE.manifest().sizes()[number as usize]);
    let (all, ended) = taken(&said, number, bytes, start..end);
    ended.unwrap();
    assert_eq!(all, SITE.content().of(number, start..end));
}
