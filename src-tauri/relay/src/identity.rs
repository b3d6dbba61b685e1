//! The relay's certificate and token, made once and kept, so that what the fog was told stays true.

use data_encoding::BASE32_NOPAD;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use zeroize::Zeroizing;

const VERSION: u16 = 1;
/// A certificate below 600 bytes, a key below 200, a token, in base32 with names.
const MAX_FILE_BYTES: u64 = 4096;

/// Who a relay is.
pub struct RelayIdentity {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    token: [u8; 16],
}

/// Why a relay's identity is not there.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is not what it was. It is never overwritten.
    #[error("the relay's identity {} is damaged ({why}): put a backup of it back, or remove it and tell the fog the new line", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file can't be read or written.
    #[error("the relay's identity {} can't be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Certificate(#[source] rcgen::Error),
    /// The certificate and its key are of no use.
    #[error("the relay's certificate can't be used: {0}")]
    Tls(#[source] rustls::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u16,
    certificate: String,
    key: String,
    token: String,
}

impl RelayIdentity {
    /// Reads it, or makes it when there is no such file yet (readable by its owner only).
    ///
    /// # Errors
    /// When the file is damaged or can't be used.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::File { path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fresh = Self::generate()?;
                fresh.save(path).map_err(failed)?;
                return Ok(fresh);
            }
            Err(source) => return Err(failed(source)),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&bytes).map_err(|why| IdentityError::Damaged { path: path.to_owned(), why })
    }

    fn generate() -> Result<Self, IdentityError> {
        let key = rcgen::KeyPair::generate().map_err(IdentityError::Certificate)?;
        // Nobody looks at names in it: it is known by its hash.
        let params = rcgen::CertificateParams::new(["fogbank.invalid".to_owned()]).map_err(IdentityError::Certificate)?;
        let certificate = params.self_signed(&key).map_err(IdentityError::Certificate)?;
        let key = Zeroizing::new(key.serialize_der());
        Ok(Self { certificate: certificate.der().to_vec(), key, token: rand::random() })
    }

    fn save(&self, path: &Path) -> io::Result<()> {
        let text = |bytes: &[u8]| BASE32_NOPAD.encode(bytes).to_lowercase();
        let stored =
            Stored { version: VERSION, certificate: text(&self.certificate), key: text(&self.key), token: text(&self.token) };
        let json = Zeroizing::new(serde_json::to_vec_pretty(&stored)?);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let fresh = path.with_extension("new");
        let _ = std::fs::remove_file(&fresh);
        let mut file = options.open(&fresh)?;
        file.write_all(&json)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|e| format!("line {}, column {}", e.line(), e.column()))?;
        if stored.version != VERSION {
            return Err(format!("it has format {}, this Fogbank reads {VERSION}", stored.version));
        }
        let decoded = |name: &str, text: &str| {
            BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).map_err(|_| format!("its {name} is no base32"))
        };
        Ok(Self {
            certificate: decoded("certificate", &stored.certificate)?,
            key: Zeroizing::new(decoded("key", &stored.key)?),
            token: decoded("token", &stored.token)?.try_into().map_err(|_| "its token has a wrong length".to_owned())?,
        })
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What clients must say.
    pub fn token(&self) -> [u8; 16] {
        self.token
    }

    /// TLS 1.3 with this certificate.
    pub(crate) fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec()));
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(IdentityError::Tls)
    }
}

impl fmt::Debug for RelayIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayIdentity(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_then_read_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.json");
        let first = RelayIdentity::load(&path).unwrap();
        let second = RelayIdentity::load(&path).unwrap();
        assert_eq!((first.certificate(), first.token()), (second.certificate(), second.token()));
        assert!(second.server_config().is_ok());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], "", "[]", &"x".repeat(10_000)] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(RelayIdentity::load(&path), Err(IdentityError::Damaged { .. })));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
        }
    }
}
