//! Which witnesses of a fog a node believes, whatever has become of the directory that told it.
//!
//! The first directory of a fog is believed as it is; from then on its charter is in force until enough of its witnesses sign another. That its
//! directory expires, or that no directory came for years, changes nothing: else whoever steals a fog's key would only have to wait.
//! Deliberately absent: the directories ([`super::DirectoryHub`]) and the disk (the node keeps expired directories too, for their charters).

use super::{Charter, CharterError, Directory};
use fogbank_model::FogId;
use std::collections::BTreeMap;

/// The charters in force, of the own fog and of those that it names.
#[derive(Debug, Default)]
pub(super) struct Trust {
    charters: BTreeMap<FogId, Charter>,
}

impl Trust {
    /// Whether a directory, which enough of its own witnesses signed, is one of the witnesses that are believed.
    pub(super) fn admits(&self, directory: &Directory) -> Result<(), CharterError> {
        match self.charters.get(&directory.fog) {
            Some(charter) => charter.believes(&directory.fog, &directory.charter, &directory.handovers),
            None => Ok(()),
        }
    }

    /// A directory that was admitted is believed: its charter is in force.
    pub(super) fn believe(&mut self, directory: &Directory) {
        self.charters.insert(directory.fog, directory.charter.clone());
    }

    /// A directory that was believed once, by what is on the disk. What is in force already stays.
    pub(super) fn recall(&mut self, directory: &Directory) {
        self.charters.entry(directory.fog).or_insert_with(|| directory.charter.clone());
    }

    /// A fog's charter is this one, by word of whoever holds the fog.
    pub(super) fn set(&mut self, fog: FogId, charter: Charter) {
        self.charters.insert(fog, charter);
    }

    /// Forgets fogs that are of no concern any more.
    pub(super) fn keep(&mut self, of_concern: impl Fn(&FogId) -> bool) {
        self.charters.retain(|fog, _| of_concern(fog));
    }
}
