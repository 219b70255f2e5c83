//! What is noted of what was published: the publication row.

use serde::{Deserialize, Serialize};

use crate::{
    coordinator::{
        ledger::{Ledger, LedgerResult},
        metering::{DailyUsage, Day},
        publication::ReplacedPart,
        sharing::administration::dexie_key,
    },
    limits::Sizes,
    snapshot::head::{ContentHashText, PartName, Run},
    time::Millis,
    version::{Epoch, Position, Version},
};

/// The publication row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicationRow {
    /// What the last answered head put says.
    pub published: Option<Published>,
    /// The oldest records as they were put.
    pub base: Option<RunRow>,
    /// Those between the base and the tail.
    pub delta: Option<RunRow>,
    /// A run under construction.
    pub building: Option<Building>,
    /// Failures in a row.
    pub attempts: u32,
    /// Not before this time is KV tried again after a failure.
    pub retry_at: Option<Millis>,
    /// When to put the head once more, because an earlier put was never answered and may still land.
    pub put_again_at: Option<Millis>,
    /// Whether to publish although nothing is new: something in KV is missing, or old.
    pub renew: bool,
    /// What the day's budget has said, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leased: Option<Leased>,
    /// Parts that are to be deleted, and those whose deletion may not have landed.
    pub replaced: Vec<ReplacedPart>,
    /// What the space has used, by days (`metering`).
    #[serde(skip_serializing_if = "DailyUsage::is_empty")]
    pub used: DailyUsage,
    /// The last day of which clients' rows say nothing any more that it does not.
    #[serde(skip_serializing_if = "Day::is_first")]
    pub folded: Day,
    /// Whether an owner has shut out the client of Dexie Cloud. Edges hear of it with the head.
    pub shuts_dexie: bool,
}

/// What a space notes of the last lease that it has asked the day's budget for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// The day, counted from the Unix epoch.
    pub day: u64,
    /// Of how many values for that day.
    pub of: Option<u32>,
    /// Before that nothing is put that can wait.
    pub wait_until: Millis,
}

/// A head that KV has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Where it stands.
    pub position: Position,
    /// When it was put.
    pub at: Millis,
}

/// A run as it was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Exclusive.
    pub from: Version,
    /// Inclusive.
    pub to: Version,
    /// A base in key order, a delta in the order of versions.
    pub parts: Vec<PartRow>,
}

/// A part as it was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRow {
    /// Its name.
    pub sha256: ContentHashText,
    /// Its length.
    pub bytes: usize,
    /// When it was put; 0 when it is believed to be gone.
    pub put_at: Millis,
}

/// A run under construction. `to` is the durable version when it was begun: slices that are queried later leave out
/// what has moved above it, and the tail, which is queried last, has that (I5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Building {
    /// Whether it becomes the base, or the delta.
    pub base: bool,
    /// What is done.
    pub run: RunRow,
    /// The version and the key of the last line of the last part. A base goes on behind the key, a delta behind both.
    pub behind: Option<(Version, (String, String))>,
}

impl RunRow {
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    pub(super) fn named(&self) -> Run {
        let name = |part: &PartRow| PartName { sha256: part.sha256.clone(), bytes: part.bytes };
        Run { from: self.from, to: self.to, parts: self.parts.iter().map(name).collect() }
    }
}

/// The kind of the private row that holds it. There is one, so its key is empty.
const KIND: &str = "publication";

impl PublicationRow {
    /// What was noted. A row that this build cannot read is taken for none: then everything is put again.
    pub(super) fn read<L: Ledger>(ledger: &L) -> LedgerResult<Self> {
        let text = ledger.private(KIND, "")?;
        let text = text.as_deref();
        let mut row: Self = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if text.is_some_and(|text| row == Self::default() || !text.contains(r#""shuts_dexie":"#)) {
            // A build that does not know of it has written the row meanwhile. What an owner has shut stays shut.
            row.shuts_dexie = ledger.record(&dexie_key())?.is_some_and(|record| record.deleted_at.is_none());
        }
        // Of a build that says in another way where a run goes on: it is begun anew.
        row.building = row.building.filter(|run| run.behind.is_some() || run.run.parts.is_empty());
        Ok(row)
    }

    /// Notes it: one row.
    pub(in crate::coordinator) fn write<L: Ledger>(&self, ledger: &mut L) -> LedgerResult<()> {
        ledger.put_private(KIND, "", &serde_json::to_string(self).expect("BUG: the row is not JSON"))
    }

    /// Forgets what was noted: nothing is published any more.
    pub(in crate::coordinator) fn delete<L: Ledger>(ledger: &mut L) -> LedgerResult<()> {
        ledger.delete_private(KIND, "")
    }

    /// What is to be noted when all records are removed: nothing that was put may be named by a head again. That something
    /// was published is, and what is unsettled.
    #[must_use]
    pub fn without_records(&self, sizes: &Sizes) -> Self {
        let mut row = Self { renew: false, shuts_dexie: false, ..self.clone() };
        let (base, delta, building) = (row.base.take(), row.delta.take(), row.building.take());
        let runs = base.into_iter().chain(delta).chain(building.map(|building| building.run));
        row.replace(runs.flat_map(|run| run.parts).collect(), sizes.replaced_min);
        row
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &PartRow> {
        self.base.iter().chain(&self.delta).flat_map(|run| &run.parts)
    }

    pub(super) fn parts_mut(&mut self) -> impl Iterator<Item = &mut PartRow> {
        self.base.iter_mut().chain(&mut self.delta).flat_map(|run| &mut run.parts)
    }

    pub(super) fn tail_from(&self) -> Version {
        self.delta.as_ref().or(self.base.as_ref()).map_or(Version::ZERO, |run| run.to)
    }

    /// The version that KV's head is known to have reached in this epoch.
    #[must_use]
    pub fn published_in(&self, epoch: &Epoch) -> Option<Version> {
        self.published
            .as_ref()
            .filter(|published| published.position.epoch == *epoch)
            .map(|p| p.position.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{coordinator::ledger::PrivateTable, sim::ledger::MemoryLedger};

    #[test]
    fn the_row_is_the_text_that_objects_in_the_field_have() {
        let part = "{\"sha256\":\"37a680133bd09342f934afb8dd2c7d9e1b624da5f35e3a38adb103e37c055ed1\",\
                    \"bytes\":4,\"put_at\":7}";
        let run = format!(r#"{{"from":0,"to":2,"parts":[{part}]}}"#);
        let text = [
            r#"{"published":{"position":{"epoch":"0mwrnsa6yk3v9q2","version":3},"at":8},"base":"#,
            &run,
            r#","delta":{"from":2,"to":3,"parts":[]},"building":{"base":true,"run":"#,
            &run,
            r#","behind":[2,["todos","t1"]]},"attempts":1,"retry_at":9,"put_again_at":10,"renew":true,"#,
            r#""replaced":[{"part":"#,
            part,
            r#","since":11,"deleted_at":12}],"used":"20787:1,0,2","folded":20786,"shuts_dexie":true}"#,
        ];
        let text = text.concat();
        let mut ledger = MemoryLedger::default();
        ledger.put_private("publication", "", &text).expect("a write");
        let row = PublicationRow::read(&ledger).expect("a read");
        row.write(&mut ledger).expect("a write");
        assert_eq!(
            ledger.private("publication", ""),
            Ok(Some(text)),
            "a row that cannot be read is taken for none, and everything in KV is put again: a field may be added with a \
             default, and none may be renamed"
        );
    }
}
