//! Which files no record names any more. The edge lists them and deletes them; here is decided which.
//!
//! A file that no record is found to name is noted with the day, and deleted at a later look, if none names it then and a month has gone by.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    coordinator::{
        Coordinator,
        ledger::{Ledger, LedgerResult},
    },
    error::ApiError,
    ids::is_in_blob_id,
    json::Written,
    limits,
    time::Millis,
    version::Version,
};

/// One row: what the last look has found.
pub(super) const KIND: &str = "unnamed_files";

/// What is remembered of looks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Looked {
    /// The day on which the last one began.
    day: u64,
    /// Behind which file the next one begins.
    behind: String,
    /// Files that no record names, and since which day that is known.
    unnamed: BTreeMap<String, u64>,
}

impl Looked {
    fn to_text(&self) -> String {
        let unnamed: Vec<_> = self.unnamed.iter().map(|(id, day)| format!("\n{id} {day}")).collect();
        format!("{} {}{}", self.day, self.behind, unnamed.concat())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (day, behind) = lines.next()?.split_once(' ')?;
        let unnamed = lines.map(|line| {
            let (id, day) = line.split_once(' ')?;
            Some((id.to_owned(), day.parse().ok()?))
        });
        Some(Self {
            day: day.parse().ok()?,
            behind: behind.to_owned(),
            unnamed: unnamed.collect::<Option<_>>()?,
        })
    }
}

impl<L: Ledger> Coordinator<L> {
    /// Whether it is time to look for files that no record names: then behind which one, and the next time is in a week, whatever comes
    /// of it.
    pub(in crate::coordinator) fn collection(&mut self, now: Millis) -> Result<String, ApiError> {
        let begun = self.begin_look(now.day());
        let behind = begun.map_err(|error| self.storage_failed(error))?;
        Ok(Written::default().and_some("behind", behind).end())
    }

    fn begin_look(&mut self, today: u64) -> LedgerResult<Option<String>> {
        let looked = self.looked()?;
        if today < looked.day + limits::BLOB_COLLECTION_DAYS {
            return Ok(None);
        }
        let begun = Looked { day: today, ..looked };
        self.ledger.put_private(KIND, "", &begun.to_text())?;
        Ok(Some(begun.behind))
    }

    /// Looks whether records above `after` name the files `ids`. Says which are left, and how far it has come; at the end, which are to
    /// be deleted. What is parked may name some too, so that nothing is deleted while a conflict is open.
    pub(in crate::coordinator) fn collect(
        &mut self,
        ids: &str,
        after: Version,
        behind: &str,
        now: Millis,
    ) -> Result<String, ApiError> {
        let collected = self.look(ids, after, behind, now);
        collected.map_err(|error| self.storage_failed(error))
    }

    fn look(&mut self, ids: &str, after: Version, behind: &str, now: Millis) -> LedgerResult<String> {
        if !self.ledger.open_conflicts()?.is_empty() {
            return Ok(Written::default().end());
        }
        let mut left: BTreeSet<_> = ids.split_whitespace().collect();
        let lines = self.ledger.lines_after(after, limits::BLOB_SCAN_BYTES)?;
        let mut looked = self.looked()?;
        let known = looked.unnamed.len();
        for word in lines.text.split(|one: char| !is_in_blob_id(one)) {
            if left.remove(word) {
                looked.unnamed.remove(word);
            }
        }
        if let (true, Some(last)) = (lines.more && !left.is_empty(), lines.last) {
            if looked.unnamed.len() < known {
                self.ledger.put_private(KIND, "", &looked.to_text())?;
            }
            let left: Vec<_> = left.into_iter().collect();
            return Ok(Written::default().and("ids", &left.join(" ")).and("after", &last.to_string()).end());
        }
        let today = now.day();
        let mut deleted = Vec::new();
        for id in left {
            let is_new = !looked.unnamed.contains_key(id);
            if is_new && looked.unnamed.len() >= limits::BLOBS_UNNAMED_MAX {
                continue;
            }
            let since = *looked.unnamed.entry(id.to_owned()).or_insert(today);
            if since + limits::BLOB_KEPT_DAYS <= today {
                looked.unnamed.remove(id);
                deleted.push(id);
            }
        }
        looked.behind = behind.to_owned();
        self.ledger.put_private(KIND, "", &looked.to_text())?;
        Ok(Written::default().and("deleted", &deleted.join(" ")).end())
    }

    fn looked(&self) -> LedgerResult<Looked> {
        let row = self.ledger.private(KIND, "")?;
        Ok(row.as_deref().and_then(Looked::parse).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_as_it_was_written_and_what_is_not_understood_is_forgotten() {
        let unnamed = [("a|b".to_owned(), 7), ("c".to_owned(), 9)].into();
        let looked = Looked { day: 11, behind: "c".to_owned(), unnamed };
        assert_eq!(looked.to_text(), "11 c\na|b 7\nc 9");
        assert_eq!(Looked::parse(&looked.to_text()), Some(looked));
        assert_eq!(Looked::parse(&Looked::default().to_text()), Some(Looked::default()));
        for text in ["", "x y", "1", "1 c\na", "1 c\na b"] {
            assert_eq!(Looked::parse(text), None, "{text}");
        }
    }
}
