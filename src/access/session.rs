//! Sessions of `dexie-cloud-addon`. That client wants tokens of the server it syncs with, and to have them renewed without its
//! user: so the token of an issuer is exchanged for a *session*, good for an hour on the routes below `/dexie` and nowhere else, and
//! a *refresh token*, with which the client asks for the next session. A refresh token is worth nothing without the private key
//! that it was given for, which the client's browser keeps and does not give out.
//!
//! Both are texts under a signature of ours, with keys of their own made of the secret of grants. Whom they name is whom the
//! issuer named, so that spaces and user are those of native clients.

use std::rc::Rc;

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::{
    access::{
        base64,
        signer::Signer,
        token::{Bearer, DEMO_ISSUER, Subject},
    },
    error::ApiError,
    json::{Fields, Texts, Written},
    time::Millis,
};

/// Stand before the secret in the keys, so that a session is no refresh token, and neither a grant or an issuer's token.
const SESSION_DOMAIN: &str = "headwater session\n";
const REFRESH_DOMAIN: &str = "headwater refresh\n";
/// How long a session is good, in ms.
pub const SESSION_MS: u64 = 60 * 60_000;
/// By how much the clock of a client may be off, in ms: so long is a session good beyond the end that the client is told, and so old
/// may be what it has signed.
pub const CLOCK_MS: u64 = 10 * 60_000;
/// Bytes of a session or a refresh token, which travel in a header and in the URL of a socket. Ours have 200 to 1,000.
pub const SESSION_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a name or an address. Whoever has a longer one has none here.
const PROFILE_BYTES_MAX: usize = 320;
/// Bytes of a public key as text. An RSA key of 2,048 bits has 450.
const PUBLIC_KEY_BYTES_MAX: usize = 2 * 1024;

/// Whom a session is of, and what the addon shows of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The issuer; empty if its token names none.
    pub iss: String,
    /// The subject, which is the id of the user to the addon.
    pub sub: String,
    /// The address, if the issuer says that it is theirs.
    pub email: Option<String>,
    /// The name.
    pub name: Option<String>,
}

impl Account {
    /// Whom a token names that was found good.
    #[must_use]
    pub fn of_token(person: &Subject, token: &str) -> Self {
        let Subject { iss, sub } = person.clone();
        let (email, name) = profile(token).unwrap_or_default();
        Self { iss, sub, email, name }
    }

    /// Somebody who signs in without an issuer, where that is allowed.
    #[must_use]
    pub fn of_demo(address: &str) -> Self {
        let email = Some(address.to_owned());
        Self { iss: DEMO_ISSUER.to_owned(), sub: address.to_owned(), email, name: None }
    }

    /// Whether it is such a user.
    #[must_use]
    pub fn is_demo(&self) -> bool {
        self.iss == DEMO_ISSUER
    }

    fn written(&self, ends: Millis) -> Written {
        Written::default()
            .and("ends", &ends.0.to_string())
            .and("iss", &self.iss)
            .and("sub", &self.sub)
            .and_some("email", self.email.clone())
            .and_some("name", self.name.clone())
    }

    fn read(texts: &Texts<'_>) -> Option<(Self, Millis)> {
        let text = |name: &str| texts.get(name).map(str::to_owned);
        let account = Self { iss: text("iss")?, sub: text("sub")?, email: text("email"), name: text("name") };
        Some((account, Millis(texts.get("ends")?.parse().ok()?)))
    }
}

/// The address and the name that a token tells, as far as they can be shown. An address counts if the issuer has verified it, which
/// some say with a text.
fn profile(token: &str) -> Option<(Option<String>, Option<String>)> {
    let claims = Base64UrlUnpadded::decode_vec(token.split('.').nth(1)?).ok()?;
    let claims = String::from_utf8(claims).ok()?;
    let fields = Fields::of(&claims, &["email", "email_verified", "name"])?;
    let is_verified = matches!(fields.get("email_verified"), Ok(Some("true" | "\"true\"")));
    let shown = |name| {
        let text = fields.text(name).ok().flatten()?.into_owned();
        let fits = (1..=PROFILE_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then_some(text)
    };
    Some((shown("email").filter(|_| is_verified), shown("name")))
}

/// The public half of a client's key: RSA of 2,048 bits with the exponent 65,537, as the addon makes them and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// In base64url.
    modulus: String,
}

/// What stands before the 256 bytes of the modulus in such a key's `SubjectPublicKeyInfo` (RFC 5280, 4.1; RFC 8017, A.1.1), …
const SPKI_START: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];
/// … and behind it: the exponent.
const SPKI_END: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
/// Bytes of the modulus, and of a signature.
const RSA_BYTES: usize = 256;

impl ClientKey {
    /// Out of PEM; none of any other kind of key.
    #[must_use]
    pub fn of_pem(pem: &str) -> Option<Self> {
        let pem = Some(pem).filter(|pem| pem.len() <= PUBLIC_KEY_BYTES_MAX)?.trim();
        let text =
            pem.strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
        let text: String = text.split_ascii_whitespace().collect();
        let spki = base64::decoded(&text)?;
        let modulus = spki.strip_prefix(&SPKI_START)?.strip_suffix(&SPKI_END)?;
        // Whose first bit is not set has fewer bits, and DER would have no zero before it.
        let is_whole = modulus.len() == RSA_BYTES && modulus[0] & 0x80 != 0;
        is_whole.then(|| Self { modulus: Base64UrlUnpadded::encode_string(modulus) })
    }

    /// The key as a JWK.
    #[must_use]
    pub fn jwk(&self) -> String {
        format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, self.modulus)
    }

    /// A signature by such a key, out of base64; none of what has another length.
    #[must_use]
    pub fn signature(base64: &str) -> Option<Vec<u8>> {
        base64::decoded(base64).filter(|signature| signature.len() == RSA_BYTES)
    }
}

/// What a refresh token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Whose it is.
    pub account: Account,
    /// The key that asks for sessions with it. It stands in the token itself, because the client does not send it again.
    pub key: ClientKey,
    /// Until when there are sessions for it.
    pub ends: Millis,
}

impl Refresh {
    fn written(&self) -> String {
        self.account.written(self.ends).and("key", &self.key.modulus).end()
    }
}

/// Signs sessions and refresh tokens, and reads them.
#[derive(Debug)]
pub struct Sessions {
    sessions: Signer,
    refreshes: Signer,
}

impl Sessions {
    /// With the secret of grants, if there is one; what was signed with the other one is good too.
    #[must_use]
    pub fn new(secret: Option<&str>, other: Option<&str>) -> Self {
        Self {
            sessions: Signer::new(SESSION_DOMAIN, secret, other),
            refreshes: Signer::new(REFRESH_DOMAIN, secret, other),
        }
    }

    /// A session until `ends`.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] for an account whose names are too long; [`ApiError::Internal`] when there is no key.
    pub fn sign(&self, account: &Account, ends: Millis) -> Result<String, ApiError> {
        signed(&self.sessions, &account.written(ends).end())
    }

    /// A refresh token.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_refresh(&self, refresh: &Refresh) -> Result<String, ApiError> {
        signed(&self.refreshes, &refresh.written())
    }

    /// Who is calling with a session.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] for what is no session, [`ApiError::TokenExpired`] for one that has ended;
    /// [`ApiError::Internal`] when there is no key.
    pub fn bearer(&self, session: &str, now: Millis) -> Result<Bearer, ApiError> {
        let text = read(&self.sessions, session)?;
        let said = Texts::parse(&text).and_then(|texts| Account::read(&texts));
        // Not a word more or less or otherwise than we write it ourselves, so that nothing in it can be read in two ways.
        let said = said.filter(|(account, ends)| account.written(*ends).end() == text);
        let (account, ends) = said.ok_or(ApiError::Unauthenticated)?;
        let expires = ends.plus(CLOCK_MS);
        if now >= expires {
            return Err(ApiError::TokenExpired);
        }
        // Of a session that ends later than any of ours, somebody else has the secret.
        if ends.since(now) > SESSION_MS + CLOCK_MS {
            return Err(ApiError::Unauthenticated);
        }
        let email = account.email.as_deref().map(Rc::from);
        Ok(Bearer { email, ..Bearer::of(&account.iss, &account.sub, expires) })
    }

    /// What a refresh token says.
    ///
    /// # Errors
    /// As [`Self::bearer`].
    pub fn refresh(&self, token: &str, now: Millis) -> Result<Refresh, ApiError> {
        let text = read(&self.refreshes, token)?;
        let said = Texts::parse(&text).and_then(|texts| {
            let (account, ends) = Account::read(&texts)?;
            let key = ClientKey { modulus: texts.get("key")?.to_owned() };
            Some(Refresh { account, key, ends })
        });
        let refresh = said.filter(|refresh| refresh.written() == text).ok_or(ApiError::Unauthenticated)?;
        if now >= refresh.ends {
            return Err(ApiError::TokenExpired);
        }
        Ok(refresh)
    }
}

fn signed(signer: &Signer, text: &str) -> Result<String, ApiError> {
    let signed = signer.sign(&Base64UrlUnpadded::encode_string(text.as_bytes()))?;
    if signed.len() > SESSION_BYTES_MAX {
        return Err(ApiError::Malformed("iss and sub of the token are too long for a session".to_owned()));
    }
    Ok(signed)
}

fn read(signer: &Signer, signed: &str) -> Result<String, ApiError> {
    signer.check()?;
    let text = Some(signed).filter(|signed| signed.len() <= SESSION_BYTES_MAX);
    let text = text.and_then(|signed| signer.read(signed));
    let text = text.and_then(|text| String::from_utf8(Base64UrlUnpadded::decode_vec(text).ok()?).ok());
    text.ok_or(ApiError::Unauthenticated)
}

#[cfg(test)]
mod tests;
