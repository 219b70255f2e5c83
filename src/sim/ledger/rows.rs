//! Rows that a ledger in memory has written, as storage of the platform bills them.

use std::{cell::Cell, fmt, mem::replace, rc::Rc};

use super::MemoryLedger;
use crate::coordinator::ledger::Rows;

/// Rows that were written.
#[derive(Clone, Default)]
pub(super) struct RowCount {
    /// Since somebody looked last.
    untaken: Rc<Cell<u32>>,
    ever: Rc<Cell<u64>>,
}

/// It is no part of what a ledger holds.
impl fmt::Debug for RowCount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

impl RowCount {
    /// So many more.
    pub(super) fn count(&self, rows: u32) {
        self.untaken.set(self.untaken.get() + rows);
        self.ever.set(self.ever.get() + u64::from(rows));
    }

    pub(super) fn untaken(&self) -> Rows {
        Rows { read: 0, written: self.untaken.get() }
    }
}

impl MemoryLedger {
    /// Opens it: whoever opens it goes on counting its rows.
    pub(crate) fn opened(&mut self) -> Self {
        let rows = self.rows.clone();
        replace(self, Self { rows, ..Self::default() })
    }

    /// Rows that were ever written.
    #[must_use]
    pub fn written_ever(&self) -> u64 {
        self.rows.ever.get()
    }

    /// Rows that were written since the last look.
    pub(in crate::sim) fn take_written(&self) -> Rows {
        Rows { read: 0, written: self.rows.untaken.take() }
    }
}
