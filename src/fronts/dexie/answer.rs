//! What this client is answered: the present state of records, as operations on its tables. Lines are cut as text, and values are
//! passed on as they are.

use super::{NextPull, realm::Realm};
use crate::{
    ids::SpaceHash,
    json::{json_text, string_end},
    limits,
    mutation::Rejection,
};

/// The realm that everybody sees. Here it is empty.
const PUBLIC_REALM: &str = r#""rlm-public""#;
/// The revision of whoever has not signed in.
pub const ANONYMOUS_REVISION: &str = "anonymous";
/// The end of an answer, behind its changes.
pub const END: &str = "]}";
/// Rejections that are told, of names that cannot be.
const REFUSED_TOLD: usize = 100;

/// An answer up to its changes, which follow as [`muts`], with commas between them, and [`END`]. `rejections` are JSON objects, as
/// [`rejections`] makes them, or nothing.
#[must_use]
pub fn head(standing: &NextPull, sub: &str, space: &str, rejections: &str) -> String {
    let realms = standing.has_own.then_some(sub);
    head_of_several((realms.into_iter(), std::iter::empty()), &standing.revision, space, rejections)
}

/// The same of an answer out of several spaces: its client has these realms, or forgets all records of others that are not in it; and
/// its user is invited to these.
#[must_use]
pub fn head_of_several<'a>(
    (realms, invites): (impl Iterator<Item = &'a str>, impl Iterator<Item = &'a str>),
    revision: &str,
    space: &str,
    rejections: &str,
) -> String {
    let realms: String = realms.map(|realm| json_text(realm) + ",").collect();
    let invites = invites.map(json_text).collect::<Vec<_>>().join(",");
    let revision = json_text(revision);
    format!(
        r#"{{"serverRevision":{revision},"dbId":"{space}","realms":[{realms}{PUBLIC_REALM}],"inviteRealms":[{invites}],"schema":{{}},"rejections":[{rejections}],"changes":["#
    )
}

/// What changes nothing, of a table that every client has: what comes behind it always has a comma before.
pub const NOTHING: &str = r#"{"table":"members","muts":[]}"#;

/// Record lines behind other operations of an answer.
#[must_use]
pub fn further(lines: &str, realm: &Realm) -> String {
    let muts = muts(lines, realm);
    if muts.is_empty() { muts } else { format!(",{muts}") }
}

/// The answer to whoever has not signed in, or to a call without a user.
#[must_use]
pub fn anonymous(space: &SpaceHash) -> String {
    let standing = NextPull { has_own: false, revision: ANONYMOUS_REVISION.to_owned(), sends_changes: false };
    head(&standing, "", space.as_str(), "") + END
}

/// Record lines as operations, with commas between them: nothing for no lines. Values say of which realm they are, unless they say
/// something else. With deletions, also for whoever has nothing yet: lines of a load may bring a record and then its end.
#[must_use]
pub fn muts(lines: &str, realm: &Realm) -> String {
    let beginning = realm.beginning();
    let mut muts = Muts::new(&beginning);
    for line in lines.split_terminator('\n').filter_map(Line::of).filter(is_told) {
        muts.push(&line);
    }
    muts.end_all()
}

/// Whether a client is told of a record: of what is reserved there is nothing that it could make of it.
pub(super) fn is_told(line: &Line<'_>) -> bool {
    !line.collection.starts_with('$') && (!planted!(DeletionsLeftOutOfLoad) || line.value.is_some())
}

/// A record line: the texts that are put together anew.
pub(super) struct Line<'a> {
    pub(super) collection: &'a str,
    /// With its quotes.
    pub(super) id: &'a str,
    /// None of a deletion.
    pub(super) value: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// None of what is not a record line.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        let (_, rest) = line.split_once(r#","collection":""#)?;
        let (collection, rest) = rest.split_once(r#"","id":"#)?;
        let (id, rest) = rest.split_at_checked(string_end(rest.as_bytes(), 0))?;
        let value = rest.strip_prefix(r#","value":"#).and_then(|rest| rest.strip_suffix('}'));
        if value.is_none() && rest != r#","deleted":true}"# {
            return None;
        }
        Some(Self { collection, id, value })
    }
}

/// Operations being written: neighbouring lines of one collection and kind are one.
pub(super) struct Muts<'a> {
    /// How a value begins.
    beginning: &'a str,
    text: String,
    begun: Option<Begun<'a>>,
    /// Of the operation that was begun.
    values: String,
}

/// The operation whose keys are written.
struct Begun<'a> {
    collection: &'a str,
    is_deletion: bool,
    keys: usize,
}

impl<'a> Muts<'a> {
    pub(super) fn new(beginning: &'a str) -> Self {
        Self { beginning, text: String::new(), begun: None, values: String::new() }
    }

    pub(super) fn push(&mut self, line: &Line<'a>) {
        let is_deletion = line.value.is_none();
        let goes_on = self.begun.as_ref().is_some_and(|begun| {
            begun.collection == line.collection
                && begun.is_deletion == is_deletion
                && begun.keys < limits::DEXIE_KEYS_AT_ONCE
        });
        if !goes_on {
            self.end();
            let kind = if is_deletion { "delete" } else { "upsert" };
            let comma = if self.text.is_empty() { "" } else { "," };
            let collection = line.collection;
            self.text += &format!(r#"{comma}{{"table":"{collection}","muts":[{{"type":"{kind}","keys":["#);
        }
        let begun = self.begun.get_or_insert(Begun { collection: line.collection, is_deletion, keys: 0 });
        if begun.keys > 0 {
            self.text.push(',');
        }
        self.text.push_str(line.id);
        if let Some(value) = line.value {
            if begun.keys > 0 {
                self.values.push(',');
            }
            let rest = value.strip_prefix('{').unwrap_or(value);
            self.values.extend([self.beginning, if rest == "}" { "" } else { "," }, rest]);
        }
        begun.keys += 1;
    }

    pub(super) fn end_all(mut self) -> String {
        self.end();
        self.text
    }

    fn end(&mut self) {
        let Some(begun) = self.begun.take() else { return };
        if begun.is_deletion {
            self.text.push_str("]}]}");
        } else {
            self.text.extend([r#"],"values":["#, &self.values, "]}]}"]);
            self.values.clear();
        }
    }
}

/// A record whose names cannot be, as they are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusedKey<'a> {
    pub(super) table: &'a str,
    pub(super) key: &'a str,
    pub(super) rule: &'static str,
}

/// That these records are not there, as far as an answer has room: the rows that the client has made of them go.
pub(super) fn corrections<'a>(refused: impl Iterator<Item = RefusedKey<'a>>) -> String {
    let (mut text, mut table): (String, Option<&str>) = (String::new(), None);
    for RefusedKey { table: of, key, .. } in refused {
        if text.len() + key.len() > limits::WORDED_BYTES_MAX {
            break;
        }
        if table == Some(of) {
            text.push(',');
        } else {
            text.push_str(if table.is_some() { "]}]}," } else { "" });
            text += &format!(r#"{{"table":{of},"muts":[{{"type":"delete","keys":["#);
            table = Some(of);
        }
        text.push_str(key);
    }
    text.push_str(if table.is_some() { "]}]}" } else { "" });
    text
}

/// What was not done, and why. The client does not read it; whoever looks for a lost edit does.
pub(super) fn rejections<'a>(
    rejected: impl Iterator<Item = (&'a Rejection, Option<&'a str>)>,
    refused: impl Iterator<Item = RefusedKey<'a>>,
) -> String {
    let rejection = |name: &str, message: &str, rest: &str| {
        format!(r#"{{"name":"{name}","message":{}{rest}}}"#, json_text(message))
    };
    let of_transactions = rejected.map(|(why, id)| {
        let id = id.map_or_else(String::new, |id| format!(r#","txid":{id}"#));
        rejection(why.code.as_str(), &why.detail, &id)
    });
    let of_names = refused.take(REFUSED_TOLD).map(|RefusedKey { table, key, rule }| {
        let names = if table.len() + key.len() > 1024 {
            String::new()
        } else {
            format!(r#","table":{table},"key":{key}"#)
        };
        rejection("invalid_value", rule, &names)
    });
    of_transactions.chain(of_names).collect::<Vec<_>>().join(",")
}

/// That the space of a realm takes nothing of its client.
#[must_use]
pub fn realm_rejection(realm: &Realm) -> String {
    let realm = json_text(&realm.id);
    format!(
        r#"{{"name":"forbidden","message":"the realm is not there, or not open to its user","realm":{realm}}}"#
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn line(id: usize, rest: &str) -> String {
        format!("{{\"version\":{},\"collection\":\"todos\",\"id\":\"r{id}\",{rest}}}\n", id + 1)
    }

    fn read(muts: &str) -> Vec<Value> {
        serde_json::from_str(&format!("[{muts}]")).expect("JSON")
    }

    #[test]
    fn neighbours_of_one_kind_are_one_operation_of_so_many_keys() {
        let count = 2 * limits::DEXIE_KEYS_AT_ONCE + 1;
        let lines: String = (0..count).map(|id| line(id, r#""value":{"n":1}"#)).collect();
        let sets = read(&muts(&(lines + &line(count, r#""deleted":true"#)), &Realm::own("alice")));
        let keys = sets.iter().map(|set| set["muts"][0]["keys"].as_array().expect("keys").len());
        assert_eq!(keys.collect::<Vec<_>>(), [500, 500, 1, 1]);
        assert_eq!(sets[2]["muts"][0]["values"].as_array().map(Vec::len), Some(1));
        assert_eq!(sets[3]["muts"][0]["type"], "delete");
    }

    #[test]
    fn a_value_is_its_users_unless_it_says_something_else() {
        let lines = [r#""value":{}"#, r#""value":{"a":"}"}"#, r#""value":{"owner":"bob","realmId":"rlm-x"}"#];
        let lines: String = lines.iter().enumerate().map(|(id, rest)| line(id, rest)).collect();
        let sets = read(&muts(&lines, &Realm::own("al\"ice")));
        let values = sets[0]["muts"][0]["values"].as_array().expect("values").clone();
        let own = |value: &Value| (value["realmId"].clone(), value["owner"].clone());
        assert_eq!(own(&values[0]), ("al\"ice".into(), "al\"ice".into()));
        assert_eq!(values[1]["a"], "}");
        assert_eq!(own(&values[2]), ("rlm-x".into(), "bob".into()), "of two equal names the last one counts");
    }

    #[test]
    fn what_is_reserved_is_not_told_nor_what_a_new_client_cannot_have() {
        let reserved = line(1, r#""value":{}"#).replace("todos", "$conflicts");
        let deleted = line(2, r#""deleted":true"#);
        assert_eq!(read(&muts(&(reserved + &deleted), &Realm::own("alice"))).len(), 1);
        assert_eq!(muts("", &Realm::own("alice")), "");
    }

    #[test]
    fn whoever_has_not_signed_in_sees_the_empty_realm_of_everybody() {
        let space = SpaceHash::private("https://issuer.example", "alice");
        let answer: Value = serde_json::from_str(&anonymous(&space)).expect("JSON");
        assert_eq!(answer["realms"], serde_json::json!(["rlm-public"]));
        assert_eq!(answer["changes"], serde_json::json!([]));
        assert_eq!(answer["serverRevision"], ANONYMOUS_REVISION, "without one no socket is opened");
    }
}
