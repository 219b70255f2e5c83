//! What surrounds the changes of a request: who sends it, and what its client has.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use sha2::{Digest, Sha256};

use super::{
    answer::ANONYMOUS_REVISION,
    op::{OpFields, Operation},
    realm::space_of,
    revision::Revision,
    tson::{given, unescaped},
};
use crate::{
    error::ApiError,
    ids::ClientId,
    json::{elements, members, text_field, text_of},
    limits,
    version::Position,
};

/// What a client says of the last answer that it has taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPull {
    /// The revision of that answer: of what is ours, as far as it is about the user's own space.
    pub revision: String,
    /// What we mean by it, if it is one of ours.
    pub position: Option<Position>,
    /// Whether it has records of the realm whose id is its user's.
    pub has_own: bool,
    /// What it has of other realms, by their ids.
    pub realms: BTreeMap<String, HeldRealm>,
    /// Realms that its user is invited to, as far as it knows.
    pub invites: BTreeSet<String>,
}

/// How somebody answers an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationAnswer {
    /// The row of `members` that invites.
    pub row: String,
    /// Whether it is accepted.
    pub accepts: bool,
    /// When, as a date's text.
    pub at: String,
}

/// What a client has of a realm that it shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRealm {
    /// Where it is in the space of that realm.
    pub at: Position,
    /// Whether it still has the realm's records: it was just told to forget them where not.
    pub has_records: bool,
}

impl LastPull {
    /// What it has of a realm that it shares, as that realm's space is asked for news; none if it has nothing.
    #[must_use]
    pub fn in_realm(&self, realm: &str) -> Option<Self> {
        let HeldRealm { at, has_records } = self.realms.get(realm)?;
        let (revision, position) = (at.to_string(), Some(at.clone()));
        let (realms, invites) = (BTreeMap::new(), BTreeSet::new());
        Some(Self { revision, position, has_own: *has_records, realms, invites })
    }
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
        let has = |wanted: &str| {
            realms.is_none_or(|realms| {
                elements(realms).any(|realm| text_of(realm).is_some_and(|id| id == wanted))
            })
        };
        let Revision { home, realms: held } = Revision::parse(&revision).unwrap_or_default();
        let is_shared = |realm: &str| space_of(realm).is_some() && realm != sub;
        let held = held.into_iter().filter(|(realm, _)| is_shared(realm)).map(|(realm, at)| {
            let has_records = has(&realm);
            (realm, HeldRealm { at, has_records })
        });
        let held: BTreeMap<_, _> = held.take(limits::DEXIE_REALMS_MAX).collect();
        let invites = elements(field(r#""inviteRealms""#).unwrap_or_default()).filter_map(text_of);
        let invites = invites.filter(|realm| is_shared(realm) && !held.contains_key(&**realm));
        let invites = invites.map(Cow::into_owned).take(limits::DEXIE_REALMS_MAX - held.len()).collect();
        let revision = home.as_ref().map_or_else(|| revision.into_owned(), Position::to_string);
        let has_own = has(sub);
        Some(LastPull { position: home, revision, has_own, realms: held, invites })
    }

    /// The realms that are made, or written anew, in it.
    pub(super) fn made_realms(&self) -> BTreeSet<String> {
        let mut made = BTreeSet::new();
        for table in elements(self.changes.unwrap_or_default()) {
            if !members(table).any(|(name, value)| name == r#""table""# && value == r#""realms""#) {
                continue;
            }
            let ops = members(table).find(|(name, _)| *name == r#""muts""#).map_or("", |(_, ops)| ops);
            for fields in elements(ops).map(OpFields::of) {
                if matches!(fields.op(), Some(Operation::Insert { .. } | Operation::Upsert { .. })) {
                    let keys = elements(fields.keys.unwrap_or_default()).filter_map(text_of);
                    let keys = keys.filter(|realm| space_of(realm).is_some()).map(Cow::into_owned);
                    made.extend(keys.take(limits::DEXIE_REALMS_MAX));
                }
            }
        }
        made
    }

    /// The answers to invitations in it.
    pub(super) fn invitation_answers(&self) -> Vec<InvitationAnswer> {
        let mut answers = Vec::new();
        for table in elements(self.changes.unwrap_or_default()) {
            if !members(table).any(|(name, value)| name == r#""table""# && value == r#""members""#) {
                continue;
            }
            let ops = members(table).find(|(name, _)| *name == r#""muts""#).map_or("", |(_, ops)| ops);
            for fields in elements(ops).map(OpFields::of) {
                let Some(Operation::Update { specs }) = fields.op() else { continue };
                let first = elements(specs).next();
                let mut specs = elements(specs);
                for row in elements(fields.keys.unwrap_or_default()).filter_map(text_of) {
                    let answer = specs.next().or(first).and_then(answer_of);
                    answers.extend(answer.map(|(accepts, at)| InvitationAnswer {
                        row: row.into_owned(),
                        accepts,
                        at,
                    }));
                }
            }
        }
        answers.truncate(limits::DEXIE_REALMS_MAX);
        answers
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

/// Whether a change accepts an invitation, or rejects it, and when; none of one that does neither, or both.
fn answer_of(spec: &str) -> Option<(bool, String)> {
    let mut dates = members(spec).filter_map(|(name, date)| {
        let accepts = match name {
            r#""accepted""# => true,
            r#""rejected""# => false,
            _ => return None,
        };
        let is_date = text_field(date, "$t").is_some_and(|kind| kind == "Date");
        Some((accepts, text_field(date, "v").filter(|_| is_date)?))
    });
    dates.next().filter(|_| dates.next().is_none())
}

/// The client that all are who have nothing of ours.
const FIRST: &str = "dx_first";

pub(super) fn malformed(detail: &str) -> ApiError {
    ApiError::Malformed(detail.to_owned())
}
