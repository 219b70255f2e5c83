//! The coordinator as a whole: what is claimed of pushes, pulls and publication.

mod budget;
mod caches;
mod conflicts;
mod directory;
mod guests;
mod invitations;
mod live;
mod metering;
mod numbers;
mod operations;
mod parking;
mod publication;
mod pulls;
mod pushes;
#[cfg(feature = "dexie")]
mod shut;
mod spaces;
mod storage;
mod tasks;
mod transactions;
mod uploads;

use std::collections::BTreeMap;

use super::*;
use crate::{
    call::{PushAnswer, PushRequest},
    coordinator::ledger::{ClientTable, ConflictTable, MetaTable, PrivateTable, RecordTable},
    ids::{ClientId, Collection, Key, RecordId, SpaceHash, SpaceId},
    mutation::{RejectCode, Settled},
    sim::{BY_DEMAND, START, ledger::MemoryLedger},
};

/// A coordinator with a clock.
struct Desk<L = MemoryLedger> {
    core: Coordinator<L>,
    now: Millis,
}

fn scope() -> Scope {
    Scope::private(&SpaceHash::private("https://issuer.example", "alice"))
}

fn user(name: &str) -> UserHash {
    UserHash::new("https://issuer.example", name)
}

fn version(number: u64) -> Version {
    Version::new(number).expect("a version")
}

fn parsed(body: &str) -> PushRequest {
    PushRequest::parse(body.as_bytes()).expect("a push")
}

/// The text of a mutation that puts `value` under `c`/`id`.
fn put(number: u64, id: &str, value: &str) -> String {
    format!(r#"{{"id":{number},"changes":[{{"op":"put","collection":"c","id":"{id}","value":{value}}}]}}"#)
}

fn body(client: &str, mutations: &[String]) -> String {
    format!(r#"{{"client":"{client}","mutations":[{}]}}"#, mutations.join(","))
}

impl Desk {
    fn new() -> Self {
        Self::on(MemoryLedger::default())
    }
}

impl<L: Ledger> Desk<L> {
    fn on(ledger: L) -> Self {
        Self { core: open(ledger, START), now: START }
    }

    /// Pushes as `user`, whole.
    fn push_as(&mut self, user: &UserHash, body: &str) -> Result<PushAnswer, ApiError> {
        self.core.push(&[(user.clone(), parsed(body))], self.now).remove(0)
    }

    fn push(&mut self, body: &str) -> Result<PushAnswer, ApiError> {
        self.push_as(&user("alice"), body)
    }

    /// Pushes one mutation of which only the result matters. All before it are acknowledged, so that it joins none.
    fn settle(&mut self, client: &str, mutation: &str) -> Settled {
        let acked = parsed(&body(client, &[mutation.to_owned()])).mutations[0].id - 1;
        let push = format!(r#"{{"client":"{client}","acked":{acked},"mutations":[{mutation}]}}"#);
        self.push(&push).expect("an answer").results[0].settled.clone()
    }

    /// Puts one record as a client's next mutation.
    fn put(&mut self, client: &str, number: u64, id: &str, value: &str) -> Settled {
        self.settle(client, &put(number, id, value))
    }

    fn delete(&mut self, client: &str, number: u64, id: &str) -> Settled {
        let change = format!(r#"{{"op":"delete","collection":"c","id":"{id}"}}"#);
        self.settle(client, &format!(r#"{{"id":{number},"changes":[{change}]}}"#))
    }

    fn value(&mut self, id: &str) -> Option<String> {
        let key = Key {
            collection: Collection::parse("c").expect("a collection"),
            id: RecordId::parse(id).expect("an id"),
        };
        let record = self.core.ledger().record(&key).expect("a read")?;
        record.value(&key).map(str::to_owned)
    }

    fn epoch(&self) -> Epoch {
        self.core.position().epoch
    }

    fn version(&self) -> u64 {
        self.core.position().version.get()
    }
}

fn open<L: Ledger>(ledger: L, now: Millis) -> Coordinator<L> {
    Coordinator::open(ledger, Some(scope()), BY_DEMAND, None, now, 7).expect("a space")
}

fn applied(number: u64) -> Settled {
    Settled::Applied(version(number))
}

fn code(settled: &Settled) -> Option<RejectCode> {
    match settled {
        Settled::Rejected(rejection) => Some(rejection.code),
        _ => None,
    }
}
