//! What an isolate keeps between requests. Losing it costs time, nothing else.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    budget::ObjectRequests, directory, failures::FailureLines, live::Held, refusals::Refusals, spent::Spent,
    streams::Streams, visit::Visit, writes::Writes,
};
#[cfg(feature = "dexie")]
use crate::access::session::Sessions;
use crate::{
    access::{
        cors::{self, RefusedOrigins},
        grant::Granter,
        invitation::Inviter,
        token::{BadToken, Bearer, Claimed, Step, Verifier},
    },
    edge::{config::EdgeConfig, known::Memory},
    error::ApiError,
    ids::UserHash,
    limits,
    log::{LogLevel, LogLine},
    role::Role,
    snapshot::keys::Scope,
    time::{Hourly, Millis},
};

/// An isolate. Events: [`Self::begin`], and [`Self::step`] until an effect ends the visit. Outputs, to be polled after each of
/// them: [`Self::take_errands`], each of which is a visit to be stepped too, then [`Self::take_log`]. Everything else asks.
#[derive(Debug)]
pub struct Isolate {
    pub(super) config: EdgeConfig,
    pub(super) verifier: Verifier,
    pub(super) granter: Granter,
    pub(super) inviter: Inviter,
    #[cfg(feature = "dexie")]
    pub(super) sessions: Sessions,
    pub(super) memory: Memory,
    /// Of shared spaces that clients of Dexie Cloud read.
    #[cfg(feature = "dexie")]
    pub(super) grants: super::grants::Grants,
    #[cfg(feature = "dexie")]
    pub(super) realms: super::realms::Realms,
    pub(super) writes: Writes,
    pub(super) refusals: Refusals,
    pub(super) object_requests: ObjectRequests,
    pub(super) spent: Spent,
    pub(super) streams: Streams,
    /// Messages of sockets, where objects run.
    pub(super) messages: Held,
    pub(super) directories: directory::KnownEntries,
    pub(super) errands: Vec<Visit>,
    /// Whether the platform's rate limiter is bound.
    pub(super) has_limiter: bool,
    /// Whether there is a bucket for files.
    pub(super) has_blobs: bool,
    pub(super) failures: FailureLines,
    refused_origins: RefusedOrigins,
    used_up: Hourly,
    log: Vec<LogLine>,
}

impl Isolate {
    /// An isolate begins, with what is wrong with its settings, and names of settings that nothing reads: one of them may be a slip.
    #[must_use]
    pub fn new(config: EdgeConfig, problems: &[String], unknown: &[&str], has_limiter: bool) -> Self {
        let verifier = Verifier::new(&config.token);
        let (secret, other) = (config.grant_secret.as_deref(), config.other_grant_secret.as_deref());
        let (granter, inviter) = (Granter::new(secret, other), Inviter::new(secret, other));
        let mut isolate = Self {
            verifier,
            granter,
            inviter,
            #[cfg(feature = "dexie")]
            sessions: Sessions::new(secret, other),
            memory: Memory::default(),
            #[cfg(feature = "dexie")]
            grants: Default::default(),
            #[cfg(feature = "dexie")]
            realms: Default::default(),
            writes: Writes::default(),
            refusals: Refusals::default(),
            object_requests: ObjectRequests::new(config.counts_object_requests),
            spent: Spent::default(),
            streams: Streams::default(),
            messages: Held::default(),
            directories: directory::KnownEntries::default(),
            errands: Vec::new(),
            has_limiter,
            has_blobs: false,
            failures: FailureLines::default(),
            refused_origins: RefusedOrigins::default(),
            used_up: Hourly::default(),
            log: Vec::new(),
            config,
        };
        isolate.log_problems(problems);
        isolate.log_problems_of_keys();
        if !unknown.is_empty() {
            isolate.log(LogLevel::Info, "settings that nothing reads", json!({ "names": unknown }));
        }
        isolate
    }

    /// The same with a bucket for files, or without one.
    #[must_use]
    pub fn with_blobs(self, has_blobs: bool) -> Self {
        Self { has_blobs, ..self }
    }

    /// Bytes that answers hold that are being read.
    #[must_use]
    pub fn streamed(&self) -> usize {
        self.streams.held()
    }

    /// Bytes of messages that wait for their turn, or are being served.
    #[must_use]
    pub fn messages_held(&self) -> usize {
        self.messages.all()
    }

    /// What is to be done once nobody waits for it any more, since the last look.
    pub fn take_errands(&mut self) -> Vec<Visit> {
        std::mem::take(&mut self.errands)
    }

    /// What is to be logged since the last look.
    pub fn take_log(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.log)
    }

    /// A grant, and when it ends.
    ///
    /// # Errors
    /// As [`Granter::sign`].
    pub fn sign_grant(
        &mut self,
        user: &UserHash,
        scope: &Scope,
        role: Role,
        now: Millis,
    ) -> Result<(String, Millis), ApiError> {
        let signed = self.granter.sign(user, scope, role, now);
        self.log_missing_key(signed)
    }

    /// The origin of a request to `host`, if its pages may read answers. Those of `host` itself may without being listed: their
    /// browser asks nobody.
    pub(super) fn allowed_origin(&mut self, origin: &str, host: &str) -> Option<String> {
        if origin.is_empty() {
            return None;
        }
        let is_allowed = cors::is_allowed(origin, &self.config.allowed_origins);
        if !is_allowed && origin != host && self.refused_origins.is_news(origin) {
            self.log(LogLevel::Info, "an origin is not in ALLOWED_ORIGINS", json!({ "origin": origin }));
        }
        is_allowed.then(|| origin.to_owned())
    }

    /// What the token of a request comes to.
    pub(super) fn decide(&mut self, authorization: &str, now: Millis) -> Result<Step, ApiError> {
        let decided = self.verifier.decide(authorization, now);
        if let Some(counts) = self.verifier.take_refusals(now) {
            self.log_refusals(&counts);
        }
        decided.map_err(|refused| self.log_refusal(&refused))
    }

    /// Takes whether a signature is good; none where the platform does not know the key for one.
    pub(super) fn learn_signature(
        &mut self,
        claimed: Claimed,
        is_good: Option<bool>,
        now: Millis,
    ) -> Result<Bearer, ApiError> {
        if is_good.is_none() {
            self.verifier.learn_bad_key(&claimed);
            self.log_problems_of_keys();
        }
        let learnt = self.verifier.learn_signature(claimed, is_good == Some(true), now);
        learnt.map_err(|refused| self.log_refusal(&refused))
    }

    /// Takes what the issuer has answered.
    pub(super) fn learn_keys(&mut self, document: Option<&str>, came: &str, now: Millis) {
        let is_learnt = self.verifier.learn_keys(document, now);
        self.log_problems_of_keys();
        if !is_learnt {
            let came: String =
                came.chars().filter(|one| !one.is_control()).take(limits::TOLD_OF_ISSUER).collect();
            let why = if came.is_empty() { "no answer" } else { "the answer is not a JWKS document" };
            self.log(
                LogLevel::Error,
                "the issuer's keys could not be fetched",
                json!({ "why": why, "came": came }),
            );
        }
    }

    pub(super) fn log_missing_key<T>(&mut self, done: Result<T, ApiError>) -> Result<T, ApiError> {
        if let Err(ApiError::Internal) = done {
            let why = "set GRANT_SECRET (at least 32 bytes)";
            self.log(LogLevel::Error, "no grant can be signed or verified", json!({ "why": why }));
        }
        done
    }

    /// An object cannot do anything before the day is over. Each request of that day would be a line.
    pub(super) fn tell_used_up(&mut self, now: Millis) {
        if self.used_up.is_due(now) {
            self.log(LogLevel::Error, "used up for today", json!({ "where": "calls of objects" }));
        }
    }

    /// Whether lines of `level` are written.
    pub(super) fn logs(&self, level: LogLevel) -> bool {
        level <= self.config.log_level
    }

    pub(super) fn log(&mut self, level: LogLevel, event: &'static str, fields: Value) {
        if self.logs(level) {
            self.log.push((level, event, fields));
        }
    }

    fn log_refusal(&mut self, refused: &BadToken) -> ApiError {
        let (level, event) = match refused.error {
            ApiError::Internal => (LogLevel::Error, "no token can be verified"),
            _ => (LogLevel::Debug, "token refused"),
        };
        self.log(level, event, json!({ "why": refused.why }));
        refused.error.clone()
    }

    fn log_refusals(&mut self, counts: &BTreeMap<&'static str, u32>) {
        let fields = json!({ "counts": counts, "see": "docs/TOKENS.md" });
        self.log(LogLevel::Info, "tokens refused", fields);
    }

    fn log_problems_of_keys(&mut self) {
        let problems = self.verifier.take_problems();
        self.log_problems(&problems);
    }

    /// Each is told once per isolate.
    fn log_problems(&mut self, problems: &[String]) {
        for problem in problems {
            self.log(LogLevel::Error, "a setting is not right", json!({ "why": problem }));
        }
    }
}
