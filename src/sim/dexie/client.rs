//! A model of `dexie-cloud-addon`: one local database, what of it was not sent, and what it makes of answers. As the addon it keeps
//! rows as its app has left them, applies answers beneath what was done meanwhile, and believes whatever an answer says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::op::{Op, Row, Rows, Step};
use crate::{
    sim::{USERS, client::Name},
    version::Position,
};

/// The tables that its app syncs.
pub const TABLES: [&str; 2] = ["notes", "todos"];
const PUBLIC_REALM: &str = "rlm-public";

/// A transaction of its app that no answer has confirmed.
#[derive(Debug, Clone)]
pub struct Pending {
    /// By which whoever checks knows it.
    pub mark: u64,
    /// By which the server does.
    pub txid: String,
    /// Its operations, each on a table.
    pub ops: Vec<(&'static str, Op)>,
}

/// Where an answer has brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPull {
    /// As the answer has it.
    pub revision: String,
    /// The realms whose rows it has.
    pub realms: Vec<String>,
}

/// A request that it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub number: u64,
    /// How many of its transactions are in it.
    pub transactions: usize,
}

/// One database.
#[derive(Debug)]
pub struct DexieClient {
    /// Whose it is, by the place among the world's users.
    pub user: usize,
    /// The space that its URL names.
    pub space: usize,
    /// What its app sees.
    pub rows: BTreeMap<Name, Row>,
    /// What was not confirmed, oldest first.
    pub pending: VecDeque<Pending>,
    /// Where it stands.
    pub last_pull: Option<LastPull>,
    /// The request under way: there is one at a time.
    pub sent: Option<Sent>,
    /// For whoever checks it: rows that it knows as of a later state than its revision says.
    pub ahead: BTreeMap<Name, Position>,
    /// Whether its last sync has failed: what it hears then it does not take in, but syncs.
    pub has_failed: bool,
    name: String,
    identity: u64,
    requests: u64,
    transactions: u64,
}

/// What an answer says.
#[derive(Debug)]
pub struct Answer {
    /// Where it brings its client.
    pub last_pull: LastPull,
    /// Operations on tables.
    pub changes: Vec<Value>,
}

impl Answer {
    /// None of what the addon cannot read: it stays as it is, and asks again.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let answer: Value = serde_json::from_str(text).ok()?;
        let texts = |name: &str| -> Option<Vec<String>> {
            let texts = answer[name].as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let revision = answer["serverRevision"].as_str().filter(|revision| !revision.is_empty())?.to_owned();
        let (realms, _) = (texts("realms")?, texts("inviteRealms")?);
        answer["schema"].as_object()?;
        Some(Self {
            last_pull: LastPull { revision, realms },
            changes: answer["changes"].as_array()?.clone(),
        })
    }
}

/// What is done to a row.
#[derive(Debug, Clone)]
enum Done {
    Put(Row),
    Updated(Vec<Step>),
    Deleted,
}

impl DexieClient {
    /// An empty database.
    #[must_use]
    pub fn new(number: usize, user: usize, space: usize) -> Self {
        Self {
            user,
            space,
            rows: BTreeMap::new(),
            pending: VecDeque::new(),
            last_pull: None,
            sent: None,
            ahead: BTreeMap::new(),
            has_failed: false,
            name: format!("addon{number:02}"),
            identity: 0,
            requests: 0,
            transactions: 0,
        }
    }

    /// Its user's id, which is that of the user's own realm.
    #[must_use]
    pub fn sub(&self) -> &'static str {
        USERS[self.user]
    }

    /// The database is deleted, and its app begins anew.
    pub fn start_over(&mut self) {
        let Self { user, space, identity, requests, transactions, .. } = *self;
        let fresh = Self::new(0, user, space);
        let name = std::mem::take(&mut self.name);
        *self = Self { name, identity: identity + 1, requests, transactions, ..fresh };
    }

    /// Where it stands, as far as that is of a server of ours.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        Position::parse(&self.last_pull.as_ref()?.revision)
    }

    /// Whether it has its user's realm.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.last_pull.as_ref().is_none_or(|last| last.realms.iter().any(|realm| *realm == self.sub()))
    }

    /// What it sends as the hash of its realms.
    #[must_use]
    pub fn realms_hash(&self) -> String {
        let mut realms = self.last_pull.as_ref().map_or_else(Vec::new, |last| last.realms.clone());
        realms.sort_unstable();
        let realms: Vec<_> =
            realms.iter().map(|realm| format!(r#"{{"realmId":"{realm}","accepted":true}}"#)).collect();
        Base64::encode_string(&Sha1::digest(format!("[{}]", realms.join(",")).as_bytes()))
    }

    /// Its app has done this in one transaction.
    pub fn queue(&mut self, ops: Vec<(&'static str, Op)>, mark: u64) {
        let mut rows = Rows::of(&self.rows);
        for (table, op) in &ops {
            rows.take(table, op, false);
        }
        for (name, row) in rows.left {
            match row {
                Some(row) => drop(self.rows.insert(name, row)),
                None => drop(self.rows.remove(&name)),
            }
        }
        self.transactions += 1;
        let txid = format!("{}-{}", self.name, self.transactions);
        self.pending.push_back(Pending { mark, txid, ops });
    }

    /// The body of its next request, with the marks of the transactions in it, in the order in which they begin there.
    pub fn compose(&mut self) -> (String, Vec<u64>) {
        self.requests += 1;
        self.sent = Some(Sent { number: self.requests, transactions: self.pending.len() });
        if self.last_pull.is_none() {
            // It keeps the first one with which something has succeeded.
            self.identity += 1;
        }
        let last_pull = self.last_pull.as_ref().map(
            |last| json!({ "serverRevision": last.revision, "realms": last.realms, "inviteRealms": [] }),
        );
        let schema = TABLES.map(|table| (table.to_owned(), json!({ "primaryKey": "id" })));
        let body = json!({
            "v": 3,
            "clientIdentity": format!("{}/{}", self.name, self.identity),
            "schema": Value::Object(schema.into_iter().collect()),
            "lastPull": last_pull.unwrap_or_else(|| json!({ "$t": "undefined" })),
            "baseRevs": [],
            "changes": self.changes(),
            "y": [],
            "dxcv": "4.4.14",
        });
        (body.to_string(), self.pending.iter().map(|pending| pending.mark).collect())
    }

    /// What it has to send, by time; every third time operations of one transaction stand between those of the next.
    fn changes(&self) -> Vec<Value> {
        let mut changes = Vec::new();
        for (at, pending) in self.pending.iter().enumerate() {
            for (number, (table, op)) in pending.ops.iter().enumerate() {
                let moves = self.requests.is_multiple_of(3) && number > 0;
                for mut mutation in op.muts() {
                    mutation.insert("txid".to_owned(), pending.txid.clone().into());
                    mutation.insert("userId".to_owned(), self.sub().into());
                    mutation.insert("opNo".to_owned(), (number + 1).into());
                    let place = if moves { (at + 1, 1, number) } else { (at, 0, number) };
                    changes.push((place, json!({ "table": table, "muts": [mutation] })));
                }
            }
        }
        // The first operations of a transaction stay before those of the next.
        changes.sort_by_key(|((at, is_moved, _), _)| (*at, *is_moved));
        changes.into_iter().map(|(_, change)| change).collect()
    }

    /// It waits no more for an answer: its connection is gone.
    pub fn give_up(&mut self) {
        self.has_failed |= self.sent.take().is_some();
    }

    /// Whether it waits for the answer to this request.
    #[must_use]
    pub fn awaits(&self, number: u64) -> bool {
        self.sent.is_some_and(|sent| sent.number == number)
    }

    /// Takes in an answer, all at once: what was sent goes, rows of realms that are not named go, and then come the changes,
    /// beneath what was done meanwhile.
    pub fn take(&mut self, answer: &Answer) {
        self.has_failed = false;
        let sent = self.sent.take().map_or(0, |sent| sent.transactions);
        self.pending.drain(..sent);
        let had = self.last_pull.take().map(|last| last.realms).unwrap_or_default();
        for realm in had.iter().filter(|realm| !answer.last_pull.realms.contains(realm)) {
            self.rows.retain(|_, row| row.get("realmId").and_then(Value::as_str) != Some(realm));
        }
        self.last_pull = Some(answer.last_pull.clone());
        self.apply(&answer.changes);
    }

    /// Takes in what a socket brings, which follows what it has.
    pub fn take_news(&mut self, revision: &str, changes: &[Value]) {
        if let Some(last) = &mut self.last_pull {
            revision.clone_into(&mut last.revision);
        }
        self.apply(changes);
    }

    /// The names of rows that operations on tables are about.
    #[must_use]
    pub fn names(changes: &[Value]) -> BTreeSet<Name> {
        let muts = changes
            .iter()
            .flat_map(|table| table["muts"].as_array().into_iter().flatten().map(move |it| (table, it)));
        let names = muts.flat_map(|(table, mutation)| {
            let keys = mutation["keys"].as_array().into_iter().flatten();
            keys.map(move |key| (text(&table["table"]), text(key)))
        });
        names.collect()
    }

    /// Rows of which something is not confirmed.
    #[must_use]
    pub fn unconfirmed(&self) -> BTreeSet<Name> {
        let ops = self.pending.iter().flat_map(|pending| &pending.ops);
        let names =
            ops.flat_map(|(table, op)| op.keys().into_iter().map(|key| ((*table).to_owned(), key.clone())));
        names.collect()
    }

    fn apply(&mut self, changes: &[Value]) {
        let meanwhile = self.meanwhile();
        for table in changes {
            for mutation in table["muts"].as_array().into_iter().flatten() {
                let keys = mutation["keys"].as_array().into_iter().flatten();
                for (at, key) in keys.enumerate() {
                    let name = (text(&table["table"]), text(key));
                    if !TABLES.contains(&&*name.0) {
                        continue;
                    }
                    let value = mutation["values"][at].as_object().filter(|_| mutation["type"] == "upsert");
                    self.apply_one(name, value.cloned(), &meanwhile);
                }
            }
        }
    }

    /// A row as the server has it; none if it does not.
    fn apply_one(&mut self, name: Name, value: Option<Row>, meanwhile: &BTreeMap<Name, Done>) {
        let Some(mut row) = value else {
            // That wins over whatever was done meanwhile.
            self.rows.remove(&name);
            return;
        };
        match meanwhile.get(&name) {
            Some(Done::Put(_) | Done::Deleted) => return,
            Some(Done::Updated(steps)) => steps.iter().for_each(|step| step.take(&mut row)),
            None => {}
        }
        row.insert("id".to_owned(), name.1.clone().into());
        self.rows.insert(name, row);
    }

    /// What was done meanwhile, by rows.
    fn meanwhile(&self) -> BTreeMap<Name, Done> {
        let mut meanwhile = BTreeMap::new();
        for (table, op) in self.pending.iter().flat_map(|pending| &pending.ops) {
            for (at, key) in op.keys().into_iter().enumerate() {
                let done = match op {
                    Op::Insert(rows) | Op::Put(rows) => Done::Put(rows[at].1.clone()),
                    Op::Upsert(_, row, _) | Op::PutTooDeep(_, row) => Done::Put(row.clone()),
                    Op::Update(_, steps) => Done::Updated(steps.get(at).unwrap_or(&steps[0]).clone()),
                    Op::Modify(_, steps, _) => Done::Updated(steps.clone()),
                    Op::Delete(_) | Op::Clear(..) => Done::Deleted,
                };
                let name = ((*table).to_owned(), key.clone());
                let done = match (meanwhile.remove(&name), done) {
                    (Some(Done::Put(mut row)), Done::Updated(steps)) => {
                        steps.iter().for_each(|step| step.take(&mut row));
                        Done::Put(row)
                    }
                    (Some(Done::Updated(mut before)), Done::Updated(steps)) => {
                        before.extend(steps);
                        Done::Updated(before)
                    }
                    (Some(Done::Deleted), Done::Updated(_)) => Done::Deleted,
                    (_, done) => done,
                };
                meanwhile.insert(name, done);
            }
        }
        meanwhile
    }

    /// A row as the space has it, as far as both have to have the same: without what says that it is its user's, and without the key.
    #[must_use]
    pub fn shared_part(&self, row: &Row) -> Row {
        let is_own = |name: &str, value: &Value| {
            name == "id" || (["realmId", "owner"].contains(&name) && *value == self.sub())
        };
        let kept = row.iter().filter(|(name, value)| !is_own(name, value));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Realms that an answer may name.
    #[must_use]
    pub fn knows(&self, realm: &str) -> bool {
        realm == self.sub() || realm == PUBLIC_REALM
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
