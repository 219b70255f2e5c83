//! Out of bytes, a push. What may fail the whole request and what only its mutation is the contract's "Envelope".

use crate::{
    ids::{Collection, Key, RecordId},
    json::{Fields, Misfit, members, text_of},
    limits,
    mutation::{
        Change, Decision, Intent, Mutation, MutationDigest, Op, RejectCode, Rejection, Resolution, Submitted,
        canonical::canonical,
    },
    value::{self, Path, Refused},
    version::{ConflictId, Epoch, Version},
};

const MUTATION: &[&str] = &["id", "at", "base", "after", "epoch", "changes"];
/// Of whatever op, and of the records of a resolution.
const CHANGE: &[&str] = &[
    "op",
    "collection",
    "id",
    "base",
    "value",
    "set",
    "unset",
    "path",
    "by",
    "values",
    "orPut",
    "conflict",
    "take",
    "records",
    "deleted",
];

fn misfit(detail: &str) -> Misfit {
    Misfit(detail.to_owned())
}

impl Submitted {
    /// How many changes it counts for: for one, if it has none or is rejected.
    #[must_use]
    pub fn changes(&self) -> usize {
        match &self.intent {
            Intent::Mutation(mutation) => mutation.size().max(1),
            Intent::Transaction(transaction) => transaction.size().max(1),
            Intent::Rejected(_) => 1,
        }
    }

    /// Parses a mutation, which depends on its text alone.
    ///
    /// # Errors
    /// For what has no number.
    pub(crate) fn parse(text: &str) -> Result<Self, Misfit> {
        let kept = value::compact(text);
        let fields =
            Fields::of(&kept.text, MUTATION).ok_or_else(|| misfit("a mutation is an object with an id"))?;
        let id = fields.number("id")?.ok_or_else(|| misfit("a mutation has no id"))?;
        if id == Version::ZERO {
            return Err(misfit("ids count from 1"));
        }
        // What is rejected for its length is told apart by its text: whoever sends so much would have it ordered for nothing.
        let is_too_long = kept.text.len() > limits::MUTATION_BYTES_MAX;
        let compared = if is_too_long { None } else { Some(canonical(&kept.text)) };
        let has_repeated = compared.as_ref().is_some_and(|(_, has_repeated)| *has_repeated);
        let digest = MutationDigest::of(compared.as_ref().map_or(&kept.text, |(canonical, _)| canonical));
        let digest = if planted!(SpellingCompared) { MutationDigest::of(text) } else { digest };
        let mutation = match kept.unfit {
            Some(unfit) => Err(refused(unfit)),
            None if is_too_long => Err(Rejection::new(RejectCode::TooLarge, "a mutation has at most 1 MiB")),
            None => mutation(&fields),
        };
        let mutation = mutation.and_then(|mutation| if has_repeated { Err(twice()) } else { Ok(mutation) });
        let changes = fields.get("changes").ok().flatten().filter(|_| mutation.is_ok()).unwrap_or_default();
        Ok(Self { id: id.get(), digest, changes: changes.to_owned(), intent: mutation.into() })
    }
}

impl Mutation {
    /// The parked changes of a conflict as one mutation. Their bases are forgotten: whoever takes them knows what stands
    /// there, and the resolution says up to which version.
    ///
    /// # Errors
    /// A [`Rejection`] of what code before this one took and this does not.
    pub fn parked<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, Rejection> {
        let mut mutation = Self::of(texts.map(|text| step(text, None)))?;
        mutation.changes.iter_mut().for_each(|change| change.base = None);
        for resolution in &mut mutation.resolutions {
            resolution.base = None;
            if let Decision::Records(records) = &mut resolution.decision {
                records.iter_mut().for_each(|change| change.base = None);
            }
        }
        Ok(mutation)
    }

    /// How many changes it has, without those that its resolutions re-apply.
    #[must_use]
    pub fn size(&self) -> usize {
        self.changes.len() + self.resolutions.iter().map(Resolution::changes).sum::<usize>()
    }

    fn of(steps: impl Iterator<Item = Result<Step, Rejection>>) -> Result<Self, Rejection> {
        let mut mutation =
            Self { epoch: None, after: Vec::new(), changes: Vec::new(), resolutions: Vec::new(), named: 0 };
        for (index, step) in steps.enumerate() {
            let named = |rejection: Rejection| Rejection {
                detail: format!("change {index}: {}", rejection.detail).into(),
                ..rejection
            };
            match step.map_err(named)? {
                Step::Change(change) => {
                    mutation.named += named_by(&change.op);
                    if mutation.named > limits::NAMES_MAX {
                        return Err(too_many_named());
                    }
                    mutation.changes.push(change);
                }
                Step::Resolve(resolution) => {
                    mutation.resolutions.push(Resolution { at: mutation.changes.len(), ..resolution });
                }
            }
        }
        // Whoever grows has up to four times as much as it needs, which counts where there is little else.
        mutation.changes.shrink_to_fit();
        mutation.resolutions.shrink_to_fit();
        Ok(mutation)
    }
}

/// An element of `changes`.
enum Step {
    Change(Change),
    Resolve(Resolution),
}

fn mutation(fields: &Fields<'_>) -> Result<Mutation, Rejection> {
    fields.only("a mutation", MUTATION).map_err(unsupported)?;
    let changes = fields.list("changes", limits::MUTATION_CHANGES_MAX)?;
    let changes = changes.ok_or_else(|| Rejection::invalid("changes is missing"))?;
    let too_many = || Rejection::new(RejectCode::TooLarge, "a mutation has at most 1,000 changes");
    if changes.len() > limits::MUTATION_CHANGES_MAX {
        return Err(too_many());
    }
    let base = fields.number("base")?;
    let after = followed(fields)?;
    let epoch = fields.text("epoch")?;
    let epoch =
        epoch.map(|text| Epoch::parse(&text).ok_or_else(|| Rejection::invalid("epoch is not an epoch")));
    let mutation = Mutation::of(changes.into_iter().map(|text| step(text, base)))?;
    // A resolution can have many records.
    if mutation.size() > limits::MUTATION_CHANGES_MAX {
        return Err(too_many());
    }
    let is_number = |at: &str| at.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if fields.get("at")?.is_some_and(|at| !is_number(at)) {
        return Err(Rejection::invalid("at is not a number of milliseconds"));
    }
    Ok(Mutation { epoch: epoch.transpose()?, after, ..mutation })
}

/// The conflicts that `after` names: one, or a list.
fn followed(fields: &Fields<'_>) -> Result<Vec<ConflictId>, Rejection> {
    let Some(after) = fields.get("after")? else { return Ok(Vec::new()) };
    let names = match after.starts_with('[') {
        true => fields.list("after", limits::MUTATION_CHANGES_MAX)?.unwrap_or_default(),
        false => vec![after],
    };
    if names.len() > limits::MUTATION_CHANGES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a mutation follows at most 1,000 conflicts"));
    }
    let ids = names.into_iter().map(|name| ConflictId::parse(&text_of(name)?));
    let ids = ids.collect::<Option<_>>();
    ids.ok_or_else(|| Rejection::invalid("after is not a conflict id, or a list of them"))
}

/// How many names the paths have that it sets and unsets, or how many values it lists. One path alone is no more than 16.
fn named_by(op: &Op) -> usize {
    match op {
        Op::Patch { set, unset, .. } => set.iter().map(|(path, _)| path).chain(unset).map(Path::names).sum(),
        Op::Include { values, .. } | Op::Exclude { values, .. } => values.len(),
        Op::Put(_) | Op::Delete | Op::Add { .. } => 0,
    }
}

fn too_many_named() -> Rejection {
    Rejection::new(
        RejectCode::TooLarge,
        "a mutation sets and unsets paths of at most 20,000 names, with the values that it lists",
    )
}

/// Of a field that this server does not know: what it asks for is not done, so it is not passed over either.
pub(super) fn unsupported(Misfit(detail): Misfit) -> Rejection {
    Rejection::new(RejectCode::UnsupportedOp, detail)
}

/// A change, or a record of a resolution.
pub(super) fn change_fields(text: &str) -> Result<Fields<'_>, Rejection> {
    Fields::of(text, CHANGE).ok_or_else(|| Rejection::invalid("it is not an object"))
}

pub(super) fn key_of(fields: &Fields<'_>) -> Result<Key, Rejection> {
    let collection = fields.text("collection")?.ok_or_else(|| Rejection::invalid("collection is missing"))?;
    if collection.starts_with('$') {
        return Err(Rejection::new(RejectCode::Forbidden, "collections that begin with $ are not writable"));
    }
    let id = fields.text("id")?.ok_or_else(|| Rejection::invalid("id is missing"))?;
    Ok(Key {
        collection: Collection::parse(&collection).map_err(|rule| Rejection::invalid(rule.0))?,
        id: RecordId::parse(&id).map_err(|rule| Rejection::invalid(rule.0))?,
    })
}

fn step(text: &str, base: Option<Version>) -> Result<Step, Rejection> {
    let fields = change_fields(text)?;
    let op = fields.text("op")?.ok_or_else(|| Rejection::invalid("op is missing"))?;
    let base = fields.number("base")?.or(base);
    let allowed: &[&str] = match &*op {
        "put" => &["op", "collection", "id", "base", "value"],
        "patch" => &["op", "collection", "id", "base", "set", "unset", "orPut"],
        "delete" => &["op", "collection", "id", "base"],
        "add" => &["op", "collection", "id", "base", "path", "by", "orPut"],
        "include" | "exclude" => &["op", "collection", "id", "base", "path", "values", "orPut"],
        "resolve" => return Resolution::parse(&fields, base).map(Step::Resolve),
        _ => return Err(Rejection::new(RejectCode::UnsupportedOp, "this server does not know the op")),
    };
    fields.only(&op, allowed).map_err(unsupported)?;
    let key = key_of(&fields)?;
    let op = match &*op {
        "put" => Op::Put(object(&fields, "value")?.ok_or_else(|| Rejection::invalid("value is missing"))?),
        "delete" => Op::Delete,
        "patch" => patch(&fields)?,
        op => on_path(op, &fields)?,
    };
    Ok(Step::Change(Change { key, base, op }))
}

fn patch(fields: &Fields<'_>) -> Result<Op, Rejection> {
    let set = fields.get("set")?.unwrap_or("{}");
    if !set.starts_with('{') {
        return Err(Rejection::invalid("set is not an object"));
    }
    let unset = fields.list("unset", limits::NAMES_MAX)?.unwrap_or_default();
    // Of more paths than there may be names none is read.
    if unset.len() + members(set).take(limits::NAMES_MAX + 1).count() > limits::NAMES_MAX {
        return Err(too_many_named());
    }
    let mut named = 0;
    let mut counted = |path: &Path| {
        named += path.names();
        if named > limits::NAMES_MAX { Err(too_many_named()) } else { Ok(()) }
    };
    let set = members(set).map(|member| {
        let (path, value) = set_pair(member)?;
        counted(&path).map(|()| (path, value))
    });
    let mut set: Vec<_> = set.collect::<Result<_, _>>()?;
    set.shrink_to_fit();
    let unset = unset.into_iter().map(|text| {
        let path = path(text)?;
        counted(&path).map(|()| path)
    });
    let mut unset: Vec<_> = unset.collect::<Result<_, _>>()?;
    unset.shrink_to_fit();
    // Not left to whoever applies it: an absent record has nothing to apply it to.
    value::distinct(set.iter().map(|(path, _)| path).chain(&unset)).map_err(refused)?;
    Ok(Op::Patch { set, unset, or_put: object(fields, "orPut")? })
}

/// The ops that change what stands at one path.
fn on_path(op: &str, fields: &Fields<'_>) -> Result<Op, Rejection> {
    let path = path(fields.get("path")?.ok_or_else(|| Rejection::invalid("path is missing"))?)?;
    let or_put = object(fields, "orPut")?;
    if op == "add" {
        // Rust's own parser is exact to the last digit; serde_json's is not unless told to, and a client computes exactly.
        let by = fields.get("by")?.ok_or_else(|| Rejection::invalid("by is missing"))?;
        let is_number = by.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let by = by.parse::<f64>().ok().filter(|by| is_number && by.is_finite());
        let by = by.ok_or_else(|| Rejection::invalid("by is not a finite number"))?;
        return Ok(Op::Add { path, by, or_put });
    }
    let values = fields.list("values", limits::NAMES_MAX)?;
    let values = values.ok_or_else(|| Rejection::invalid("values is missing"))?;
    if values.len() > limits::NAMES_MAX {
        return Err(too_many_named());
    }
    if values.iter().any(|value| value.starts_with(['{', '['])) {
        return Err(refused(Refused::NotScalar));
    }
    let values = values.into_iter().map(str::to_owned).collect();
    Ok(if op == "include" {
        Op::Include { path, values, or_put }
    } else {
        Op::Exclude { path, values, or_put }
    })
}

/// A path out of a JSON string.
fn path(json: &str) -> Result<Path, Rejection> {
    let text = text_of(json).ok_or_else(|| Rejection::invalid("a path is a text"))?;
    Path::parse(&text).map_err(refused)
}

/// Of two members of one name readers differ in which they take, and some refuse the whole answer that they stand in.
fn twice() -> Rejection {
    Rejection::new(RejectCode::InvalidValue, "an object has a name twice")
}

/// Valid JSON as it may be a record's value: an object without white space, within the limits.
///
/// # Errors
/// Why it may not.
#[cfg(feature = "dexie")]
pub(crate) fn storable(json: &str) -> Result<std::borrow::Cow<'_, str>, Rejection> {
    let kept = value::compact(json);
    if let Some(unfit) = kept.unfit {
        return Err(refused(unfit));
    }
    if !kept.text.starts_with('{') {
        return Err(Rejection::invalid("a value is not an object"));
    }
    fits(&kept.text, 0)?;
    if super::canonical::has_repeated(&kept.text) { Err(twice()) } else { Ok(kept.text) }
}

fn refused(refused: Refused) -> Rejection {
    Rejection::invalid(refused.detail())
}

fn set_pair((name, value): (&str, &str)) -> Result<(Path, String), Rejection> {
    let path = path(name)?;
    fits(value, path.names())?;
    Ok((path, value.to_owned()))
}

/// A record's value: an object within the limits.
pub(super) fn object(fields: &Fields<'_>, name: &str) -> Result<Option<String>, Rejection> {
    let Some(value) = fields.get(name)? else { return Ok(None) };
    if !value.starts_with('{') {
        return Err(Rejection::invalid(format!("{name} is not an object")));
    }
    fits(value, 0)?;
    Ok(Some(value.to_owned()))
}

/// That a value, so many objects deep in its record, is within the limits.
fn fits(value: &str, level: usize) -> Result<(), Rejection> {
    if value.len() > limits::VALUE_BYTES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a value has at most 256 KiB"));
    }
    if level + value::compact(value).depth > limits::VALUE_DEPTH_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a value is nested at most 64 deep"));
    }
    Ok(())
}
