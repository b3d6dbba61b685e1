//! Addresses: the v3 onion name of a container's identity, the time periods with their blinded keys, and links to share.
//!
//! Invariants: an [`Address`] holds a checked key (checksum, version, a point of the curve without small order); a blinded key is a
//! function of address and period that everyone who knows the address can compute and nobody else can lead back.
//! Source: Tor's rend-spec-v3, sections 6 (names) and A.2 (blinding). Our periods have a length of their own, so blinded keys differ
//! from those of the same service on Tor.
//! Deliberately absent: secrets (see `proof`), and looking anything up.

use data_encoding::BASE32_NOPAD;
use fogbank_model::{DurationMs, FogId, Onion, UnixMs};
use rand::CryptoRng;
use safelog::DisplayRedacted as _;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, str::FromStr};
use tor_hscrypto::{
    pk::{HsId, HsIdKey},
    time::TimePeriod,
};
use zeroize::Zeroize;

/// Length of a period: two days. Tor's default is one day; the length goes into the blinding.
pub const PERIOD_MINUTES: u32 = 2_880;
const PERIOD_MS: i64 = PERIOD_MINUTES as i64 * 60_000;

/// The number of a period since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(pub u32);

impl Period {
    /// The period of a moment. Moments before 1970 or beyond the last period fall into the nearest one.
    pub fn at(now: UnixMs) -> Self {
        Self(u32::try_from(now.0.max(0) / PERIOD_MS).unwrap_or(u32::MAX))
    }

    /// When it begins.
    pub fn start(self) -> UnixMs {
        UnixMs(i64::from(self.0) * PERIOD_MS)
    }

    /// When it ends, which is when the next one begins.
    pub fn end(self) -> UnixMs {
        self.start().plus(DurationMs(PERIOD_MS))
    }

    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before it.
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub(crate) fn tor(self) -> TimePeriod {
        TimePeriod::from_parts(PERIOD_MINUTES, self.0.into(), 0)
    }
}

/// Why an address is not believed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AddressError {
    /// Letters missing or mistyped.
    #[error("this onion address is mistyped or damaged ({0}): copy it again, whole")]
    Text(#[source] tor_hscrypto::pk::HsIdParseError),
    /// Well written, but what it names is no key of a service.
    #[error("this onion address names no usable key")]
    Key,
}

/// The key of a period as seen by those who know the address.
#[derive(Clone, PartialEq, Eq)]
pub struct Blinded {
    /// Which period.
    pub period: Period,
    /// The blinded public key: what directory mixes and introduction points know the service by.
    pub key: [u8; 32],
    /// Known to those who know the address only (and the access key, if there is one); seals descriptors.
    pub(crate) credential: [u8; 32],
    /// Of a private service: without it an introduction is not answered. Another one in each period.
    pub(crate) door: Option<[u8; 32]>,
}

/// What a private service's visitors have beside the address. Who publishes makes it; the allocator and the hosts work with what follows
/// from it, so it shuts out strangers who learn of the address, not them.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub struct AccessKey(pub [u8; 32]);

impl AccessKey {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self(key)
    }
}

impl fmt::Display for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_lowercase())
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}

impl FromStr for AccessKey {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let bytes = BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).ok().and_then(|key| key.try_into().ok());
        bytes.map(Self).ok_or(LinkError::Part { part: "key" })
    }
}

impl Blinded {
    /// What a visitor of a private service says to its introduction points; the door can't be told from it.
    pub(crate) fn unlock(&self) -> Option<[u8; 16]> {
        let hash = blake3::derive_key("fogbank 2026 lock of a private service's leases", self.door.as_ref()?);
        hash.first_chunk().copied()
    }

    /// As those see it who also have the access key.
    #[must_use]
    pub fn with(self, access: Option<&AccessKey>) -> Self {
        let Some(access) = access else { return self };
        let derive = |context, what: &[u8; 32]| {
            let mut hasher = blake3::Hasher::new_derive_key(context);
            hasher.update(&access.0).update(what);
            *hasher.finalize().as_bytes()
        };
        let credential = derive("fogbank 2026 credential of a private service", &self.credential);
        let door = Some(derive("fogbank 2026 door of a private service", &self.key));
        Self { credential, door, ..self }
    }
}

impl fmt::Debug for Blinded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blinded({:?})", self.period)
    }
}

/// A checked address.
#[derive(Clone)]
pub struct Address {
    onion: Onion,
    key: HsIdKey,
}

impl Address {
    /// Checks the whole of an onion address.
    ///
    /// # Errors
    /// When a letter is wrong or the key is none.
    pub fn parse(onion: &Onion) -> Result<Self, AddressError> {
        let id: HsId = onion.as_str().parse().map_err(AddressError::Text)?;
        Self::of_key(id.as_ref(), onion.clone())
    }

    /// The address of an identity's public key.
    ///
    /// # Errors
    /// When the bytes are no usable key.
    pub fn from_public(public: [u8; 32]) -> Result<Self, AddressError> {
        let onion = HsId::from(public).display_unredacted().to_string().parse().map_err(|_| AddressError::Key)?;
        Self::of_key(&public, onion)
    }

    fn of_key(public: &[u8; 32], onion: Onion) -> Result<Self, AddressError> {
        // Small orders would make every blinded key the same few points, for which anyone can sign.
        let point = ed25519_dalek::VerifyingKey::from_bytes(public).map_err(|_| AddressError::Key)?;
        if point.is_weak() || !point.to_edwards().is_torsion_free() {
            return Err(AddressError::Key);
        }
        let key = HsIdKey::try_from(HsId::from(*public)).map_err(|_| AddressError::Key)?;
        Ok(Self { onion, key })
    }

    /// The address as text.
    pub fn onion(&self) -> &Onion {
        &self.onion
    }

    /// The public key that the address is.
    pub(crate) fn public(&self) -> [u8; 32] {
        *self.key.id().as_ref()
    }

    /// The blinded key of a period.
    ///
    /// # Errors
    /// When blinding fails, which no checked key is known to do.
    pub fn blinded(&self, period: Period) -> Result<Blinded, AddressError> {
        let (key, credential) = self.key.compute_blinded_key(period.tor()).map_err(|_| AddressError::Key)?;
        let credential: &[u8; 32] = credential.as_ref();
        Ok(Blinded { period, key: *key.id().as_ref(), credential: *credential, door: None })
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Which addresses a visitor opens is nobody's business, the log's neither.
        f.write_str("Address(…)")
    }
}

/// A mix through which a newcomer can ask for the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// Its mix key.
    pub key: [u8; 32],
    /// Where it listens.
    pub addr: SocketAddr,
}

/// A link to share: an address with what a newcomer needs to open it.
///
/// `fogbank://<onion>?via=<base32 key>@<ip:port>,…&fog=<fog id>&key=<access key, of a private service>`
#[derive(Clone, PartialEq, Eq)]
pub struct FogLink {
    /// The address.
    pub onion: Onion,
    /// Mixes to begin with.
    pub via: Vec<Via>,
    /// The fog that signs the directory.
    pub fog: Option<FogId>,
    /// The access key of a private service: whoever has the link can visit.
    pub access: Option<AccessKey>,
}

/// Why a text is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Another beginning, or far too long.
    #[error("this is no Fogbank link: it should begin with fogbank:// and an onion address")]
    NotALink,
    /// The address in it has the wrong shape.
    #[error("the link's address: {0}")]
    Onion(#[source] fogbank_model::OnionError),
    /// A part after the question mark can't be read.
    #[error("the link is damaged in its part “{part}”")]
    Part {
        /// Which part.
        part: &'static str,
    },
}

impl FogLink {
    /// Mixes in a link at most: enough that one is up, few enough for a chat message.
    pub const MAX_VIA: usize = 8;
    /// Address, 8 mixes of 52 + 1 + 47 characters, fog id, key, and separators, rounded up.
    const MAX_CHARS: usize = 1_200;
    const SCHEME: &str = "fogbank://";
}

impl fmt::Display for FogLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::SCHEME, self.onion)?;
        let mut separator = '?';
        if !self.via.is_empty() {
            write!(f, "?via=")?;
            separator = '&';
            for (i, via) in self.via.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                write!(f, "{comma}{}@{}", BASE32_NOPAD.encode(&via.key).to_lowercase(), via.addr)?;
            }
        }
        if let Some(fog) = &self.fog {
            write!(f, "{separator}fog={fog}")?;
            separator = '&';
        }
        if let Some(access) = &self.access {
            write!(f, "{separator}key={access}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for FogLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FogLink").field("via", &self.via.len()).finish_non_exhaustive()
    }
}

impl FromStr for FogLink {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        if text.len() > Self::MAX_CHARS {
            return Err(LinkError::NotALink);
        }
        let rest = text.strip_prefix(Self::SCHEME).ok_or(LinkError::NotALink)?;
        let (onion, query) = rest.split_once('?').unwrap_or((rest, ""));
        // Browsers put a slash behind a host.
        let onion = onion.trim_end_matches('/').parse().map_err(LinkError::Onion)?;
        let mut link = Self { onion, via: Vec::new(), fog: None, access: None };
        for part in query.split('&').filter(|p| !p.is_empty()) {
            match part.split_once('=') {
                Some(("via", list)) => {
                    for item in list.split(',') {
                        link.via.push(parse_via(item).ok_or(LinkError::Part { part: "via" })?);
                    }
                }
                Some(("fog", id)) => link.fog = Some(id.parse().map_err(|_| LinkError::Part { part: "fog" })?),
                Some(("key", key)) => link.access = Some(key.parse()?),
                // Parts of later versions are passed over.
                _ => {}
            }
        }
        if link.via.len() > Self::MAX_VIA {
            return Err(LinkError::Part { part: "via" });
        }
        Ok(link)
    }
}

fn parse_via(text: &str) -> Option<Via> {
    let (key, addr) = text.split_once('@')?;
    let key = BASE32_NOPAD.decode(key.to_uppercase().as_bytes()).ok()?.try_into().ok()?;
    Some(Via { key, addr: addr.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The Tor Project's site.
    const KNOWN: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    #[test]
    fn a_known_address_is_read_and_written_alike() {
        let address = Address::parse(&KNOWN.parse().unwrap()).unwrap();
        let id: HsId = KNOWN.parse().unwrap();
        assert_eq!(Address::from_public(*id.as_ref()).unwrap().onion(), address.onion());
    }

    #[test]
    fn every_mistyped_letter_is_noticed() {
        for at in 0..56 {
            let mut text = KNOWN.as_bytes().to_vec();
            text[at] = if text[at] == b'a' { b'b' } else { b'a' };
            let onion: Onion = String::from_utf8(text).unwrap().parse().unwrap();
            // A changed key passes a 16-bit checksum once in 65,536; none of these does.
            assert!(Address::parse(&onion).is_err(), "{at}");
        }
    }

    #[test]
    fn small_order_keys_are_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert!(matches!(Address::from_public(neutral), Err(AddressError::Key)));
        assert!(matches!(Address::from_public([0; 32]), Err(AddressError::Key)));
    }

    #[test]
    fn blinded_keys_are_ours_and_change() {
        let address = Address::parse(&KNOWN.parse().unwrap()).unwrap();
        let period = Period::at(UnixMs(1_790_000_000_000));
        let ours = address.blinded(period).unwrap();
        assert_ne!(ours.key, address.blinded(period.next()).unwrap().key);
        let (tors, _) = address.key.compute_blinded_key(TimePeriod::from_parts(1_440, period.0.into(), 0)).unwrap();
        assert_ne!(&ours.key, tors.id().as_ref());
        assert!(period.start() <= UnixMs(1_790_000_000_000) && UnixMs(1_790_000_000_000) < period.end());
    }

    #[test]
    fn links_there_and_back() {
        let via = Via { key: [5; 32], addr: "127.0.0.1:4000".parse().unwrap() };
        let via6 = Via { key: [6; 32], addr: "[::1]:4000".parse().unwrap() };
        let link = FogLink {
            onion: KNOWN.parse().unwrap(),
            via: vec![via, via6],
            fog: Some(FogId([7; 32])),
            access: Some(AccessKey([8; 32])),
        };
        assert_eq!(link.to_string().parse::<FogLink>().unwrap(), link);
        let bare = FogLink { onion: KNOWN.parse().unwrap(), via: vec![], fog: None, access: None };
        assert_eq!(format!("{bare}/?later=1").parse::<FogLink>().unwrap(), bare);
        let private = FogLink { access: Some(AccessKey([3; 32])), ..bare.clone() };
        assert_eq!(private.to_string().parse::<FogLink>().unwrap(), private);
        assert!(!format!("{private:?}").contains("aebag"), "no key in logs");
        assert_eq!(format!("{bare}?key=short").parse::<FogLink>(), Err(LinkError::Part { part: "key" }));
        assert_eq!("http://x".parse::<FogLink>(), Err(LinkError::NotALink));
        assert_eq!(format!("{bare}?via=x").parse::<FogLink>(), Err(LinkError::Part { part: "via" }));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<FogLink>();
            let _ = format!("fogbank://{KNOWN}?{text}").parse::<FogLink>();
        }
    }
}
