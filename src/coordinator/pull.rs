//! Pulls that the edge cannot answer: an overlay for all readers of the space, or pages for one client.

use super::{
    Coordinator,
    cache::LastOverlay,
    ledger::{Ledger, Lines},
};
use crate::{
    call::{Ask, OrderedCursor, PullReply, Seen},
    error::ApiError,
    ids::UserHash,
    role::Role,
    snapshot::{keys::Scope, lines::newest_first},
    time::Millis,
    version::{Position, Version},
};

/// Lines that are read and sent in no time, in bytes.
const LITTLE_BYTES: usize = 8 * 1024;

impl<L: Ledger> Coordinator<L> {
    /// Whether `user` may read, and whether what the edge serves under `scope` is this space and not an earlier one of its
    /// id, about which this one's positions say nothing.
    fn admit_pull(&mut self, user: &UserHash, scope: &Scope) -> Result<Role, ApiError> {
        let admitted = self.admit(user, Role::Reader);
        let role = admitted
            .or_else(|refused| if planted!(AnybodyPulls) { Ok(Role::Reader) } else { Err(refused) })?;
        if *scope != self.meta.scope && !planted!(OldGrantReachesNewSpace) {
            return Err(ApiError::GrantRequired);
        }
        Ok(role)
    }

    /// The position above this space's own that a pull claims to exist, if it does.
    ///
    /// # Errors
    /// [`ApiError::Gone`], [`ApiError::Forbidden`] and [`ApiError::GrantRequired`], as [`Self::pull`].
    pub fn claimed_by(
        &mut self,
        user: &UserHash,
        scope: &Scope,
        ask: &Ask,
        now: Millis,
    ) -> Result<Option<Position>, ApiError> {
        // A false claim resets every client of the space, so only who may change its records is believed.
        let is_believed = self.admit_pull(user, scope)? >= Role::Writer;
        let own = ask.epoch.clone().map(|epoch| Position { epoch, version: ask.since });
        // A bare version claims nothing about this history; only a position of an epoch does. So does a head of ours, for
        // which the client is not to blame.
        let heads = match &ask.seen {
            Seen::Head(position) => [ask.held.clone(), Some(position.clone())],
            Seen::Nothing | Seen::Unknown => [ask.held.clone(), None],
        };
        let own = [own, ask.min.clone()].into_iter().filter(|_| is_believed);
        let claimed = own.chain(heads).flatten();
        Ok(claimed.filter(|position| self.is_from_the_future(position, now)).max())
    }

    /// Answers an ask of an edge that serves `user` the space under `scope`.
    ///
    /// # Errors
    /// [`ApiError::Gone`] and [`ApiError::Forbidden`]; [`ApiError::GrantRequired`] when that is an earlier space of this id;
    /// [`ApiError::PositionUnknown`] for a position that cannot be, [`ApiError::CursorExpired`], or storage failures.
    pub fn pull(
        &mut self,
        user: &UserHash,
        scope: &Scope,
        ask: &Ask,
        now: Millis,
    ) -> Result<(PullReply, String), ApiError> {
        self.admit_pull(user, scope)?;
        self.publisher.pulled(ask, now);
        let own = ask.epoch.clone().map(|epoch| Position { epoch, version: ask.since });
        let here = self.position();
        let min_version = ask.min_version.map(|version| Position { version, ..here.clone() });
        let is_beyond = own.as_ref().is_some_and(|own| *own > here);
        // Whoever asks for less than it has was told where this history stands, and gives its position up.
        let starts_over = is_beyond && ask.min.is_some() && ask.min < own;
        let required = [ask.min.as_ref(), min_version.as_ref()];
        if (is_beyond && !starts_over) || required.into_iter().flatten().any(|position| *position > here) {
            return Err(ApiError::PositionUnknown { position: here });
        }
        if let Some(cursor) = &ask.cursor {
            return self.next_page(cursor, ask.page_bytes);
        }
        if starts_over {
            return self.page(Version::ZERO, Version::ZERO, true, ask.page_bytes);
        }
        let start = self.start_of(ask);
        // What is too much for an overlay is a page already, where both have the same size.
        let mut beginning = None;
        if !ask.restart {
            let from = ask.held.as_ref().and_then(|held| self.continues(held)).unwrap_or(start);
            match self.overlay(from)? {
                Ok(lines) => {
                    let reply = PullReply::Overlay {
                        epoch: here.epoch,
                        from,
                        version: here.version,
                        horizon: self.meta.horizon,
                        asked_at: now,
                    };
                    return Ok((reply, lines));
                }
                Err(first) if from == start => beginning = Some(first),
                Err(_) => {}
            }
        }
        let is_new = ask.epoch.is_none() || ask.epoch.as_ref() == Some(&self.meta.epoch);
        let reset = ask.restart || !is_new || start != ask.since;
        let sizes = self.publisher.sizes();
        match beginning.filter(|_| self.page_bytes(ask.page_bytes) == sizes.overlay_max) {
            Some(lines) => Ok(self.page_of(lines, start, reset)),
            None => self.page(start, start, reset, ask.page_bytes),
        }
    }

    /// Whether the answer to an ask takes next to nothing, so that it need not wait behind its user's pages.
    pub fn asks_for_little(&self, ask: &Ask) -> bool {
        if ask.restart || ask.cursor.is_some() {
            return false;
        }
        let start = self.start_of(ask);
        let from = ask.held.as_ref().and_then(|held| self.continues(held)).unwrap_or(start);
        let lines = || self.ledger.lines_after(from, LITTLE_BYTES);
        self.cache.borrow().overlay_from(from).is_some()
            || lines().is_ok_and(|lines| lines.are_all(LITTLE_BYTES))
    }

    /// Where a client's answer begins: at its own version, or at 0 where that says nothing about the present state.
    fn start_of(&self, ask: &Ask) -> Version {
        let present = ask.epoch.as_ref() == Some(&self.meta.epoch);
        if present && (ask.since >= self.meta.horizon || planted!(PulledFromBelowHorizon)) && !ask.restart {
            ask.since
        } else {
            Version::ZERO
        }
    }

    /// The version from which an overlay continues `held`. None for another epoch's head, and for one below the
    /// horizon: what was deleted in between is in neither, and would come back to life.
    fn continues(&self, held: &Position) -> Option<Version> {
        let sound = held.epoch == self.meta.epoch
            && held.version <= self.version
            && (held.version >= self.meta.horizon || planted!(HeadBelowHorizonContinued));
        sound.then_some(held.version)
    }

    /// Everything above `from`, newest first, if it is little; else the first lines of it, oldest first.
    fn overlay(&mut self, from: Version) -> Result<Result<String, Lines>, ApiError> {
        if let Some(lines) = self.cache.borrow().overlay_from(from) {
            return Ok(Ok(lines.to_owned()));
        }
        let overlay_max = self.publisher.sizes().overlay_max;
        let lines = self.ledger.lines_after(from, overlay_max).map_err(|error| self.storage_failed(error))?;
        if !lines.are_all(overlay_max) {
            return Ok(Err(lines));
        }
        let lines = newest_first(&lines.text);
        self.cache.borrow_mut().overlay = Some(LastOverlay { from, lines: lines.clone() });
        Ok(Ok(lines))
    }

    fn next_page(
        &mut self,
        cursor: &OrderedCursor,
        bytes_max: usize,
    ) -> Result<(PullReply, String), ApiError> {
        if (cursor.epoch != self.meta.epoch && !planted!(CursorOutlivesEpoch))
            || cursor.reached > self.version
            || cursor.start > cursor.reached
        {
            return Err(ApiError::CursorExpired);
        }
        // Deletions above what this pull has brought were forgotten since its last page: it cannot be told of them.
        let lost = self.meta.horizon > cursor.horizon
            && cursor.reached < self.meta.horizon
            && !planted!(HorizonOnFirstPageOnly);
        if lost {
            return self.page(Version::ZERO, Version::ZERO, !planted!(RestartNotSaid), bytes_max);
        }
        self.page(cursor.start, cursor.reached, false, bytes_max)
    }

    /// Lines above `reached`, oldest first. What is changed meanwhile moves behind and comes later; the last page is
    /// complete as of the version it is read with.
    fn page(
        &mut self,
        start: Version,
        reached: Version,
        reset: bool,
        bytes_max: usize,
    ) -> Result<(PullReply, String), ApiError> {
        let bytes_max = self.page_bytes(bytes_max);
        let lines =
            self.ledger.lines_after(reached, bytes_max).map_err(|error| self.storage_failed(error))?;
        Ok(self.page_of(lines, start, reset))
    }

    fn page_bytes(&self, asked: usize) -> usize {
        asked.clamp(1, self.publisher.sizes().page_max)
    }

    fn page_of(&self, lines: Lines, start: Version, reset: bool) -> (PullReply, String) {
        let next = lines.more.then(|| OrderedCursor {
            epoch: self.meta.epoch.clone(),
            start,
            reached: lines.last.expect("BUG: a page that has more is not empty"),
            horizon: self.meta.horizon,
        });
        let reply = PullReply::Page { epoch: self.meta.epoch.clone(), version: self.version, reset, next };
        (reply, lines.text)
    }
}
