//! What surrounds the changes of a request: who sends it, and what its client has.

use sha2::{Digest, Sha256};

use super::{
    answer::ANONYMOUS_REVISION,
    tson::{given, unescaped},
};
use crate::{
    error::ApiError,
    ids::ClientId,
    json::{elements, members, text_of},
    limits,
    version::Position,
};

/// What a client says of the last answer that it has taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPull {
    /// The revision of that answer.
    pub revision: String,
    /// What we mean by it, if it is one of ours.
    pub position: Option<Position>,
    /// Whether it has records of the realm whose id is its user's.
    pub has_own: bool,
}

/// The members of a request that count, as texts.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    identity: Option<&'a str>,
    last_pull: Option<&'a str>,
    schema: Option<&'a str>,
    /// The text of an array.
    pub(super) changes: Option<&'a str>,
    documents: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// Of a body.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] for what is no object, or has something else in the place of a list.
    pub(super) fn of(body: &'a str) -> Result<Self, ApiError> {
        // The parser's own words may quote the input, so they are not passed on.
        let json: &serde_json::value::RawValue = serde_json::from_str(body).map_err(|error| {
            ApiError::Malformed(format!(
                "the body is not JSON: line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        if !json.get().starts_with('{') {
            return Err(malformed("the body is not a JSON object"));
        }
        let mut envelope = Self::default();
        for (name, value) in members(json.get()) {
            let place = match name {
                r#""clientIdentity""# => &mut envelope.identity,
                r#""lastPull""# => &mut envelope.last_pull,
                r#""schema""# => &mut envelope.schema,
                r#""changes""# => &mut envelope.changes,
                r#""y""# => &mut envelope.documents,
                _ => continue,
            };
            *place = Some(value);
        }
        let lists = [&mut envelope.changes, &mut envelope.documents];
        for list in lists {
            *list = list.and_then(given);
            if list.is_some_and(|list| !list.starts_with('[')) {
                return Err(malformed("changes or y is not a list"));
            }
        }
        Ok(envelope)
    }

    /// What the client has; none if it has nothing of ours.
    pub(super) fn last_pull(&self, sub: &str) -> Option<LastPull> {
        let text = self.last_pull.and_then(given)?;
        let field =
            |wanted: &str| members(text).filter(|(name, _)| *name == wanted).last().map(|(_, value)| value);
        let revision = text_of(field(r#""serverRevision""#)?)?;
        if revision.is_empty() || revision == ANONYMOUS_REVISION {
            return None;
        }
        let realms = field(r#""realms""#).filter(|realms| realms.starts_with('['));
        let has_own = realms
            .is_none_or(|realms| elements(realms).any(|realm| text_of(realm).is_some_and(|id| id == sub)));
        Some(LastPull { position: Position::parse(&revision), revision: revision.into_owned(), has_own })
    }

    /// The client, whose name is made of what it calls itself. That is a new name with each attempt until the first has succeeded, so
    /// those that have nothing of ours are one.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] without a name.
    pub(super) fn client(&self, last_pull: Option<&LastPull>) -> Result<ClientId, ApiError> {
        let identity = self.identity.and_then(text_of).filter(|identity| !identity.is_empty());
        let identity = identity.ok_or_else(|| malformed("clientIdentity is missing"))?;
        let hash = hex::encode(&Sha256::digest(identity.as_bytes())[..16]);
        Ok(ClientId::stored(&if last_pull.is_some() || planted!(TokensByIdentityOnly) {
            format!("dx_{hash}")
        } else {
            FIRST.to_owned()
        }))
    }

    /// Whether there is something to write in it.
    pub(super) fn has_changes(&self) -> bool {
        let is_document =
            |message: &str| members(message).any(|(name, value)| name == r#""type""# && value == r#""u-c""#);
        elements(self.changes.unwrap_or_default()).next().is_some()
            || elements(self.documents.unwrap_or_default()).any(is_document)
    }

    /// The properties that are the primary keys of tables, as far as the client tells them.
    pub(super) fn primary_keys(&self) -> Vec<(String, Vec<String>)> {
        let tables = members(self.schema.unwrap_or_default()).filter_map(|(table, schema)| {
            let key = members(schema).find(|(name, _)| *name == r#""primaryKey""#)?.1;
            let key = text_of(key).filter(|key| key.len() <= limits::NAME_BYTES * 4)?;
            let names = key.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let table = text_of(table).filter(|table| table.len() <= 64)?;
            Some((unescaped(&table).to_owned(), names))
        });
        tables.take(limits::DEXIE_TABLES_MAX).collect()
    }
}

/// The client that all are who have nothing of ours.
const FIRST: &str = "dx_first";

pub(super) fn malformed(detail: &str) -> ApiError {
    ApiError::Malformed(detail.to_owned())
}
