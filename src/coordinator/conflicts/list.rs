//! The list of open conflicts, with what is parked and what stands there now.

use std::collections::BTreeSet;

use crate::{
    call::conflict::{ConflictPage, OpenConflict, Parked},
    coordinator::{
        Coordinator,
        conflicts::parking,
        ledger::{Conflict, Ledger, LedgerResult},
        push::plan::standing_of,
    },
    error::ApiError,
    ids::{Key, UserHash},
    limits,
    mutation::{Obstacle, There},
    role::Role,
    version::Version,
};

/// Conflicts that are read at a time. The names that one touches can have half a megabyte.
const BATCH: usize = 8;

impl<L: Ledger> Coordinator<L> {
    /// A page of the open conflicts that were opened after `after`, oldest first: those of `user`, of an owner all. It has
    /// about 256 KiB of parked changes and 1,000 records, but one conflict at least, and at most 1 MiB of values that stand
    /// there.
    ///
    /// # Errors
    /// [`ApiError::Gone`], [`ApiError::Forbidden`], or storage failures.
    pub fn conflicts(&mut self, user: &UserHash, after: Version) -> Result<ConflictPage, ApiError> {
        let role = self.admit(user, Role::Reader)?;
        let of = Some(user).filter(|_| role < Role::Owner);
        self.conflict_page(of, after).map_err(|error| self.storage_failed(error))
    }

    fn conflict_page(&self, of: Option<&UserHash>, after: Version) -> LedgerResult<ConflictPage> {
        let mut page = ConflictPage { position: self.position(), conflicts: Vec::new(), cursor: None };
        let (mut reached, mut bytes, mut records) = (after, 0, 0);
        let mut theirs = limits::CONFLICTS_THEIRS_MAX;
        loop {
            let batch = self.ledger.conflicts(reached, of, BATCH)?;
            let is_last = batch.len() < BATCH;
            for row in batch {
                let touched = parking::touched_by(&row)?;
                // Names are not values, and a page of many small conflicts must end too.
                (bytes, records) =
                    (bytes + row.bytes + row.touches.len() as u64 + 256, records + touched.len());
                let is_full =
                    bytes > limits::JSON_PAGE_BYTES as u64 || records > limits::CONFLICT_CHANGES_MAX;
                if reached > after && is_full {
                    page.cursor = Some(reached);
                    return Ok(page);
                }
                reached = row.id.opened;
                let open = self.open_conflict(row, touched, &mut theirs)?;
                page.conflicts.push(open);
            }
            if is_last {
                return Ok(page);
            }
        }
    }

    /// A conflict as it is listed; `theirs` is for how many bytes of values the page has room.
    fn open_conflict(
        &self,
        row: Conflict,
        touched: BTreeSet<Key>,
        theirs: &mut usize,
    ) -> LedgerResult<OpenConflict> {
        let mut mutations: Vec<Parked> = Vec::new();
        for change in self.ledger.parked(row.id.opened)? {
            match mutations.last_mut().filter(|last| last.id == change.mutation) {
                Some(last) => last.changes.push(change.text),
                None => mutations.push(Parked { id: change.mutation, changes: vec![change.text] }),
            }
        }
        let mut standing = Vec::new();
        for key in touched {
            standing.push(self.listed_standing(key, theirs)?);
        }
        Ok(OpenConflict { id: row.id, user: row.user, client: row.client, at: row.at, mutations, standing })
    }

    /// What stands under a key. The first one that has no room takes what is left of it: after
    /// that no value is even read, because a conflict can touch a thousand long ones.
    fn listed_standing(&self, key: Key, theirs: &mut usize) -> LedgerResult<Obstacle> {
        if *theirs > 0 {
            let record = self.ledger.record(&key)?;
            *theirs = theirs.saturating_sub(record.as_ref().map_or(0, |record| record.line.len()));
            if *theirs > 0 {
                return Ok(standing_of(&key, record.as_ref()));
            }
        }
        let version = self.ledger.version_of(&key)?;
        Ok(Obstacle { key, version, there: There::Untold })
    }
}
