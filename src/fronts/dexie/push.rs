//! `POST /dexie/sync` with changes, as transactions. The body is kept as it came, and of each operation where it stands: nothing is
//! copied before the turn of its transaction comes.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    mem,
    ops::Range,
    rc::Rc,
};

use super::{
    LastPull,
    derive::key_of,
    envelope::Envelope,
    op::OpFields,
    realm::{Realm, realm_of},
    request::{KnownTransaction, OpPlace, Operations, Push, RefusedPlace},
};
use crate::{
    call::{Caller, Destination, PushRequest, ReadPush},
    error::ApiError,
    ids::{ClientId, Collection, Key, SpaceHash, UserHash},
    json::{array_body, element_at, elements, members, text_of, text_of_body},
    limits,
    mutation::{Intent, MutationDigest, Submitted, Token, Wording},
    version::Version,
};

/// A part of the body, of which the elements are read one after the other.
#[derive(Clone, Copy)]
struct Elements {
    at: usize,
    end: usize,
}

impl Elements {
    /// Of an array in a body.
    fn of(array: &str, body: &str) -> Self {
        let inside = array_body(array);
        if inside.is_empty() {
            return Self { at: 0, end: 0 };
        }
        let at = place(inside, body);
        Self { at, end: at + inside.len() }
    }

    fn next(&mut self, body: &str) -> Option<Range<usize>> {
        let (element, next) = element_at(body.get(self.at..self.end)?, 0)?;
        let element = self.at + element.start..self.at + element.end;
        self.at = (self.at + next).min(self.end);
        Some(element)
    }
}

/// Where a part of a body stands in it.
fn place(part: &str, body: &str) -> usize {
    part.as_ptr() as usize - body.as_ptr() as usize
}

/// The operations on a table, as far as they are not read.
struct Table {
    /// Where its name stands.
    name: u32,
    collection: Result<Collection, &'static str>,
    ops: Elements,
}

/// A request that is being read.
pub struct SyncReading {
    push: Push,
    client: ClientId,
    tables: Elements,
    table: Option<Table>,
    known: BTreeMap<Token, u32>,
    touched: BTreeSet<Key>,
    touched_bytes: usize,
}

impl std::fmt::Debug for SyncReading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.push.fmt(f)
    }
}

impl SyncReading {
    /// Begins with the envelope of a body.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] or [`ApiError::TooLarge`]. Nothing that stands within `changes` is an error but that there is too much
    /// of it: its client would send it for ever.
    pub fn of(body: Vec<u8>, caller: &Caller, is_part: bool) -> Result<Self, ApiError> {
        if body.len() > limits::DEXIE_BODY_BYTES_MAX {
            return Err(ApiError::TooLarge("A body has at most 8 MiB."));
        }
        let body = text_of_body(body)?;
        let envelope = Envelope::of(&body)?;
        let last_pull = envelope.last_pull(&caller.sub);
        let client = envelope.client(last_pull.as_ref())?;
        let (realm, last_pull) = match &caller.destination {
            Destination::Shared { id, .. } if is_part => {
                let realm = realm_of(id).ok_or(ApiError::NotFound("This space is not of a realm."))?;
                let last_pull = last_pull.and_then(|last| last.in_realm(&realm));
                (Realm::shared(&realm), last_pull)
            }
            _ => (Realm::own(&caller.sub), last_pull),
        };
        let tables = Elements::of(envelope.changes.unwrap_or_default(), &body);
        let primary_keys = envelope.primary_keys();
        let space = match &caller.destination {
            Destination::Shared { id, .. } => Some(SpaceHash::shared(id)),
            destination => destination.scope().map(crate::snapshot::keys::Scope::space),
        };
        let governed = match &caller.destination {
            Destination::Shared { id, .. } => realm_of(id),
            _ => None,
        };
        // An edge that is older names no issuer, and subjects of none would become members. There will be one soon that does.
        if governed.is_some() && UserHash::new(&caller.iss, &caller.sub) != caller.user {
            return Err(ApiError::Upstream);
        }
        let push = Push {
            body,
            sub: caller.sub.clone(),
            iss: caller.iss.clone(),
            governed,
            realm,
            is_part,
            space,
            last_pull,
            primary_keys,
            ops: Vec::new(),
            transactions: Vec::new(),
            touched: Vec::new(),
            strays: Default::default(),
            refused: Vec::new(),
        };
        let (known, touched) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { push, client, tables, table: None, known, touched, touched_bytes: 0 })
    }

    /// The operations of the next table; how many bytes were passed over.
    fn next_table(&mut self) -> Option<usize> {
        let body = &self.push.body;
        let text = &body[self.tables.next(body)?];
        let (mut name, mut ops) = (None, None);
        for (member, value) in members(text) {
            match member {
                r#""table""# => name = Some(value).filter(|name| name.starts_with('"')),
                r#""muts""# => ops = Some(value),
                _ => {}
            }
        }
        let Some((name, ops)) = name.zip(ops) else { return Some(text.len()) };
        let collection = text_of(name).ok_or("a collection has a name");
        let collection = collection.and_then(|name| Collection::parse(&name).map_err(|rule| rule.0));
        self.table = Some(Table { name: place(name, body) as u32, collection, ops: Elements::of(ops, body) });
        Some(text.len() - ops.len())
    }

    /// The next operation; how many bytes it has.
    fn next_op(&mut self) -> Result<Option<usize>, ApiError> {
        let Some(table) = &mut self.table else { return Ok(None) };
        let Some(at) = table.ops.next(&self.push.body) else { return Ok(None) };
        let fields = OpFields::of(&self.push.body[at.clone()]);
        if !fields.has_effect() {
            return Ok(Some(at.len()));
        }
        let mut keys = 0;
        for key in elements(fields.keys.unwrap_or_default()).filter(|key| key.starts_with('"')) {
            keys += 1;
            let found = table.collection.as_ref().map_err(|rule| *rule);
            let found = found.and_then(|of| key_of(of, key).ok_or(NO_ID));
            match found {
                Ok(key)
                    if self.touched.len() < limits::DEXIE_TOUCHED_MAX
                        && self.touched_bytes < limits::DEXIE_TOUCHED_BYTES_MAX =>
                {
                    let bytes = key.collection.as_str().len() + key.id.as_str().len() + limits::NAME_BYTES;
                    self.touched_bytes += if self.touched.insert(key) { bytes } else { 0 };
                }
                Err(rule) if self.push.refused.len() < limits::DEXIE_TOUCHED_MAX => {
                    let key = place(key, &self.push.body) as u32;
                    self.push.refused.push(RefusedPlace { table: table.name, key, rule });
                }
                _ => {}
            }
        }
        if table.collection.is_err() {
            return Ok(Some(at.len()));
        }
        if self.push.ops.len() >= limits::DEXIE_OPS_MAX {
            return Err(ApiError::TooLarge("A request has at most 100,000 operations."));
        }
        let (name, number) = (table.name, fields.number);
        let id = fields.txid.map(|id| (place(id, &self.push.body) as u32, text_of(id)));
        let token = id.as_ref().and_then(|(_, id)| id.as_ref()).map(|id| Token::of(id));
        let id = id.map(|(at, _)| at);
        let transaction = self.transaction(token, id)?;
        let known = &mut self.push.transactions[transaction as usize];
        known.keys += keys;
        known.bytes += at.len() as u32;
        let place =
            OpPlace { transaction, number, at: at.start as u32, length: at.len() as u32, table: name };
        self.push.ops.push(place);
        Ok(Some(at.len()))
    }

    /// The number of a transaction: its operations may stand apart, and between those of others.
    fn transaction(&mut self, token: Option<Token>, id: Option<u32>) -> Result<u32, ApiError> {
        if let Some(known) = token.and_then(|token| self.known.get(&token)) {
            return Ok(*known);
        }
        let number = self.push.transactions.len() as u32;
        if self.push.transactions.len() >= limits::DEXIE_TRANSACTIONS_MAX {
            return Err(ApiError::TooLarge("A request has at most 20,000 transactions."));
        }
        if let Some(token) = token {
            self.known.insert(token, number);
        }
        self.push.transactions.push(KnownTransaction { token, id, keys: 0, bytes: 0 });
        Ok(number)
    }

    /// Reads what is left.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn finish(mut self) -> Result<PushRequest, ApiError> {
        self.go_on(usize::MAX)?;
        let mut push = self.push;
        // A heap sorts with a tenth of the code that `sort` has.
        push.ops = BinaryHeap::from(push.ops).into_sorted_vec();
        push.ops.shrink_to_fit();
        push.refused.shrink_to_fit();
        push.touched = mem::take(&mut self.touched).into_iter().collect();
        let (epoch, since) = match &push.last_pull {
            None => (None, None),
            Some(LastPull { position: Some(at), .. }) => (Some(at.epoch.clone()), Some(at.version)),
            // Of no history of ours, so that nothing is said to be new since then.
            Some(LastPull { position: None, .. }) => (None, Some(Version::ZERO.next())),
        };
        let (push, mut from) = (Rc::new(push), 0);
        let mut mutations = Vec::with_capacity(push.transactions.len());
        let digest = MutationDigest::of("");
        for (number, known) in push.transactions.iter().enumerate() {
            let count = push.ops[from..].iter().take_while(|op| op.transaction as usize == number).count();
            let ops = Operations { push: push.clone(), ops: from..from + count, known: *known };
            let intent = Intent::Transaction(Rc::new(ops));
            mutations.push(Submitted { id: number as u64 + 1, digest, changes: String::new(), intent });
            from += count;
        }
        let wording: Rc<dyn Wording> = push;
        Ok(PushRequest {
            client: self.client,
            epoch,
            since,
            acked: 0,
            on_conflict: None,
            wants_grant: false,
            mutations,
            wording: Some(wording),
        })
    }
}

const NO_ID: &str = "a record id is 1 to 256 bytes of UTF-8 without control characters";

impl ReadPush for SyncReading {
    fn go_on(&mut self, bytes_max: usize) -> Result<bool, ApiError> {
        let mut bytes = 0;
        loop {
            match self.next_op()? {
                Some(more) => bytes += more,
                None => match self.next_table() {
                    Some(more) => bytes += more,
                    None => return Ok(false),
                },
            }
            if bytes >= bytes_max {
                return Ok(true);
            }
        }
    }

    fn weight(&self) -> usize {
        let Self { push, touched_bytes, .. } = self;
        push.body.len()
            + push.ops.len() * limits::DEXIE_OP_BYTES
            + push.transactions.len() * limits::DEXIE_TRANSACTION_BYTES
            + push.refused.len() * size_of::<RefusedPlace>()
            + touched_bytes
    }

    fn finish(self: Box<Self>) -> Result<PushRequest, ApiError> {
        Self::finish(*self)
    }
}
