//! One answer out of several spaces. A record stands in one of them, but may move, and spaces have no common order: so where one has
//! lost it the others are asked, and who has it is believed. One that names another realm is on its way there; until it is there it is
//! told as one of the realm in whose space it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    NextPull,
    answer::{self, END, Line, Muts, head_of_several, is_told},
    realm::{Realm, realm_named},
    revision::Revision,
};
use crate::{json::json_text, version::Position};

/// A record: its table, and its id as JSON.
pub type Name = (String, String);

/// What a space has brought.
#[derive(Debug)]
pub struct Found {
    /// Of which realm its rows are.
    pub realm: Realm,
    /// What the answer makes of what its client has of it.
    pub standing: NextPull,
    /// Record lines that the client has not.
    pub changes: String,
    /// Record lines of records that it was asked for: all that all spaces were asked for.
    pub touched: String,
}

/// A realm that somebody is invited to.
#[derive(Debug)]
pub struct Invited {
    /// The realm.
    pub realm: Realm,
    /// The record lines that say so.
    pub lines: String,
}

/// A record that names another realm than that in whose space it stands: it is on its way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The record.
    pub name: Name,
    /// Its value, which says whose it is.
    pub value: String,
    /// The realm in whose space it stands, …
    pub from: String,
    /// … and the one that it names.
    pub to: String,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split_terminator('\n').filter_map(Line::of).filter(is_told)
}

/// Record lines as they are, each with what it names.
fn texts(text: &str) -> impl Iterator<Item = ((&str, &str), &str)> {
    text.split_inclusive('\n').filter_map(|text| Some((named_by(text)?, text)))
}

fn named_by(text: &str) -> Option<(&str, &str)> {
    Line::of(text.trim_ascii_end()).filter(is_told).map(|line| (line.collection, line.id))
}

fn named<'a>(line: &Line<'a>) -> (&'a str, &'a str) {
    (line.collection, line.id)
}

impl Found {
    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        lines(&self.changes).chain(lines(&self.touched))
    }

    /// What a line says of its record.
    fn says(&self, line: &Line<'_>) -> Says {
        match line.value {
            None => Says::Gone,
            Some(value) if self.realm.has(value) => Says::Stands,
            Some(_) => Says::OnItsWay,
        }
    }

    fn that(&self, says: Says) -> BTreeSet<(&str, &str)> {
        self.lines().filter(|line| self.says(line) == says).map(|line| named(&line)).collect()
    }

    /// The same space asked again: what it says now of records counts, and of all that it was ever asked for it is known how they stand.
    #[must_use]
    pub fn then(self, mut later: Self) -> Self {
        let answered: BTreeSet<_> = lines(&later.touched).map(|line| named(&line)).collect();
        let newer: BTreeMap<_, _> = texts(&later.changes).collect();
        let known = texts(&self.touched).filter(|(name, _)| !answered.contains(name));
        let known: String = known.map(|(name, text)| *newer.get(&name).unwrap_or(&text)).collect();
        later.touched.insert_str(0, &known);
        later
    }

    /// The same space asked how records stand: that counts, and its client goes on from where it was.
    #[must_use]
    pub fn with(self, asked: &Self) -> Self {
        let answered: BTreeSet<_> = lines(&asked.touched).map(|line| named(&line)).collect();
        let rest = |text: &str| -> String {
            texts(text).filter(|(name, _)| !answered.contains(name)).map(|(_, text)| text).collect()
        };
        let (changes, touched) = (rest(&self.changes), rest(&self.touched) + &asked.touched);
        Self { changes, touched, ..self }
    }

    /// The records that it has.
    #[must_use]
    pub fn standing(&self) -> BTreeSet<(&str, &str)> {
        self.that(Says::Stands)
    }

    /// The records that it was asked for and that are on their way into other realms.
    #[must_use]
    pub fn strays(&self) -> Vec<Stray> {
        let stray = |line: Line<'_>| {
            let value = line.value.filter(|value| !self.realm.has(value))?;
            let to = realm_named(value)?;
            let (name, from) = (owned(named(&line)), self.realm.id.clone());
            Some(Stray { name, value: self.realm.explicit(value), from, to })
        };
        lines(&self.touched).filter_map(stray).collect()
    }
}

/// What is said of a record by a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Stands,
    OnItsWay,
    Gone,
}

fn that(found: &[Found], says: Says) -> BTreeSet<(&str, &str)> {
    found.iter().flat_map(|found| found.that(says)).collect()
}

/// The records that these lines name.
#[must_use]
pub fn names(text: &str) -> BTreeSet<Name> {
    lines(text).map(|line| owned(named(&line))).collect()
}

/// Records of which spaces say different things, and that not all have answered for: one has lost it and no other has brought it, which
/// may have it since long; or two have it, of which one is behind.
#[must_use]
pub fn unsettled(found: &[Found]) -> BTreeSet<Name> {
    let standing = that(found, Says::Stands);
    let mut answered: BTreeMap<_, usize> = BTreeMap::new();
    for found in found {
        let names: BTreeSet<_> = lines(&found.touched).map(|line| named(&line)).collect();
        names.into_iter().for_each(|name| *answered.entry(name).or_default() += 1);
    }
    let is_settled = |name: &(&str, &str)| answered.get(name) == Some(&found.len());
    let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for found in found {
        for name in found.standing() {
            _ = if once.contains(&name) { twice.insert(name) } else { once.insert(name) };
        }
    }
    let gone = [Says::Gone, Says::OnItsWay].into_iter().flat_map(|says| that(found, says));
    let gone = gone.filter(|name| !standing.contains(name));
    gone.chain(twice).filter(|name| !is_settled(name)).map(owned).collect()
}

fn owned((collection, id): (&str, &str)) -> Name {
    (collection.to_owned(), id.to_owned())
}

/// What spaces have brought as operations, with commas between them: where one has a record, no other one removes it. `removes`: whether
/// their client may have what is gone.
#[must_use]
pub fn muts(found: &[Found], removes: bool) -> String {
    let (standing, on_its_way) = (that(found, Says::Stands), that(found, Says::OnItsWay));
    let mut texts = Vec::new();
    for found in found {
        let beginning = found.realm.beginning();
        // Of two equal names the last one counts.
        let here = |value: &str| {
            format!("{},\"realmId\":{}}}", &value[..value.len() - 1], json_text(&found.realm.id))
        };
        let is_stray = |line: &Line<'_>| found.says(line) == Says::OnItsWay;
        let values: Vec<_> =
            found.lines().map(|line| line.value.filter(|_| is_stray(&line)).map(here)).collect();
        let mut muts = Muts::new(&beginning);
        for (line, value) in found.lines().zip(&values) {
            let name = named(&line);
            match found.says(&line) {
                Says::Stands => muts.push(&line),
                Says::OnItsWay if !standing.contains(&name) => {
                    muts.push(&Line { value: value.as_deref(), ..line })
                }
                Says::Gone if removes && !standing.contains(&name) && !on_its_way.contains(&name) => {
                    muts.push(&line)
                }
                Says::OnItsWay | Says::Gone => {}
            }
        }
        texts.push(muts.end_all());
    }
    texts.retain(|text| !text.is_empty());
    texts.join(",")
}

/// The beginning of the answer, up to its operations, behind which stands [`END`].
#[must_use]
pub fn head((found, invited): (&[Found], &[Invited]), space: &str, rejections: &str) -> String {
    let mut revision = Revision::default();
    for Found { realm, standing, .. } in found {
        let at = Position::parse(&standing.revision);
        match at {
            at if realm.is_own => revision.home = at,
            Some(at) => _ = revision.realms.insert(realm.id.clone(), at),
            None => {}
        }
    }
    let realms = found.iter().filter(|found| found.standing.has_own).map(|found| &*found.realm.id);
    let invites = invited.iter().map(|invited| &*invited.realm.id);
    head_of_several((realms, invites), &revision.to_string(), space, rejections)
}

/// The whole answer.
#[must_use]
pub fn answer(
    (found, invited): (&[Found], &[Invited]),
    space: &str,
    rejections: &str,
    corrections: &str,
) -> String {
    let mut texts = vec![muts(found, true), corrections.to_owned(), muts_of_invited(invited)];
    texts.retain(|text| !text.is_empty());
    head((found, invited), space, rejections) + &texts.join(",") + END
}

/// The rows that tell of invitations, as operations with commas between them.
#[must_use]
pub fn muts_of_invited(invited: &[Invited]) -> String {
    let mut texts: Vec<_> =
        invited.iter().map(|Invited { realm, lines }| answer::muts(lines, realm)).collect();
    texts.retain(|text| !text.is_empty());
    texts.join(",")
}

/// A push of the edge's own, in the name of a client: what it needs to move records between spaces, and to ask where they stand.
#[derive(Debug, Default)]
pub struct Errands(Vec<String>);

impl Errands {
    fn add(&mut self, (table, key): &Name, kind: &str, rest: &str) {
        self.0.push(format!(
            r#"{{"table":{},"muts":[{{"type":"{kind}","keys":[{key}]{rest}}}]}}"#,
            json_text(table)
        ));
    }

    /// Puts a record, unless there is one.
    pub fn put(&mut self, stray: &Stray) {
        self.add(&stray.name, "upsert", &format!(r#","isMoved":true,"values":[{}]"#, stray.value));
    }

    /// Removes a record that stands in its new realm, if it still names that.
    pub fn remove(&mut self, stray: &Stray) {
        self.add(&stray.name, "delete", &format!(r#","movedTo":{}"#, json_text(&stray.to)));
    }

    /// Leaves a record in its realm, because it cannot be in the one that it names.
    pub fn keep(&mut self, stray: &Stray) {
        let realm = json_text(&stray.from);
        self.add(&stray.name, "update", &format!(r#","changeSpecs":[{{"realmId":{realm}}}]"#));
    }

    /// Asks how records stand.
    pub fn ask(&mut self, names: &BTreeSet<Name>) {
        let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (table, key) in names {
            tables.entry(table).or_default().push(key);
        }
        for (table, keys) in tables {
            let (table, keys) = (json_text(table), keys.join(","));
            self.0.push(format!(
                r#"{{"table":{table},"muts":[{{"type":"update","keys":[{keys}],"changeSpecs":[{{}}]}}]}}"#
            ));
        }
    }

    /// Whether there is something to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a request of the client that has sent this envelope.
    #[must_use]
    pub fn body(&self, envelope: &str) -> String {
        format!(r#"{{{envelope},"changes":[{}]}}"#, self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(realm: Realm, at: &str, changes: &str, touched: &str) -> Found {
        let standing = NextPull { has_own: true, revision: at.to_owned(), sends_changes: true };
        Found { realm, standing, changes: changes.to_owned(), touched: touched.to_owned() }
    }

    fn line(id: &str, value: &str) -> String {
        let rest =
            if value.is_empty() { r#""deleted":true"#.to_owned() } else { format!(r#""value":{value}"#) };
        format!("{{\"version\":7,\"collection\":\"todos\",\"id\":\"{id}\",{rest}}}\n")
    }

    fn home(changes: &str, touched: &str) -> Found {
        found(Realm::own("alice"), "0mwrnsa6yk3v9q2.57", changes, touched)
    }

    fn shared(id: &str, changes: &str, touched: &str) -> Found {
        found(Realm::shared(id), "0mwrnsa6yk3v9q2.9", changes, touched)
    }

    fn names(ids: &[&str]) -> BTreeSet<Name> {
        ids.iter().map(|id| ("todos".to_owned(), format!("\"{id}\""))).collect()
    }

    #[test]
    fn one_answer_names_all_realms_and_says_of_each_row_where_it_belongs() {
        let all = [
            shared(
                "rlm1",
                &line("b", r#"{"realmId":"rlm1","owner":"bob","n":1}"#),
                &line("native", r#"{"n":2}"#),
            ),
            home(&line("a", "{}"), ""),
        ];
        let answer: Value = serde_json::from_str(&answer((&all, &[]), "s", "", "")).expect("JSON");
        assert_eq!(answer["realms"], json!(["rlm1", "alice", "rlm-public"]));
        assert_eq!(answer["serverRevision"], r#"{"~":"0mwrnsa6yk3v9q2.57","rlm1":"0mwrnsa6yk3v9q2.9"}"#);
        let values: Vec<_> = answer["changes"]
            .as_array()
            .expect("operations")
            .iter()
            .flat_map(|table| table["muts"][0]["values"].as_array().expect("values").clone())
            .collect();
        assert_eq!(
            values,
            [
                json!({ "realmId": "rlm1", "owner": "bob", "n": 1 }),
                json!({ "realmId": "rlm1", "n": 2 }),
                json!({ "realmId": "alice", "owner": "alice" }),
            ]
        );
    }

    #[test]
    fn a_row_that_one_space_has_no_other_removes() {
        for touched in [false, true] {
            let (row, gone) = (line("a", r#"{"realmId":"rlm1"}"#), line("a", ""));
            let all = match touched {
                false => [shared("rlm1", &row, ""), home(&gone, "")],
                true => [shared("rlm1", "", &row), home("", &gone)],
            };
            assert!(!muts(&all, true).contains("delete"), "{}", muts(&all, true));
            assert!(unsettled(&all).is_empty());
        }
    }

    #[test]
    fn where_a_row_is_gone_from_one_space_all_are_asked_once() {
        let all = [shared("rlm1", "", ""), home(&(line("a", "") + &line("b", r#"{"realmId":"rlm1"}"#)), "")];
        assert_eq!(unsettled(&all), names(&["a", "b"]), "also one that is on its way");
        let both = line("a", "") + &line("b", "");
        let cut = [shared("rlm1", "", &both), home("", &line("b", ""))];
        assert_eq!(unsettled(&cut), names(&["a"]), "an answer that has no room for all of them");
        let asked = [shared("rlm1", "", &both), home("", &both)];
        assert!(unsettled(&asked).is_empty());
        assert!(muts(&asked, true).contains(r#""type":"delete","keys":["a","b"]"#));
    }

    #[test]
    fn a_row_that_is_on_its_way_is_told_where_it_is_until_it_is_there() {
        let all = home("", &line("a", r#"{"n":1,"realmId":"rlm1"}"#));
        assert_eq!(
            muts(std::slice::from_ref(&all), true),
            r#"{"table":"todos","muts":[{"type":"upsert","keys":["a"],"values":[{"realmId":"alice","owner":"alice","n":1,"realmId":"rlm1","realmId":"alice"}]}]}"#
        );
        assert!(all.standing().is_empty());
        let strays = all.strays();
        let [stray] = &strays[..] else { panic!("{strays:?}") };
        assert_eq!((&*stray.from, &*stray.to), ("alice", "rlm1"));
        assert_eq!(
            stray.value, r#"{"owner":"alice","n":1,"realmId":"rlm1"}"#,
            "whose it is was not written at home"
        );
        let mut errands = Errands::default();
        errands.put(stray);
        errands.remove(stray);
        errands.keep(stray);
        errands.ask(&names(&["a"]));
        let body: Value = serde_json::from_str(&errands.body(r#""clientIdentity":"x""#)).expect("JSON");
        let kinds: Vec<_> = body["changes"]
            .as_array()
            .expect("tables")
            .iter()
            .map(|table| table["muts"][0]["type"].clone())
            .collect();
        assert_eq!(kinds, ["upsert", "delete", "update", "update"]);
    }

    #[test]
    fn a_row_that_two_spaces_have_is_asked_for_because_one_of_them_is_behind() {
        let (there, here) = (line("a", r#"{"realmId":"rlm1"}"#), line("a", r#"{"n":1}"#));
        let all = [shared("rlm1", &there, ""), home(&here, "")];
        assert_eq!(unsettled(&all), names(&["a"]));
        let [one, own] = all;
        let asked = [one.with(&shared("rlm1", "", &there)), own.with(&home("", &line("a", "")))];
        assert!(unsettled(&asked).is_empty());
        assert_eq!(muts(&asked, true), muts(&[shared("rlm1", &there, "")], true));
    }

    #[test]
    fn an_answer_to_a_question_brings_nothing_that_was_not_asked() {
        let news = line("new", "{}");
        let asked = home("", "").with(&home(&(line("a", "{}") + &news), &line("a", "{}")));
        assert_eq!((asked.changes.as_str(), &*asked.touched), ("", &*line("a", "{}")), "its position stays");
        let kept = home(&news, "").with(&home(&line("new", ""), &line("a", "")));
        assert!(kept.standing().contains(&("todos", "\"new\"")));
    }

    #[test]
    fn what_a_space_says_later_of_a_row_counts() {
        let before = shared("rlm1", "", &(line("a", "") + &line("b", "{}")));
        let after = before.then(shared("rlm1", &line("a", "{}"), ""));
        for id in ["a", "b"] {
            assert!(after.standing().contains(&("todos", &*format!("\"{id}\""))), "{id}");
        }
        let gone = after.then(shared("rlm1", &line("b", ""), ""));
        assert!(!gone.standing().contains(&("todos", "\"b\"")));
    }

    #[test]
    fn an_invitation_comes_with_its_rows_and_has_no_revision() {
        let row = r#"{"version":7,"collection":"members","id":"m1","value":{"email":"a@b.example"}}"#;
        let invited = Invited { realm: Realm::shared("rlm1"), lines: format!("{row}\n") };
        let answer: Value =
            serde_json::from_str(&answer((&[home("", "")], &[invited]), "s", "", "")).expect("JSON");
        assert_eq!(
            (&answer["realms"], &answer["inviteRealms"]),
            (&json!(["alice", "rlm-public"]), &json!(["rlm1"]))
        );
        assert_eq!(answer["serverRevision"], "0mwrnsa6yk3v9q2.57");
        let value = &answer["changes"][0]["muts"][0]["values"][0];
        assert_eq!(*value, json!({ "realmId": "rlm1", "email": "a@b.example" }));
    }

    #[test]
    fn what_is_on_its_way_is_not_forgotten_while_other_rows_are_moved() {
        let stray = line("a", r#"{"realmId":"rlm1"}"#);
        let told = home("", &stray).then(home(&(stray + &line("b", "")), &line("b", "")));
        let strays: Vec<_> = told.strays().into_iter().map(|stray| stray.name.1).collect();
        assert_eq!(strays, ["\"a\""], "the answer to what was moved says it among what is new");
    }

    #[test]
    fn a_realm_that_is_to_be_forgotten_is_not_named_and_its_revision_is() {
        let mut all = [shared("rlm1", "", ""), home("", "")];
        all[0].standing.has_own = false;
        let answer: Value = serde_json::from_str(&answer((&all, &[]), "s", "", "")).expect("JSON");
        assert_eq!(answer["realms"], json!(["alice", "rlm-public"]));
        assert!(answer["serverRevision"].as_str().expect("a text").contains("rlm1"));
    }
}
