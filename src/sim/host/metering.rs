//! What the platform bills for an object and for the edges in front of it, beside what the space's own ledger says.

use super::Host;
use crate::call::Usage;

impl Host {
    /// Something is billed.
    pub(in crate::sim) fn bill(&mut self, used: &Usage) {
        self.billed.add(used);
    }

    /// I15: the ledger says no more than is billed.
    pub fn check_used(&mut self) {
        let rows_written = self.rows().written_ever();
        let Some(used) = self.running().map(|core| core.used().expect("storage in memory can be read"))
        else {
            return;
        };
        let said = Usage { rows_read: 0, active_ms: 0, rejected: 0, ..used.total() };
        let mut beyond = said;
        beyond.take_off(&Usage { rows_written, ..self.billed });
        let billed = self.billed;
        assert!(
            beyond.is_nothing(),
            "I15: the ledger says {said:?}, where {billed:?} and {rows_written} rows are billed"
        );
    }
}
