//! What mixes are asked and answer, and the handshake: as bytes, and as authentic messages with any content.

use crate::samples::mode;
use fogbank_betanet::{
    message::{FromMix, MESSAGE_VERSION, MailboxId, Meeting, ToMix},
    puzzle::{MAX_EFFORT, Puzzle, Task, Work},
    tunnel::{IntroductionKey, initiate, respond},
};
use fogbank_model::{InstanceId, Level, MixId};
use fogbank_sphinx::Geometry;
use std::sync::LazyLock;

const PROLOGUE: &[u8] = b"this service, this instance";
/// An ML-KEM-768 key: FIPS 203, table 3.
const KEM_KEY_BYTES: usize = 1_184;
/// Efforts that are solved here at most; dearer ones are the same loop for longer.
const SOLVED: u32 = 64;

static KEY: LazyLock<IntroductionKey> = LazyLock::new(IntroductionKey::generate);

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (mine, peer) = (MailboxId([1; 16]), MailboxId([2; 16]));
    let surb = vec![3; Geometry::SURB_BYTES];
    let work = Work { effort: 9, nonce: 10 };
    let blinded = [4; 32];
    let asks = [
        ToMix::FetchDescriptor { blinded, surb: surb.clone() },
        ToMix::Register { lease: vec![5; 400], surbs: vec![surb.clone(); 3], flush: true, work: Some(work) },
        ToMix::Unregister { lease: vec![5; 400] },
        ToMix::FetchLeases { blinded, unlock: Some([6; 16]), surb: surb.clone() },
        ToMix::Introduce { blinded, instance: InstanceId([7; 16]), hello: vec![8; 99], work: None, surb: surb.clone() },
        ToMix::Mailbox { mine, peer, surbs: vec![surb; 2], flush: false, relay: Some(vec![9; 50]) },
        ToMix::CloseMailbox { mine },
        ToMix::PayMailbox { mine, peer, work },
    ];
    let answers = [
        FromMix::Descriptor(Some(vec![1; 300])),
        FromMix::Descriptor(None),
        FromMix::Leases(vec![vec![2; 400]; 3]),
        FromMix::Registered { stock: 20 },
        FromMix::Introduced,
        FromMix::Refused("no".to_owned()),
        FromMix::Introduction { hello: vec![3; 99], stock: 5 },
        FromMix::Relayed { data: vec![4; 99], stock: 5 },
        FromMix::Restock { stock: 1 },
        FromMix::Puzzle(Puzzle { seed: [5; 16], effort: 30 }),
    ];
    let meeting =
        Meeting { rendezvous: MixId([1; 16]), visitor: mine, host: peer, level: Level::Balanced, direct: None }.encode().unwrap();
    let (_, hello) = initiate(&KEY.public(), PROLOGUE, &meeting).unwrap();
    let mut seeds: Vec<Vec<u8>> = asks.iter().map(|ask| mode(0, &ask.encode().unwrap()[1..])).collect();
    seeds.extend(answers.iter().map(|answer| mode(1, &answer.encode().unwrap()[1..])));
    seeds.extend([mode(2, &meeting[1..]), mode(3, &meeting), mode(4, &hello), mode(5, &[0; KEM_KEY_BYTES + 40])]);
    seeds.push(mode(6, &[1; 1_200]));
    seeds
}

/// A message that is read says the same when it is written and read again.
macro_rules! reads {
    ($kind:ty, $bytes:expr) => {{
        let _ = <$kind>::decode($bytes);
        let read = <$kind>::decode(&[&[MESSAGE_VERSION], $bytes].concat());
        if let Ok(message) = &read {
            let again = <$kind>::decode(&message.encode().unwrap());
            assert!(again.is_ok_and(|again| again == *message), "{message:?} is not what it was");
        }
        read.ok()
    }};
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    match mode % 7 {
        0 => reads!(ToMix, rest).is_some(),
        1 => match reads!(FromMix, rest) {
            Some(FromMix::Puzzle(puzzle)) => {
                let task = Task::of(&[b"a task"]);
                if puzzle.effort > MAX_EFFORT {
                    assert_eq!(puzzle.solve(&task, 1), None, "a mix can't make its visitors work for ever");
                } else if puzzle.effort <= SOLVED {
                    let _ = puzzle.solve(&task, u64::MAX - 3);
                }
                true
            }
            answer => answer.is_some(),
        },
        2 => Meeting::decode(&[&[MESSAGE_VERSION], rest].concat()).is_ok(),
        3 => {
            // An authentic introduction with any content.
            let Ok((initiation, hello)) = initiate(&KEY.public(), PROLOGUE, rest) else { return false };
            let (response, payload) = respond(&KEY, PROLOGUE, &hello).unwrap();
            assert_eq!(payload, rest);
            let meeting = Meeting::decode(&payload);
            let (_, answer) = response.answer(&[0]).unwrap();
            assert_eq!(initiation.finish(&answer).unwrap().1, [0]);
            meeting.is_ok()
        }
        4 => respond(&KEY, PROLOGUE, rest).is_ok_and(|(response, _)| response.answer(&[0]).is_ok()),
        5 => {
            // Noise holds, but what should be an ML-KEM key is anything.
            let Some(hello) = noise_first(rest) else { return false };
            let Ok((response, payload)) = respond(&KEY, PROLOGUE, &hello) else { return false };
            assert_eq!(payload, rest[KEM_KEY_BYTES..]);
            response.answer(&[0]).is_ok()
        }
        _ => {
            // What a visitor takes for the answer.
            let (initiation, _) = initiate(&KEY.public(), PROLOGUE, b"meet me").unwrap();
            assert!(initiation.finish(rest).is_err(), "an answer was forged");
            false
        }
    }
}

/// The first message of the handshake with any content.
fn noise_first(content: &[u8]) -> Option<Vec<u8>> {
    let pattern = "Noise_NKpsk2_25519_ChaChaPoly_BLAKE2s".parse().ok()?;
    let public = KEY.public();
    let mut noise =
        snow::Builder::new(pattern).prologue(PROLOGUE).ok()?.remote_public_key(&public).ok()?.build_initiator().ok()?;
    let mut message = vec![0; content.len() + 64];
    let length = noise.write_message(content, &mut message).ok()?;
    message.truncate(length);
    Some(message)
}
