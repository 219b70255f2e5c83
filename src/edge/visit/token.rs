//! `POST …/token` of `dexie-cloud-addon`: the token of an issuer becomes a session and a refresh token, and a refresh token the next
//! session. Nothing of a space is read or written, so that it costs what a refusal costs.

use super::{Effect, State, Visit};
use crate::{
    access::{
        session::{Account, ClientKey, Refresh, SESSION_MS},
        target::Target,
        token::{Algorithm, Bearer},
    },
    edge::{
        identity::{Asked, Identity, TokenEffect, TokenEvent},
        isolate::Isolate,
    },
    error::ApiError,
    fronts::{
        dexie::token::{TokenRequest, tokens},
        headwater::body::{Coding, is_json},
    },
    ids::UserHash,
    limits,
    time::{DAY_MS, Millis},
};

/// What a request for tokens waits for.
pub(super) enum Granting {
    /// Whose the issuer's token is.
    Identifying { asked: Asked, token: String, key: ClientKey },
    /// Whether the signature is the client's.
    Verifying { refresh: Refresh, token: String },
}

// In no message of a fault stands a token.
impl std::fmt::Debug for Granting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Identifying { .. } => "Identifying",
            Self::Verifying { .. } => "Verifying",
        })
    }
}

#[cfg(test)]
mod tests;

const NOT_THE_KEYS: ApiError =
    ApiError::Forbidden("The signature is not of the key for which this refresh token was made.");
const NO_DEMO: ApiError = ApiError::NotFound("There is no such demo user: see DEXIE_DEMO_USERS.");

impl Isolate {
    /// Who is calling with a session, for the routes below `/dexie`. `session` is what stands behind `Bearer` in an
    /// `Authorization`, or `token` in the URL of a socket. The bearer's `person.sub` is the user's id to the addon.
    ///
    /// # Errors
    /// As [`crate::access::session::Sessions::bearer`].
    pub fn identify_session(&mut self, session: &str, now: Millis) -> Result<Bearer, ApiError> {
        let bearer = self.sessions.bearer(session, now);
        self.log_missing_key(bearer)
    }

    /// Nobody knows yet who is calling: bodies of such requests share what one user's may take.
    pub(super) fn read_token_request(&mut self, visit: &mut Visit) -> Result<Effect, ApiError> {
        if !is_json(&visit.request.content_type) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let coding = Coding::of(&visit.request.content_encoding)?;
        visit.state = State::Receiving;
        Ok(Effect::ReadBody { user: UserHash::new("", ""), coding, limit: limits::ORDER_BYTES_MAX })
    }

    pub(super) fn token_requested(
        &mut self,
        visit: &mut Visit,
        body: &[u8],
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match TokenRequest::read(body)? {
            TokenRequest::Exchange { token, key } => {
                let identity = self.identify_token(&format!("Bearer {token}"), now)?;
                self.exchange(visit, identity, (token, key), now)
            }
            TokenRequest::Refresh(signed) => {
                let refresh = self.sessions.refresh(&signed.token, now);
                let refresh = self.log_missing_key(refresh)?;
                if refresh.account.is_demo() {
                    self.check_demo(&refresh.account.sub)?;
                }
                signed.check_time(now)?;
                let effect = TokenEffect::Verify {
                    algorithm: Algorithm::Rs256,
                    jwk: refresh.key.jwk(),
                    signed: signed.text(),
                    signature: signed.signature,
                };
                let granting = Granting::Verifying { refresh, token: signed.token };
                visit.state = State::Granting(Box::new(granting));
                Ok(Effect::Token(effect))
            }
            TokenRequest::Demo { address, key } => {
                self.check_demo(&address)?;
                self.sign_in(visit, Account::of_demo(&address), key, now)
            }
        }
    }

    /// The platform has said what it was asked.
    pub(super) fn granting_learns(
        &mut self,
        visit: &mut Visit,
        granting: Granting,
        event: TokenEvent,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match (granting, event) {
            (Granting::Identifying { asked, token, key }, event) => {
                let identity = self.token_learns(asked, event, (now, now))?;
                self.exchange(visit, identity, (token, key), now)
            }
            (Granting::Verifying { refresh, token }, TokenEvent::Verified(Some(true))) => {
                self.answer_tokens(visit, &refresh, &token, now)
            }
            (Granting::Verifying { .. }, TokenEvent::Verified(_)) => Err(NOT_THE_KEYS),
            (granting, event) => panic!("BUG: {} does not follow {granting:?}", event.as_ref()),
        }
    }

    fn exchange(
        &mut self,
        visit: &mut Visit,
        identity: Identity,
        (token, key): (String, ClientKey),
        now: Millis,
    ) -> Result<Effect, ApiError> {
        match identity {
            Identity::Known(caller) => {
                let account = Account::of_token(&caller.person, &token);
                self.sign_in(visit, account, key, now)
            }
            Identity::Asked(asked, effect) => {
                visit.state = State::Granting(Box::new(Granting::Identifying { asked, token, key }));
                Ok(Effect::Token(effect))
            }
        }
    }

    /// Where an address was taken off the list, its refresh tokens end too.
    fn check_demo(&self, address: &str) -> Result<(), ApiError> {
        let is_allowed = self.config.dexie.demo_users.iter().any(|user| user == address || user == "*");
        if is_allowed { Ok(()) } else { Err(NO_DEMO) }
    }

    /// Without days of its own a refresh token lives as long as its first session: the client cannot do without one.
    fn sign_in(
        &mut self,
        visit: &mut Visit,
        account: Account,
        key: ClientKey,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let lasts_ms = u64::from(self.config.dexie.refresh_days) * DAY_MS;
        let refresh = Refresh { account, key, ends: now.plus(lasts_ms.max(SESSION_MS)) };
        let token = self.sessions.sign_refresh(&refresh);
        let token = self.log_missing_key(token)?;
        self.answer_tokens(visit, &refresh, &token, now)
    }

    /// A session ends with its refresh token at the latest: then whoever was blocked at the issuer is out.
    fn answer_tokens(
        &mut self,
        visit: &mut Visit,
        refresh: &Refresh,
        token: &str,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let account = &refresh.account;
        let ends = now.plus(SESSION_MS).min(refresh.ends);
        let session = self.sessions.sign(account, ends)?;
        visit.target = Some(Target::of(Bearer::of(&account.iss, &account.sub, ends), None)?);
        let reply = tokens(account, (&session, ends), (token, refresh.ends));
        Ok(self.answer(visit, Ok(reply), now))
    }
}
