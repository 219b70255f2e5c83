//! A space as the protocol tells it: every record with its whole history, mutations read and judged in the plainest way.
//! Nothing of the product is used, so that it can be compared with it, by the fuzz targets and by native tests.
// Whoever includes this uses a part of it.
#![allow(dead_code)]

pub(crate) mod canonical;
pub(crate) mod json;
pub(crate) mod reading;
// The tests of values have it too.
#[path = "../../src/value/tests/model.rs"]
#[allow(clippy::duplicate_mod)]
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use json::members;
use reading::{Change, Kind, Mutation};
use tree::Tree;

/// What is compared with the reference.
pub(crate) trait System {
    /// Answers the body of a push with the body of 200, or with the code of the error.
    fn push(&mut self, body: &str) -> Result<String, String>;
    /// The value of a record.
    fn value(&mut self, collection: &str, id: &str) -> Option<String>;
}

/// A mutation somebody pushes, as JSON without its number.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) client: String,
    pub(crate) policy: String,
    pub(crate) mutation: String,
}

/// Collection and id.
type Name = (String, String);

/// A record after a change of it.
struct Step {
    version: u64,
    client: String,
    /// None for a deletion.
    text: Option<String>,
    /// Whether the record was absent at any moment since the step before.
    was_absent: bool,
}

/// What a mutation comes to.
enum Verdict {
    Rejected,
    Conflict,
    /// Follows what is parked under this one of the conflicts.
    Joined(usize),
    /// The values it leaves, and whether the record was absent at any moment.
    Applied(BTreeMap<Name, (Option<Tree>, bool)>),
}

#[derive(Default)]
struct Space {
    version: u64,
    epoch: String,
    records: BTreeMap<Name, Vec<Step>>,
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
pub(crate) fn assert_follows<S: System>(mut new: impl FnMut() -> S, submissions: &[Submission]) {
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
            let missing = if self.finds_nothing(&changes, |_| true) { "true" } else { "" };
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
                let (version, client) = (self.version, submission.client.clone());
                self.records.entry(name).or_default().push(Step { version, client, text, was_absent });
            }
            assert_eq!(field(result, "version"), self.version.to_string(), "{submission:?} got {result}");
        }
        assert_eq!(field(answer, "version"), self.version.to_string(), "after {version}: {submission:?}");
        for (name, steps) in &self.records {
            let text = steps.last().and_then(|step| step.text.clone());
            assert_eq!(system.value(&name.0, &name.1), text, "{name:?} after {submission:?}");
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
        if mutation.changes.iter().any(|change| self.conflicts(change, submission, is_stale)) {
            return Verdict::Conflict;
        }
        // It follows conflicts that are not there, and finds nothing to change: applied, it would be nowhere.
        let is_change = |change: &Change| !matches!(change.kind, Kind::Delete);
        if !mutation.after.is_empty() && self.finds_nothing(&mutation.changes, is_change) {
            return Verdict::Rejected;
        }
        self.apply(&mutation.changes).map_or(Verdict::Rejected, Verdict::Applied)
    }

    /// Whether one of these changes finds no record at that moment and does nothing.
    fn finds_nothing(&self, changes: &[Change], is_of_them: impl Fn(&Change) -> bool) -> bool {
        let mut there = BTreeMap::new();
        changes.iter().any(|change| {
            let is_there = there.entry(&change.name).or_insert_with(|| self.text(&change.name).is_some());
            let was_there = *is_there;
            *is_there = match &change.kind {
                Kind::Put(_) => true,
                Kind::Delete => false,
                Kind::Patch(_, or_put) | Kind::Combine(_, or_put) => was_there || or_put.is_some(),
            };
            !was_there && !*is_there && is_of_them(change)
        })
    }

    /// Whether somebody else changed what the change rests on after its base.
    fn conflicts(&self, change: &Change, by: &Submission, is_stale: bool) -> bool {
        let Some(base) = change.base else { return false };
        let is_stale = is_stale || base > self.version;
        if by.policy == "overwrite" || matches!(change.kind, Kind::Combine(..)) {
            return false;
        }
        let steps = self.records.get(&change.name).map_or(&[][..], Vec::as_slice);
        let foreign =
            |step: &&Step| step.client != by.client && (step.version > base || (is_stale && base > 0));
        match steps.last() {
            Some(Step { text: Some(_), .. }) => match &change.kind {
                Kind::Patch(..) if by.policy == "merge" => {
                    let tops = change.tops();
                    // Single fields are told apart since the record was last made; whatever others did to it before counts
                    // for all of them, which can only show a conflict too many. A patch that touches none never conflicts.
                    let made = steps.iter().rposition(|step| step.was_absent).unwrap_or(0);
                    let touches = |at: usize| {
                        at <= made || touched(steps, at).is_none_or(|names| !names.is_disjoint(&tops))
                    };
                    !tops.is_empty() && (0..steps.len()).any(|at| foreign(&&steps[at]) && touches(at))
                }
                _ => steps.iter().any(|step| foreign(&step)),
            },
            Some(_) => {
                !matches!(change.kind, Kind::Delete) && base > 0 && steps.iter().any(|step| foreign(&step))
            }
            None => false,
        }
    }

    /// The values after all changes, in order.
    fn apply<'a>(
        &self,
        changes: impl IntoIterator<Item = &'a Change>,
    ) -> Option<BTreeMap<Name, (Option<Tree>, bool)>> {
        let mut values = BTreeMap::new();
        for change in changes {
            let (tree, was_absent) = values.entry(change.name.clone()).or_insert_with(|| {
                let tree = self.text(&change.name).map(Tree::parse);
                let is_absent = tree.is_none();
                (tree, is_absent)
            });
            *tree = match (&change.kind, &*tree) {
                (Kind::Put(value), _) => Some(Tree::parse(value)),
                (Kind::Delete, _) => None,
                (Kind::Patch(_, or_put) | Kind::Combine(_, or_put), None) => {
                    or_put.as_deref().map(Tree::parse)
                }
                (Kind::Patch(op, _) | Kind::Combine(op, _), Some(tree)) => Some(tree.after(op).ok()?),
            };
            *was_absent |= tree.is_none();
        }
        Some(values)
    }

    fn text(&self, name: &Name) -> Option<&str> {
        self.records.get(name)?.last()?.text.as_deref()
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

/// The top-level fields that a step changed, added or removed by their text. None for all: creation and deletion touch all,
/// and where a name is no Rust text nobody can tell.
fn touched(steps: &[Step], at: usize) -> Option<BTreeSet<String>> {
    fn fields(text: &str) -> Option<BTreeMap<String, &str>> {
        Some(members(text)?.into_iter().collect())
    }
    let (before, after) = (steps[..at].last()?.text.as_deref()?, steps[at].text.as_deref()?);
    if steps[at].was_absent {
        return None;
    }
    let (before, after) = (fields(before)?, fields(after)?);
    let names = before.keys().chain(after.keys());
    Some(names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect())
}

fn field<'a>(object: &'a str, name: &str) -> &'a str {
    let members = members(object).expect("an object");
    members.into_iter().find(|(other, _)| other == name).map(|(_, text)| text).unwrap_or_default()
}

fn string_of(object: &str, name: &str) -> String {
    json::string(field(object, name)).unwrap_or_default()
}
