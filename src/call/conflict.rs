//! `/sync/conflict`: the list of open conflicts, and resolutions as a push of one mutation.

use crate::{
    call::{PushRequest, Reading},
    error::ApiError,
    ids::{ClientId, UserHash},
    json::{Fields, Misfit, elements, text_of_body},
    limits,
    mutation::Obstacle,
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
    /// What stands where the parked changes touch.
    pub standing: Vec<Obstacle>,
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
        let records: Vec<_> = self.standing.iter().map(Obstacle::to_json).collect();
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

impl PushRequest {
    /// Begins to read the body of `POST /sync/conflict`: what it means is the push that it is short for, so that the same mutation
    /// may be repeated by either.
    ///
    /// # Errors
    /// As for a push.
    pub fn read_resolutions(body: Vec<u8>) -> Result<Reading, ApiError> {
        if body.len() > limits::BODY_BYTES_MAX {
            return Err(ApiError::TooLarge("A body has at most 4 MiB: resolve fewer conflicts at once."));
        }
        let body = text_of_body(body)?;
        let fields = Fields::of_body_text(&body, "the body", RESOLUTIONS)?;
        let resolutions = fields.get("resolutions")?;
        let resolutions = resolutions.ok_or(Misfit("resolutions is missing".to_owned()))?;
        // What is no list is rejected as what it is.
        let changes = resolutions.starts_with('[').then(|| {
            let resolutions = elements(resolutions).take(limits::MUTATION_CHANGES_MAX + 1);
            format!("[{}]", resolutions.map(with_op).collect::<Vec<_>>().join(","))
        });
        let mut mutation = format!("{{\"changes\":{}", changes.as_deref().unwrap_or(resolutions));
        for name in ["id", "at", "base"] {
            if let Some(value) = fields.get(name)? {
                mutation.push_str(&format!(",\"{name}\":{value}"));
            }
        }
        Reading::of_one(&fields, mutation + "}")
    }
}

/// The fields of a push of one mutation, flat.
const RESOLUTIONS: &[&str] =
    &["client", "epoch", "since", "acked", "onConflict", "wantsGrant", "id", "at", "base", "resolutions"];

fn with_op(resolution: &str) -> String {
    match resolution.strip_prefix('{').map(str::trim_ascii_start) {
        Some("}") => "{\"op\":\"resolve\"}".to_owned(),
        Some(rest) => format!("{{\"op\":\"resolve\",{rest}"),
        None => resolution.to_owned(),
    }
}
