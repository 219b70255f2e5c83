//! The keys that an issuer publishes at `JWKS_URL`, and when to fetch them again.

use crate::{
    access::token::keys::{self, VerifyingKey},
    limits,
    time::Millis,
};

/// The last good set, and how the last attempt to get a newer one ended. While the issuer is down the last good set serves.
#[derive(Debug, Default)]
pub(super) struct IssuerKeys {
    /// Unset until the first good answer.
    keys: Option<Vec<VerifyingKey>>,
    document: String,
    fetched_at: Millis,
    attempted_at: Option<Millis>,
    has_failed: bool,
}

impl IssuerKeys {
    pub(super) fn keys(&self) -> impl Iterator<Item = &VerifyingKey> + Clone {
        self.keys.iter().flatten()
    }

    pub(super) fn is_known(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether a token that no key fits is a reason to fetch. Anybody can make such tokens, so it seldom is.
    pub(super) fn may_fetch(&self, now: Millis) -> bool {
        let pause = if self.is_known() { limits::KEYS_REFRESH_MS } else { limits::KEYS_RETRY_MS };
        self.attempted_at.is_none_or(|at| now.since(at) >= pause)
    }

    /// Whether this token has to wait until the set was fetched again, because it is stale. While the issuer is down one
    /// request a minute does, and everybody else is served with the last good set.
    pub(super) fn must_fetch(&mut self, now: Millis) -> bool {
        let due = self.is_known() && now >= self.stale_at() && (!self.has_failed || self.may_fetch(now));
        if due && self.has_failed {
            self.attempted_at = Some(now);
        }
        due
    }

    fn stale_at(&self) -> Millis {
        self.fetched_at.plus(limits::KEYS_FRESH_MS)
    }

    /// Until when a token that was verified with this set is believed without another look at it.
    pub(super) fn believed_until(&self) -> Option<Millis> {
        (!self.has_failed).then(|| self.stale_at())
    }

    /// Takes what the issuer answered, `None` if it did not. If the keys are others than before, says what is wrong with them.
    pub(super) fn learn(&mut self, document: Option<&str>, now: Millis) -> Option<Vec<String>> {
        self.attempted_at = Some(now);
        if self.is_known() && document == Some(&self.document) {
            (self.has_failed, self.fetched_at) = (false, now);
            return None;
        }
        let read = document.and_then(|text| Some((text, keys::parse("JWKS_URL", text)?)));
        let Some((document, (keys, problems))) = read else {
            self.has_failed = true;
            return None;
        };
        self.keys = Some(keys);
        document.clone_into(&mut self.document);
        (self.has_failed, self.fetched_at) = (false, now);
        Some(problems)
    }

    /// Whether the last attempt failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }
}
