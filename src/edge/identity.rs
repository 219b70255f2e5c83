//! Whose a token is, whoever brings it: a request, or a message of a socket. What only the platform can find out about it is asked
//! for in between.

use strum::AsRefStr;

use super::isolate::Isolate;
use crate::{
    access::token::{Algorithm, Bearer, Claimed, Step},
    error::ApiError,
    time::Millis,
};

/// What the platform is asked about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenEffect {
    /// Verify a signature: [`TokenEvent::Verified`].
    Verify {
        /// Of which kind it is.
        algorithm: Algorithm,
        /// The key, as JSON.
        jwk: String,
        /// What is signed.
        signed: String,
        /// The signature.
        signature: Vec<u8>,
    },
    /// Fetch the keys of the issuer: [`TokenEvent::Keys`].
    FetchKeys {
        /// From there.
        url: String,
    },
}

/// What the platform has found out.
#[derive(Debug, AsRefStr)]
pub enum TokenEvent {
    /// Whether the signature is good; none where the platform does not know the key for one.
    Verified(Option<bool>),
    /// What the issuer has answered, if it is a text, and status and type of what came; empty if nothing did.
    Keys(Option<String>, String),
}

/// A token of which the platform was asked something.
#[derive(Debug, AsRefStr)]
pub(super) enum Asked {
    Verifying(Box<Claimed>),
    /// The `Authorization`, once its issuer's keys are there.
    FetchingKeys(String),
}

/// What a token has come to.
#[derive(Debug)]
pub(super) enum Identity {
    Known(Bearer),
    Asked(Asked, TokenEffect),
}

impl Isolate {
    /// Whose the token in an `Authorization` is that came at `at`.
    pub(super) fn identify_token(&mut self, authorization: &str, at: Millis) -> Result<Identity, ApiError> {
        self.find_out(authorization, false, at)
    }

    /// The same, once the platform has said what it was asked. The issuer's keys are fetched once at most.
    pub(super) fn token_learns(
        &mut self,
        asked: Asked,
        event: TokenEvent,
        (at, now): (Millis, Millis),
    ) -> Result<Identity, ApiError> {
        match (asked, event) {
            (Asked::Verifying(claimed), TokenEvent::Verified(is_good)) => {
                self.learn_signature(*claimed, is_good, at).map(Identity::Known)
            }
            (Asked::FetchingKeys(authorization), TokenEvent::Keys(document, came)) => {
                self.learn_keys(document.as_deref(), &came, now);
                self.find_out(&authorization, true, at)
            }
            (asked, event) => panic!("BUG: {} does not follow {}", event.as_ref(), asked.as_ref()),
        }
    }

    fn find_out(&mut self, authorization: &str, has_fetched: bool, at: Millis) -> Result<Identity, ApiError> {
        Ok(match self.decide(authorization, at)? {
            Step::Bearer(bearer) => Identity::Known(bearer),
            Step::Verify(claimed) => {
                let (algorithm, jwk) = (claimed.key.algorithm, claimed.key.jwk.clone());
                let (signed, signature) = (claimed.signed().to_owned(), claimed.signature.clone());
                let effect = TokenEffect::Verify { algorithm, jwk, signed, signature };
                Identity::Asked(Asked::Verifying(Box::new(claimed)), effect)
            }
            Step::FetchKeys if has_fetched => return Err(ApiError::Upstream),
            Step::FetchKeys => {
                let url = self.config.token.keys_url.clone().unwrap_or_default();
                Identity::Asked(Asked::FetchingKeys(authorization.to_owned()), TokenEffect::FetchKeys { url })
            }
        })
    }
}
