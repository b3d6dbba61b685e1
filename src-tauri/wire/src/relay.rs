//! A relay that a fog's operator runs: how it is named, and how an endpoint is told to use it.
//!
//! Two devices behind home routers can't reach each other at first. Both keep a connection to the relay, meet there, learn from it how they look
//! from outside, and go over to a direct path where their routers let them; else the relay goes on carrying their QUIC packets, which it
//! can't read. It sees which endpoints talk, from which addresses, when and how much.
//!
//! Invariants: a relay is named by IP address, so nothing is ever looked up by name; its certificate must be the very one whose hash the hint
//! names, so no certificate authority is trusted; an endpoint without a hint binds and contacts nothing for it.
//! Deliberately absent: the relay itself (the crate `relay`), and any relay of anybody else.

use data_encoding::BASE32_NOPAD;
use iroh::{
    Endpoint, EndpointAddr, RelayConfig, RelayMap, RelayMode, RelayUrl,
    endpoint::{Builder, NetReportConfig},
    tls::CaTlsConfig,
};
use iroh_relay::RelayQuicConfig;
use rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
};

const SCHEME: &str = "fogrelay://";
/// Scheme, 52 characters of pin, 26 of token, two separators, an IPv6 address with its port; rounded up.
const MAX_CHARS: usize = 160;

/// Where a relay is, how it is known, and what it lets in.
///
/// As text: `fogrelay://<pin>:<token>@<ip:port>`, pin and token in base32.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayHint {
    /// Its address: TCP for what is relayed, UDP at the same port for saying how an endpoint looks from outside.
    pub addr: SocketAddr,
    /// BLAKE3 of its certificate (DER).
    pub pin: [u8; 32],
    /// What it asks of those who want to use it. Every member and every visitor of the fog has it, so it keeps out only those who never met
    /// the fog; it is not logged all the same.
    pub token: [u8; 16],
}

/// Why a text names no relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayHintError {
    /// Another beginning, or far too long.
    #[error("this names no relay: it should begin with “{SCHEME}”, as `fogbankd relay --listen` prints it")]
    NotARelay,
    /// A part is missing or was changed.
    #[error("the relay's {0} is missing or damaged: copy the whole line that `fogbankd relay --listen` printed")]
    Part(&'static str),
}

impl RelayHint {
    /// The pin of a certificate in DER.
    pub fn pin_of(certificate: &[u8]) -> [u8; 32] {
        *blake3::hash(certificate).as_bytes()
    }

    /// Whether it can be reached at all.
    pub fn is_sound(&self) -> bool {
        let ip = self.addr.ip();
        self.addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
    }

    /// The token as it is said to the relay.
    pub fn token_text(&self) -> String {
        base32(&self.token)
    }

    /// The relay's name as iroh takes it; `None` for an address that makes no URL, which no sound one is.
    pub fn url(&self) -> Option<RelayUrl> {
        format!("https://{}/", self.addr).parse().ok()
    }

    fn config(&self) -> Option<RelayConfig> {
        let quic = RelayQuicConfig::new(self.addr.port());
        Some(RelayConfig::new(self.url()?, Some(quic)).with_auth_token(self.token_text()))
    }
}

fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_lowercase()
}

impl fmt::Display for RelayHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}:{}@{}", base32(&self.pin), self.token_text(), self.addr)
    }
}

impl fmt::Debug for RelayHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayHint").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl FromStr for RelayHint {
    type Err = RelayHintError;

    fn from_str(text: &str) -> Result<Self, RelayHintError> {
        let text = text.trim();
        if text.len() > MAX_CHARS {
            return Err(RelayHintError::NotARelay);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(RelayHintError::NotARelay)?;
        let (secret, addr) = rest.split_once('@').ok_or(RelayHintError::Part("address"))?;
        let (pin, token) = secret.split_once(':').ok_or(RelayHintError::Part("token"))?;
        let hint = Self {
            addr: addr.trim_end_matches('/').parse().map_err(|_| RelayHintError::Part("address"))?,
            pin: exactly(pin).ok_or(RelayHintError::Part("pin"))?,
            token: exactly(token).ok_or(RelayHintError::Part("token"))?,
        };
        if hint.is_sound() { Ok(hint) } else { Err(RelayHintError::Part("address")) }
    }
}

fn exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).ok()?.try_into().ok()
}

/// A builder of an endpoint that uses this relay, or none at all.
pub fn with_relay(builder: Builder, relay: Option<&RelayHint>) -> Builder {
    match relay.and_then(|hint| Some((hint.pin, hint.config()?))) {
        None => builder.relay_mode(RelayMode::Disabled),
        Some((pin, config)) => {
            let pin = Arc::new(RwLock::new(Some(pin)));
            trusting(builder.relay_mode(RelayMode::Custom(RelayMap::from(config))), pin)
        }
    }
}

/// An endpoint's relay, for endpoints that outlive a change of it.
#[derive(Debug, Clone)]
pub struct RelaySwitch {
    pin: Arc<RwLock<Option<[u8; 32]>>>,
    now: Arc<tokio::sync::Mutex<Option<RelayHint>>>,
}

impl RelaySwitch {
    /// A builder of an endpoint that uses no relay until [`Self::set`] says so.
    pub fn prepare(builder: Builder) -> (Builder, Self) {
        let pin = Arc::new(RwLock::new(None));
        // An empty map: iroh then asks nobody anything, and has a place for a relay to come.
        let builder = trusting(builder.relay_mode(RelayMode::Custom(RelayMap::empty())), pin.clone());
        (builder, Self { pin, now: Arc::default() })
    }

    /// Makes an endpoint that was built by [`Self::prepare`] use this relay, or none any more.
    pub async fn set(&self, endpoint: &Endpoint, relay: Option<&RelayHint>) {
        let mut now = self.now.lock().await;
        if now.as_ref() == relay {
            return;
        }
        if let Some(url) = now.as_ref().and_then(RelayHint::url) {
            endpoint.remove_relay(&url).await;
        }
        *self.pin.write().unwrap_or_else(PoisonError::into_inner) = relay.map(|hint| hint.pin);
        if let Some(config) = relay.and_then(RelayHint::config) {
            endpoint.insert_relay(config.url.clone(), Arc::new(config)).await;
        }
        *now = relay.cloned();
    }
}

/// Where an endpoint is to be found, with the relay that it said it can be met at.
pub fn met_at(addr: EndpointAddr, relay: Option<&RelayHint>) -> EndpointAddr {
    match relay.and_then(RelayHint::url) {
        Some(url) => addr.with_relay_url(url),
        None => addr,
    }
}

/// Whether an endpoint can be met at a relay. It asks nobody to come back with a token unless it must: a peer knocks by all ways at once, and the token
/// that it gets by one is refused on the others, which ends its attempt.
pub(crate) fn has_relay(endpoint: &Endpoint) -> bool {
    endpoint.addr().relay_urls().next().is_some()
}

/// Trusts the one certificate, and contacts nobody but the relay: no look for captive portals, which would go to a port that the relay
/// does not serve.
fn trusting(builder: Builder, pin: Arc<RwLock<Option<[u8; 32]>>>) -> Builder {
    let verifier =
        move |provider: Arc<CryptoProvider>| Ok(Arc::new(Pinned { pin: pin.clone(), provider }) as Arc<dyn ServerCertVerifier>);
    let mut probes = NetReportConfig::minimal();
    // The only way to find that the relay is there where UDP to it is blocked.
    probes.https_probes = true;
    builder.ca_tls_config(CaTlsConfig::custom_server_cert_verifier(Arc::new(verifier))).net_report_config(probes)
}

/// Takes the certificate with the pinned hash, whatever it says about names and dates; the handshake proves that its key is there.
#[derive(Debug)]
struct Pinned {
    pin: Arc<RwLock<Option<[u8; 32]>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let pinned = *self.pin.read().unwrap_or_else(PoisonError::into_inner);
        if pinned == Some(RelayHint::pin_of(end_entity)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hint() -> RelayHint {
        RelayHint { addr: "192.0.2.10:3340".parse().unwrap(), pin: [3; 32], token: [9; 16] }
    }

    #[test]
    fn text_and_back_and_no_token_in_debug() {
        let six = RelayHint { addr: "[2001:db8::1]:3340".parse().unwrap(), ..hint() };
        for hint in [hint(), six] {
            assert_eq!(hint.to_string().parse::<RelayHint>().unwrap(), hint);
            assert_eq!(format!(" {hint}/\n").parse::<RelayHint>().unwrap(), hint);
            assert!(hint.url().unwrap().to_string().starts_with("https://"));
        }
        assert!(!format!("{:?}", hint()).contains(&hint().token_text()));
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!("https://192.0.2.10:3340".parse::<RelayHint>(), Err(RelayHintError::NotARelay));
        let text = hint().to_string();
        assert_eq!(text.replace("192.0.2.10", "relay.example").parse::<RelayHint>(), Err(RelayHintError::Part("address")));
        assert_eq!(text.replace("192.0.2.10", "0.0.0.0").parse::<RelayHint>(), Err(RelayHintError::Part("address")));
        assert_eq!(text.replace(":3340", ":0").parse::<RelayHint>(), Err(RelayHintError::Part("address")));
        let (scheme, rest) = text.split_at(SCHEME.len());
        assert_eq!(format!("{scheme}1{}", &rest[1..]).parse::<RelayHint>(), Err(RelayHintError::Part("pin")));
    }

    #[test]
    fn only_the_pinned_certificate_is_taken() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let name = ServerName::IpAddress(std::net::IpAddr::from([192, 0, 2, 10]).into());
        let judged = |pin: Option<&[u8]>, shown: &[u8]| {
            let pin = Arc::new(RwLock::new(pin.map(RelayHint::pin_of)));
            let pinned = Pinned { pin, provider: provider.clone() };
            pinned.verify_server_cert(&CertificateDer::from(shown.to_vec()), &[], &name, &[], UnixTime::now()).is_ok()
        };
        assert!(judged(Some(b"own"), b"own"));
        assert!(!judged(Some(b"own"), b"other"));
        assert!(!judged(None, b"own"), "no relay, no trust");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "\\PC{0,160}", tail in "[a-z2-7:@.0-9]{0,120}") {
            let _ = text.parse::<RelayHint>();
            let _ = format!("{SCHEME}{tail}").parse::<RelayHint>();
        }
    }
}
