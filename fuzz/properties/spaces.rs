//! Whole sequences of mutations, against the reference.

use headwater::{
    call::PushRequest,
    coordinator::{Coordinator, ledger::RecordTable},
    ids::{Collection, Key, RecordId, UserHash},
    sim::{BY_DEMAND, START, ledger::MemoryLedger},
    snapshot::keys::Scope,
};

use super::{
    reference::{Submission, System, assert_follows},
    space,
};

/// Each line is a mutation, behind a letter for its client and one for what becomes of conflicts. A coordinator does with
/// all of them what the reference does.
pub(crate) fn operations(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let submissions: Vec<_> = text.lines().filter_map(submission).collect();
    assert_follows(Space::new, &submissions);
}

fn submission(line: &str) -> Option<Submission> {
    let (client, rest) = line.split_at_checked(1)?;
    let (policy, mutation) = rest.split_at_checked(1)?;
    let policy = match policy {
        "m" => "merge",
        "o" => "overwrite",
        _ => "reject",
    };
    // Four clients are enough to disagree.
    let client = format!("client-{}", client.as_bytes()[0] % 4);
    Some(Submission { client, policy: policy.to_owned(), mutation: mutation.to_owned() })
}

struct Space(Coordinator<MemoryLedger>);

impl Space {
    fn new() -> Self {
        let scope = Scope::private(&space());
        let core = Coordinator::open(MemoryLedger::default(), Some(scope), BY_DEMAND, None, START, 7);
        Self(core.expect("a space"))
    }
}

impl System for Space {
    fn push(&mut self, body: &str) -> Result<String, String> {
        let push = PushRequest::parse(body.as_bytes()).map_err(|error| error.code().to_owned())?;
        let user = UserHash::new("https://issuer.example", "alice");
        let answer = self.0.push(&[(user, push)], START).remove(0);
        answer.map(|answer| answer.to_json()).map_err(|error| error.code().to_owned())
    }

    fn value(&mut self, collection: &str, id: &str) -> Option<String> {
        let (collection, id) = (Collection::parse(collection).ok()?, RecordId::parse(id).ok()?);
        let key = Key { collection, id };
        let record = self.0.ledger().record(&key).expect("a read")?;
        record.value(&key).map(str::to_owned)
    }
}
