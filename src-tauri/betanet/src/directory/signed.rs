//! A directory as it travels: the fog that it claims to be of, that fog's statement, and the signatures of its witnesses.

use super::{CONTEXT, Charter, DIRECTORY_VERSION, Directory, weight};
use fogbank_model::FogId;
use fogbank_wire::{Countersignature, Countersigned, FrameError, SignedError, decode, encode};
use iroh::SecretKey;
use serde::{Deserialize, Serialize};

/// A directory as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedDirectory {
    fog: FogId,
    statement: Countersigned<Directory>,
}

/// Why bytes are no directory of this fog.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No signed statement at all.
    #[error("these bytes are no directory: {0}")]
    Malformed(#[source] FrameError),
    /// The fog did not sign it.
    #[error("the directory is not signed by this fog: {0}")]
    NotTheFogs(#[source] SignedError),
    /// Of another version.
    #[error("the directory has version {theirs}, this Fogbank reads {DIRECTORY_VERSION}: update the older of the two")]
    Version {
        /// Its version.
        theirs: u16,
    },
    /// Of a fog that this one has nothing to do with.
    #[error("the directory is of a fog that this one does not name")]
    NotNamed,
    /// Signed, but breaking a rule.
    #[error("the directory breaks a rule: {0}")]
    Rule(&'static str),
    /// Too few of its own witnesses signed it.
    #[error("the directory is signed by {signed} of its witnesses, and {needed} are needed")]
    Witnesses {
        /// How many signed.
        signed: usize,
        /// How many must.
        needed: u8,
    },
    /// Its witnesses are not those that are known here.
    #[error("the directory has other witnesses than those that are known here: {0}")]
    Charter(#[source] super::CharterError),
}

impl SignedDirectory {
    /// Signed by its fog alone.
    ///
    /// # Errors
    /// When it is larger than a frame.
    pub fn seal(directory: &Directory, fog: &SecretKey) -> Result<Self, FrameError> {
        Ok(Self { fog: directory.fog, statement: Countersigned::seal(fog, CONTEXT, directory)? })
    }

    /// In these bytes; nothing is checked yet.
    ///
    /// # Errors
    /// When they are no directory at all.
    pub fn read(bytes: &[u8]) -> Result<Self, DirectoryError> {
        decode(bytes).map_err(DirectoryError::Malformed)
    }

    /// As bytes.
    ///
    /// # Errors
    /// When it is larger than a frame.
    pub fn bytes(&self) -> Result<Vec<u8>, FrameError> {
        encode(self)
    }

    /// Its content, when this fog signed it and it keeps the rules. Whether its witnesses signed is not looked at: see [`Directory::open`].
    ///
    /// # Errors
    /// When it is not so.
    pub fn proposal(&self, fog: &FogId) -> Result<Directory, DirectoryError> {
        if self.fog != *fog {
            return Err(DirectoryError::Rule("it is of another fog"));
        }
        let mut directory = self.statement.open(fog, CONTEXT).map_err(DirectoryError::NotTheFogs)?;
        if directory.version != DIRECTORY_VERSION {
            return Err(DirectoryError::Version { theirs: directory.version });
        }
        directory.check(fog).map_err(DirectoryError::Rule)?;
        directory.sums = weight::sums(&directory.mixes, directory.made);
        Ok(directory)
    }

    /// What a witness signs.
    pub fn body(&self) -> [u8; 32] {
        self.statement.body(CONTEXT)
    }

    /// Signs it as a witness.
    pub fn countersign(&self, witness: &SecretKey) -> Countersignature {
        self.statement.countersign(witness, CONTEXT)
    }

    /// Adds a witness's signature; whether it holds and is the first of this witness.
    pub fn add(&mut self, of: Countersignature) -> bool {
        self.statement.add(of, CONTEXT)
    }

    /// Whether enough witnesses of a charter signed it.
    pub fn meets(&self, charter: &Charter) -> bool {
        charter.is_met(&self.statement, CONTEXT)
    }
}

impl Directory {
    /// Signs it by its fog alone, as bytes.
    ///
    /// # Errors
    /// When it is larger than a frame.
    pub fn seal(&self, fog: &SecretKey) -> Result<Vec<u8>, FrameError> {
        SignedDirectory::seal(self, fog)?.bytes()
    }

    /// Of which fog these bytes claim to be a directory. Nothing is checked: it says under which key to [`Self::open`] them.
    ///
    /// # Errors
    /// When they are no directory at all.
    pub fn fog_of(bytes: &[u8]) -> Result<FogId, DirectoryError> {
        let (fog, _) = postcard::take_from_bytes(bytes).map_err(|e| DirectoryError::Malformed(FrameError::Malformed(e)))?;
        Ok(fog)
    }

    /// The directory in these bytes, when this fog signed it, as many witnesses as its own charter asks for did, and it keeps the rules. Whether
    /// it is fresh, see [`Self::fresh`]; whether its charter is the one that is believed, see [`super::DirectoryHub`].
    ///
    /// # Errors
    /// When it is not so.
    pub fn open(bytes: &[u8], fog: &FogId) -> Result<Self, DirectoryError> {
        let signed = SignedDirectory::read(bytes)?;
        let directory = signed.proposal(fog)?;
        if !signed.meets(&directory.charter) {
            let by = signed.statement.signed_by(&directory.charter.keys, CONTEXT);
            return Err(DirectoryError::Witnesses { signed: by, needed: directory.charter.needed });
        }
        Ok(directory)
    }
}
