//! Of control messages: what older nodes say is still understood, and what is refused crosses whole.

use super::*;
use crate::frame::{decode, encode};
use fogbank_model::{Dimension, Shortfall};

/// A node of before there were three ways to come says its invite or none.
#[test]
fn an_invite_alone_joins() {
    for (older, now) in [(None, Coming::Back), (Some([3; 16]), Coming::Joins([3; 16]))] {
        assert_eq!(decode::<Coming>(&encode::<Option<[u8; 16]>>(&older).unwrap()).unwrap(), now);
    }
    assert!(!format!("{:?}", Coming::Joins([3; 16])).contains('3'));
}

#[test]
fn why_it_does_not_fit_crosses_the_wire() {
    let shortfalls = vec![
        Shortfall::Resource { dimension: Dimension::Cpu, asked: 9_000, free: 2_000 },
        Shortfall::Changes { needed: 3, allowed: 2 },
    ];
    let why = Infeasible { shortfalls, largest: Some(Resources::LIMIT) };
    let bytes = encode(&NodeReply::Infeasible(why.clone())).unwrap();
    let NodeReply::Infeasible(read) = decode(&bytes).unwrap() else { panic!("another answer") };
    assert_eq!(read, why);
}
