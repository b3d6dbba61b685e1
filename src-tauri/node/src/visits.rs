//! What is shown of the addresses that are open from here: one line an address, in however many isolations it is open.
//!
//! What is bad in one isolation is said of the address: a person can't tell which of the browser's tabs a line is about.

use crate::{
    answers,
    control::{TrustDto, VisitDto},
    privacy,
};
use fogbank_betanet::{
    client::{Visit, VisitState},
    meter::DIRECT,
};
use std::collections::BTreeMap;

/// The addresses in order, each once for the visits by mixes and once for direct ones. `waiting`: why none can be opened now, empty when they can.
pub(crate) fn shown(visits: Vec<Visit>, waiting: &str) -> Vec<VisitDto> {
    let mut addresses: BTreeMap<(String, bool), Vec<Visit>> = BTreeMap::new();
    for visit in visits {
        addresses.entry((visit.onion.to_string(), visit.direct)).or_default().push(visit);
    }
    addresses.into_iter().filter_map(|((onion, direct), visits)| one(onion, direct, visits, waiting)).collect()
}

fn one(onion: String, direct: bool, visits: Vec<Visit>, waiting: &str) -> Option<VisitDto> {
    let trust = visits.iter().map(|v| answers::trust(v.trust)).max_by_key(|trust| badness(*trust))?;
    let caught = visits.iter().fold(0, |sum: u32, v| sum.saturating_add(v.caught));
    let best = visits.into_iter().min_by_key(|v| (distance(&v.state), v.round_trip))?;
    let words = match (best.state, best.round_trip) {
        (VisitState::Opening | VisitState::Open, _) if !waiting.is_empty() => waiting.to_owned(),
        (VisitState::Opening, _) => "opening".to_owned(),
        (VisitState::Open, Some(trip)) => format!("open, {} ms there and back", trip.as_millis()),
        (VisitState::Open, None) => "open".to_owned(),
        (VisitState::Failed { why }, _) => why,
    };
    Some(VisitDto { onion, words, trust, caught, direct: direct.then(|| privacy::grade(DIRECT)) })
}

/// What is not known yet says nothing against what is.
fn badness(trust: TrustDto) -> u8 {
    match trust {
        TrustDto::Unknown => 0,
        TrustDto::Verified => 1,
        TrustDto::NotVerified => 2,
        TrustDto::Broken => 3,
    }
}

/// How far it is from being open.
fn distance(state: &VisitState) -> u8 {
    match state {
        VisitState::Open => 0,
        VisitState::Opening => 1,
        VisitState::Failed { .. } => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::GradeDto;
    use fogbank_betanet::client::Trust;
    use std::time::Duration;

    const ONE: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    fn visit(state: VisitState, trust: Trust, caught: u32) -> Visit {
        let round_trip = matches!(state, VisitState::Open).then(|| Duration::from_millis(200));
        Visit { onion: ONE.parse().unwrap(), direct: false, state, round_trip, trust, caught }
    }

    #[test]
    fn an_address_is_one_line_with_the_worst_that_was_seen() {
        let failed = VisitState::Failed { why: "no copy answers".to_owned() };
        let visits = vec![
            visit(failed.clone(), Trust::Broken, 2),
            visit(VisitState::Open, Trust::Checked, 1),
            visit(VisitState::Opening, Trust::Unknown, 0),
        ];
        let words = "open, 200 ms there and back".to_owned();
        let line = VisitDto { onion: ONE.to_owned(), words, trust: TrustDto::Broken, caught: 3, direct: None };
        assert_eq!(shown(visits, ""), [line]);
        let new = vec![visit(VisitState::Opening, Trust::Unknown, 0), visit(VisitState::Open, Trust::Checked, 0)];
        assert_eq!(shown(new.clone(), "")[0].trust, TrustDto::Verified, "nothing was seen in the other yet");
        assert_eq!(shown(new, "3 of 4 mixes")[0].words, "3 of 4 mixes");
        assert_eq!(shown(vec![visit(failed, Trust::Unknown, 0)], "")[0].words, "no copy answers");
    }
    #[test]
    fn a_direct_visit_is_a_line_of_its_own_and_gives_no_privacy() {
        let direct = Visit { direct: true, ..visit(VisitState::Open, Trust::Checked, 0) };
        let lines = shown(vec![direct, visit(VisitState::Open, Trust::Checked, 0)], "");
        assert_eq!(lines.iter().map(|line| line.direct).collect::<Vec<_>>(), [None, Some(GradeDto::None)]);
    }
}
