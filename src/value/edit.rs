//! The operations: a tree of changes, walked together with the text.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use super::path::Path;
use crate::json::{Members, Scalar, array_body, decoded, elements, json_text, number, number_text};

/// Why an operation cannot be done on a value: the mutation is rejected with the code `invalid_value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The text of a path is none.
    Path,
    /// One path, or a path and its ancestor, twice in a patch.
    Overlap,
    /// A path leads through an array.
    Array,
    /// The sum is not a finite number.
    NotFinite,
    /// A value to include or exclude is an object or an array.
    NotScalar,
    /// A text holds half of a surrogate pair.
    HalfPair,
    /// A number is infinite as a double.
    Infinite,
}

impl Refused {
    /// What is wrong, for the developer of a client. It contains nothing of the value or the operation.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Path => "a path is 1 to 16 names joined by dots, none empty or reserved by JavaScript",
            Self::Overlap => "a patch names one path twice, or a path and its ancestor",
            Self::Array => "a path leads through an array",
            Self::NotFinite => "the sum is not a finite number",
            Self::NotScalar => "only null, booleans, numbers and strings can be included or excluded",
            Self::HalfPair => {
                "a text holds half of a surrogate pair, such as \\ud83c: cut strings between characters"
            }
            Self::Infinite => "a number is too large for a double",
        }
    }
}

impl Display for Refused {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.detail())
    }
}

impl std::error::Error for Refused {}

/// The object with the value texts of `set` at their paths and without the fields of `unset`.
///
/// `set` creates objects on the way and replaces null or a scalar there by one; new fields go to the end, in the
/// order of `set`. `unset` of what is not there changes nothing. The cost grows with the texts, not with their
/// product, so a patch of many paths needs no limit of its own.
///
/// # Errors
/// [`Refused::Overlap`]; [`Refused::Array`] for an array on the way of any path, also of one to unset.
pub fn patch(object: &str, set: &[(Path, &str)], unset: &[Path]) -> Result<String, Refused> {
    let mut changes = Changes::default();
    for (path, value) in set {
        changes.insert(path, Change::Put(value))?;
    }
    for path in unset {
        changes.insert(path, Change::Remove)?;
    }
    changes.applied_to(object)
}

/// Whether one patch may name all of `paths`: none twice, and none with an ancestor. [`patch`] checks the same; this is for
/// where there is no object to patch.
///
/// # Errors
/// [`Refused::Overlap`].
pub fn distinct<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Refused> {
    let mut changes = Changes::default();
    paths.into_iter().try_for_each(|path| changes.insert(path, Change::Remove))
}

/// The object with `by` added to the number at `path`; anything but a number there counts as 0.
///
/// The sum is that of IEEE doubles, written as JavaScript writes it, also where it equals the number that is there: `1.0`
/// plus 0 is `1`. Objects on the way as in [`patch`].
///
/// # Errors
/// [`Refused::NotFinite`], also for a `by` or a number there that is infinite as a double; [`Refused::Array`] for an
/// array on the way.
pub fn add(object: &str, path: &Path, by: f64) -> Result<String, Refused> {
    Changes::one(path, Change::Add(by))?.applied_to(object)
}

/// The object with those of `values` (texts of scalars) that the array at `path` lacks appended to it, in order and
/// each once; anything but an array there counts as `[]`.
///
/// Numbers are equal as doubles and strings when decoded; an object or array in the array equals no scalar. Objects
/// on the way as in [`patch`].
///
/// # Errors
/// [`Refused::NotScalar`]; [`Refused::Array`] for an array on the way.
pub fn include(object: &str, path: &Path, values: &[&str]) -> Result<String, Refused> {
    Changes::one(path, Change::Include(values))?.applied_to(object)
}

/// The object without all elements of the array at `path` that equal one of `values` (texts of scalars). Where there is no
/// array there is nothing to remove, and nothing changes. Equality as in [`include()`].
///
/// # Errors
/// [`Refused::NotScalar`]; [`Refused::Array`] for an array on the way.
pub fn exclude(object: &str, path: &Path, values: &[&str]) -> Result<String, Refused> {
    Changes::one(path, Change::Exclude(values))?.applied_to(object)
}

/// What to do with one field.
enum Change<'a> {
    Put(&'a str),
    Remove,
    Add(f64),
    Include(&'a [&'a str]),
    Exclude(&'a [&'a str]),
    Within(Changes<'a>),
}

/// What becomes of one field.
enum Outcome<'a> {
    Same,
    Gone,
    Now(Cow<'a, str>),
}

/// What to do with the fields of one object.
#[derive(Default)]
struct Changes<'a> {
    /// In the order in which the operation names the fields, which is the order of new ones.
    in_order: Vec<(&'a str, Change<'a>)>,
    /// Where in `in_order` a name is. A tree, not a hash table: on wasm the hasher has no random seed.
    by_name: BTreeMap<&'a [u8], usize>,
}

impl<'a> Changes<'a> {
    fn one(path: &'a Path, change: Change<'a>) -> Result<Self, Refused> {
        let mut changes = Self::default();
        changes.insert(path, change)?;
        Ok(changes)
    }

    fn insert(&mut self, path: &'a Path, change: Change<'a>) -> Result<(), Refused> {
        let (way, last) = path.way_and_last();
        let mut here = self;
        for name in way {
            let new = here.in_order.len();
            let at = *here.by_name.entry(name.as_bytes()).or_insert(new);
            if at == new {
                here.in_order.push((name, Change::Within(Self::default())));
            }
            let Change::Within(within) = &mut here.in_order[at].1 else { return Err(Refused::Overlap) };
            here = within;
        }
        if here.by_name.insert(last.as_bytes(), here.in_order.len()).is_some() {
            return Err(Refused::Overlap);
        }
        here.in_order.push((last, change));
        Ok(())
    }

    fn applied_to(&self, object: &str) -> Result<String, Refused> {
        Ok(self.edited(object)?.unwrap_or_else(|| object.to_owned()))
    }

    /// The object after the changes, or nothing if they change nothing. Recurses as deep as the longest path.
    fn edited(&self, object: &str) -> Result<Option<String>, Refused> {
        // The members with a change, and for each change the last of its members: of a repeated name only that counts.
        let mut named = Vec::new();
        let mut fields = vec![None; self.in_order.len()];
        for member in Members::of(object) {
            if let Some(&change) = self.by_name.get(&*decoded(member.name)) {
                fields[change] = Some(named.len());
                named.push((change, member));
            }
        }
        let outcomes = self.in_order.iter().zip(&fields);
        let outcomes = outcomes.map(|((_, change), field)| change.outcome(field.map(|at| named[at].1.value)));
        let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
        if outcomes.iter().all(|outcome| matches!(outcome, Outcome::Same)) {
            return Ok(None);
        }

        let body = Members::of(object).body();
        let mut edited = ObjectText(String::with_capacity(object.len() + 64));
        let mut copied = 0;
        for (at, (change, member)) in named.iter().enumerate() {
            let outcome = &outcomes[*change];
            if matches!(outcome, Outcome::Same) {
                continue;
            }
            edited.push(&[body[copied..member.span.start].trim_matches(',')]);
            copied = member.span.end;
            if let (Outcome::Now(value), true) = (outcome, fields[*change] == Some(at)) {
                edited.push(&[member.name, ":", value]);
            }
        }
        edited.push(&[body[copied..].trim_matches(',')]);
        for (((name, _), outcome), field) in self.in_order.iter().zip(&outcomes).zip(&fields) {
            if let (Outcome::Now(value), None) = (outcome, field) {
                edited.push(&[&json_text(name), ":", value]);
            }
        }
        Ok(Some(edited.closed()))
    }
}

impl<'a> Change<'a> {
    /// What becomes of a field that has the text `existing`.
    fn outcome(&self, existing: Option<&str>) -> Result<Outcome<'a>, Refused> {
        let now: Cow<'a, str> = match self {
            Self::Put(value) => Cow::Borrowed(*value),
            Self::Remove => return Ok(if existing.is_some() { Outcome::Gone } else { Outcome::Same }),
            Self::Within(changes) => match changes.edited(existing_object(existing)?)? {
                Some(object) => Cow::Owned(object),
                None => return Ok(Outcome::Same),
            },
            Self::Add(by) => Cow::Owned(number_text(sum(existing, *by)?)),
            Self::Include(values) => Cow::Owned(with(existing, values)?),
            Self::Exclude(values) => match without(existing, values)? {
                array if existing.is_some_and(|there| there.starts_with('[')) => Cow::Owned(array),
                _ => return Ok(Outcome::Same),
            },
        };
        Ok(if existing == Some(&now) { Outcome::Same } else { Outcome::Now(now) })
    }
}

/// An object text being written.
struct ObjectText(String);

impl ObjectText {
    /// Appends a member, or a run of them, given in parts.
    fn push(&mut self, parts: &[&str]) {
        if parts.iter().all(|part| part.is_empty()) {
            return;
        }
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.extend(parts.iter().copied());
    }

    fn closed(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}

/// The object a path goes on in.
fn existing_object(existing: Option<&str>) -> Result<&str, Refused> {
    match existing {
        Some(object) if object.starts_with('{') => Ok(object),
        Some(array) if array.starts_with('[') => Err(Refused::Array),
        _ => Ok("{}"),
    }
}

fn sum(existing: Option<&str>, by: f64) -> Result<f64, Refused> {
    let sum = existing.and_then(number).unwrap_or(0.0) + by;
    if sum.is_finite() { Ok(sum) } else { Err(Refused::NotFinite) }
}

fn with(existing: Option<&str>, values: &[&str]) -> Result<String, Refused> {
    // A tree of what is new, not of what is there: the array may be long, and is looked through each time.
    let mut new = BTreeSet::new();
    let mut candidates = Vec::new();
    for value in values {
        if new.insert(Scalar::of(value).ok_or(Refused::NotScalar)?) {
            candidates.push(*value);
        }
    }
    for element in existing_elements(existing) {
        if new.is_empty() {
            break;
        }
        if let Some(scalar) = Scalar::of(element) {
            new.remove(&scalar);
        }
    }
    candidates.retain(|value| Scalar::of(value).is_some_and(|value| new.contains(&value)));
    let there = array_body(existing.unwrap_or_default());
    let all = Some(there).filter(|there| !there.is_empty()).into_iter().chain(candidates);
    let mut array = String::with_capacity(there.len() + 64);
    for element in all {
        array.push(if array.is_empty() { '[' } else { ',' });
        array.push_str(element);
    }
    array.push_str(if array.is_empty() { "[]" } else { "]" });
    Ok(array)
}

fn without(existing: Option<&str>, values: &[&str]) -> Result<String, Refused> {
    let mut gone = BTreeSet::new();
    for value in values {
        gone.insert(Scalar::of(value).ok_or(Refused::NotScalar)?);
    }
    let stays = |element: &&str| Scalar::of(element).is_none_or(|scalar| !gone.contains(&scalar));
    let kept: Vec<_> = existing_elements(existing).filter(stays).collect();
    Ok(format!("[{}]", kept.join(",")))
}

fn existing_elements(existing: Option<&str>) -> impl Iterator<Item = &str> {
    elements(existing.unwrap_or_default())
}
