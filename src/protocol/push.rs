//! `POST /sync/push`: the request, parsed, and the answer.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::{
    ids::{ClientId, Collection, Key, RecordId},
    limits,
    value::{self, Path},
    version::{Epoch, Position, Version},
};

/// A push whose envelope is in order.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// Whose counter the ids belong to.
    pub client: ClientId,
    /// The history the client knows; absent until it has received one.
    pub epoch: Option<Epoch>,
    /// The version up to which the client has pulled; with it the answer carries what is newer.
    pub since: Option<Version>,
    /// The highest mutation whose result the client has stored.
    pub acked: u64,
    /// What becomes of a conflicting change.
    pub on_conflict: OnConflict,
    /// With consecutive ids.
    pub mutations: Vec<Submitted>,
}

/// A policy for conflicting changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// The mutation is a conflict.
    #[default]
    Reject,
    /// A patch conflicts only where somebody else changed a top-level field that it touches.
    Merge,
    /// The change is applied.
    Overwrite,
}

/// A numbered mutation, or why it is none.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The client's own counter, from 1.
    pub id: u64,
    /// Tells mutations with the same number apart: of the text of `changes`, without white space.
    pub digest: MutationDigest,
    /// What to apply.
    pub mutation: Result<Mutation, Rejection>,
}

/// The first 8 bytes of a SHA-256, as 16 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutationDigest(pub String);

/// An atomic list of changes.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// The epoch in which its bases were read, where that is not the request's.
    pub epoch: Option<Epoch>,
    /// In order.
    pub changes: Vec<Change>,
}

/// A change of one record.
#[derive(Debug, Clone)]
pub struct Change {
    /// The record.
    pub key: Key,
    /// A version at which the client's copy was current; 0: it had none; absent: do not check.
    pub base: Option<Version>,
    /// What to do.
    pub op: Op,
}

/// What a change does to its record. Values are JSON texts without white space, within their limits.
#[derive(Debug, Clone)]
pub enum Op {
    /// Writes the whole record.
    Put(String),
    /// Changes fields.
    Patch {
        /// Values to write, by path.
        set: Vec<(Path, String)>,
        /// Paths to remove.
        unset: Vec<Path>,
        /// What to write where the record is absent.
        or_put: Option<String>,
    },
    /// Removes the record.
    Delete,
    /// Adds to a number.
    Add {
        /// Where it is.
        path: Path,
        /// What to add.
        by: f64,
        /// What to write where the record is absent.
        or_put: Option<String>,
    },
    /// Appends to an array what it does not have.
    Include {
        /// Where it is.
        path: Path,
        /// Scalars.
        values: Vec<String>,
        /// What to write where the record is absent.
        or_put: Option<String>,
    },
    /// Removes from an array what equals one of the values.
    Exclude {
        /// Where it is.
        path: Path,
        /// Scalars.
        values: Vec<String>,
        /// What to write where the record is absent.
        or_put: Option<String>,
    },
}

/// Why a mutation was not applied, in words that are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectCode {
    /// An op that this server does not know.
    UnsupportedOp,
    /// A name, path, base or value that cannot be.
    InvalidValue,
    /// Above a limit of a mutation.
    TooLarge,
    /// The space has no room for it.
    QuotaExceeded,
    /// A reserved collection.
    Forbidden,
}

impl RejectCode {
    const ALL: [Self; 5] =
        [Self::UnsupportedOp, Self::InvalidValue, Self::TooLarge, Self::QuotaExceeded, Self::Forbidden];

    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedOp => "unsupported_op",
            Self::InvalidValue => "invalid_value",
            Self::TooLarge => "too_large",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Forbidden => "forbidden",
        }
    }

    /// The code that [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// A mutation that uses up its number and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// For programs.
    pub code: RejectCode,
    /// For people.
    pub detail: Cow<'static, str>,
}

impl Rejection {
    /// A rejection.
    #[must_use]
    pub fn new(code: RejectCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectCode::InvalidValue, detail)
    }
}

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
        let text = std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8"))?;
        // serde would take an array for an object, its members in the order of our fields.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(malformed("the body is not a JSON object"));
        }
        let raw: RawPush<'_> = serde_json::from_str(text)
            .map_err(|error| malformed(format!("the body is not a push: {}", position_of(&error))))?;
        let client: String = typed(raw.client, "client")?.ok_or_else(|| malformed("client is missing"))?;
        let epoch: Option<String> = typed(raw.epoch, "epoch")?;
        let mutations: Vec<&RawValue> =
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
            on_conflict: raw.on_conflict.map_or(OnConflict::Reject, on_conflict),
            mutations: mutations.into_iter().map(submitted).collect::<Result<_, _>>()?,
        };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), ApiError> {
        let consecutive = self.mutations.windows(2).all(|pair| pair[0].id + 1 == pair[1].id);
        if !consecutive {
            return Err(malformed("the ids of a push are consecutive"));
        }
        if self.epoch.is_none() && self.since.is_some_and(|since| since > Version::ZERO) {
            return Err(malformed("since belongs to an epoch: send both"));
        }
        let changes: usize = self.mutations.iter().flat_map(|m| &m.mutation).map(|m| m.changes.len()).sum();
        if changes > limits::CHANGES_MAX {
            return Err(ApiError::TooLarge("A push has at most 2,000 changes: split it between mutations."));
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
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChange<'a> {
    op: Option<Cow<'a, str>>,
    collection: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    base: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    set: Option<Pairs<'a>>,
    unset: Option<Vec<String>>,
    path: Option<String>,
    #[serde(borrow)]
    by: Option<&'a RawValue>,
    #[serde(borrow)]
    values: Option<Vec<&'a RawValue>>,
    #[serde(borrow, rename = "orPut")]
    or_put: Option<&'a RawValue>,
}

/// An object's members in order, repeated names included.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

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
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Members).map(Self)
    }
}

fn malformed(detail: impl Into<String>) -> ApiError {
    ApiError::Malformed(detail.into())
}

/// Where a parser stopped. Its own words may quote the input, so they are not passed on.
fn position_of(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

fn typed<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, name: &str) -> Result<Option<T>, ApiError> {
    raw.filter(|raw| raw.get() != "null")
        .map(|raw| serde_json::from_str(raw.get()).map_err(|_| malformed(format!("{name} has the wrong form"))))
        .transpose()
}

/// An unknown policy is no policy: the default refuses, and a refused edit is shown, never lost.
fn on_conflict(raw: &RawValue) -> OnConflict {
    match raw.get() {
        "\"merge\"" => OnConflict::Merge,
        "\"overwrite\"" => OnConflict::Overwrite,
        _ => OnConflict::Reject,
    }
}

fn submitted(raw: &RawValue) -> Result<Submitted, ApiError> {
    let found = Some(raw.get()).filter(|text| text.starts_with('{')).map(serde_json::from_str);
    let RawId { id } = found.and_then(Result::ok).ok_or_else(|| malformed("a mutation is an object with an id"))?;
    let id: Version = typed(id, "id")?.ok_or_else(|| malformed("a mutation has no id"))?;
    if id == Version::ZERO {
        return Err(malformed("ids count from 1"));
    }
    // A mutation of the wrong form is told from another one by its whole text.
    let changes = serde_json::from_str::<RawMutation<'_>>(raw.get())
        .map_or(raw.get(), |mutation| mutation.changes.map_or("", RawValue::get));
    let (changes, _) = value::compact(changes);
    let digest = MutationDigest(hex::encode(&Sha256::digest(changes.as_bytes())[..8]));
    Ok(Submitted { id: id.get(), digest, mutation: mutation(raw.get()) })
}

fn mutation(text: &str) -> Result<Mutation, Rejection> {
    if text.len() > limits::MUTATION_BYTES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a mutation has at most 1 MiB"));
    }
    let raw: RawMutation<'_> =
        serde_json::from_str(text).map_err(|_| Rejection::invalid("the mutation has the wrong form"))?;
    let changes: Vec<&RawValue> =
        field(raw.changes, "changes")?.ok_or_else(|| Rejection::invalid("changes is missing"))?;
    if changes.len() > limits::MUTATION_CHANGES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "a mutation has at most 1,000 changes"));
    }
    let base = field(raw.base, "base")?;
    Ok(Mutation {
        epoch: field(raw.epoch, "epoch")?,
        changes: changes
            .into_iter()
            .enumerate()
            .map(|(index, raw)| {
                change(raw.get(), base).map_err(|rejection| Rejection {
                    detail: format!("change {index}: {}", rejection.detail).into(),
                    ..rejection
                })
            })
            .collect::<Result<_, _>>()?,
    })
}

fn field<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, name: &str) -> Result<Option<T>, Rejection> {
    raw.filter(|raw| raw.get() != "null")
        .map(|raw| {
            serde_json::from_str(raw.get()).map_err(|_| Rejection::invalid(format!("{name} has the wrong form")))
        })
        .transpose()
}

fn change(text: &str, base: Option<Version>) -> Result<Change, Rejection> {
    let raw = Some(text).filter(|text| text.starts_with('{')).map(serde_json::from_str::<RawChange<'_>>);
    let raw = raw.and_then(Result::ok).ok_or_else(|| Rejection::invalid("the change has the wrong form"))?;
    let name = raw.op.as_deref().ok_or_else(|| Rejection::invalid("op is missing"))?;
    if !matches!(name, "put" | "patch" | "delete" | "add" | "include" | "exclude") {
        return Err(Rejection::new(RejectCode::UnsupportedOp, "this server does not know the op"));
    }
    let collection = raw.collection.as_deref().ok_or_else(|| Rejection::invalid("collection is missing"))?;
    if collection.starts_with('$') {
        return Err(Rejection::new(RejectCode::Forbidden, "collections that begin with $ are not writable"));
    }
    let id = raw.id.as_deref().ok_or_else(|| Rejection::invalid("id is missing"))?;
    let key = Key {
        collection: Collection::parse(collection).map_err(|rule| Rejection::invalid(rule.0))?,
        id: RecordId::parse(id).map_err(|rule| Rejection::invalid(rule.0))?,
    };
    let base = field(raw.base, "base")?.or(base);
    let op = match name {
        "put" => Op::Put(object(raw.value, "value")?.ok_or_else(|| Rejection::invalid("value is missing"))?),
        "delete" => Op::Delete,
        "patch" => Op::Patch {
            set: raw.set.map_or_else(|| Ok(Vec::new()), |pairs| pairs.0.into_iter().map(set_pair).collect())?,
            unset: raw.unset.unwrap_or_default().iter().map(|text| path(text)).collect::<Result<_, _>>()?,
            or_put: object(raw.or_put, "orPut")?,
        },
        _ => on_path(name, &raw)?,
    };
    Ok(Change { key, base, op })
}

/// The ops that change what stands at one path.
fn on_path(name: &str, raw: &RawChange<'_>) -> Result<Op, Rejection> {
    let path = path(raw.path.as_deref().ok_or_else(|| Rejection::invalid("path is missing"))?)?;
    let or_put = object(raw.or_put, "orPut")?;
    if name == "add" {
        let by: f64 = field(raw.by, "by")?.ok_or_else(|| Rejection::invalid("by is missing"))?;
        if !by.is_finite() {
            return Err(Rejection::invalid("by is not a finite number"));
        }
        return Ok(Op::Add { path, by, or_put });
    }
    let values = raw.values.as_ref().ok_or_else(|| Rejection::invalid("values is missing"))?;
    let values: Vec<String> = values.iter().map(|value| value.get().to_owned()).collect();
    if values.iter().any(|value| value.starts_with(['{', '['])) {
        return Err(Rejection::invalid("values are scalars"));
    }
    Ok(if name == "include" { Op::Include { path, values, or_put } } else { Op::Exclude { path, values, or_put } })
}

fn path(text: &str) -> Result<Path, Rejection> {
    Path::parse(text).map_err(|refused| Rejection::invalid(refused.detail()))
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
fn object(raw: Option<&RawValue>, name: &str) -> Result<Option<String>, Rejection> {
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

/// How a mutation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Settled {
    /// It is part of the state from this version on, or changed nothing.
    Applied(Version),
    /// Others changed what it rests on; it changed nothing.
    Conflict(Vec<Standing>),
    /// It cannot be applied and changed nothing.
    Rejected(Rejection),
    /// It was settled, and how has been forgotten.
    Done,
}

/// What stands where a mutation conflicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The record.
    pub key: Key,
    /// Its last change; 0 where even the deletion has been forgotten.
    pub version: Version,
    /// Its value, or none if it is deleted.
    pub value: Option<String>,
}

/// The result of one mutation.
#[derive(Debug, Clone, PartialEq)]
pub struct MutationResult {
    /// Its number.
    pub id: u64,
    /// How it ended.
    pub settled: Settled,
    /// Whether it had been settled before this push.
    pub duplicate: bool,
}

/// What a push is answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct PushAnswer {
    /// Where the space stands.
    pub position: Position,
    /// One per mutation, in order.
    pub results: Vec<MutationResult>,
    /// Whether the client has to pull to get what is newer than its `since`.
    pub more: bool,
    /// Record lines between the client's `since` and `position`; empty with `more`.
    pub changes: String,
}

impl PushAnswer {
    /// The body.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut theirs = limits::CONFLICT_BYTES_MAX;
        let results: Vec<String> = self.results.iter().map(|result| result.to_json(&mut theirs)).collect();
        format!(
            "{{\"epoch\":\"{}\",\"version\":{},\"results\":[{}],\"reset\":false,\"more\":{},\"changes\":[{}]}}",
            self.position.epoch,
            self.position.version,
            results.join(","),
            self.more,
            joined_lines(&self.changes),
        )
    }
}

/// Record lines as the members of a JSON array.
#[must_use]
pub fn joined_lines(lines: &str) -> String {
    lines.strip_suffix('\n').unwrap_or(lines).replace('\n', ",")
}

impl MutationResult {
    fn to_json(&self, theirs: &mut usize) -> String {
        let mut result = match &self.settled {
            Settled::Applied(version) => json!({ "id": self.id, "status": "applied", "version": version }),
            Settled::Rejected(rejection) => json!({
                "id": self.id, "status": "rejected", "code": rejection.code.as_str(), "detail": rejection.detail
            }),
            Settled::Conflict(_) => json!({ "id": self.id, "status": "conflict" }),
            Settled::Done => json!({ "id": self.id, "status": "done" }),
        };
        if self.duplicate {
            result["duplicate"] = Value::Bool(true);
        }
        let mut text = result.to_string();
        if let Settled::Conflict(records) = &self.settled {
            let records: Vec<String> = records.iter().map_while(|record| record.to_json(theirs)).collect();
            text.truncate(text.len() - 1);
            text += &format!(",\"records\":[{}]}}", records.join(","));
        }
        text
    }
}

impl Standing {
    /// None when it no longer fits into what is left of the answer's room.
    fn to_json(&self, room: &mut usize) -> Option<String> {
        let mut text = json!({
            "collection": self.key.collection.as_str(), "id": self.key.id.as_str(), "version": self.version
        })
        .to_string();
        text.truncate(text.len() - 1);
        match &self.value {
            Some(value) => text += &format!(",\"theirs\":{value}}}"),
            None => text += ",\"deleted\":true}",
        }
        *room = room.checked_sub(text.len())?;
        Some(text)
    }
}
