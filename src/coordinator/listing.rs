//! The list of open conflicts, with what is parked and what stands there now.

use super::{
    Coordinator,
    ledger::{Conflict, Ledger, LedgerResult},
    parking,
    plan::standing_of,
};
use crate::{
    ids::UserHash,
    limits,
    protocol::{
        conflict::{ConflictPage, OpenConflict, Parked},
        error::ApiError,
        role::Role,
    },
    version::Version,
};

/// Conflicts that are read at a time.
const BATCH: usize = 64;

impl<L: Ledger> Coordinator<L> {
    /// A page of the open conflicts that were opened after `after`, oldest first: those of `user`, of an owner all. It has
    /// about 256 KiB of parked changes, but one conflict at least, and at most 1 MiB of values that stand there.
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
        let (mut reached, mut bytes, mut theirs) = (after, 0, limits::CONFLICTS_THEIRS_MAX);
        loop {
            let batch = self.ledger.conflicts(reached, of, BATCH)?;
            let is_last = batch.len() < BATCH;
            for row in batch {
                if reached > after && bytes + row.bytes > limits::JSON_PAGE_BYTES as u64 {
                    page.cursor = Some(reached);
                    return Ok(page);
                }
                reached = row.id.opened;
                // Names are not values, and a page of many small conflicts must end too.
                bytes += row.bytes + row.touches.len() as u64 + 256;
                let open = self.open_conflict(row, &mut theirs)?;
                page.conflicts.push(open);
            }
            if is_last {
                return Ok(page);
            }
        }
    }

    fn open_conflict(&self, row: Conflict, theirs: &mut usize) -> LedgerResult<OpenConflict> {
        let mut mutations: Vec<Parked> = Vec::new();
        for change in self.ledger.parked(row.id.opened)? {
            match mutations.last_mut().filter(|last| last.id == change.mutation) {
                Some(last) => last.changes.push(change.text),
                None => mutations.push(Parked { id: change.mutation, changes: vec![change.text] }),
            }
        }
        let mut standing = Vec::new();
        for key in parking::touched_by(&row)? {
            let record = self.ledger.record(&key)?;
            let bytes = record.as_ref().map_or(0, |record| record.line.len());
            let room = theirs.checked_sub(bytes);
            *theirs = room.unwrap_or(*theirs);
            standing.push((standing_of(&key, record.as_ref()), room.is_some()));
        }
        Ok(OpenConflict { id: row.id, user: row.user, client: row.client, at: row.at, mutations, standing })
    }
}
