//! What ought to be: the history of the space by the rules alone, and a checker for each invariant that a world can break.

use std::{collections::BTreeMap, fmt::Write, rc::Rc};

use super::{
    client::{Client, Name, Records},
    host::Host,
    kv::{Entry, Kv},
};
use crate::{
    ids::ContentHash,
    protocol::{
        pull::{Consistency, Min, PullRequest},
        push::{PushAnswer, Settled},
    },
    snapshot::{head::Head, keys::Scope},
    time::Millis,
    version::{Epoch, Position},
};

/// What a simulated record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Counted up by `add`.
    pub count: i64,
    /// Written by `patch`.
    pub tag: u64,
    /// Bytes that only take room.
    pub filler: usize,
}

impl Row {
    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { count, tag, filler } = self;
        format!("{{\"count\":{count},\"tag\":{tag},\"filler\":\"{}\"}}", "x".repeat(*filler))
    }
}

/// A change of a simulated record.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Writes all of it.
    Put(Name, Row),
    /// Writes one field, or the whole row where there is none.
    Patch(Name, u64, Row),
    /// Counts up.
    Add(Name, i64),
    /// Removes it.
    Delete(Name),
}

impl Edit {
    /// The change as the wire has it.
    #[must_use]
    pub fn json(&self) -> String {
        let named = |op: &str, (collection, id): &Name| {
            format!("{{\"op\":\"{op}\",\"collection\":\"{collection}\",\"id\":\"{id}\"")
        };
        match self {
            Self::Put(name, row) => format!("{},\"value\":{}}}", named("put", name), row.text()),
            Self::Patch(name, tag, row) => {
                format!("{},\"set\":{{\"tag\":{tag}}},\"orPut\":{}}}", named("patch", name), row.text())
            }
            Self::Add(name, by) => format!("{},\"path\":\"count\",\"by\":{by}}}", named("add", name)),
            Self::Delete(name) => named("delete", name) + "}",
        }
    }

    fn apply(&self, state: &mut State) {
        match self {
            Self::Put(name, row) => drop(state.insert(name.clone(), row.clone())),
            Self::Patch(name, tag, row) => match state.get_mut(name) {
                Some(there) => there.tag = *tag,
                None => drop(state.insert(name.clone(), row.clone())),
            },
            Self::Add(name, by) => {
                if let Some(there) = state.get_mut(name) {
                    there.count += by;
                }
            }
            Self::Delete(name) => drop(state.remove(name)),
        }
    }
}

type State = BTreeMap<Name, Row>;

/// The history of the space, position by position.
#[derive(Debug)]
pub struct Oracle {
    here: Position,
    present: State,
    states: BTreeMap<Position, Rc<State>>,
    plans: Vec<Vec<Edit>>,
    settled: BTreeMap<u64, Settled>,
    published: Option<Position>,
    puts_checked: usize,
}

impl Oracle {
    /// A space that begins empty at `here`.
    #[must_use]
    pub fn new(here: Position) -> Self {
        Self {
            states: BTreeMap::from([(here.clone(), Rc::default())]),
            here,
            present: State::new(),
            plans: Vec::new(),
            settled: BTreeMap::new(),
            published: None,
            puts_checked: 0,
        }
    }

    /// Where the space stands.
    #[must_use]
    pub fn here(&self) -> &Position {
        &self.here
    }

    /// The names of all records.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.present.keys().cloned().collect()
    }

    /// Notes what a mutation does and returns the mark it is known by, with the text of its changes.
    pub fn plan(&mut self, edits: Vec<Edit>) -> (u64, String) {
        let texts: Vec<String> = edits.iter().map(Edit::json).collect();
        self.plans.push(edits);
        (self.plans.len() as u64 - 1, format!("[{}]", texts.join(",")))
    }

    /// Takes in the answer to a push, before the client does. I1: versions without gap or repeat. I2: nothing twice, and
    /// a repeated result is the first one.
    pub fn learn_push(&mut self, client: &Client, answer: &PushAnswer) {
        for result in &answer.results {
            let queued = client.outbox.iter().find(|queued| queued.id == result.id);
            let mark = queued.expect("an answer to what was sent").mark;
            if result.duplicate {
                let same = match (&result.settled, self.settled.get(&mark)) {
                    (Settled::Conflict(_), Some(Settled::Conflict(_))) => true,
                    (Settled::Rejected(now), Some(Settled::Rejected(first))) => now.code == first.code,
                    (now, first) => Some(now) == first,
                };
                assert!(same, "I2: {:?} was {:?}", result, self.settled.get(&mark));
                continue;
            }
            if let Settled::Applied(version) = result.settled {
                self.apply(mark, version.get());
            }
            let first = self.settled.insert(mark, result.settled.clone());
            assert!(first.is_none(), "I2: mutation {mark} was settled twice, first {first:?}");
        }
        assert_eq!(answer.position, self.here, "I1: the answer to a push is not where the space stands");
    }

    fn apply(&mut self, mark: u64, version: u64) {
        let mut after = self.present.clone();
        for edit in &self.plans[usize::try_from(mark).expect("a mark")] {
            edit.apply(&mut after);
        }
        if after == self.present {
            assert_eq!(
                version,
                self.here.version.get(),
                "I1: a mutation that changes nothing takes no version"
            );
            return;
        }
        self.here.version = self.here.version.next();
        assert_eq!(version, self.here.version.get(), "I1: versions count without gap or repeat");
        self.present = after;
        self.states.insert(self.here.clone(), Rc::new(self.present.clone()));
    }

    /// Another epoch began; the records and the count of versions go on.
    pub fn learn_epoch(&mut self, epoch: &Epoch) {
        if *epoch == self.here.epoch {
            return;
        }
        assert!(*epoch > self.here.epoch, "I3: an epoch began that sorts before its predecessor");
        self.here.epoch = epoch.clone();
        self.states.insert(self.here.clone(), Rc::new(self.present.clone()));
    }

    /// Storage was restored to `position`: what came later in its epoch never was.
    pub fn go_back_to(&mut self, position: Position) {
        let state = self.states.get(&position).expect("a position that was");
        self.present = (**state).clone();
        self.states.retain(|at, _| *at <= position);
        self.here = position;
    }

    /// What is known of KV may fall behind, because storage has lost it.
    pub fn forget_published(&mut self) {
        self.published = None;
    }

    /// Puts that a test has made itself are not the publisher's.
    pub fn skip_puts(&mut self, kv: &Kv) {
        self.puts_checked = kv.puts.len();
    }

    /// I7: what a client holds is the state at its position.
    pub fn check_client(&self, client: &Client, at: &Position) {
        let state = self.states.get(at);
        let state =
            state.unwrap_or_else(|| panic!("I1: {} stands at {at}, where nothing ever was", client.name));
        let seen = &client.records;
        let wrong: Vec<&Name> = state
            .iter()
            .filter(|(name, row)| seen.get(*name) != Some(&row.text()))
            .map(|(name, _)| name)
            .chain(seen.keys().filter(|name| !state.contains_key(*name)))
            .collect();
        assert!(wrong.is_empty(), "I7: at {at} {} has {wrong:?} wrong", client.name);
    }

    /// I3: nobody goes back, and `session` reaches `min`.
    pub fn check_pull(&self, asked: &PullRequest, before: Option<&Position>, after: &Position) {
        assert!(*after <= self.here, "I1: a pull brought {after}, above {}", self.here);
        assert!(before.is_none_or(|before| before <= after), "I3: a pull went back to {after}");
        if let Some(Min::Position(min)) = &asked.min {
            let is_reached = min <= after || asked.consistency == Consistency::Eventual;
            assert!(is_reached, "I3: a pull that asked for {min} brought {after}");
        }
    }

    /// I4: published is at most durable and never falls. I5, I6, I7: each head that was put names objects that are there,
    /// live as long and hash to their names, and together they hold the state at its version.
    pub fn check_publication(&mut self, host: &mut Host, kv: &Kv, now: Millis) {
        let durable = host.core(now).position();
        let published =
            host.core(now).publisher().row().published.as_ref().map(|published| published.position.clone());
        assert!(
            published.as_ref().is_none_or(|published| *published <= durable),
            "I4: published above durable"
        );
        assert!(published >= self.published, "I4: published fell from {:?} to {published:?}", self.published);
        self.published = published;
        self.learn_epoch(&durable.epoch);
        let puts = &kv.puts[self.puts_checked..];
        for (key, entry) in puts.iter().filter(|(key, _)| key.ends_with("/head")) {
            self.check_head(key, entry, kv, now);
        }
        self.puts_checked = kv.puts.len();
    }

    fn check_head(&self, key: &str, entry: &Entry, kv: &Kv, now: Millis) {
        let stem = key.strip_suffix("/head").expect("the key of a head");
        let scope = Scope::parse(stem.strip_prefix("v1/").expect("format 1")).expect("a scope");
        let (head, tail) = Head::decode(&entry.value, &scope).expect("I5: a head that can be read");
        let mut text = String::new();
        for part in head.parts() {
            let object = kv.central(&scope.object_key(&part.sha256.0), now);
            let Some(object) = object else {
                assert!(kv.has_lost, "I5: a head names an object that is not there");
                return;
            };
            assert!(object.expires >= entry.expires || kv.has_lost, "I5: a head outlives an object");
            assert_eq!(
                ContentHash::of(object.value.as_bytes()),
                part.sha256.0,
                "I6: an object is not its name"
            );
            text.push_str(&object.value);
        }
        text.push_str(tail);
        let mut loaded = Client::new("a new device");
        let start =
            format!("{{\"epoch\":\"{}\",\"version\":{},\"reset\":false}}\n", head.epoch, head.version);
        let _ = writeln!(text, "{{\"end\":true,\"epoch\":\"{}\",\"version\":{}}}", head.epoch, head.version);
        loaded.take_stream(&(start + &text));
        self.check_client(&loaded, &head.position());
    }

    /// The state as a client that has everything holds it.
    #[must_use]
    pub fn records(&self) -> Records {
        self.present.iter().map(|(name, row)| (name.clone(), row.text())).collect()
    }
}
