//! Files that are put beside the records of a space. The object never sees one: it says who may put one, and counts their bytes.

mod collection;

use super::{Coordinator, sharing::administration::Administered};
use crate::{
    coordinator::ledger::{Ledger, LedgerResult},
    error::ApiError,
    limits,
    role::Role,
    time::Millis,
};

/// The one row of this kind says how much was put on the last day on which something was: `day bytes`.
const KIND: &str = "uploads";

impl<L: Ledger> Coordinator<L> {
    /// Lets somebody put a file of so many bytes, and counts them, whether or not it comes: one row. Whoever does so in a shared space is
    /// given a grant, which says under what its keys stand.
    ///
    /// # Errors
    /// [`ApiError::StorageFull`] if the day has no room for it; storage failures.
    pub(super) fn upload(&mut self, bytes: u64, role: Role, now: Millis) -> Result<Administered, ApiError> {
        let row = self.ledger.private(KIND, "").map_err(|error| self.storage_failed(error))?;
        let of_today = row.as_deref().and_then(parsed).filter(|(day, _)| *day == now.day());
        let bytes = of_today.map_or(0, |(_, before)| before).saturating_add(bytes);
        if bytes > limits::BLOB_BYTES_PER_DAY {
            return Err(ApiError::StorageFull);
        }
        let counted = self.ledger.put_private(KIND, "", &format!("{} {bytes}", now.day()));
        counted.map_err(|error| self.storage_failed(error))?;
        let grants = self.meta.space.is_some().then_some(role);
        Ok(Administered { grants, ..Administered::default() })
    }

    /// When the space ends.
    pub(super) fn forget_uploads(ledger: &mut L) -> LedgerResult<()> {
        ledger.delete_private(KIND, "")?;
        ledger.delete_private(collection::KIND, "")
    }
}

fn parsed(row: &str) -> Option<(u64, u64)> {
    let (day, bytes) = row.split_once(' ')?;
    Some((day.parse().ok()?, bytes.parse().ok()?))
}
