//! A client's outbox: what waits in it, the pushes that it makes of that, and what answers do to it.

use std::{cell::OnceCell, rc::Rc};

use serde::Deserialize;

use super::{
    Client, Name, OUTBOX,
    pulls::{Line, Page, begins_at_nothing},
};
use crate::{
    call::PushAnswer,
    error::ApiError,
    mutation::{MutationResult, Settled},
    sim::{history::Written, network::SentPush},
    version::{ConflictId, Epoch, Position, Version},
};

/// Mutations that it sends at once.
const PUSH_MUTATIONS_MAX: usize = 8;

/// A mutation in the outbox.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its number.
    pub id: u64,
    /// When it was made, as the client tells.
    pub at: u64,
    /// The JSON of its changes.
    pub changes: Written,
    /// The records that they name, once somebody asks.
    names: OnceCell<Rc<[Name]>>,
    /// The position of the client when it was made.
    pub base: Option<Position>,
    /// Whether it says so.
    pub has_base: bool,
    /// The conflicts under which what it rests on was parked.
    pub after: Vec<ConflictId>,
    /// For whoever checks it; on the wire the time when it was made, so that no two mutations are the same.
    pub mark: u64,
    /// What it was, under its number, before it was rewritten, with the marks.
    was: Vec<(Written, u64)>,
}

impl Queued {
    /// The marks of what it is and was.
    pub fn marks(&self) -> impl Iterator<Item = u64> {
        self.was.iter().map(|(_, mark)| *mark).chain([self.mark])
    }

    fn names(&self) -> &[Name] {
        self.names.get_or_init(|| names_in(&self.changes.plain).into())
    }
}

/// How an answer to a push left the outbox.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Mutations that left it, with their results.
    pub settled: Vec<(u64, Settled)>,
    /// Mutations that left it without one.
    pub dropped: Vec<u64>,
    /// Whether the rest was numbered anew under another client id.
    pub is_renumbered: bool,
}

impl Client {
    /// Puts a mutation with these changes (a JSON array) into the outbox.
    pub fn queue(&mut self, changes: Written, mark: u64) {
        let base = self.position.clone();
        let mutation = Queued {
            id: self.next_id,
            at: mark,
            changes,
            names: OnceCell::new(),
            base,
            has_base: true,
            after: Vec::new(),
            mark,
            was: Vec::new(),
        };
        self.made.push((mutation.id, mark));
        self.outbox.push_back(mutation);
        self.next_id += 1;
    }

    /// Rewrites the last mutation, although it may have been sent already, as home-made clients do when an answer was
    /// lost. An answer that still arrives is for what was, and is ignored. When it was made stays, so what is rewritten to
    /// what it was is the mutation that it was.
    pub fn compact(&mut self, changes: Written, mark: u64) {
        let Some(last) = self.outbox.back_mut() else { return };
        if says_the_same(&last.changes, &changes) {
            return;
        }
        let was = last.was.iter().find(|(was, _)| says_the_same(was, &changes)).cloned();
        last.was.push((last.changes.clone(), last.mark));
        (last.changes, last.mark) = was.unwrap_or((changes, mark));
        last.names = OnceCell::new();
        self.waits_for[OUTBOX] = 0;
        let (id, mark) = (last.id, last.mark);
        self.made.iter_mut().filter(|(made, _)| *made == id).for_each(|(_, made)| *made = mark);
    }

    /// What its next push holds: the oldest that it has, and after a lost answer perhaps less than it had sent.
    pub fn next_push(&self) -> impl Iterator<Item = &Queued> {
        let is_short = self.requests % 4 == 3;
        self.outbox.iter().take(if is_short { 2 } else { PUSH_MUTATIONS_MAX })
    }

    /// The body of its next push.
    #[must_use]
    pub fn push_body(&self) -> String {
        let epoch = self.position.as_ref().map(|position| &position.epoch);
        // An app that was restarted may write with another library what it has kept.
        let is_ordered = self.requests % 2 == 1;
        let mutations = self.next_push().map(|queued| mutation_text(queued, epoch, is_ordered));
        let mutations: Vec<String> = mutations.collect();
        format!("{{{}\"mutations\":[{}]}}", self.envelope(), mutations.join(","))
    }

    /// The body of a resolution that is short for its next push, if that is one mutation that does nothing but resolve.
    #[must_use]
    pub fn resolution_body(&self) -> Option<String> {
        let epoch = self.position.as_ref().map(|position| &position.epoch);
        let mut pushed = self.next_push();
        let queued = pushed.next().filter(|queued| queued.after.is_empty())?;
        let (of, base) = bases(queued, epoch);
        let op = "\"op\":\"resolve\",";
        let plain = &queued.changes.plain;
        let resolves_alone = plain.matches("\"op\":").count() == plain.matches(op).count();
        if pushed.next().is_some() || !of.is_empty() || !resolves_alone {
            return None;
        }
        let (Queued { id, at, .. }, resolutions) = (queued, plain.replace(op, ""));
        Some(format!("{{{}\"id\":{id},\"at\":{at},{base}\"resolutions\":{resolutions}}}", self.envelope()))
    }

    /// What a push says beside its mutations.
    fn envelope(&self) -> String {
        let place = self.position.as_ref().map_or_else(String::new, |position| {
            format!("\"epoch\":\"{}\",\"since\":{},", position.epoch, position.version)
        });
        let place = if planted!(EpochLeftOut) { String::new() } else { place };
        format!(
            "\"client\":\"{}\",{place}\"acked\":{},{}",
            self.name,
            self.acked,
            self.policy.map_or_else(String::new, |policy| format!("\"onConflict\":\"{policy}\","))
        )
    }

    /// Takes in the answer to a push; gives its new position if the changes brought it there.
    pub fn take_push_answer(
        &mut self,
        sent: &SentPush,
        answer: &PushAnswer,
        outcome: &mut Outcome,
    ) -> Option<Position> {
        self.take_results(&sent.name, &answer.results, outcome);
        let text = answer.to_json();
        let page: Page<'_> = serde_json::from_str(&text).expect("the answer to a push is JSON");
        let here = Position { epoch: page.epoch.clone(), version: page.version };
        let same_epoch = self.position.as_ref().is_some_and(|position| position.epoch == here.epoch);
        if page.more || !same_epoch || self.is_pulling() {
            self.learn_min(here);
            return None;
        }
        if self.position.as_ref().is_some_and(|position| *position > here) {
            return None;
        }
        self.apply(page.changes.iter().map(Line::change).collect(), begins_at_nothing(sent.since.as_ref()));
        self.advance(here.clone());
        Some(here)
    }

    /// Takes in why a push of `name` was refused. What is settled leaves the outbox with its result.
    pub fn take_push_error(&mut self, name: &str, error: &ApiError, outcome: &mut Outcome) {
        if name != self.name {
            return;
        }
        match error {
            ApiError::EpochMismatch { position, last, settled, more } => {
                self.learn_min(position.clone());
                self.leave(*last, settled, *more, outcome);
            }
            ApiError::ClientForked { last, settled } => self.leave(*last, settled, false, outcome),
            ApiError::OutOfOrder { expected } => {
                // What it no longer holds it cannot send: a late answer of an earlier push says less than it knows.
                let first = self.outbox.front().map_or(self.next_id, |queued| queued.id);
                if *expected < first {
                    self.number_anew();
                    outcome.is_renumbered = true;
                }
            }
            _ => {}
        }
    }

    /// Takes in what of a refused push was settled. What is left is numbered anew, unless the history may contain more of it
    /// than was sent: that is asked for in the same way first.
    fn leave(&mut self, last: u64, settled: &[MutationResult], more: bool, outcome: &mut Outcome) {
        let name = self.name.clone();
        self.take_results(&name, settled, outcome);
        let gone = self.outbox.iter().take_while(|queued| queued.id <= last).count();
        outcome.dropped.extend(self.outbox.drain(..gone).map(|queued| queued.mark));
        if more && !self.outbox.is_empty() && !planted!(MoreIgnored) {
            return;
        }
        self.number_anew();
        outcome.is_renumbered = true;
    }

    fn take_results(&mut self, name: &str, results: &[MutationResult], outcome: &mut Outcome) {
        // Numbers of a name that it no longer has say nothing about the outbox.
        if name != self.name {
            return;
        }
        for result in results {
            if self.outbox.front().is_none_or(|queued| queued.id != result.id) {
                continue;
            }
            let Some(first) = self.outbox.pop_front() else { return };
            outcome.settled.push((first.mark, result.settled.clone()));
            self.acked = result.id;
            if let Settled::Conflict { id, .. } = &result.settled {
                self.learn_conflict(&first, id);
            }
        }
    }

    /// What waits behind a parked mutation and touches one of its records was made without knowing of the conflict.
    fn learn_conflict(&mut self, parked: &Queued, id: &ConflictId) {
        let touched = parked.names();
        for queued in &mut self.outbox {
            let is_behind = queued.names().iter().any(|name| touched.contains(name));
            if is_behind && !queued.after.contains(id) && !planted!(AfterNotSaid) {
                queued.after.push(id.clone());
            }
        }
    }

    fn number_anew(&mut self) {
        self.take_new_name();
        for (id, queued) in (1..).zip(&mut self.outbox) {
            queued.id = id;
            // Under another number what it was is another mutation.
            queued.was.clear();
        }
        self.next_id = self.outbox.len() as u64 + 1;
        self.made = self.outbox.iter().map(|queued| (queued.id, queued.mark)).collect();
        self.acked = 0;
    }
}

/// Whether changes are the same by the contract, which leaves out their bases.
fn says_the_same(one: &Written, other: &Written) -> bool {
    let without_bases = |changes: &Written| -> Vec<serde_json::Map<String, serde_json::Value>> {
        let mut changes: Vec<serde_json::Map<_, _>> =
            serde_json::from_str(&changes.plain).expect("changes are JSON");
        changes.iter_mut().for_each(|change| drop(change.remove("base")));
        changes
    };
    without_bases(one) == without_bases(other)
}

/// The records that changes name.
fn names_in(changes: &str) -> Vec<Name> {
    #[derive(Deserialize)]
    struct Named {
        collection: Option<String>,
        id: Option<String>,
        #[serde(default)]
        records: Vec<Self>,
    }
    let changes: Vec<Named> = serde_json::from_str(changes).expect("changes are JSON");
    let each = changes.into_iter().flat_map(|change| {
        let Named { collection, id, records } = change;
        let own = Named { collection, id, records: Vec::new() };
        std::iter::once(own).chain(records)
    });
    each.filter_map(|named| Some((named.collection?, named.id?))).collect()
}

/// Of which epoch a mutation says its base is, where that is not the push's, and which it says.
fn bases(queued: &Queued, epoch: Option<&Epoch>) -> (String, String) {
    let (of, base) = match queued.base.as_ref().filter(|_| queued.has_base) {
        Some(base) => {
            (Some(&base.epoch).filter(|of| epoch.is_some_and(|epoch| epoch != *of)), Some(base.version))
        }
        None => (None, queued.has_base.then_some(Version::ZERO)),
    };
    let of = of.map_or_else(String::new, |epoch| format!("\"epoch\":\"{epoch}\","));
    (of, base.map_or_else(String::new, |base| format!("\"base\":{base},")))
}

/// A mutation as one library writes it, or as one does that puts members in order.
fn mutation_text(queued: &Queued, epoch: Option<&Epoch>, is_ordered: bool) -> String {
    let (of, base) = bases(queued, epoch);
    let names: Vec<_> = queued.after.iter().map(|id| format!("\"{id}\"")).collect();
    let after = match &names[..] {
        [] => String::new(),
        [name] => format!("\"after\":{name},"),
        names => format!("\"after\":[{}],", names.join(",")),
    };
    let Queued { id, at, changes, .. } = queued;
    if is_ordered {
        return format!("{{{after}\"at\":{at},{base}\"changes\":{},{of}\"id\":{id}}}", changes.ordered);
    }
    format!("{{\"id\":{id},\"at\":{at},{of}{base}{after}\"changes\":{}}}", changes.plain)
}
