//! The keys that tokens may be signed with. A key has one algorithm, and only tokens of that algorithm are its own.

use std::borrow::Cow;

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::alg::Hs256Key;
use serde_json::value::RawValue;

use crate::{json::fields, limits, value::compact};

const NOT_FOR_SIGNATURES: &str = "is not for signatures";
/// Characters of a key's id that the log shows.
const KID_CHARS_SHOWN: usize = 64;

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: the only one verified here.
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The algorithm of that name in a token's or a key's `alg`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        // As RFC 9864 has it; EdDSA on another curve is not known here.
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        [Self::Hs256, Self::Es256, Self::EdDsa, Self::Rs256].into_iter().find(|one| one.as_str() == name)
    }

    /// Its name in a token's or a key's `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct VerifyingKey {
    /// What the log calls it.
    pub(super) name: String,
    /// What tokens call it by. One without serves tokens that name no key.
    pub(super) id: Option<String>,
    pub(super) material: Material,
}

#[derive(Debug, Clone)]
pub(super) enum Material {
    Secret(Hs256Key),
    Public(PublicKey),
}

/// A key that the platform verifies with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its one algorithm.
    pub algorithm: Algorithm,
    /// The key as a JWK that has nothing in it but the key.
    pub jwk: String,
    /// Bytes of a signature.
    pub(super) signature_bytes: usize,
}

impl VerifyingKey {
    pub(super) fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Public(key) => key.algorithm,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.material, &other.material) {
            (Material::Secret(one), Material::Secret(other)) => one.as_ref() == other.as_ref(),
            (Material::Public(one), Material::Public(other)) => one == other,
            _ => false,
        }
    }
}

/// The key for a token: the one it names, or the only one that it can mean. A key that stands there twice is one.
pub(super) fn choose<'a>(
    keys: impl Iterator<Item = &'a VerifyingKey> + Clone,
    algorithm: Algorithm,
    id: Option<&str>,
) -> Option<&'a VerifyingKey> {
    let only = |fits: &dyn Fn(&VerifyingKey) -> bool| {
        let mut fitting = keys.clone().filter(|key| key.algorithm() == algorithm && fits(key));
        fitting.next().filter(|first| fitting.all(|other| other.is_same(first)))
    };
    let is_named = |key: &VerifyingKey| id.is_some() && key.id.as_deref() == id;
    // Whatever algorithm that one has: a name that a key has means no other.
    if keys.clone().any(is_named) {
        return only(&is_named);
    }
    only(&|key| key.id.is_none()).or_else(|| if id.is_none() { only(&|_| true) } else { None })
}

/// What is wrong where keys share a name, for the log.
pub(super) fn doubled<'a>(keys: impl Iterator<Item = &'a VerifyingKey> + Clone) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, key) in keys.clone().enumerate() {
        let mut earlier = keys.clone().take(at);
        let first = earlier.find(|other| other.id == key.id && other.algorithm() == key.algorithm());
        let Some(first) = first else { continue };
        let what = if key.is_same(first) {
            "are the same key: take one of them away"
        } else {
            "are different keys of one name, so no token can mean either: give each a kid of its own"
        };
        problems.push(format!("{} and {} {what}", first.name, key.name));
    }
    problems
}

/// The keys of a JWKS document (RFC 7517) from `source`, and why the others are none that tokens can be verified with; `None`
/// for what is no such document. Read by what reads values: eleven optional fields read by serde are 8 KB of wasm.
pub(super) fn parse(source: &str, document: &str) -> Option<(Vec<VerifyingKey>, Vec<String>)> {
    let document = serde_json::from_str::<&RawValue>(document).ok()?.get();
    let document = compact(document).text;
    let keys = document.starts_with('{').then(|| fields(&document))?;
    let (_, keys) = keys.into_iter().find(|(name, _)| name == "keys")?;
    let keys: Vec<&RawValue> = serde_json::from_str(keys).ok()?;
    let (mut usable, mut problems) = (Vec::new(), Vec::new());
    for (at, raw) in keys.into_iter().enumerate().take(limits::KEYS_MAX) {
        let jwk = Jwk::of(raw.get());
        let id = jwk.get("kid");
        // Its beginning tells it from others.
        let shown = id.as_ref().map(|id| id.chars().take(KID_CHARS_SHOWN).collect::<String>());
        let name = match shown {
            Some(kid) => format!("{source}: key {} (kid {kid})", at + 1),
            None => format!("{source}: key {} (no kid)", at + 1),
        };
        match material(&jwk) {
            Ok(material) => usable.push(VerifyingKey { name, id, material }),
            // Issuers publish those beside the others.
            Err(NOT_FOR_SIGNATURES) if source == "JWKS_URL" => {}
            Err(why) => problems.push(format!("{name} {why}")),
        }
    }
    if usable.is_empty() {
        problems.push(format!("{source} has no key that tokens can be verified with"));
    }
    Some((usable, problems))
}

/// A JSON Web Key as it comes: the members that are strings.
struct Jwk<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Jwk<'a> {
    fn of(text: &'a str) -> Self {
        Self(if text.starts_with('{') { fields(text) } else { Vec::new() })
    }

    fn get(&self, name: &str) -> Option<String> {
        let (_, text) = self.0.iter().find(|(member, _)| member == name)?;
        serde_json::from_str(text).ok()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name).as_deref() == Some(value)
    }

    /// A member's bytes. Some issuers pad them.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, &'static str> {
        let text = self.get(name).ok_or("lacks a member")?;
        let text = text.trim_end_matches('=');
        Base64UrlUnpadded::decode_vec(text).map_err(|_| "has a member that is not base64url")
    }

    /// A number's bytes, without the zeros that some issuers write before them.
    fn number(&self, name: &str) -> Result<Vec<u8>, &'static str> {
        let mut bytes = self.bytes(name)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.drain(..zeros);
        Ok(bytes)
    }
}

fn material(jwk: &Jwk<'_>) -> Result<Material, &'static str> {
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err(NOT_FOR_SIGNATURES);
    }
    let (material, algorithm) = match jwk.get("kty").as_deref() {
        Some("oct") => (secret(jwk)?, Algorithm::Hs256),
        Some("EC") => (Material::Public(elliptic(jwk)?), Algorithm::Es256),
        Some("OKP") => (Material::Public(edwards(jwk)?), Algorithm::EdDsa),
        Some("RSA") => (Material::Public(rsa(jwk)?), Algorithm::Rs256),
        _ => return Err("has a kty that is not supported"),
    };
    match jwk.get("alg") {
        Some(alg) if Algorithm::named(&alg) != Some(algorithm) => {
            Err("is for an algorithm that is not supported")
        }
        _ => Ok(material),
    }
}

fn secret(jwk: &Jwk<'_>) -> Result<Material, &'static str> {
    let secret = jwk.bytes("k")?;
    if secret.len() < limits::SECRET_BYTES_MIN {
        return Err("is shorter than 32 bytes");
    }
    Ok(Material::Secret(Hs256Key::new(secret)))
}

fn elliptic(jwk: &Jwk<'_>) -> Result<PublicKey, &'static str> {
    let (x, y) = (jwk.number("x")?, jwk.number("y")?);
    if !jwk.is("crv", "P-256") || x.len() > 32 || y.len() > 32 {
        return Err("is not on P-256");
    }
    // As many bytes as the curve has (RFC 7518, 6.2.1.2), however many were written.
    let whole =
        |number: Vec<u8>| Base64UrlUnpadded::encode_string(&[vec![0; 32 - number.len()], number].concat());
    let (x, y) = (whole(x), whole(y));
    let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
    Ok(PublicKey { algorithm: Algorithm::Es256, jwk, signature_bytes: 64 })
}

fn edwards(jwk: &Jwk<'_>) -> Result<PublicKey, &'static str> {
    let bytes = jwk.bytes("x")?;
    if !jwk.is("crv", "Ed25519") || bytes.len() != 32 {
        return Err("is not on Ed25519");
    }
    let x = Base64UrlUnpadded::encode_string(&bytes);
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
    Ok(PublicKey { algorithm: Algorithm::EdDsa, jwk, signature_bytes: 64 })
}

fn rsa(jwk: &Jwk<'_>) -> Result<PublicKey, &'static str> {
    let modulus = jwk.number("n")?;
    let is_long = modulus.len() > 256 || (modulus.len() == 256 && modulus[0] >= 0x80);
    if !is_long || modulus.len() > 1024 {
        return Err("has not 2048 to 8192 bits");
    }
    // Every issuer's, and small or even exponents are how RSA keys go wrong.
    if jwk.number("e")? != [1, 0, 1] {
        return Err("has another exponent than 65537");
    }
    let n = Base64UrlUnpadded::encode_string(&modulus);
    let jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#);
    Ok(PublicKey { algorithm: Algorithm::Rs256, jwk, signature_bytes: modulus.len() })
}
