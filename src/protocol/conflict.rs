//! `/sync/conflict`: the list of open conflicts, and resolutions as a push of one mutation.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    error::ApiError,
    push::{PushRequest, Standing},
};
use crate::{
    ids::{ClientId, UserHash},
    limits,
    time::Millis,
    version::{ConflictId, Position, Version},
};

/// A page of open conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictPage {
    /// Where the space stands.
    pub position: Position,
    /// Oldest first.
    pub conflicts: Vec<OpenConflict>,
    /// When the last one of the page was opened, if there are more.
    pub cursor: Option<Version>,
}

/// An open conflict, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenConflict {
    /// Its name.
    pub id: ConflictId,
    /// Whose edits are parked.
    pub user: UserHash,
    /// The client that opened it.
    pub client: ClientId,
    /// When it was opened.
    pub at: Millis,
    /// What is parked, in order.
    pub mutations: Vec<Parked>,
    /// What stands where the parked changes touch, each with whether its value is told.
    pub standing: Vec<(Standing, bool)>,
}

/// A parked mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Its client's number.
    pub id: u64,
    /// The texts of its changes, as they were pushed.
    pub changes: Vec<String>,
}

impl ConflictPage {
    /// The body.
    #[must_use]
    pub fn to_json(&self) -> String {
        let conflicts: Vec<_> = self.conflicts.iter().map(OpenConflict::to_json).collect();
        let cursor = self.cursor.map_or("null".to_owned(), |cursor| format!("\"{cursor}\""));
        format!(
            "{{\"epoch\":\"{}\",\"version\":{},\"conflicts\":[{}],\"more\":{},\"cursor\":{cursor}}}",
            self.position.epoch,
            self.position.version,
            conflicts.join(","),
            self.cursor.is_some(),
        )
    }
}

impl OpenConflict {
    fn to_json(&self) -> String {
        let mutations: Vec<_> = self
            .mutations
            .iter()
            .map(|parked| format!("{{\"id\":{},\"changes\":[{}]}}", parked.id, parked.changes.join(",")))
            .collect();
        let told = |(standing, is_told): &(Standing, bool)| {
            if *is_told { standing.to_json() } else { standing.without_value() }
        };
        let records: Vec<_> = self.standing.iter().map(told).collect();
        format!(
            "{{\"conflict\":\"{}\",\"user\":\"{}\",\"client\":\"{}\",\"at\":{},\"mutations\":[{}],\"records\":[{}]}}",
            self.id,
            self.user.as_str(),
            self.client,
            self.at.0,
            mutations.join(","),
            records.join(","),
        )
    }
}

/// Reads the cursor of a list.
///
/// # Errors
/// [`ApiError::Malformed`] for what no list has given out.
pub fn parse_cursor(text: &str) -> Result<Version, ApiError> {
    Version::parse(text).ok_or_else(|| ApiError::Malformed("cursor is not one of this list".to_owned()))
}

#[derive(Deserialize)]
struct RawResolutions<'a> {
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
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    base: Option<&'a RawValue>,
    #[serde(borrow)]
    resolutions: Option<&'a RawValue>,
}

impl PushRequest {
    /// Parses the body of `POST /sync/conflict`: what it means is the push that it is short for, so that the same mutation
    /// may be repeated by either.
    ///
    /// # Errors
    /// As for a push.
    pub fn parse_resolutions(body: &[u8]) -> Result<Self, ApiError> {
        if body.len() > limits::BODY_BYTES_MAX {
            return Err(ApiError::TooLarge("A body has at most 4 MiB: resolve fewer conflicts at once."));
        }
        let malformed = |detail: &str| ApiError::Malformed(detail.to_owned());
        let text = std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8"))?;
        if !text.trim_ascii_start().starts_with('{') {
            return Err(malformed("the body is not a JSON object"));
        }
        let raw: RawResolutions<'_> =
            serde_json::from_str(text).map_err(|_| malformed("the body is not a list of resolutions"))?;
        let resolutions = raw.resolutions.ok_or_else(|| malformed("resolutions is missing"))?;
        let mut push = String::with_capacity(text.len() + 64);
        push.push('{');
        for (name, value) in [
            ("client", raw.client),
            ("epoch", raw.epoch),
            ("since", raw.since),
            ("acked", raw.acked),
            ("onConflict", raw.on_conflict),
        ] {
            member(&mut push, name, value);
        }
        push.push_str("\"mutations\":[{");
        member(&mut push, "id", raw.id);
        member(&mut push, "base", raw.base);
        push.push_str("\"changes\":");
        // What is no list of objects is rejected as what it is.
        match serde_json::from_str::<Vec<&RawValue>>(resolutions.get()) {
            Ok(resolutions) => {
                let changes: Vec<_> = resolutions.into_iter().map(|raw| with_op(raw.get())).collect();
                let _ = write!(push, "[{}]", changes.join(","));
            }
            Err(_) => push.push_str(resolutions.get()),
        }
        push.push_str("}]}");
        Self::parse_text(&push)
    }
}

fn member(push: &mut String, name: &str, value: Option<&RawValue>) {
    if let Some(value) = value {
        let _ = write!(push, "\"{name}\":{},", value.get());
    }
}

fn with_op(resolution: &str) -> String {
    match resolution.strip_prefix('{').map(str::trim_ascii_start) {
        Some("}") => "{\"op\":\"resolve\"}".to_owned(),
        Some(rest) => format!("{{\"op\":\"resolve\",{rest}"),
        None => resolution.to_owned(),
    }
}
