//! Who is calling: a token becomes the caller's hashes, from which everything else is keyed (I9).
//!
//! A state machine without I/O. [`Verifier::decide`] knows the caller at once for a token that it remembers and for HS256.
//! Else it says what the platform has to do first, fetch the issuer's keys or verify a signature, and is told how that
//! ended by [`Verifier::learn_keys`] and [`Verifier::learn_signature`]. Nothing is remembered before its signature was
//! found good.

mod claims;
mod issuer;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jwt_compact::{
    AlgorithmExt, UntrustedToken,
    alg::{Hs256, Hs256Key},
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

pub use self::{
    claims::{Caller, Person},
    keys::{Algorithm, PublicKey},
};
use self::{
    claims::{Demands, Known},
    issuer::IssuerKeys,
    keys::{Key, Material, choose},
};
use super::config::Config;
use crate::{limits, protocol::error::ApiError, time::Millis};

const NO_KEY: &str = "no key is configured: set JWT_SECRET (at least 32 bytes), JWT_KEYS or JWKS_URL";

/// Why a token does not get its bearer in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the bearer is told.
    pub error: ApiError,
    /// What the log is told. Nothing of the token stands in it.
    pub why: &'static str,
}

fn refused<T>(why: &'static str) -> Result<T, Refused> {
    Err(Refused { error: ApiError::Unauthenticated, why })
}

/// What a token comes to, or what has to be done before that can be said.
#[derive(Debug)]
pub enum Step {
    /// Who is calling.
    Caller(Caller),
    /// Whether the signature is good has to be found out, for [`Verifier::learn_signature`].
    Verify(Claimed),
    /// The issuer's keys have to be fetched, for [`Verifier::learn_keys`]; then the token is to be decided on again.
    FetchKeys,
}

/// What a token claims. It counts for nothing before its signature was verified.
#[derive(Debug)]
pub struct Claimed {
    token: String,
    caller: Result<Caller, Refused>,
    /// The key that has to have signed.
    pub key: PublicKey,
    /// The signature.
    pub signature: Vec<u8>,
    /// The keys among which that one was chosen.
    generation: u64,
    believed_until: Option<Millis>,
}

impl Claimed {
    /// What the signature has to be good for.
    #[must_use]
    pub fn signed(&self) -> &str {
        self.token.rsplit_once('.').map_or("", |(signed, _)| signed)
    }
}

/// What of a header counts beside its algorithm and key id. A key that it brings along (`jwk`, `jku`, `x5u`) never does.
#[derive(Debug, Clone, Default, Deserialize)]
struct Critical {
    /// Whether there are extensions without which the token must not be understood (RFC 7515, 4.1.11). None is known here.
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Verifies tokens, each once: an isolate sees the same token with every request of a client. A token is forgotten ten
/// minutes after it was verified, when it expires, when the keys of its issuer have changed or are due to be looked at
/// again, and with the keys of the configuration, because the verifier belongs to one.
#[derive(Debug)]
pub struct Verifier {
    own: Vec<Key>,
    issuer: Option<IssuerKeys>,
    demands: Demands,
    problems: Vec<String>,
    known: BTreeMap<String, (Caller, Millis)>,
    /// Counts the sets of issuer's keys.
    generation: u64,
}

impl Verifier {
    /// A verifier for one configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut problems = Vec::new();
        let secret = config.jwt_secret.as_ref().map(|secret| Hs256Key::new(secret.as_bytes()));
        let mut own: Vec<Key> = Vec::new();
        own.extend(secret.map(|secret| Key { id: None, material: Material::Secret(secret) }));
        if let Some(document) = &config.jwt_keys {
            let keys = keys::parse(document);
            if keys.is_none() {
                problems.push("JWT_KEYS is not a JWKS document".to_owned());
            }
            for (at, key) in keys.into_iter().flatten().enumerate() {
                match key {
                    Ok(key) => own.push(key),
                    Err(why) => problems.push(format!("JWT_KEYS: key {} {why}", at + 1)),
                }
            }
        }
        let has_demands = config.jwt_issuer.is_some() || config.jwt_audience.is_some();
        let issuer = match &config.jwks_url {
            None => None,
            Some(url) if !is_trustworthy(url) => {
                problems.push("JWKS_URL is not https".to_owned());
                None
            }
            // Some services sign for all their customers with the same keys.
            Some(_) if !has_demands => {
                problems.push("JWKS_URL needs JWT_ISSUER or JWT_AUDIENCE".to_owned());
                None
            }
            Some(_) => Some(IssuerKeys::default()),
        };
        let demands = Demands::new(config);
        Self { own, issuer, demands, problems, known: BTreeMap::new(), generation: 0 }
    }

    /// Whether any key is configured. Without one nobody has access, and the log says why.
    #[must_use]
    pub fn has_key(&self) -> bool {
        !self.own.is_empty() || self.issuer.is_some()
    }

    /// What is wrong with the configuration, for the log.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// What the token of an `Authorization` header comes to.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] or [`ApiError::TokenExpired`]; [`ApiError::Internal`] when no key is configured, and
    /// [`ApiError::Upstream`] when the issuer has not told its keys yet.
    pub fn decide(&mut self, authorization: &str, now: Millis) -> Result<Step, Refused> {
        if !self.has_key() {
            return Err(Refused { error: ApiError::Internal, why: NO_KEY });
        }
        let Some(token) = bearer(authorization) else {
            return refused("there is no bearer token, or one of more than 8 KiB");
        };
        if let Some((caller, forget_at)) = self.known.get(token)
            && now < *forget_at
        {
            return Ok(Step::Caller(caller.clone()));
        }
        self.known.remove(token);
        self.judge(token, now)
    }

    fn judge(&mut self, token: &str, now: Millis) -> Result<Step, Refused> {
        let Ok(untrusted) = UntrustedToken::<Critical>::try_from(token) else {
            return refused("the token is not a JWT");
        };
        if untrusted.header().other_fields.crit {
            return refused("crit names extensions");
        }
        let Some(algorithm) = Algorithm::named(untrusted.algorithm()) else {
            return refused("alg is not supported");
        };
        let id = untrusted.header().key_id.as_deref();
        let key = choose(self.own.iter(), algorithm, id);
        if let Some(Key { material: Material::Secret(secret), .. }) = key {
            // The algorithm belongs to the key: whatever the token's header says, only HS256 validates.
            let Ok(verified) = Hs256.validator::<Known>(secret).validate(&untrusted) else {
                return refused("the signature is not the key's, or claims have the wrong type");
            };
            let caller = self.demands.judge(verified.claims(), now)?;
            self.remember(token, &caller, None, now);
            return Ok(Step::Caller(caller));
        }
        let Ok(claims) = untrusted.deserialize_claims_unchecked::<Known>() else {
            return refused("claims are not JSON, repeated, or of the wrong type");
        };
        let caller = self.demands.judge(&claims, now);
        // That a token has expired is told to whom it belonged, so only after its signature was verified.
        if let Err(Refused { error: ApiError::Unauthenticated | ApiError::Internal, .. }) = caller {
            return caller.map(Step::Caller);
        }
        let Some((key, believed_until)) = self.public_key(algorithm, id, now)? else {
            return Ok(Step::FetchKeys);
        };
        let signature = untrusted.signature_bytes().to_vec();
        if signature.len() != key.signature_bytes {
            return refused("the signature does not have the key's length");
        }
        let generation = self.generation;
        Ok(Step::Verify(Claimed {
            token: token.to_owned(),
            caller,
            key,
            signature,
            generation,
            believed_until,
        }))
    }

    /// The key of a token and until when it may be believed without a look at the issuer's; none if those have to be
    /// fetched first.
    fn public_key(
        &mut self,
        algorithm: Algorithm,
        id: Option<&str>,
        now: Millis,
    ) -> Result<Option<(PublicKey, Option<Millis>)>, Refused> {
        let unknown = refused("no key has that alg and kid, or several have");
        let public = |key: &Key| match &key.material {
            Material::Public(key) => Some(key.clone()),
            Material::Secret(_) => None,
        };
        let Some(issuer) = &mut self.issuer else {
            let key = choose(self.own.iter(), algorithm, id).and_then(public);
            return key.map_or(unknown, |key| Ok(Some((key, None))));
        };
        // A secret that an issuer published is known to everybody.
        if algorithm == Algorithm::Hs256 {
            return unknown;
        }
        if issuer.must_fetch(now) {
            return Ok(None);
        }
        let key = choose(self.own.iter().chain(issuer.keys()), algorithm, id).and_then(public);
        match key {
            Some(key) => Ok(Some((key, issuer.believed_until()))),
            None if issuer.may_fetch(now) => Ok(None),
            None if issuer.is_known() => unknown,
            None => Err(Refused { error: ApiError::Upstream, why: "the issuer has not told its keys yet" }),
        }
    }

    /// Takes whether the signature of a token is its key's, and says who is calling.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn learn_signature(
        &mut self,
        claimed: Claimed,
        is_good: bool,
        now: Millis,
    ) -> Result<Caller, Refused> {
        if !is_good {
            return refused("the signature is not the key's");
        }
        let caller = claimed.caller?;
        // Meanwhile the keys may have become others.
        if claimed.generation == self.generation {
            self.remember(&claimed.token, &caller, claimed.believed_until, now);
        }
        Ok(caller)
    }

    fn remember(&mut self, token: &str, caller: &Caller, until: Option<Millis>, now: Millis) {
        if self.known.len() >= limits::TOKENS_REMEMBERED {
            self.known.retain(|_, (_, forget_at)| now < *forget_at);
        }
        // All are verified once more, rather than every later one with each request.
        if self.known.len() >= limits::TOKENS_REMEMBERED {
            self.known.clear();
        }
        let forget_at = now.plus(limits::TOKEN_REMEMBERED_MS).min(caller.expires);
        let forget_at = until.map_or(forget_at, |until| forget_at.min(until));
        self.known.insert(token.to_owned(), (caller.clone(), forget_at));
    }

    /// Takes what the issuer answered, or that it did not; returns whether its answer was a set of keys.
    pub fn learn_keys(&mut self, document: Option<&str>, now: Millis) -> bool {
        let Some(issuer) = &mut self.issuer else { return false };
        if issuer.learn(document, now) {
            self.generation += 1;
            // Whose key is gone must not be remembered; the others are verified again.
            self.known.clear();
        }
        !issuer.has_failed()
    }
}

/// Whether nobody on the way can have changed what is fetched from there.
fn is_trustworthy(url: &str) -> bool {
    let local = ["http://localhost:", "http://localhost/", "http://127.0.0.1:", "http://127.0.0.1/"];
    url.starts_with("https://") || local.iter().any(|start| url.starts_with(start))
}

/// The token of a `Bearer` header; the scheme is not case-sensitive (RFC 9110, 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    let sound =
        scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= limits::TOKEN_BYTES_MAX;
    sound.then_some(token)
}
