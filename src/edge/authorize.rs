//! Who is calling: a token becomes the caller's hashes, from which everything else is keyed (I9).

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use jwt_compact::{
    AlgorithmExt, TimeOptions, UntrustedToken, ValidationError,
    alg::{Hs256, Hs256Key},
};
use serde::Deserialize;

use super::config::Config;
use crate::{
    ids::{SpaceHash, UserHash},
    limits,
    protocol::error::ApiError,
    time::Millis,
};

/// Leeway between the issuer's clock and ours.
const LEEWAY_S: i64 = 60;

/// A caller whose token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user in every space.
    pub user: UserHash,
    /// The user's private space.
    pub private_space: SpaceHash,
    expires: Millis,
}

/// The claims that count here. Everything else in a token is the application's business.
#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    aud: Option<Audience>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Many(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

/// Verifies tokens, each once: an isolate sees the same token with every request of a client. A token is forgotten ten
/// minutes after it was verified and when it expires, and all with their key, because the verifier belongs to one
/// configuration.
#[derive(Debug)]
pub struct Verifier {
    key: Option<Hs256Key>,
    issuer: Option<String>,
    audience: Option<String>,
    known: BTreeMap<String, (Caller, Millis)>,
}

impl Verifier {
    /// A verifier for one configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            key: config.jwt_secret.as_ref().map(|secret| Hs256Key::new(secret.as_bytes())),
            issuer: config.jwt_issuer.clone(),
            audience: config.jwt_audience.clone(),
            known: BTreeMap::new(),
        }
    }

    /// Whether any key is configured. Without one nobody has access, and the log says why.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The caller that an `Authorization` header names.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] or [`ApiError::TokenExpired`]; [`ApiError::Internal`] when no key is configured.
    pub fn verify(&mut self, authorization: &str, now: Millis) -> Result<Caller, ApiError> {
        let Some(key) = &self.key else { return Err(ApiError::Internal) };
        let token = bearer(authorization).ok_or(ApiError::Unauthenticated)?;
        if let Some((caller, forget_at)) = self.known.get(token)
            && now < *forget_at
        {
            return Ok(caller.clone());
        }
        self.known.remove(token);
        let caller = verify(token, key, self.issuer.as_deref(), self.audience.as_deref(), now)?;
        if self.known.len() >= limits::TOKENS_REMEMBERED {
            self.known.retain(|_, (_, forget_at)| now < *forget_at);
        }
        if self.known.len() < limits::TOKENS_REMEMBERED {
            let forget_at = now.plus(limits::TOKEN_REMEMBERED_MS).min(caller.expires);
            self.known.insert(token.to_owned(), (caller.clone(), forget_at));
        }
        Ok(caller)
    }
}

/// The token of a `Bearer` header; the scheme is not case-sensitive (RFC 9110, 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    let sound =
        scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= limits::TOKEN_BYTES_MAX;
    sound.then_some(token)
}

fn verify(
    token: &str,
    key: &Hs256Key,
    issuer: Option<&str>,
    audience: Option<&str>,
    now: Millis,
) -> Result<Caller, ApiError> {
    let untrusted = UntrustedToken::new(token).map_err(|_| ApiError::Unauthenticated)?;
    // The algorithm belongs to the key: whatever the token's header says, only HS256 validates.
    let verified =
        Hs256.validator::<Known>(key).validate(&untrusted).map_err(|_| ApiError::Unauthenticated)?;
    let clock = i64::try_from(now.0).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    let clock = clock.ok_or(ApiError::Internal)?;
    let options = TimeOptions::new(Duration::seconds(LEEWAY_S), || clock);
    let claims = verified.claims();
    claims.validate_expiration(&options).map_err(|error| match error {
        ValidationError::Expired => ApiError::TokenExpired,
        _ => ApiError::Unauthenticated,
    })?;
    // Not by `validate_maturity`: it subtracts the leeway from the claim, and panics where that is the first of all times.
    let latest = clock + Duration::seconds(LEEWAY_S);
    if claims.not_before.is_some_and(|not_before| latest < not_before) {
        return Err(ApiError::Unauthenticated);
    }
    let known = &claims.custom;
    let is_ours = issuer.is_none_or(|issuer| known.iss.as_deref() == Some(issuer))
        && audience.is_none_or(|wanted| known.aud.as_ref().is_some_and(|audience| audience.has(wanted)));
    // Service tokens of some identity providers have an empty subject: they would all share one space.
    let sub = known.sub.as_deref().filter(|sub| !sub.is_empty() && sub.len() <= 1024);
    let (true, Some(sub), Some(expiration)) = (is_ours, sub, claims.expiration) else {
        return Err(ApiError::Unauthenticated);
    };
    let iss = known.iss.as_deref().unwrap_or_default();
    let expires = u64::try_from(expiration.timestamp_millis()).unwrap_or(0);
    Ok(Caller {
        user: UserHash::new(iss, sub),
        private_space: SpaceHash::private(iss, sub),
        expires: Millis(expires).plus(LEEWAY_S.unsigned_abs() * 1000),
    })
}

#[cfg(test)]
mod tests {
    use jwt_compact::{Claims, Header};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: Millis = Millis(1_795_341_182_000);

    fn token(claims: &Value, secret: &str) -> String {
        let key = Hs256Key::new(secret.as_bytes());
        let token = Hs256.token(&Header::empty(), &Claims::new(claims.clone()), &key).expect("a token");
        format!("Bearer {token}")
    }

    fn verifier() -> Verifier {
        let config = Config::read(|name| match name {
            "JWT_SECRET" => Some(SECRET.to_owned()),
            "JWT_ISSUER" => Some("issuer".to_owned()),
            "JWT_AUDIENCE" => Some("headwater".to_owned()),
            _ => None,
        });
        Verifier::new(&config)
    }

    fn claims() -> Value {
        json!({ "iss": "issuer", "sub": "alice", "aud": ["other", "headwater"], "exp": NOW.0 / 1000 + 600 })
    }

    fn verify_with(change: impl Fn(&mut Value)) -> Result<Caller, ApiError> {
        let mut claims = claims();
        change(&mut claims);
        verifier().verify(&token(&claims, SECRET), NOW)
    }

    #[test]
    fn a_good_token_names_its_caller() {
        let caller = verify_with(|_| ()).expect("a caller");
        assert_eq!(caller.private_space, SpaceHash::private("issuer", "alice"));
    }

    #[test]
    fn issuer_audience_and_times_are_enforced() {
        let unauthenticated = Err(ApiError::Unauthenticated);
        assert_eq!(verify_with(|c| c["iss"] = "other".into()), unauthenticated);
        assert_eq!(verify_with(|c| c["aud"] = "other".into()), unauthenticated);
        assert_eq!(verify_with(|c| c["sub"] = "".into()), unauthenticated);
        assert_eq!(verify_with(|c| drop(c.as_object_mut().map(|c| c.remove("sub")))), unauthenticated);
        assert_eq!(verify_with(|c| drop(c.as_object_mut().map(|c| c.remove("exp")))), unauthenticated);
        assert_eq!(verify_with(|c| c["nbf"] = (NOW.0 / 1000 + 61).into()), unauthenticated);
        assert!(verify_with(|c| c["nbf"] = (NOW.0 / 1000 + 59).into()).is_ok());
        assert_eq!(verify_with(|c| c["exp"] = (NOW.0 / 1000 - 61).into()), Err(ApiError::TokenExpired));
        assert!(verify_with(|c| c["exp"] = (NOW.0 / 1000 - 59).into()).is_ok());
        assert_eq!(verifier().verify(&token(&claims(), &"x".repeat(32)), NOW), unauthenticated);
    }

    #[test]
    fn times_at_the_ends_of_the_calendar_are_times() {
        let (first, last) = (-8_334_601_228_800_i64, 8_210_266_876_799_i64);
        assert!(verify_with(|c| c["nbf"] = first.into()).is_ok());
        assert!(verify_with(|c| c["exp"] = last.into()).is_ok());
        assert_eq!(verify_with(|c| c["nbf"] = last.into()), Err(ApiError::Unauthenticated));
        assert_eq!(verify_with(|c| c["exp"] = first.into()), Err(ApiError::TokenExpired));
    }

    #[test]
    fn hostile_headers_are_unauthenticated() {
        let good = token(&claims(), SECRET);
        let none = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.";
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Basic x",
            none,
            &good[..good.len() - 2],
            &format!("{good}.x"),
            "Bearer a.b.c",
        ] {
            assert_eq!(verifier().verify(header, NOW), Err(ApiError::Unauthenticated), "{header}");
        }
    }

    #[test]
    fn a_remembered_token_is_forgotten_when_it_expires() {
        let mut verifier = verifier();
        let token = token(&claims(), SECRET);
        assert!(verifier.verify(&token, NOW).is_ok());
        assert!(verifier.verify(&token, NOW.plus(1)).is_ok());
        assert_eq!(verifier.verify(&token, NOW.plus(661_000)), Err(ApiError::TokenExpired));
    }

    #[test]
    fn without_a_key_nobody_has_access() {
        let mut verifier = Verifier::new(&Config::read(|_| None));
        assert_eq!(verifier.verify(&token(&claims(), SECRET), NOW), Err(ApiError::Internal));
    }
}
