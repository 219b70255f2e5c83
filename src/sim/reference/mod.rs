//! A space as the protocol tells it: records with their whole history, mutations read and judged in the plainest way.
//! Nothing of the product is used, so that the product can be compared with it: in random worlds by the oracle
//! ([`check`](super::check)), and by the fuzz targets and native tests on whole sequences of mutations ([`assert_follows`]).

pub mod canonical;
pub mod json;
pub mod reading;
pub(crate) mod rules;
pub(crate) mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use json::members;
use reading::{Change, Kind, Mutation};
use rules::{History, Left, apply, finds_nothing, known};
use tree::Tree;

/// What is compared with the reference.
pub trait System {
    /// Answers the body of a push with the body of 200, or with the code of the error.
    fn push(&mut self, body: &str) -> Result<String, String>;
    /// The value of a record.
    fn value(&mut self, collection: &str, id: &str) -> Option<String>;
}

/// A mutation somebody pushes, as JSON without its number.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Whose it is.
    pub client: String,
    /// What becomes of conflicts.
    pub policy: String,
    /// Its text.
    pub mutation: String,
}

/// Collection and id.
pub(crate) type Name = (String, String);

/// What a mutation comes to.
enum Verdict {
    Rejected,
    Conflict,
    /// Follows what is parked under this one of the conflicts.
    Joined(usize),
    /// The values it leaves, and whether the record was absent at any moment.
    Applied(BTreeMap<Name, Left>),
}

#[derive(Default)]
struct Space {
    version: u64,
    epoch: String,
    /// The text of every record that ever was.
    records: BTreeMap<Name, Option<String>>,
    history: History,
    /// In the order in which they were opened. Nobody acknowledges anything, and nobody resolves.
    conflicts: Vec<Parked>,
}

/// An open conflict.
#[derive(Default)]
struct Parked {
    opened: u64,
    /// Those that have been told of it.
    clients: BTreeSet<String>,
    touched: BTreeSet<Name>,
    changes: Vec<Change>,
    /// Whether older ones come first.
    waits: bool,
}

/// Pushes every mutation alone and compares result and values with the reference; then pushes them to a new system,
/// those of one client that follow each other in one push, and compares the results with the first ones.
pub fn assert_follows<S: System>(mut new: impl FnMut() -> S, submissions: &[Submission]) {
    let (mut system, mut space, mut last) = (new(), Space::default(), BTreeMap::<String, u64>::new());
    let (mut results, mut taken) = (String::new(), Vec::new());
    // An empty push says in which epoch the space is.
    space.epoch =
        string_of(&system.push(r#"{"client":"nobody-0","mutations":[]}"#).expect("an answer"), "epoch");
    for submission in submissions {
        let Some(mutation) = submission.numbered(last.get(&submission.client).unwrap_or(&0) + 1) else {
            continue;
        };
        *last.entry(submission.client.clone()).or_default() += 1;
        let answer =
            system.push(&submission.body(std::slice::from_ref(&mutation))).expect("the envelope is in order");
        let result = json::elements(field(&answer, "results")).expect("results")[0].to_owned();
        space.compare(&mut system, submission, &answer, &result);
        results = results + &result + "\n";
        taken.push((submission, mutation));
    }
    let mut together = new();
    let groups = taken.chunk_by(|(one, _), (next, _)| one.client == next.client && one.policy == next.policy);
    let mut again = String::new();
    for group in groups {
        let mutations: Vec<_> = group.iter().map(|(_, mutation)| mutation.clone()).collect();
        let answer = together.push(&group[0].0.body(&mutations)).expect("the envelope is in order");
        for result in json::elements(field(&answer, "results")).expect("results") {
            again = again + result + "\n";
        }
    }
    assert_eq!(again, results, "in one push as one by one");
    for (collection, id) in space.records.keys() {
        assert_eq!(together.value(collection, id), system.value(collection, id));
    }
}

impl Submission {
    /// The mutation with its number. None for what is no JSON object, or brings a number of its own.
    fn numbered(&self, number: u64) -> Option<String> {
        let members = members(&self.mutation)?;
        let rest = self.mutation.trim().strip_prefix('{')?;
        let comma = if members.is_empty() { "" } else { "," };
        (!members.iter().any(|(name, _)| name == "id")).then(|| format!("{{\"id\":{number}{comma}{rest}"))
    }

    fn body(&self, mutations: &[String]) -> String {
        let Self { client, policy, .. } = self;
        let mutations = mutations.join(",");
        format!(r#"{{"client":"{client}","onConflict":"{policy}","mutations":[{mutations}]}}"#)
    }
}

impl Space {
    /// Compares what has become of one mutation, and takes it over.
    fn compare(&mut self, system: &mut impl System, submission: &Submission, answer: &str, result: &str) {
        let verdict = self.judge(submission);
        let (status, expected) = (string_of(result, "status"), verdict.status());
        assert_eq!(status, expected, "{submission:?} got {result}");
        let version = self.version;
        if let Some(opened) = self.park(&verdict, submission) {
            let id = format!("x_{}_{opened}", self.epoch);
            assert_eq!(string_of(result, "conflict"), id, "{submission:?} got {result}");
        }
        if let Verdict::Applied(values) = verdict {
            let changes = Mutation::read(&submission.mutation).expect("it was applied").changes;
            let missing =
                if finds_nothing(&changes, |name| self.text(name).is_some(), |_| true) { "true" } else { "" };
            assert_eq!(field(result, "missing"), missing, "{submission:?} got {result}");
            let mut changed = Vec::new();
            for ((collection, id), (tree, was_absent)) in values {
                let text = system.value(&collection, &id);
                assert_eq!(text.as_deref().map(Tree::parse), tree, "{collection} {id} after {submission:?}");
                let name = (collection, id);
                if text.as_deref() != self.text(&name) {
                    changed.push((name, text, was_absent));
                }
            }
            self.version += u64::from(!changed.is_empty());
            for (name, text, was_absent) in changed {
                let before = self.records.get(&name).and_then(Option::as_deref);
                let change = (before, text.as_deref(), was_absent);
                self.history.note(&name, change, &Rc::from(&*submission.client), self.version);
                self.records.insert(name, text);
            }
            assert_eq!(field(result, "version"), self.version.to_string(), "{submission:?} got {result}");
        }
        assert_eq!(field(answer, "version"), self.version.to_string(), "after {version}: {submission:?}");
        for (name, text) in &self.records {
            assert_eq!(system.value(&name.0, &name.1), *text, "{name:?} after {submission:?}");
            let is_whole = |text: &str| {
                json::kept(text) == text
                    && json::is_json(text)
                    && json::is_fit(text)
                    && !json::has_repeated(text)
            };
            assert!(text.as_deref().is_none_or(is_whole), "{text:?}");
        }
    }

    /// Parks what is a conflict, and says under which.
    fn park(&mut self, verdict: &Verdict, submission: &Submission) -> Option<u64> {
        let at = match verdict {
            Verdict::Conflict => {
                self.version += 1;
                self.conflicts.push(Parked { opened: self.version, ..Parked::default() });
                self.conflicts.len() - 1
            }
            Verdict::Joined(at) => *at,
            Verdict::Rejected | Verdict::Applied(_) => return None,
        };
        let mutation = Mutation::read(&submission.mutation)?;
        let waits = self.follows(&mutation, &submission.client).len() > 1;
        let parked = &mut self.conflicts[at];
        parked.waits |= waits;
        parked.clients.insert(submission.client.clone());
        let known = parked.touched.len();
        parked.touched.extend(mutation.changes.iter().map(|change| change.name.clone()));
        parked.changes.extend(mutation.changes);
        if matches!(verdict, Verdict::Joined(_)) && parked.touched.len() > known {
            // The announcement names more records.
            self.version += 1;
        }
        Some(parked.opened)
    }

    /// The conflicts that a mutation names, or of which it touches a record.
    fn follows(&self, mutation: &Mutation, client: &str) -> Vec<usize> {
        let is_named = |parked: &Parked| {
            mutation.after.iter().any(|(epoch, opened)| *epoch == self.epoch && *opened == parked.opened)
        };
        let rests_on = |parked: &Parked| {
            parked.clients.contains(client)
                && mutation.changes.iter().any(|change| parked.touched.contains(&change.name))
        };
        let follows = |at: &usize| is_named(&self.conflicts[*at]) || rests_on(&self.conflicts[*at]);
        (0..self.conflicts.len()).filter(|at| !mutation.changes.is_empty() && follows(at)).collect()
    }

    /// Whether what is parked could still be applied with a mutation behind it. While older ones come first, or if it cannot
    /// be applied anyway, that is not for the mutation to answer for.
    fn can_join(&self, parked: &Parked, mutation: &Mutation, others: usize) -> bool {
        let both = parked.changes.iter().chain(&mutation.changes);
        parked.waits || others > 0 || self.apply(&parked.changes).is_none() || self.apply(both).is_some()
    }

    fn judge(&self, submission: &Submission) -> Verdict {
        let Some(mutation) = Mutation::read(&submission.mutation) else { return Verdict::Rejected };
        let is_stale = mutation.epoch.as_ref().is_some_and(|epoch| *epoch != self.epoch);
        if let Some((newest, others)) = self.follows(&mutation, &submission.client).split_last() {
            let joins = self.can_join(&self.conflicts[*newest], &mutation, others.len());
            return if joins { Verdict::Joined(*newest) } else { Verdict::Rejected };
        }
        let conflicts = |change: &Change| {
            let base = change.base.map(|base| known(base, !is_stale, self.version));
            base.is_some_and(|base| {
                self.history.conflicts(change, base, &submission.client, &submission.policy)
            })
        };
        if mutation.changes.iter().any(conflicts) {
            return Verdict::Conflict;
        }
        // It follows conflicts that are not there, and finds nothing to change: applied, it would be nowhere.
        let is_change = |change: &Change| !matches!(change.kind, Kind::Delete);
        if !mutation.after.is_empty()
            && finds_nothing(&mutation.changes, |name| self.text(name).is_some(), is_change)
        {
            return Verdict::Rejected;
        }
        self.apply(&mutation.changes).map_or(Verdict::Rejected, Verdict::Applied)
    }

    fn apply<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Option<BTreeMap<Name, Left>> {
        apply(changes, |name| self.text(name))
    }

    fn text(&self, name: &Name) -> Option<&str> {
        self.records.get(name)?.as_deref()
    }
}

impl Verdict {
    fn status(&self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Conflict | Self::Joined(_) => "conflict",
            Self::Applied(_) => "applied",
        }
    }
}

fn field<'a>(object: &'a str, name: &str) -> &'a str {
    let members = members(object).expect("an object");
    members.into_iter().find(|(other, _)| other == name).map(|(_, text)| text).unwrap_or_default()
}

fn string_of(object: &str, name: &str) -> String {
    json::string(field(object, name)).unwrap_or_default()
}
