//! Refused tokens, counted by reason. One may be anybody's mistake; many of a kind are the deployment's, whose operator is to
//! see them without a line for each.

use std::collections::BTreeMap;

use crate::{
    access::token::{BadToken, NO_TOKEN},
    error::ApiError,
    time::Millis,
};

/// How long a count gathers, in ms. The first of all is told at once.
const TOLD_EVERY_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<&'static str, u32>,
    told_at: Option<Millis>,
}

impl Tally {
    /// Counts a refusal, unless it says nothing about the deployment: no token at all, or one that was good. What is no JWT
    /// says something: identity services give opaque tokens where no audience was asked for.
    pub(super) fn note(&mut self, refused: &BadToken) {
        if refused.error == ApiError::Unauthenticated && refused.why != NO_TOKEN {
            let count = self.counts.entry(refused.why).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// What was counted, at most once a minute.
    pub(super) fn take(&mut self, now: Millis) -> Option<BTreeMap<&'static str, u32>> {
        if self.counts.is_empty() || self.told_at.is_some_and(|at| now.since(at) < TOLD_EVERY_MS) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.counts))
    }
}
