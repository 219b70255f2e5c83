//! The keys that tokens may be signed with. A key has one algorithm, and only tokens of that algorithm are its own.

use std::borrow::Cow;

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::alg::Hs256Key;
use serde_json::value::RawValue;

use crate::{
    limits,
    value::{compact, fields},
};

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
pub(super) struct Key {
    /// What tokens call it by. One without serves tokens that name no other key of its algorithm.
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

impl Key {
    pub(super) fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Public(key) => key.algorithm,
        }
    }
}

/// The key for a token: the one it names, or the only one that it can mean.
pub(super) fn choose<'a>(
    keys: impl Iterator<Item = &'a Key> + Clone,
    algorithm: Algorithm,
    id: Option<&str>,
) -> Option<&'a Key> {
    let only = |fits: &dyn Fn(&Key) -> bool| {
        let mut fitting = keys.clone().filter(|key| key.algorithm() == algorithm && fits(key));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    let named = id.and_then(|id| only(&|key| key.id.as_deref() == Some(id)));
    named
        .or_else(|| only(&|key| key.id.is_none()))
        .or_else(|| if id.is_none() { only(&|_| true) } else { None })
}

/// Each key of a JWKS document (RFC 7517), or why it is none that tokens can be verified with; `None` for what is no such
/// document. Read by what reads values: eleven optional fields read by serde are 8 KB of wasm.
pub(super) fn parse(document: &str) -> Option<Vec<Result<Key, &'static str>>> {
    let document = serde_json::from_str::<&RawValue>(document).ok()?.get();
    let document = compact(document).text;
    let keys = document.starts_with('{').then(|| fields(&document))?;
    let (_, keys) = keys.into_iter().find(|(name, _)| name == "keys")?;
    let mut keys: Vec<&RawValue> = serde_json::from_str(keys).ok()?;
    keys.truncate(limits::KEYS_MAX);
    let mut read = Vec::new();
    read.extend(keys.into_iter().map(|raw| key(&Jwk::of(raw.get()))));
    Some(read)
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

    /// A member's text, which is safe to write into a JWK again, and its bytes.
    fn bytes(&self, name: &str) -> Result<(String, Vec<u8>), &'static str> {
        let text = self.get(name).ok_or("lacks a member")?;
        let bytes = Base64UrlUnpadded::decode_vec(&text).map_err(|_| "has a member that is not base64url")?;
        Ok((text, bytes))
    }
}

fn key(jwk: &Jwk<'_>) -> Result<Key, &'static str> {
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err("is not for signatures");
    }
    let material = match jwk.get("kty").as_deref() {
        Some("oct") => secret(jwk)?,
        Some("EC") => Material::Public(elliptic(jwk)?),
        Some("OKP") => Material::Public(edwards(jwk)?),
        Some("RSA") => Material::Public(rsa(jwk)?),
        _ => return Err("has a kty that is not supported"),
    };
    let key = Key { id: jwk.get("kid"), material };
    match jwk.get("alg") {
        Some(alg) if alg != key.algorithm().as_str() => Err("is for an algorithm that is not supported"),
        _ => Ok(key),
    }
}

fn secret(jwk: &Jwk<'_>) -> Result<Material, &'static str> {
    let (_, secret) = jwk.bytes("k")?;
    if secret.len() < limits::SECRET_BYTES_MIN {
        return Err("is shorter than 32 bytes");
    }
    Ok(Material::Secret(Hs256Key::new(secret)))
}

fn elliptic(jwk: &Jwk<'_>) -> Result<PublicKey, &'static str> {
    let ((x, x_bytes), (y, y_bytes)) = (jwk.bytes("x")?, jwk.bytes("y")?);
    if !jwk.is("crv", "P-256") || x_bytes.len() != 32 || y_bytes.len() != 32 {
        return Err("is not on P-256");
    }
    let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
    Ok(PublicKey { algorithm: Algorithm::Es256, jwk, signature_bytes: 64 })
}

fn edwards(jwk: &Jwk<'_>) -> Result<PublicKey, &'static str> {
    let (x, bytes) = jwk.bytes("x")?;
    if !jwk.is("crv", "Ed25519") || bytes.len() != 32 {
        return Err("is not on Ed25519");
    }
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
    Ok(PublicKey { algorithm: Algorithm::EdDsa, jwk, signature_bytes: 64 })
}

fn rsa(jwk: &Jwk<'_>) -> Result<PublicKey, &'static str> {
    let (n, modulus) = jwk.bytes("n")?;
    let is_long = modulus.len() > 256 || (modulus.len() == 256 && modulus[0] >= 0x80);
    if !is_long || modulus[0] == 0 || modulus.len() > 1024 {
        return Err("has not 2048 to 8192 bits");
    }
    // Every issuer's, and small or even exponents are how RSA keys go wrong.
    if !jwk.is("e", "AQAB") {
        return Err("has another exponent than 65537");
    }
    let jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#);
    Ok(PublicKey { algorithm: Algorithm::Rs256, jwk, signature_bytes: modulus.len() })
}
