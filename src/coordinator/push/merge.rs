//! Who wins: whether a change conflicts (I13), and what it makes of its record.

use crate::{
    call::OnConflict,
    coordinator::ledger::{Clock, FieldClocks, Record},
    json, limits,
    mutation::{Change, Op, RejectCode, Rejection},
    value::{self, Refused},
    version::Version,
};

/// What a client claims to have seen of a record before it changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coordinator) enum Base {
    /// It does not ask for a check.
    Unchecked,
    /// Its copy was current at this version; 0: it had none.
    At(Version),
    /// Its copy comes from another history: everything that others did came later.
    OtherHistory,
}

impl Base {
    /// The base of `change` in a mutation that belongs to the present epoch or does not, which stands at `version`. A base
    /// above that was read before storage went back, or in another deployment.
    #[must_use]
    pub(in crate::coordinator) fn of(change: &Change, present_epoch: bool, version: Version) -> Self {
        match change.base {
            None => Self::Unchecked,
            // No copy is no copy in any epoch: what is made offline while another begins is still a creation.
            Some(Version::ZERO) => Self::At(Version::ZERO),
            Some(_) if !present_epoch && !planted!(EpochOfBaseIgnored) => Self::OtherHistory,
            Some(base) if base > version => Self::OtherHistory,
            Some(base) => Self::At(base),
        }
    }

    fn is_before(self, last: Version) -> bool {
        match self {
            Self::Unchecked => false,
            Self::At(base) => last > base,
            Self::OtherHistory => last > Version::ZERO,
        }
    }
}

/// Whether somebody other than `writer` changed what `change` rests on after its base.
///
/// `record` is the state before the whole mutation; `horizon` the newest deletion that has been forgotten.
#[must_use]
pub(in crate::coordinator) fn conflicts(
    change: &Change,
    record: Option<&Record>,
    base: Base,
    writer: u64,
    horizon: Version,
    policy: OnConflict,
) -> bool {
    if policy == OnConflict::Overwrite {
        return false;
    }
    let writes_fields = match &change.op {
        Op::Put(_) | Op::Patch { .. } => true,
        Op::Delete => false,
        // They combine with whatever stands there.
        Op::Add { .. } | Op::Include { .. } | Op::Exclude { .. } => return false,
    };
    match record {
        Some(record) if record.deleted_at.is_none() => match &change.op {
            op @ Op::Patch { .. } if policy == OnConflict::Merge => {
                let tops = tops(op).unwrap_or_default();
                tops.into_iter().any(|top| base.is_before(field_clock(record, top).last_by_others(writer)))
            }
            _ => base.is_before(record.clock.last_by_others(writer)),
        },
        // A deletion by the client itself does not hide what others had changed before it.
        Some(deletion) => {
            writes_fields
                && base != Base::At(Version::ZERO)
                && base.is_before(deletion.clock.last_by_others(writer))
        }
        None => writes_fields && may_have_been_deleted_after(base, horizon),
    }
}

/// Of an absent record without a remembered deletion nobody can say any more whether it was deleted before the horizon.
fn may_have_been_deleted_after(base: Base, horizon: Version) -> bool {
    match base {
        Base::Unchecked => false,
        Base::At(base) => base > Version::ZERO && base < horizon,
        Base::OtherHistory => horizon > Version::ZERO,
    }
}

fn field_clock(record: &Record, name: &str) -> Clock {
    record.fields.as_ref().map_or(record.clock, |fields| *fields.named.get(name).unwrap_or(&fields.rest))
}

/// The top-level fields that `op` names, which are all that it can change of a record that is there. None if it sees to the
/// record as a whole.
#[must_use]
pub(in crate::coordinator) fn tops(op: &Op) -> Option<Vec<&str>> {
    match op {
        Op::Put(_) | Op::Delete => None,
        Op::Patch { set, unset, .. } => {
            Some(set.iter().map(|(path, _)| path).chain(unset).map(value::Path::top).collect())
        }
        Op::Add { path, .. } | Op::Include { path, .. } | Op::Exclude { path, .. } => Some(vec![path.top()]),
    }
}

/// The value after `op`, or none if the record is then absent.
///
/// # Errors
/// A [`Rejection`] where the op is not defined on this value or its result is above a limit.
pub(in crate::coordinator) fn apply(op: &Op, current: Option<&str>) -> Result<Option<String>, Rejection> {
    let result = match (op, current) {
        (Op::Put(value), _) => Some(value.clone()),
        (Op::Delete, _) => None,
        (
            Op::Patch { or_put, .. }
            | Op::Add { or_put, .. }
            | Op::Include { or_put, .. }
            | Op::Exclude { or_put, .. },
            None,
        ) => or_put.clone(),
        (Op::Patch { set, unset, .. }, Some(value)) => {
            let set: Vec<_> = set.iter().map(|(path, text)| (path.clone(), text.as_str())).collect();
            Some(value::patch(value, &set, unset).map_err(refused)?)
        }
        (Op::Add { path, by, .. }, Some(value)) => Some(value::add(value, path, *by).map_err(refused)?),
        (Op::Include { path, values, .. }, Some(value)) => {
            Some(value::include(value, path, &texts(values)).map_err(refused)?)
        }
        (Op::Exclude { path, values, .. }, Some(value)) => {
            Some(value::exclude(value, path, &texts(values)).map_err(refused)?)
        }
    };
    if result.as_ref().is_some_and(|value| value.len() > limits::VALUE_BYTES_MAX) {
        return Err(Rejection::new(RejectCode::TooLarge, "the value would have more than 256 KiB"));
    }
    Ok(result)
}

fn texts(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

fn refused(refused: Refused) -> Rejection {
    Rejection::new(RejectCode::InvalidValue, refused.detail())
}

/// Named field clocks of one record, and bytes of their names. Above this every field counts as changed with the record,
/// which can only show a conflict too many, so that nobody can grow a row beyond what it may hold.
const NAMED_FIELDS_MAX: usize = 256;
const NAMED_BYTES_MAX: usize = 16 * 1024;

/// The field clocks after `writer` turned `before` into `after` at `version`, where the record lived throughout. `tops` are
/// the fields that the operations named, if none of them saw to the whole record.
#[must_use]
pub(in crate::coordinator) fn field_clocks(
    record: &Record,
    (before, after): (&str, &str),
    tops: Option<Vec<&str>>,
    writer: u64,
    version: Version,
) -> Option<FieldClocks> {
    let mut fields = record
        .fields
        .clone()
        .unwrap_or_else(|| FieldClocks { rest: record.clock, named: Default::default() });
    let touched = match tops {
        Some(tops) => json::touched_among(before, after, tops),
        None => json::touched(before, after),
    };
    for name in touched {
        let clock = Clock::tick(Some(field_clock(record, &name)), writer, version);
        fields.named.insert(name, clock);
    }
    let bytes: usize = fields.named.keys().map(String::len).sum();
    (fields.named.len() <= NAMED_FIELDS_MAX && bytes <= NAMED_BYTES_MAX).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call::PushRequest, coordinator::ledger::live_line, ids::Key, time::Millis};

    fn version(number: u64) -> Version {
        Version::new(number).expect("a version")
    }

    fn change(text: &str) -> Change {
        let body = format!(r#"{{"client":"c_9f2k1m0a","mutations":[{{"id":1,"changes":[{text}]}}]}}"#);
        let push = PushRequest::parse(body.as_bytes()).expect("a push");
        push.mutations[0].intent.mutation().expect("a mutation").changes[0].clone()
    }

    fn record(key: &Key, (at, writer, foreign): (u64, u64, u64)) -> Record {
        Record {
            clock: Clock { version: version(at), writer, foreign: version(foreign) },
            deleted_at: None,
            line: live_line(key, "{}"),
            fields: None,
        }
    }

    const PUT: &str = r#"{"op":"put","collection":"c","id":"r","value":{}}"#;
    const DELETE: &str = r#"{"op":"delete","collection":"c","id":"r"}"#;

    fn put_conflicts(record: Option<&Record>, base: Base, horizon: u64) -> bool {
        conflicts(&change(PUT), record, base, 7, version(horizon), OnConflict::Reject)
    }

    #[test]
    fn i13_ones_own_changes_never_count() {
        let key = change(PUT).key;
        let own = record(&key, (57, 7, 30));
        assert!(!put_conflicts(Some(&own), Base::At(version(41)), 0));
        assert!(
            put_conflicts(Some(&own), Base::At(version(29)), 0),
            "somebody else's change at 30 was not seen"
        );
        let foreign = record(&key, (57, 8, 0));
        assert!(put_conflicts(Some(&foreign), Base::At(version(56)), 0));
        assert!(!put_conflicts(Some(&foreign), Base::At(version(57)), 0));
    }

    #[test]
    fn with_base_0_a_foreign_record_conflicts_and_an_absent_one_never_does() {
        let key = change(PUT).key;
        assert!(put_conflicts(Some(&record(&key, (3, 8, 0))), Base::At(Version::ZERO), 0));
        let deletion = Record { deleted_at: Some(Millis(1)), ..record(&key, (3, 8, 0)) };
        assert!(!put_conflicts(Some(&deletion), Base::At(Version::ZERO), 0));
        assert!(!put_conflicts(None, Base::At(Version::ZERO), 50));
    }

    #[test]
    fn an_absent_record_conflicts_when_it_was_or_may_have_been_deleted_after_the_base() {
        let key = change(PUT).key;
        let deletion = Record { deleted_at: Some(Millis(1)), ..record(&key, (50, 8, 0)) };
        assert!(put_conflicts(Some(&deletion), Base::At(version(49)), 0));
        assert!(!put_conflicts(Some(&deletion), Base::At(version(50)), 0));
        let own = Record { clock: Clock { writer: 7, ..deletion.clock }, ..deletion };
        assert!(!put_conflicts(Some(&own), Base::At(version(49)), 0));
        let over = Record { clock: Clock { foreign: version(45), ..own.clock }, ..own };
        assert!(put_conflicts(Some(&over), Base::At(version(44)), 0), "somebody changed what it has deleted");
        assert!(!put_conflicts(Some(&over), Base::At(version(45)), 0));
        assert!(put_conflicts(None, Base::At(version(49)), 50));
        assert!(!put_conflicts(None, Base::At(version(50)), 50));
    }

    #[test]
    fn deleting_what_is_absent_never_conflicts() {
        let key = change(DELETE).key;
        let deletion = Record { deleted_at: Some(Millis(1)), ..record(&key, (50, 8, 0)) };
        for record in [None, Some(&deletion)] {
            let base = Base::At(version(1));
            assert!(!conflicts(&change(DELETE), record, base, 7, version(60), OnConflict::Reject));
        }
    }

    #[test]
    fn bases_of_another_epoch_are_older_than_every_change_of_others() {
        let key = change(PUT).key;
        assert!(put_conflicts(Some(&record(&key, (1, 8, 0))), Base::OtherHistory, 0));
        assert!(!put_conflicts(Some(&record(&key, (1, 7, 0))), Base::OtherHistory, 0));
        assert!(!put_conflicts(None, Base::OtherHistory, 0));
        assert!(put_conflicts(None, Base::OtherHistory, 1));
    }

    #[test]
    fn merge_looks_at_the_top_level_fields_that_a_patch_touches() {
        let patch = change(r#"{"op":"patch","collection":"c","id":"r","set":{"meta.n":1}}"#);
        let mut there = record(&patch.key, (57, 8, 0));
        there.fields = Some(FieldClocks {
            rest: Clock { version: version(3), writer: 8, foreign: version(0) },
            named: [("title".to_owned(), there.clock)].into(),
        });
        let merge = |patch: &Change| {
            conflicts(patch, Some(&there), Base::At(version(41)), 7, version(0), OnConflict::Merge)
        };
        assert!(!merge(&patch));
        assert!(merge(&change(r#"{"op":"patch","collection":"c","id":"r","unset":["title"]}"#)));
        assert!(merge(&change(PUT)), "a put rests on the whole record");
    }
}
