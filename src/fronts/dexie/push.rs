//! `POST /dexie/sync` with changes, as transactions. The body is kept as it came, and of each operation where it stands: nothing is
//! copied before the turn of its transaction comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    ops::Range,
    rc::Rc,
};

use super::{
    LastPull,
    answer::{self, Refused},
    derive::{Deriving, Stop, key_of},
    envelope::Envelope,
    op::Fields,
    standing::Standing,
};
use crate::{
    call::{Caller, Destination, PushRequest, ReadPush},
    error::ApiError,
    ids::{ClientId, Collection, Key, SpaceHash},
    json::{array_body, element_at, elements, members, string_end, text_of, text_of_body},
    limits,
    mutation::{
        Change, Intent, MutationDigest, Outcome, Rejection, Settled, Submitted, Token, Transaction, Unread,
        View, Wording,
    },
    version::Version,
};

/// A request as it is kept until it is answered.
pub(super) struct Push {
    body: String,
    pub(super) sub: String,
    space: Option<SpaceHash>,
    last_pull: Option<LastPull>,
    primary_keys: BTreeMap<String, Vec<String>>,
    /// In the order of their transactions, and of their numbers in them.
    ops: Vec<Place>,
    transactions: Vec<Known>,
    touched: Vec<Key>,
    refused: Vec<RefusedAt>,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push")
            .field("bytes", &self.body.len())
            .field("ops", &self.ops.len())
            .finish_non_exhaustive()
    }
}

/// Where an operation stands in the body, and the name of its table.
#[derive(Debug, Clone, Copy)]
struct Place {
    transaction: u32,
    number: u32,
    at: u32,
    length: u32,
    table: u32,
}

/// What is known of a transaction before its turn.
#[derive(Debug, Clone, Copy)]
struct Known {
    token: Option<Token>,
    /// Where its id stands in the body.
    id: Option<u32>,
    keys: u32,
    bytes: u32,
}

/// Where the names stand of a record that cannot be.
#[derive(Debug, Clone, Copy)]
struct RefusedAt {
    table: u32,
    key: u32,
    rule: &'static str,
}

impl Push {
    /// The JSON string that begins there.
    fn string_at(&self, at: u32) -> &str {
        let at = at as usize;
        self.body.get(at..string_end(self.body.as_bytes(), at)).unwrap_or_default()
    }

    /// The properties that are the primary key of a table; none if that is not known.
    pub(super) fn primary_key_of(&self, table: &str) -> &[String] {
        self.primary_keys.get(table).map_or(&[], Vec::as_slice)
    }
}

/// A part of the body, of which the elements are read one after the other.
#[derive(Debug, Clone, Copy)]
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
#[derive(Debug)]
struct Table {
    /// Where its name stands.
    name: u32,
    collection: Result<Collection, &'static str>,
    ops: Elements,
}

/// A request that is being read.
#[derive(Debug)]
pub struct Reading {
    push: Push,
    client: ClientId,
    tables: Elements,
    table: Option<Table>,
    known: BTreeMap<Token, u32>,
    touched: BTreeSet<Key>,
    touched_bytes: usize,
}

impl Reading {
    /// Begins with the envelope of a body.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] or [`ApiError::TooLarge`]. Nothing that stands within `changes` is an error but that there is too much
    /// of it: its client would send it for ever.
    pub fn of(body: Vec<u8>, caller: &Caller) -> Result<Self, ApiError> {
        if body.len() > limits::DEXIE_BODY_BYTES_MAX {
            return Err(ApiError::TooLarge("A body has at most 8 MiB."));
        }
        let body = text_of_body(body)?;
        let envelope = Envelope::of(&body)?;
        let last_pull = envelope.last_pull(&caller.sub);
        let client = envelope.client(last_pull.as_ref())?;
        let tables = Elements::of(envelope.changes.unwrap_or_default(), &body);
        let primary_keys = envelope.primary_keys().into_iter().collect();
        let space = match &caller.destination {
            Destination::Shared { id, .. } => Some(SpaceHash::shared(id)),
            destination => destination.scope().map(crate::snapshot::keys::Scope::space),
        };
        let push = Push {
            body,
            sub: caller.sub.clone(),
            space,
            last_pull,
            primary_keys,
            ops: Vec::new(),
            transactions: Vec::new(),
            touched: Vec::new(),
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
        let fields = Fields::of(&self.push.body[at.clone()]);
        if !fields.has_effect() {
            return Ok(Some(at.len()));
        }
        let mut keys = 0;
        for key in elements(fields.keys.unwrap_or_default()).filter(|key| key.starts_with('"')) {
            keys += 1;
            let found = table.collection.as_ref().map_err(|rule| *rule);
            let found = found.and_then(|of| key_of(of, key).ok_or(NO_ID));
            match found {
                Ok(key) if self.touched.len() < limits::DEXIE_TOUCHED_MAX => {
                    let bytes = key.collection.as_str().len() + key.id.as_str().len() + limits::NAME_BYTES;
                    self.touched_bytes += if self.touched.insert(key) { bytes } else { 0 };
                }
                Err(rule) if self.push.refused.len() < limits::DEXIE_TOUCHED_MAX => {
                    let key = place(key, &self.push.body) as u32;
                    self.push.refused.push(RefusedAt { table: table.name, key, rule });
                }
                _ => {}
            }
        }
        if table.collection.is_err() {
            return Ok(Some(at.len()));
        }
        let (name, number) = (table.name, fields.number);
        let id = fields.txid.map(|id| (place(id, &self.push.body) as u32, text_of(id)));
        let token = id.as_ref().and_then(|(_, id)| id.as_ref()).map(|id| Token::of(id));
        let id = id.map(|(at, _)| at);
        let transaction = self.transaction(token, id)?;
        let known = &mut self.push.transactions[transaction as usize];
        known.keys += keys;
        known.bytes += at.len() as u32;
        let place = Place { transaction, number, at: at.start as u32, length: at.len() as u32, table: name };
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
        self.push.transactions.push(Known { token, id, keys: 0, bytes: 0 });
        Ok(number)
    }

    /// Reads what is left.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn finish(mut self) -> Result<PushRequest, ApiError> {
        self.go_on(usize::MAX)?;
        let mut push = self.push;
        push.ops.sort_by_key(|op| (op.transaction, op.number));
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

impl ReadPush for Reading {
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
            + push.refused.len() * size_of::<RefusedAt>()
            + touched_bytes
    }

    fn finish(self: Box<Self>) -> Result<PushRequest, ApiError> {
        Self::finish(*self)
    }
}

/// The operations of one transaction.
#[derive(Debug)]
struct Operations {
    push: Rc<Push>,
    ops: Range<usize>,
    known: Known,
}

impl Transaction for Operations {
    fn token(&self) -> Option<Token> {
        self.known.token
    }

    fn derive(&self, view: &mut dyn View) -> Result<Result<Vec<Change>, Rejection>, Unread> {
        let mut deriving = Deriving::new(&self.push, view);
        for op in &self.push.ops[self.ops.clone()] {
            let Some(table) = text_of(self.push.string_at(op.table)) else { continue };
            let Ok(of) = Collection::parse(&table) else { continue };
            let at = op.at as usize;
            match deriving.op(&of, &table, &self.push.body[at..at + op.length as usize]) {
                Ok(()) => {}
                Err(Stop::Rejected(_)) if planted!(RestOfRejectedDone) => {}
                Err(Stop::Rejected(rejection)) => return Ok(Err(rejection)),
                Err(Stop::Unread) => return Err(Unread),
            }
        }
        Ok(Ok(deriving.changes()))
    }

    fn size(&self) -> usize {
        self.known.keys as usize
    }

    fn bytes(&self) -> usize {
        self.known.bytes as usize
    }
}

impl Wording for Push {
    fn touched(&self) -> &[Key] {
        &self.touched
    }

    fn say(&self, outcome: &Outcome<'_>) -> String {
        let standing = match (outcome.reached, &self.last_pull) {
            (Some(at), last) => Standing::of(last.as_ref(), at, false),
            (None, Some(last)) => Standing::unmoved(last),
            (None, None) => panic!("BUG: a client that has nothing lacks everything"),
        };
        let changes = if standing.sends_changes { outcome.changes } else { "" };
        let refused = self.refused.iter().map(|refused| Refused {
            table: self.string_at(refused.table),
            key: self.string_at(refused.key),
            rule: refused.rule,
        });
        let rejected = outcome.results.iter().zip(&self.transactions).filter_map(|(result, known)| {
            let Settled::Rejected(rejection) = &result.settled else { return None };
            Some((rejection, known.id.map(|id| self.string_at(id))))
        });
        let rejections = answer::rejections(rejected, refused.clone());
        let space = self.space.as_ref().map_or("", SpaceHash::as_str);
        let changes = [
            answer::muts(changes, &self.sub, true),
            answer::muts(outcome.touched, &self.sub, true),
            answer::corrections(refused),
        ];
        let changes: Vec<_> = changes.into_iter().filter(|muts| !muts.is_empty()).collect();
        answer::head(&standing, &self.sub, space, &rejections) + &changes.join(",") + answer::END
    }
}
