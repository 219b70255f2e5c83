//! KV as it may behave: every location sees what some moment ago was true, keeps it, also that there was nothing, and a put
//! may end in every way there is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use super::{DAY_MS, Rng};
use crate::{coordinator::publication::PutOutcome, time::Millis};

/// A value as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: String,
    /// JSON, or empty.
    pub metadata: String,
    /// When KV forgets it.
    pub expires: Millis,
}

/// How a put ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutFault {
    /// As it should.
    None,
    /// KV refuses it.
    Refused,
    /// The day's writes are used up.
    Exhausted,
    /// No answer, and it never happened.
    Lost,
    /// No answer, and it happened.
    Unanswered,
    /// No answer, and it happens after so many milliseconds.
    Late(u64),
}

/// How often something goes wrong by chance, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Puts and deletions that end in one of the ways of [`PutFault`].
    pub puts: u64,
    /// The longest time by which a put lands late, in ms.
    pub late_ms: u64,
    /// Reads that fail.
    pub reads: u64,
    /// The longest time by which a read that is not cached lags, in ms.
    pub lag_ms: u64,
    /// Reads of heads in which a digit behind the first line is another.
    pub garbled: u64,
}

/// KV did not answer a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadFailed;

/// What a location's cache has of a key, since when, and for how long.
type Cached = (Option<Rc<Entry>>, Millis, u64);

/// When a key was written, and with what.
type Write = (Millis, Option<Rc<Entry>>);

/// The namespace.
#[derive(Debug)]
pub struct Kv {
    /// What goes wrong by chance.
    pub faults: Faults,
    /// How the next puts end; before chance.
    pub script: VecDeque<PutFault>,
    /// All puts that were sent, in order, however they ended.
    pub puts: Vec<(String, Rc<Entry>)>,
    /// How the last put was answered.
    pub last_outcome: PutOutcome,
    /// Keys that were lost before their time and not put again: a head may name what is gone.
    pub lost: BTreeSet<String>,
    /// Reads that were sent.
    pub reads: u64,
    log: BTreeMap<String, Vec<Write>>,
    landing: Vec<(Millis, String, Option<Rc<Entry>>)>,
    /// Deletions that were sent, in order.
    pub deletions: Vec<String>,
    garbled: Vec<Rc<Entry>>,
    caches: Vec<BTreeMap<String, Cached>>,
    rng: Rng,
}

impl Kv {
    /// An empty namespace seen from so many locations.
    #[must_use]
    pub fn new(locations: usize, rng: Rng) -> Self {
        Self {
            faults: Faults::default(),
            script: VecDeque::new(),
            puts: Vec::new(),
            last_outcome: PutOutcome::Done,
            lost: BTreeSet::new(),
            reads: 0,
            log: BTreeMap::new(),
            landing: Vec::new(),
            deletions: Vec::new(),
            garbled: Vec::new(),
            caches: vec![BTreeMap::new(); locations],
            rng,
        }
    }

    /// How many locations see it.
    #[must_use]
    pub fn locations(&self) -> usize {
        self.caches.len()
    }

    /// What the namespace itself holds.
    #[must_use]
    pub fn central(&self, key: &str, now: Millis) -> Option<Rc<Entry>> {
        self.as_of(key, now).filter(|entry| entry.expires > now)
    }

    /// Whether the namespace has forgotten a key because its time was over.
    #[must_use]
    pub fn has_expired(&self, key: &str, now: Millis) -> bool {
        self.as_of(key, now).is_some_and(|entry| entry.expires <= now)
    }

    /// Puts that are due to land do.
    pub fn land(&mut self, now: Millis) {
        self.landing.sort_by_key(|(at, ..)| *at);
        let due = self.landing.partition_point(|(at, ..)| *at <= now);
        for (at, key, entry) in self.landing.drain(..due).collect::<Vec<_>>() {
            self.change(&key, at, entry);
        }
    }

    /// A put.
    pub fn put(&mut self, key: &str, entry: Entry, now: Millis) -> PutOutcome {
        let entry = Rc::new(entry);
        self.puts.push((key.to_owned(), Rc::clone(&entry)));
        self.send(key, Some(entry), now)
    }

    /// A deletion. No head may have named it for a day.
    pub fn delete(&mut self, key: &str, now: Millis) -> PutOutcome {
        let named = self.named_until(key, now);
        assert!(
            named.is_none_or(|at| now.since(at) >= DAY_MS),
            "I5: a part is deleted that a head named at {named:?}: {key}"
        );
        self.deletions.push(key.to_owned());
        self.send(key, None, now)
    }

    /// When the central head of its space last named a part, if that is known.
    fn named_until(&self, key: &str, now: Millis) -> Option<Millis> {
        let (scope, hash) = key.split_once("/o/")?;
        let writes = self.log.get(&format!("{scope}/head"))?;
        let ends = writes.iter().skip(1).map(|(at, _)| *at).chain([now]);
        let named = |entry: &Option<Rc<Entry>>| entry.as_ref().is_some_and(|head| head.value.contains(hash));
        writes.iter().zip(ends).filter(|((_, head), _)| named(head)).map(|(_, end)| end).max()
    }

    fn send(&mut self, key: &str, entry: Option<Rc<Entry>>, now: Millis) -> PutOutcome {
        self.last_outcome = match self.next_fault() {
            PutFault::None => {
                self.change(key, now, entry);
                PutOutcome::Done
            }
            PutFault::Refused => PutOutcome::Refused,
            PutFault::Exhausted => PutOutcome::Exhausted,
            PutFault::Lost => PutOutcome::Unknown,
            PutFault::Unanswered => {
                self.change(key, now, entry);
                PutOutcome::Unknown
            }
            PutFault::Late(ms) => {
                self.landing.push((now.plus(ms), key.to_owned(), entry));
                PutOutcome::Unknown
            }
        };
        self.last_outcome
    }

    /// A read at a location, which keeps what it sees for `ttl_ms`, also that there is nothing.
    ///
    /// # Errors
    /// When KV fails.
    pub fn read(
        &mut self,
        location: usize,
        key: &str,
        ttl_ms: u64,
        now: Millis,
    ) -> Result<Option<Rc<Entry>>, ReadFailed> {
        self.reads += 1;
        if self.rng.chance(self.faults.reads) {
            return Err(ReadFailed);
        }
        // Whoever asks with a shorter time gets nothing that is older (kv/api/read-key-value-pairs).
        let is_good = |(_, since, for_ms): &&Cached| now.since(*since) < ttl_ms.min(*for_ms);
        let cached = self.caches[location].get(key).filter(is_good).cloned();
        let (entry, ..) = cached.unwrap_or_else(|| {
            let lag = self.rng.below(self.faults.lag_ms + 1);
            let mut seen = (self.as_of(key, Millis(now.0.saturating_sub(lag))), now, ttl_ms);
            if key.ends_with("/head") && self.rng.chance(self.faults.garbled) {
                seen.0 = seen.0.map(|entry| self.garble(&entry));
            }
            self.caches[location].insert(key.to_owned(), seen.clone());
            seen
        });
        Ok(entry.filter(|entry| entry.expires > now))
    }

    /// The same with one digit behind the first line changed, if there is one.
    fn garble(&mut self, entry: &Rc<Entry>) -> Rc<Entry> {
        let tail = entry.value.find('\n').map_or(entry.value.len(), |end| end + 1);
        let digits = entry.value[tail..].match_indices(|letter: char| letter.is_ascii_digit());
        let digits: Vec<usize> = digits.map(|(at, _)| tail + at).collect();
        if digits.is_empty() {
            return Rc::clone(entry);
        }
        let at = digits[self.rng.index(digits.len())];
        let mut value = entry.value.clone();
        let other = if &value[at..=at] == "7" { "8" } else { "7" };
        value.replace_range(at..=at, other);
        let garbled = Rc::new(Entry { value, ..(**entry).clone() });
        self.garbled.push(Rc::clone(&garbled));
        garbled
    }

    /// Whether a read has shown this although it was never put so.
    #[must_use]
    pub fn is_garbled(&self, entry: &Rc<Entry>) -> bool {
        self.garbled.iter().any(|garbled| Rc::ptr_eq(garbled, entry))
    }

    /// One key is gone before its time.
    pub fn evict(&mut self, key: &str, now: Millis) {
        self.write(key, now, None);
        self.lost.insert(key.to_owned());
        for cache in &mut self.caches {
            cache.remove(key);
        }
    }

    /// Everything is gone, as when the binding is pointed at another namespace.
    pub fn empty(&mut self) {
        self.lost.extend(self.log.keys().cloned());
        self.log.clear();
        self.landing.clear();
        for cache in &mut self.caches {
            cache.clear();
        }
    }

    /// What a location has kept is kept since then.
    #[cfg(test)]
    pub(crate) fn backdate(&mut self, location: usize, since: Millis) {
        self.caches[location].values_mut().for_each(|cached| cached.1 = since);
    }

    /// What the locations have kept is gone.
    pub fn forget_caches(&mut self) {
        for cache in &mut self.caches {
            cache.clear();
        }
    }

    /// Keys that hold something, in order.
    #[must_use]
    pub fn keys(&self, now: Millis) -> Vec<String> {
        self.log.keys().filter(|key| self.central(key, now).is_some()).cloned().collect()
    }

    fn next_fault(&mut self) -> PutFault {
        if let Some(fault) = self.script.pop_front() {
            return fault;
        }
        if !self.rng.chance(self.faults.puts) {
            return PutFault::None;
        }
        match self.rng.below(5) {
            0 => PutFault::Refused,
            1 => PutFault::Lost,
            2 => PutFault::Unanswered,
            _ => PutFault::Late(self.rng.below(self.faults.late_ms + 1)),
        }
    }

    fn as_of(&self, key: &str, at: Millis) -> Option<Rc<Entry>> {
        let writes = self.log.get(key)?;
        writes[..writes.partition_point(|(written, _)| *written <= at)].last()?.1.clone()
    }

    fn change(&mut self, key: &str, at: Millis, entry: Option<Rc<Entry>>) {
        let is_named = entry.is_none() && self.named_until(key, at) == Some(at);
        assert!(!is_named, "I5: the deletion of a part that the head names has landed");
        self.write(key, at, entry);
    }

    fn write(&mut self, key: &str, at: Millis, entry: Option<Rc<Entry>>) {
        if entry.is_some() {
            self.lost.remove(key);
        }
        let writes = self.log.entry(key.to_owned()).or_default();
        writes.push((at, entry));
        // Nobody looks back further than a few writes, or in heads than a day.
        if writes.len() > if key.ends_with("/head") { 200 } else { 8 } {
            writes.remove(0);
        }
    }
}
