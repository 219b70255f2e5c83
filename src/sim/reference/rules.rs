//! What changes make of records, and which of them conflict: by the whole history, which forgets nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    Name,
    json::members,
    reading::{Change, Kind},
    tree::Tree,
};

/// What stands in a record after changes, and whether the record was absent at any moment.
pub(crate) type Left = (Option<Tree>, bool);

/// The values after all changes, in order. None where one of them is not defined on what stands there.
pub(crate) fn apply<'a, 'b>(
    changes: impl IntoIterator<Item = &'a Change>,
    text: impl Fn(&Name) -> Option<&'b str>,
) -> Option<BTreeMap<Name, Left>> {
    let mut values = BTreeMap::new();
    for change in changes {
        let (tree, was_absent) = values.entry(change.name.clone()).or_insert_with(|| {
            let tree = text(&change.name).map(Tree::parse);
            let is_absent = tree.is_none();
            (tree, is_absent)
        });
        *tree = match (&change.kind, &*tree) {
            (Kind::Put(value), _) => Some(Tree::parse(value)),
            (Kind::Delete, _) => None,
            (Kind::Patch(_, or_put) | Kind::Combine(_, or_put), None) => or_put.as_deref().map(Tree::parse),
            (Kind::Patch(op, _) | Kind::Combine(op, _), Some(tree)) => Some(tree.after(op).ok()?),
        };
        *was_absent |= tree.is_none();
    }
    Some(values)
}

/// Whether one of these changes finds no record at that moment and does nothing.
pub(crate) fn finds_nothing<'a>(
    changes: impl IntoIterator<Item = &'a Change>,
    is_there: impl Fn(&Name) -> bool,
    is_of_them: impl Fn(&Change) -> bool,
) -> bool {
    let mut there = BTreeMap::new();
    changes.into_iter().any(|change| {
        let is_there = there.entry(&change.name).or_insert_with(|| is_there(&change.name));
        let was_there = *is_there;
        *is_there = match &change.kind {
            Kind::Put(_) => true,
            Kind::Delete => false,
            Kind::Patch(_, or_put) | Kind::Combine(_, or_put) => was_there || or_put.is_some(),
        };
        !was_there && !*is_there && is_of_them(change)
    })
}

/// A base as a history that has come to `version` knows it: none for one of another history, unless it says that there
/// was nothing at all.
pub(crate) fn known(base: u64, is_of_epoch: bool, version: u64) -> Option<u64> {
    (base == 0 || (is_of_epoch && base <= version)).then_some(base)
}

/// A record after a change of it.
#[derive(Debug, Clone)]
struct Step {
    version: u64,
    writer: Rc<str>,
    /// The top-level fields that it changed; none for all.
    touched: Option<BTreeSet<String>>,
    is_deletion: bool,
}

/// Who changed what when, from the beginning and without forgetting anything.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(BTreeMap<Name, Vec<Step>>);

impl History {
    /// Notes what `writer` did to a record at `version`: its text before and after, and whether it was absent at any moment.
    pub(crate) fn note(
        &mut self,
        name: &Name,
        (before, after, was_absent): (Option<&str>, Option<&str>, bool),
        writer: &Rc<str>,
        version: u64,
    ) {
        let steps = self.0.entry(name.clone()).or_default();
        if was_absent {
            // Single fields are told apart since the record was last made. All that others did before that counts for every
            // field, which can only show a conflict too many.
            steps.iter_mut().for_each(|step| step.touched = None);
        }
        let touched = before.zip(after).filter(|_| !was_absent);
        let touched = touched.and_then(|(before, after)| touched_fields(before, after));
        steps.push(Step { version, writer: Rc::clone(writer), touched, is_deletion: after.is_none() });
    }

    /// I13: whether somebody other than `writer` changed what a change rests on after `base`; none: after no moment at all.
    pub(crate) fn conflicts(&self, change: &Change, base: Option<u64>, writer: &str, policy: &str) -> bool {
        if policy == "overwrite" || matches!(change.kind, Kind::Combine(..)) {
            return false;
        }
        let Some(steps) = self.0.get(&change.name) else { return false };
        let is_absent = steps.last().is_none_or(|last| last.is_deletion);
        if is_absent && (base == Some(0) || matches!(change.kind, Kind::Delete)) {
            return false;
        }
        // Of a record that is absent no field can be told from another.
        let tops = change.tops().filter(|_| policy == "merge" && !is_absent);
        let touches = |step: &Step| match (&tops, &step.touched) {
            (Some(tops), Some(touched)) => !tops.is_disjoint(touched),
            // A patch that names no field never conflicts.
            (Some(tops), None) => !tops.is_empty(),
            (None, _) => true,
        };
        let is_unseen = |step: &Step| *step.writer != *writer && base.is_none_or(|base| step.version > base);
        steps.iter().any(|step| is_unseen(step) && touches(step))
    }

    /// Whether a coordinator that has forgotten deletions still knows enough for a conflict: the last change of the record
    /// is somebody else's, and came after `base`.
    pub(crate) fn surely_conflicts(
        &self,
        change: &Change,
        base: Option<u64>,
        writer: &str,
        policy: &str,
    ) -> bool {
        let last = self.0.get(&change.name).and_then(|steps| steps.last());
        let is_foreign = last.is_some_and(|last| {
            *last.writer != *writer && base.is_none_or(|base| last.version > base && base > 0)
        });
        let by_field = policy == "merge" && matches!(change.kind, Kind::Patch(..));
        is_foreign && !by_field && self.conflicts(change, base, writer, policy)
    }
}

/// The top-level fields whose text differs. None where a name is no Rust text: then nobody can tell.
fn touched_fields(before: &str, after: &str) -> Option<BTreeSet<String>> {
    let fields = |text| -> Option<BTreeMap<String, &str>> { Some(members(text)?.into_iter().collect()) };
    let (before, after) = (fields(before)?, fields(after)?);
    let names = before.keys().chain(after.keys());
    Some(names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect())
}
