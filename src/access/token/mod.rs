//! Who is calling: a token becomes the caller's hashes, from which everything else is keyed (I9).
//!
//! A state machine without I/O. [`Verifier::decide`] knows the caller at once for a token that it remembers and for HS256.
//! Else it says what the platform has to do first, fetch the issuer's keys or verify a signature, and is told how that
//! ended by [`Verifier::learn_keys`] and [`Verifier::learn_signature`]. Nothing is remembered before its signature was
//! found good.

mod claims;
mod issuer;
mod keys;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jwt_compact::{
    AlgorithmExt, UntrustedToken,
    alg::{Hs256, Hs256Key},
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

pub use self::{
    claims::{Bearer, DEMO_ISSUER, Subject},
    keys::{Algorithm, PublicKey},
};
use self::{
    claims::{Demands, KnownClaims},
    issuer::IssuerKeys,
    keys::{Material, VerifyingKey, choose},
    tally::Tally,
};
use crate::{error::ApiError, limits, time::Millis};

/// Why anybody is refused who asks without a token, which says nothing about the deployment.
const NO_TOKEN: &str = "there is no bearer token, or one of more than 8 KiB";
const NO_KEY: &str = "no key is configured: set JWT_SECRET (at least 32 bytes), JWT_KEYS or JWKS_URL";

/// Whose tokens are good.
#[derive(Debug, Clone, Default)]
pub struct TokenConfig {
    /// The HS256 key.
    pub secret: Option<String>,
    /// Keys of several algorithms by their ids: a JWKS document.
    pub keys: Option<String>,
    /// Where the issuer publishes its keys.
    pub keys_url: Option<String>,
    /// A token names one of these as its issuer, if the setting is there. An empty list lets nobody in.
    pub issuers: Option<Vec<String>>,
    /// A token is for one of these, if the setting is there. An empty list lets nobody in.
    pub audiences: Option<Vec<String>>,
}

/// Why a token does not get its bearer in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadToken {
    /// What the bearer is told.
    pub error: ApiError,
    /// What the log is told. Nothing of the token stands in it.
    pub why: &'static str,
}

fn refused<T>(why: &'static str) -> Result<T, BadToken> {
    Err(BadToken { error: ApiError::Unauthenticated, why })
}

/// What a token comes to, or what has to be done before that can be said.
#[derive(Debug)]
pub enum Step {
    /// Who is calling.
    Bearer(Bearer),
    /// Whether the signature is good has to be found out, for [`Verifier::learn_signature`].
    Verify(Claimed),
    /// The issuer's keys have to be fetched, for [`Verifier::learn_keys`]; then the token is to be decided on again.
    FetchKeys,
}

/// What a token claims. It counts for nothing before its signature was verified.
#[derive(Debug)]
pub struct Claimed {
    token: String,
    caller: Result<Bearer, BadToken>,
    /// The key that has to have signed.
    pub key: PublicKey,
    key_name: String,
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
    own: Vec<VerifyingKey>,
    issuer: Option<IssuerKeys>,
    demands: Demands,
    /// What is wrong with keys and the log has not been told yet, and all that it has.
    problems: Vec<String>,
    told: BTreeSet<String>,
    tally: Tally,
    known: BTreeMap<String, (Bearer, Millis)>,
    /// Counts the sets of issuer's keys.
    generation: u64,
}

impl Verifier {
    /// A verifier for one configuration.
    #[must_use]
    pub fn new(config: &TokenConfig) -> Self {
        let mut problems = Vec::new();
        let secret = config.secret.as_ref().map(|secret| Hs256Key::new(secret.as_bytes()));
        let mut own: Vec<VerifyingKey> = Vec::new();
        own.extend(secret.map(|secret| VerifyingKey {
            name: "JWT_SECRET".to_owned(),
            id: None,
            material: Material::Secret(secret),
        }));
        if let Some(document) = &config.keys {
            match keys::parse("JWT_KEYS", document) {
                Some((keys, unusable)) => {
                    own.extend(keys);
                    problems.extend(unusable);
                }
                None => problems.push("JWT_KEYS is not a JWKS document".to_owned()),
            }
        }
        problems.extend(keys::doubled(own.iter()));
        let has_demands = config.issuers.is_some() || config.audiences.is_some();
        let issuer = match &config.keys_url {
            None => None,
            Some(url) if !is_trustworthy(url) => {
                problems.push("JWKS_URL does not count: it is not https".to_owned());
                None
            }
            // Some services sign for all their customers with the same keys.
            Some(_) if !has_demands => {
                problems.push("JWKS_URL does not count: it needs JWT_ISSUER or JWT_AUDIENCE".to_owned());
                None
            }
            Some(_) => Some(IssuerKeys::default()),
        };
        let (told, tally, known) = (BTreeSet::new(), Tally::default(), BTreeMap::new());
        let demands = Demands::new(config);
        Self { own, issuer, demands, problems, told, tally, known, generation: 0 }
    }

    /// Whether any key is configured. Without one nobody has access, and the log says why.
    #[must_use]
    pub fn has_key(&self) -> bool {
        !self.own.is_empty() || self.issuer.is_some()
    }

    /// What has been found wrong with keys since this was asked before, each thing once.
    pub fn take_problems(&mut self) -> Vec<String> {
        let mut problems = std::mem::take(&mut self.problems);
        // An issuer whose keys are new every time cannot fill the memory, nor the log.
        problems.retain(|problem| {
            self.told.len() < limits::KEY_PROBLEMS_TOLD && self.told.insert(problem.clone())
        });
        problems
    }

    /// How many tokens were refused for which reason, if that is to be told by now.
    pub fn take_refusals(&mut self, now: Millis) -> Option<BTreeMap<&'static str, u32>> {
        self.tally.take(now)
    }

    /// What the token of an `Authorization` header comes to.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] or [`ApiError::TokenExpired`]; [`ApiError::Internal`] when no key is configured, and
    /// [`ApiError::Upstream`] when the issuer has not told its keys yet.
    pub fn decide(&mut self, authorization: &str, now: Millis) -> Result<Step, BadToken> {
        let decided = self.look_at(authorization, now);
        decided.inspect_err(|refused| self.tally.note(refused))
    }

    fn look_at(&mut self, authorization: &str, now: Millis) -> Result<Step, BadToken> {
        if !self.has_key() {
            return Err(BadToken { error: ApiError::Internal, why: NO_KEY });
        }
        let Some(token) = bearer(authorization) else {
            return refused(NO_TOKEN);
        };
        if let Some((caller, forget_at)) = self.known.get(token)
            && now < *forget_at
        {
            return Ok(Step::Bearer(caller.clone()));
        }
        self.known.remove(token);
        self.judge(token, now)
    }

    fn judge(&mut self, token: &str, now: Millis) -> Result<Step, BadToken> {
        let Ok(untrusted) = UntrustedToken::<Critical>::try_from(token) else {
            return refused("the token is not a JWT: is the issuer asked for one, with an audience?");
        };
        if untrusted.header().other_fields.crit {
            return refused("crit names extensions");
        }
        let Some(algorithm) = Algorithm::named(untrusted.algorithm()) else {
            return refused("alg is not supported");
        };
        let id = untrusted.header().key_id.as_deref();
        let key = choose(self.own.iter(), algorithm, id);
        if let Some(VerifyingKey { material: Material::Secret(secret), .. }) = key {
            // The algorithm belongs to the key: whatever the token's header says, only HS256 validates.
            let Ok(verified) = Hs256.validator::<KnownClaims>(secret).validate(&untrusted) else {
                return refused("the signature is not the key's, or claims have the wrong type");
            };
            let caller = self.demands.judge(verified.claims(), now)?;
            self.remember(token, &caller, None, now);
            return Ok(Step::Bearer(caller));
        }
        let Ok(claims) = untrusted.deserialize_claims_unchecked::<KnownClaims>() else {
            return refused("claims are not JSON, repeated, or of the wrong type");
        };
        let caller = self.demands.judge(&claims, now);
        // That a token has expired is told to whom it belonged, so only after its signature was verified.
        if let Err(BadToken { error: ApiError::Unauthenticated | ApiError::Internal, .. }) = caller {
            return caller.map(Step::Bearer);
        }
        let Some((key, key_name, believed_until)) = self.public_key(algorithm, id, now)? else {
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
            key_name,
            signature,
            generation,
            believed_until,
        }))
    }

    /// The key of a token, its name, and until when it may be believed without a look at the issuer's; none if those have
    /// to be fetched first.
    fn public_key(
        &mut self,
        algorithm: Algorithm,
        id: Option<&str>,
        now: Millis,
    ) -> Result<Option<(PublicKey, String, Option<Millis>)>, BadToken> {
        let unknown = refused("no key has the token's alg and kid, or several have");
        let public = |key: &VerifyingKey| match &key.material {
            Material::Public(public) => Some((public.clone(), key.name.clone())),
            Material::Secret(_) => None,
        };
        let Some(issuer) = &mut self.issuer else {
            let key = choose(self.own.iter(), algorithm, id).and_then(public);
            return key.map_or(unknown, |(key, name)| Ok(Some((key, name, None))));
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
            Some((key, name)) => Ok(Some((key, name, issuer.believed_until()))),
            None if issuer.may_fetch(now) => Ok(None),
            None if issuer.is_known() => unknown,
            None => Err(BadToken { error: ApiError::Upstream, why: "the issuer has not told its keys yet" }),
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
    ) -> Result<Bearer, BadToken> {
        let caller = if is_good { claimed.caller } else { refused("the signature is not the key's") };
        let caller = caller.inspect_err(|refused| self.tally.note(refused))?;
        // Meanwhile the keys may have become others.
        if claimed.generation == self.generation {
            self.remember(&claimed.token, &caller, claimed.believed_until, now);
        }
        Ok(caller)
    }

    fn remember(&mut self, token: &str, caller: &Bearer, until: Option<Millis>, now: Millis) {
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

    /// Takes that the platform does not know the key of a token for one.
    pub fn learn_bad_key(&mut self, claimed: &Claimed) {
        self.problems.push(format!("{} is not a key to the platform: replace it", claimed.key_name));
    }

    /// Takes what the issuer answered, or that it did not; returns whether its answer was a set of keys.
    pub fn learn_keys(&mut self, document: Option<&str>, now: Millis) -> bool {
        let Some(issuer) = &mut self.issuer else { return false };
        if let Some(problems) = issuer.learn(document, now) {
            self.problems.extend(problems);
            self.problems.extend(keys::doubled(self.own.iter().chain(issuer.keys())));
            self.generation += 1;
            // Whose key is gone must not be remembered; the others are verified again.
            self.known.clear();
        }
        !issuer.has_failed()
    }
}

/// Whether nobody on the way can have changed what is fetched from there.
fn is_trustworthy(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return url.starts_with("https://") };
    let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    // What stands before an `@` is no host.
    matches!(name, "localhost" | "127.0.0.1") && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The token of a `Bearer` header; the scheme is not case-sensitive (RFC 9110, 11.1).
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    let sound =
        scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= limits::TOKEN_BYTES_MAX;
    sound.then_some(token)
}
