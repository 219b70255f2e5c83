//! Out of bytes, a push. What may fail the whole request and what only its mutation is the contract's "Envelope".

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Change, Decision, Mutation, MutationDigest, OnConflict, Op, PushRequest, RejectCode, Rejection,
    Resolution, Submitted, canonical::canonical,
};
use crate::{
    ids::{ClientId, Collection, Key, RecordId},
    limits,
    protocol::error::ApiError,
    value::{self, Path, Refused},
    version::{ConflictId, Epoch, Version},
};

impl PushRequest {
    /// Parses a body.
    ///
    /// # Errors
    /// Only the envelope can fail the request: [`ApiError::Malformed`] or [`ApiError::TooLarge`]. Whatever is wrong
    /// inside a mutation becomes that mutation's [`Rejection`], so that nothing queued behind it is blocked.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.len() > limits::BODY_BYTES_MAX {
            return Err(ApiError::TooLarge("A body has at most 4 MiB: split the push between mutations."));
        }
        Self::parse_text(std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8"))?)
    }

    pub(in crate::protocol) fn parse_text(text: &str) -> Result<Self, ApiError> {
        // serde would take an array for an object, its members in the order of our fields.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(malformed("the body is not a JSON object"));
        }
        let raw: RawPush<'_> = serde_json::from_str(text)
            .map_err(|error| malformed(format!("the body is not a push: {}", position_of(&error))))?;
        let client: String = typed(raw.client, "client")?.ok_or_else(|| malformed("client is missing"))?;
        let epoch: Option<String> = typed(raw.epoch, "epoch")?;
        let List(mutations): Changes<'_> =
            typed(raw.mutations, "mutations")?.ok_or_else(|| malformed("mutations is missing"))?;
        if mutations.len() > limits::MUTATIONS_MAX {
            return Err(ApiError::TooLarge("A push has at most 500 mutations: split it between mutations."));
        }
        let request = Self {
            client: ClientId::parse(&client).map_err(|rule| malformed(rule.0))?,
            epoch: epoch
                .map(|epoch| Epoch::parse(&epoch).ok_or_else(|| malformed("epoch is not an epoch")))
                .transpose()?,
            since: typed(raw.since, "since")?,
            acked: typed::<Version>(raw.acked, "acked")?.map_or(0, Version::get),
            on_conflict: raw.on_conflict.filter(|raw| raw.get() != "null").map(on_conflict),
            mutations: all_submitted(&mutations)?,
        };
        request.check()?;
        Ok(request)
    }

    /// How many changes it has, without those that its resolutions re-apply.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.mutations.iter().flat_map(|submitted| &submitted.mutation).map(Mutation::size).sum()
    }

    /// How much others of its transaction have to wait for: its changes, or a whole push's worth if it re-applies what
    /// is parked, of which only the plan knows how much it is.
    #[must_use]
    pub fn weight(&self) -> usize {
        let mut mutations = self.mutations.iter().flat_map(|submitted| &submitted.mutation);
        let reapplies = mutations.any(|mutation| !mutation.resolutions.is_empty());
        if reapplies { limits::CHANGES_MAX } else { self.changes() }
    }

    fn check(&self) -> Result<(), ApiError> {
        let consecutive = self.mutations.windows(2).all(|pair| pair[0].id + 1 == pair[1].id);
        if !consecutive {
            return Err(malformed("the ids of a push are consecutive"));
        }
        if self.epoch.is_none() && self.since.is_some_and(|since| since > Version::ZERO) {
            return Err(malformed("since belongs to an epoch: send both"));
        }
        Ok(())
    }
}

/// The envelope. Fields stay raw so that each can fail with its own name.
#[derive(Deserialize)]
struct RawPush<'a> {
    #[serde(borrow)]
    client: Option<&'a RawValue>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    acked: Option<&'a RawValue>,
    #[serde(borrow, rename = "onConflict")]
    on_conflict: Option<&'a RawValue>,
    #[serde(borrow)]
    mutations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawId<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawMutation<'a> {
    #[serde(borrow)]
    base: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    at: Option<&'a RawValue>,
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct RawChange<'a> {
    op: Option<Cow<'a, str>>,
    collection: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) base: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) value: Option<&'a RawValue>,
    /// Of a record of a resolution.
    #[serde(borrow)]
    pub(super) deleted: Option<&'a RawValue>,
    /// Of a resolution.
    #[serde(borrow)]
    pub(super) conflict: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) take: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) records: Option<&'a RawValue>,
    #[serde(borrow)]
    set: Option<Pairs<'a>>,
    #[serde(borrow)]
    unset: Option<Named<'a>>,
    path: Option<String>,
    #[serde(borrow)]
    by: Option<&'a RawValue>,
    #[serde(borrow)]
    values: Option<Named<'a>>,
    #[serde(borrow, rename = "orPut")]
    or_put: Option<&'a RawValue>,
}

/// An object's members in order, repeated names included, and no more than a [`Named`] list keeps.
pub(in crate::protocol) struct Pairs<'a>(pub(in crate::protocol) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::new();
                while pairs.len() <= limits::MUTATION_FIELDS_MAX
                    && let Some(pair) = map.next_entry()?
                {
                    pairs.push(pair);
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Members).map(Self)
    }
}

/// An array's members as texts. Of more than `MAX` one more is kept, and the others are passed over: it shows that there
/// are too many as well as millions would.
pub(in crate::protocol) struct List<'a, const MAX: usize>(pub(in crate::protocol) Vec<&'a RawValue>);

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for List<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<const MAX: usize>;
        impl<'de, const MAX: usize> Visitor<'de> for Members<MAX> {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut members = Vec::new();
                while members.len() <= MAX
                    && let Some(member) = seq.next_element()?
                {
                    members.push(member);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(members)
            }
        }
        deserializer.deserialize_seq(Members::<MAX>).map(Self)
    }
}

/// What the envelope and a mutation list, and what an operation does.
pub(in crate::protocol) type Changes<'a> = List<'a, { limits::MUTATION_CHANGES_MAX }>;
type Named<'a> = List<'a, { limits::MUTATION_FIELDS_MAX }>;

fn malformed(detail: impl Into<String>) -> ApiError {
    ApiError::Malformed(detail.into())
}

/// Where a parser stopped. Its own words may quote the input, so they are not passed on.
fn position_of(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

fn typed<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, name: &str) -> Result<Option<T>, ApiError> {
    raw.filter(|raw| raw.get() != "null")
        .map(|raw| {
            serde_json::from_str(raw.get()).map_err(|_| malformed(format!("{name} has the wrong form")))
        })
        .transpose()
}

/// An unknown policy is no policy: the default refuses, and a refused edit is shown, never lost.
fn on_conflict(raw: &RawValue) -> OnConflict {
    OnConflict::parse(raw.get().trim_matches('"')).unwrap_or_default()
}

/// The mutations of a push, which ends where its changes are too many: no list of all that a body can hold is made.
fn all_submitted(raw: &[&RawValue]) -> Result<Vec<Submitted>, ApiError> {
    let (mut all, mut changes) = (Vec::with_capacity(raw.len()), 0);
    for raw in raw {
        let one = submitted(raw)?;
        changes += one.mutation.as_ref().map_or(0, Mutation::size);
        if changes > limits::CHANGES_MAX {
            return Err(ApiError::TooLarge("A push has at most 2,000 changes: split it between mutations."));
        }
        all.push(one);
    }
    Ok(all)
}

fn submitted(raw: &RawValue) -> Result<Submitted, ApiError> {
    let found = Some(raw.get()).filter(|text| text.starts_with('{')).map(serde_json::from_str);
    let RawId { id } =
        found.and_then(Result::ok).ok_or_else(|| malformed("a mutation is an object with an id"))?;
    let id: Version = typed(id, "id")?.ok_or_else(|| malformed("a mutation has no id"))?;
    if id == Version::ZERO {
        return Err(malformed("ids count from 1"));
    }
    let digest = MutationDigest::of(&canonical(raw.get()));
    let digest = if planted!(SpellingCompared) { MutationDigest::of(raw.get()) } else { digest };
    let (mutation, changes) = match mutation(raw.get()) {
        Ok((mutation, changes)) => (Ok(mutation), changes),
        Err(rejection) => (Err(rejection), String::new()),
    };
    Ok(Submitted { id: id.get(), digest, changes, mutation })
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
        let mut mutation = Self { epoch: None, after: None, changes: Vec::new(), resolutions: Vec::new() };
        let mut room = limits::MUTATION_FIELDS_MAX;
        for (index, step) in steps.enumerate() {
            let named = |rejection: Rejection| Rejection {
                detail: format!("change {index}: {}", rejection.detail).into(),
                ..rejection
            };
            match step.map_err(named)? {
                Step::Change(change) => {
                    fitting(&change, &mut room)?;
                    mutation.changes.push(change);
                }
                Step::Resolve(resolution) => {
                    mutation.resolutions.push(Resolution { at: mutation.changes.len(), ..resolution });
                }
            }
        }
        Ok(mutation)
    }
}

/// An element of `changes`.
enum Step {
    Change(Change),
    Resolve(Resolution),
}

/// The mutation, and the text of its changes without white space.
fn mutation(text: &str) -> Result<(Mutation, String), Rejection> {
    if text.len() > limits::MUTATION_BYTES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a mutation has at most 1 MiB"));
    }
    let raw: RawMutation<'_> =
        serde_json::from_str(text).map_err(|_| Rejection::invalid("the mutation has the wrong form"))?;
    let List(changes): Changes<'_> =
        field(raw.changes, "changes")?.ok_or_else(|| Rejection::invalid("changes is missing"))?;
    if changes.len() > limits::MUTATION_CHANGES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a mutation has at most 1,000 changes"));
    }
    let base = field(raw.base, "base")?;
    let after = field::<String>(raw.after, "after")?;
    let after = after
        .map(|text| ConflictId::parse(&text).ok_or_else(|| Rejection::invalid("after is not a conflict id")));
    let mutation = Mutation::of(changes.into_iter().map(|raw| step(raw.get(), base)))?;
    // A resolution can have many records.
    if mutation.size() > limits::MUTATION_CHANGES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a mutation has at most 1,000 changes"));
    }
    let is_number =
        |raw: &RawValue| raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if raw.at.is_some_and(|at| at.get() != "null" && !is_number(at)) {
        return Err(Rejection::invalid("at is not a number of milliseconds"));
    }
    let mutation = Mutation { epoch: field(raw.epoch, "epoch")?, after: after.transpose()?, ..mutation };
    Ok((mutation, raw.changes.map_or_else(String::new, |raw| value::compact(raw.get()).0.into_owned())))
}

/// Takes what a change names out of the room that its mutation has for paths and values.
fn fitting(change: &Change, room: &mut usize) -> Result<(), Rejection> {
    let named = match &change.op {
        Op::Patch { set, unset, .. } => set.len() + unset.len(),
        Op::Include { values, .. } | Op::Exclude { values, .. } => values.len(),
        Op::Put(_) | Op::Delete | Op::Add { .. } => 0,
    };
    *room = room.checked_sub(named).ok_or_else(too_many_named)?;
    Ok(())
}

fn too_many_named() -> Rejection {
    Rejection::new(RejectCode::TooLarge, "a mutation names at most 50,000 paths and values")
}

pub(super) fn field<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    name: &str,
) -> Result<Option<T>, Rejection> {
    raw.filter(|raw| raw.get() != "null")
        .map(|raw| {
            serde_json::from_str(raw.get())
                .map_err(|_| Rejection::invalid(format!("{name} has the wrong form")))
        })
        .transpose()
}

impl<'a> RawChange<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Rejection> {
        let raw = Some(text).filter(|text| text.starts_with('{')).map(serde_json::from_str);
        raw.and_then(Result::ok).ok_or_else(|| Rejection::invalid("the change has the wrong form"))
    }
}

pub(super) fn key_of(raw: &RawChange<'_>) -> Result<Key, Rejection> {
    let collection = raw.collection.as_deref().ok_or_else(|| Rejection::invalid("collection is missing"))?;
    if collection.starts_with('$') {
        return Err(Rejection::new(RejectCode::Forbidden, "collections that begin with $ are not writable"));
    }
    let id = raw.id.as_deref().ok_or_else(|| Rejection::invalid("id is missing"))?;
    Ok(Key {
        collection: Collection::parse(collection).map_err(|rule| Rejection::invalid(rule.0))?,
        id: RecordId::parse(id).map_err(|rule| Rejection::invalid(rule.0))?,
    })
}

fn step(text: &str, base: Option<Version>) -> Result<Step, Rejection> {
    let raw = RawChange::parse(text)?;
    let name = raw.op.as_deref().ok_or_else(|| Rejection::invalid("op is missing"))?;
    if name == "resolve" {
        return Resolution::parse(&raw, field(raw.base, "base")?.or(base)).map(Step::Resolve);
    }
    if !matches!(name, "put" | "patch" | "delete" | "add" | "include" | "exclude") {
        return Err(Rejection::new(RejectCode::UnsupportedOp, "this server does not know the op"));
    }
    let key = key_of(&raw)?;
    let base = field(raw.base, "base")?.or(base);
    let op = match name {
        "put" => Op::Put(object(raw.value, "value")?.ok_or_else(|| Rejection::invalid("value is missing"))?),
        "delete" => Op::Delete,
        "patch" => patch(raw)?,
        _ => on_path(name, &raw)?,
    };
    Ok(Step::Change(Change { key, base, op }))
}

fn patch(raw: RawChange<'_>) -> Result<Op, Rejection> {
    let set = raw.set.map_or_else(Vec::new, |pairs| pairs.0);
    let unset = raw.unset.map_or_else(Vec::new, |list| list.0);
    if set.len() + unset.len() > limits::MUTATION_FIELDS_MAX {
        return Err(too_many_named());
    }
    let set: Vec<_> = set.into_iter().map(set_pair).collect::<Result<_, _>>()?;
    let unset = unset.into_iter().map(|raw| path(&text_of(raw)?));
    let unset: Vec<_> = unset.collect::<Result<_, _>>()?;
    // Not left to whoever applies it: an absent record has nothing to apply it to.
    value::distinct(set.iter().map(|(path, _)| path).chain(&unset)).map_err(refused)?;
    Ok(Op::Patch { set, unset, or_put: object(raw.or_put, "orPut")? })
}

/// The ops that change what stands at one path.
fn on_path(name: &str, raw: &RawChange<'_>) -> Result<Op, Rejection> {
    let path = path(raw.path.as_deref().ok_or_else(|| Rejection::invalid("path is missing"))?)?;
    let or_put = object(raw.or_put, "orPut")?;
    if name == "add" {
        // Rust's own parser is exact to the last digit; serde_json's is not unless told to, and a client computes exactly.
        let by = raw.by.ok_or_else(|| Rejection::invalid("by is missing"))?.get();
        let is_number = by.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let by = by.parse::<f64>().ok().filter(|by| is_number && by.is_finite());
        let by = by.ok_or_else(|| Rejection::invalid("by is not a finite number"))?;
        return Ok(Op::Add { path, by, or_put });
    }
    let List(values) = raw.values.as_ref().ok_or_else(|| Rejection::invalid("values is missing"))?;
    if values.len() > limits::MUTATION_FIELDS_MAX {
        return Err(too_many_named());
    }
    let values: Vec<String> = values.iter().map(|value| value.get().to_owned()).collect();
    if values.iter().any(|value| value.starts_with(['{', '['])) {
        return Err(Rejection::invalid("values are scalars"));
    }
    Ok(if name == "include" {
        Op::Include { path, values, or_put }
    } else {
        Op::Exclude { path, values, or_put }
    })
}

fn text_of(raw: &RawValue) -> Result<String, Rejection> {
    serde_json::from_str(raw.get()).map_err(|_| Rejection::invalid("the change has the wrong form"))
}

fn path(text: &str) -> Result<Path, Rejection> {
    Path::parse(text).map_err(refused)
}

fn refused(refused: Refused) -> Rejection {
    Rejection::invalid(refused.detail())
}

fn set_pair((name, raw): (String, &RawValue)) -> Result<(Path, String), Rejection> {
    let path = path(&name)?;
    let (text, depth) = value::compact(raw.get());
    if text.len() > limits::VALUE_BYTES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a value has at most 256 KiB"));
    }
    if path.names() + depth > limits::VALUE_DEPTH_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a value is nested at most 64 deep"));
    }
    Ok((path, text.into_owned()))
}

/// A record's value: an object within the limits.
pub(super) fn object(raw: Option<&RawValue>, name: &str) -> Result<Option<String>, Rejection> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return Err(Rejection::invalid(format!("{name} is not an object")));
    }
    let (text, depth) = value::compact(raw.get());
    if text.len() > limits::VALUE_BYTES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a value has at most 256 KiB"));
    }
    if depth > limits::VALUE_DEPTH_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a value is nested at most 64 deep"));
    }
    Ok(Some(text.into_owned()))
}
