//! What a token says, once somebody vouches for it, becomes the caller's hashes.

use std::rc::Rc;

use chrono::{DateTime, Duration, Utc};
use jwt_compact::{Claims, TimeOptions, ValidationError};
use serde::Deserialize;

use crate::{
    access::token::{BadToken, TokenConfig, refused},
    error::ApiError,
    ids::{SpaceHash, UserHash},
    limits,
    time::Millis,
};

/// Leeway between the issuer's clock and ours.
const LEEWAY_S: i64 = 60;

/// The issuer of users who sign in without one. No token that names it is good, so that nobody else's issuer can make it.
pub const DEMO_ISSUER: &str = "headwater-demo";

/// A caller whose token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The user in every space.
    pub user: UserHash,
    /// The user's private space.
    pub private_space: SpaceHash,
    /// What those are hashes of, for what has to be written about the user or hashed with the same issuer. Shared, because
    /// every request of a client is answered with a copy of this.
    pub person: Rc<Subject>,
    /// Until when the token is good, with the leeway.
    pub expires: Millis,
    /// The person's address, where a session says that the issuer has verified it.
    pub email: Option<Rc<str>>,
}

impl Bearer {
    /// The subject `sub` of the issuer `iss`, until `expires`.
    #[must_use]
    pub fn of(iss: &str, sub: &str, expires: Millis) -> Self {
        Self {
            user: UserHash::new(iss, sub),
            private_space: SpaceHash::private(iss, sub),
            person: Rc::new(Subject { iss: iss.to_owned(), sub: sub.to_owned() }),
            expires,
            email: None,
        }
    }
}

/// Whom a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The issuer; empty if the token names none.
    pub iss: String,
    /// The subject.
    pub sub: String,
}

/// The claims that count here. Everything else in a token is the application's business.
#[derive(Deserialize)]
pub(super) struct KnownClaims {
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
    fn has_one_of(&self, wanted: &[String]) -> bool {
        match self {
            Self::One(audience) => wanted.contains(audience),
            Self::Many(audiences) => audiences.iter().any(|audience| wanted.contains(audience)),
        }
    }
}

/// What claims have to be.
#[derive(Debug)]
pub(super) struct Demands {
    issuers: Option<Vec<String>>,
    audiences: Option<Vec<String>>,
}

impl Demands {
    pub(super) fn new(config: &TokenConfig) -> Self {
        Self { issuers: config.issuers.clone(), audiences: config.audiences.clone() }
    }

    /// Whom the claims name. They are worth as much as the signature under them, which is not looked at here.
    pub(super) fn judge(&self, claims: &Claims<KnownClaims>, now: Millis) -> Result<Bearer, BadToken> {
        let clock = i64::try_from(now.0).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
        let clock = clock.ok_or(BadToken { error: ApiError::Internal, why: "the clock is out of range" })?;
        let known = &claims.custom;
        if self
            .issuers
            .as_ref()
            .is_some_and(|issuers| !known.iss.as_ref().is_some_and(|iss| issuers.contains(iss)))
        {
            return refused("iss is none of JWT_ISSUER");
        }
        if self
            .audiences
            .as_ref()
            .is_some_and(|audiences| !known.aud.as_ref().is_some_and(|aud| aud.has_one_of(audiences)))
        {
            return refused("aud is none of JWT_AUDIENCE");
        }
        // Service tokens of some identity providers have an empty subject: they would all share one space.
        let sub = known.sub.as_deref().unwrap_or_default();
        if sub.is_empty() || sub.len() > limits::SUBJECT_BYTES_MAX {
            return refused("sub is missing, empty or too long");
        }
        // Not by `validate_maturity`: it subtracts the leeway from the claim, and panics where that is the first of all times.
        let latest = clock + Duration::seconds(LEEWAY_S);
        if claims.not_before.is_some_and(|not_before| latest < not_before) {
            return refused("nbf lies ahead");
        }
        let Some(expiration) = claims.expiration else { return refused("exp is missing") };
        let options = TimeOptions::new(Duration::seconds(LEEWAY_S), || clock);
        claims.validate_expiration(&options).map_err(|error| match error {
            ValidationError::Expired => BadToken { error: ApiError::TokenExpired, why: "exp has passed" },
            _ => BadToken { error: ApiError::Unauthenticated, why: "exp is missing" },
        })?;
        let iss = known.iss.as_deref().unwrap_or_default();
        let expires = u64::try_from(expiration.timestamp_millis()).unwrap_or(0);
        if iss == DEMO_ISSUER {
            return refused("iss is that of users without an issuer");
        }
        Ok(Bearer::of(iss, sub, Millis(expires).plus(LEEWAY_S.unsigned_abs() * 1000)))
    }
}
