//! What the operator of the fog that this node coordinates asks about other fogs: which are named, how they stand, naming one and ending it.
//!
//! Deliberately absent: doing it for a fog that another node coordinates; naming fogs is not an administrator's right but the operator's.

use crate::{
    answers,
    control::{ControlError, FederatedFogDto, FederationDto, WitnessesDto},
    fog::FogHost,
    node::Inner,
};
use fogbank_allocator::{PeerView, WitnessView};
use fogbank_model::FogId;
use fogbank_wire::PeerAddress;
use std::sync::Arc;

impl Inner {
    fn own_fog(&self) -> Result<Arc<FogHost>, ControlError> {
        let todo = "Ask where the fog was started.";
        self.parts().fog.ok_or_else(|| answers::invalid("this node coordinates no fog, so it can federate none", todo))
    }

    /// This fog's address for other operators, and the fogs that are named here.
    pub(crate) fn federation(&self) -> Result<FederationDto, ControlError> {
        let fog = self.own_fog()?;
        let own = fog.peer_address().fog;
        let fogs = fog.allocator().federation().iter().map(|peer| federated(peer, &own)).collect();
        let witnesses = witnesses(fog.allocator().witnesses());
        Ok(FederationDto { address: fog.peer_address().to_string(), fogs, witnesses })
    }

    /// Names a fog.
    pub(crate) async fn federate(&self, peer: &str) -> Result<(), ControlError> {
        let todo = "Ask that fog's operator for the line that `fogbankd federation` prints there.";
        let address: PeerAddress = peer.parse().map_err(|e| answers::invalid(format!("{e}"), todo))?;
        let fog = self.own_fog()?;
        if self.settings().fog.is_some_and(|own| own.practice) {
            return Err(answers::invalid("a practice fog is for this computer alone", "Start a fog with other people first."));
        }
        fog.allocator().federate(address).await.map_err(answers::refused)
    }

    /// Ends it with a fog.
    pub(crate) async fn end_federation(&self, fog: &str) -> Result<(), ControlError> {
        let id: FogId = fog.parse().map_err(|e| answers::invalid(format!("{e}"), "`fogbankd federation` lists them."))?;
        self.own_fog()?.allocator().end_federation(&id).await.map_err(answers::refused)
    }

    /// So many witnesses must sign.
    pub(crate) async fn need_witnesses(&self, needed: Option<u8>) -> Result<(), ControlError> {
        self.own_fog()?.allocator().need_witnesses(needed).await.map_err(answers::refused)
    }

    /// Lets another fog change its witnesses.
    pub(crate) fn let_witnesses(&self, fog: &str) -> Result<(), ControlError> {
        let id: FogId = fog.parse().map_err(|e| answers::invalid(format!("{e}"), "`fogbankd federation` lists them."))?;
        self.own_fog()?.allocator().let_change(id).map_err(answers::refused)
    }

    /// Gives all witnesses up. This node, which can't leave its own fog, believes it all the same.
    pub(crate) fn abandon_witnesses(&self) -> Result<(), ControlError> {
        let fog = self.own_fog()?;
        if fog.allocator().witnesses().charter.keys.is_empty() {
            return Err(answers::invalid("this fog has no witnesses that it could give up", "`fogbankd federation` shows them."));
        }
        self.hub.renounce(fog.peer_address().fog, fog.allocator().abandon_witnesses());
        Ok(())
    }
}

fn witnesses(view: WitnessView) -> WitnessesDto {
    let answer = |key: &FogId| (key.to_string(), view.answers.get(key).cloned().unwrap_or_default());
    WitnessesDto {
        fogs: view.charter.keys.iter().map(answer).collect(),
        needed: view.charter.needed,
        wish: view.wish,
        one_view: view.charter.one_view(),
        made_ms: view.current.map(|(made, _)| made.0),
        expires_ms: view.current.map(|(_, expires)| expires.0),
        troubles: view.troubles,
    }
}

fn federated(peer: &PeerView, own: &FogId) -> FederatedFogDto {
    let names_us = peer.directory.as_ref().is_some_and(|d| d.federated.contains(own));
    let words = match (&peer.directory, peer.counts, peer.drawn) {
        (None, ..) => "nothing was heard of it yet",
        (Some(_), false, _) if !names_us => "it does not name this fog, so nothing of it is used",
        (Some(_), false, _) => "its list of mixes has expired, or only one of the two is a test fog: nothing of it is used",
        (Some(_), true, false) => {
            "its sites can be opened; its mixes are not drawn, because it does not name the other fogs here"
        }
        (Some(_), true, true) => "one network with this fog",
    };
    FederatedFogDto {
        fog: peer.address.fog.to_string(),
        address: peer.address.to_string(),
        connected: peer.connected,
        why: peer.why.clone(),
        mutual: names_us,
        counts: peer.counts,
        drawn: peer.drawn,
        words: words.to_owned(),
        mixes: peer.directory.as_ref().map_or(0, |d| u32::try_from(d.mixes.len()).unwrap_or(u32::MAX)),
        made_ms: peer.directory.as_ref().map(|d| d.made.0),
    }
}
