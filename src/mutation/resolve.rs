//! The op `resolve`: how a user ends a conflict.

use crate::{
    json::Fields,
    limits,
    mutation::{
        Change, Op, Rejection,
        text::{change_fields, key_of, object, unsupported},
    },
    version::{ConflictId, Version},
};

/// What becomes of one conflict.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// How many of its mutation's changes come before it.
    pub at: usize,
    /// The conflict, which it closes.
    pub conflict: ConflictId,
    /// A version at which its client saw the records that the parked mutations touch; absent: do not check.
    pub base: Option<Version>,
    /// What is written.
    pub decision: Decision,
}

/// What a resolution writes.
#[derive(Debug, Clone)]
pub enum Decision {
    /// The parked changes, in order, over the present state.
    Mine,
    /// Nothing.
    Theirs,
    /// Merged values: puts and deletions, which need not be of records that the parked mutations touch.
    Records(Vec<Change>),
}

impl Resolution {
    /// Parses a change whose op is `resolve`; `base` is its own or its mutation's.
    pub(super) fn parse(fields: &Fields<'_>, base: Option<Version>) -> Result<Self, Rejection> {
        fields.only("resolve", &["op", "conflict", "take", "records", "base"]).map_err(unsupported)?;
        let conflict = fields.text("conflict")?;
        let conflict = conflict.as_deref().and_then(ConflictId::parse);
        let conflict = conflict.ok_or_else(|| Rejection::invalid("conflict is not a conflict id"))?;
        let take = fields.text("take")?;
        let records = fields.list("records", limits::MUTATION_CHANGES_MAX)?;
        let decision = match (take.as_deref(), records) {
            (Some("mine"), None) => Decision::Mine,
            (Some("theirs"), None) => Decision::Theirs,
            (None, Some(records)) if !records.is_empty() => {
                let records = records.into_iter().map(|text| record(text, base));
                let mut records: Vec<_> = records.collect::<Result<_, _>>()?;
                records.shrink_to_fit();
                Decision::Records(records)
            }
            _ => return Err(Rejection::invalid("a resolution takes mine or theirs, or has records")),
        };
        Ok(Self { at: 0, conflict, base, decision })
    }

    /// How many changes it counts for, but for those that are parked.
    #[must_use]
    pub fn changes(&self) -> usize {
        match &self.decision {
            Decision::Records(records) => records.len().max(1),
            Decision::Mine | Decision::Theirs => 1,
        }
    }
}

fn record(text: &str, base: Option<Version>) -> Result<Change, Rejection> {
    let fields = change_fields(text)?;
    fields.only("a record", &["collection", "id", "value", "deleted", "base"]).map_err(unsupported)?;
    let key = key_of(&fields)?;
    let base = fields.number("base")?.or(base);
    let op = match (object(&fields, "value")?, fields.get("deleted")?) {
        (Some(value), None | Some("false")) => Op::Put(value),
        (None, Some("true")) => Op::Delete,
        _ => return Err(Rejection::invalid("a record of a resolution has a value or is deleted")),
    };
    Ok(Change { key, base, op })
}
