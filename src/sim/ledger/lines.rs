//! Lines of records, as many as are asked for.

use crate::coordinator::ledger::{Lines, Record};

/// The first lines, about `bytes_max` bytes of them.
pub(super) fn slice<'a>(records: impl Iterator<Item = &'a Record>, bytes_max: usize) -> Lines {
    let mut lines = Lines::default();
    for record in records {
        if lines.text.len() > bytes_max {
            lines.more = true;
            break;
        }
        lines.text.push_str(&record.published_line());
        lines.last = Some(record.clock.version);
    }
    lines
}
