//! Carries the run out with its faults, and checks it.

use super::{
    super::super::{Settings, World, host::SectionFault},
    Did, Fault,
    scenario::{ACTS, Act, Change, PUBLICATION, Records, STEP_MS, STEPS_MAX, apply, body, states},
};
use crate::{
    call::Ask,
    fronts::headwater::answer::Format,
    ids::UserHash,
    mutation::Settled,
    sim::host::AlarmFault,
    snapshot::{head::Head, keys::Scope},
    version::Version,
};

/// The run with its faults.
pub(super) struct Run {
    pub(super) world: World,
    /// Before which step the first fault is armed.
    at: usize,
    /// What goes wrong, one after the other; each is armed when the one before has struck.
    faults: Vec<Fault>,
    /// The fault that waits for its opportunity.
    armed: Option<Fault>,
    pub(super) struck: usize,
    /// Whether the run ends with the first fault, so that no later event can help.
    falls_silent: bool,
    pub(super) did: Vec<Did>,
    /// Changes of all pushes that were sent.
    pushes: Vec<&'static [Change]>,
    /// The records after each of their mutations: the n-th element is the state at version n.
    states: Vec<Records>,
    /// How many of them were answered.
    answered: usize,
    /// The head in KV when it was last looked at.
    head: String,
    /// Parts of the largest base that a head named.
    pub(super) most_parts: usize,
    /// Heads with a delta.
    pub(super) deltas: usize,
}

impl Run {
    pub(super) fn new(at: usize, faults: Vec<Fault>, falls_silent: bool) -> Self {
        Self {
            world: World::new(&Settings { publication: PUBLICATION, ..Settings::eager(1) }),
            at,
            faults,
            armed: None,
            struck: 0,
            falls_silent,
            did: Vec::new(),
            pushes: Vec::new(),
            states: states(&[]),
            answered: 0,
            head: String::new(),
            most_parts: 0,
            deltas: 0,
        }
    }

    /// Something that reaches the coordinator, and at most one external write.
    fn event<T>(&mut self, work: impl FnOnce(&mut World) -> T) -> T {
        if self.did.len() == self.at {
            self.arm();
        }
        let before = Did::so_far(&self.world);
        let result = work(&mut self.world);
        let did = Did::so_far(&self.world).since(before);
        self.did.push(did);
        if self.has_struck(did) {
            self.disarm();
        }
        self.check_head();
        result
    }

    fn has_struck(&mut self, did: Did) -> bool {
        match self.armed {
            None => false,
            Some(Fault::Section(SectionFault::Lost | SectionFault::Kept)) => {
                self.world.spaces[0].host.section_fault.is_none()
            }
            Some(fault) => {
                let struck = did.faults().contains(&fault);
                if let Fault::Section(fault) = fault
                    && !struck
                {
                    // A section with fewer writes has taken it.
                    self.world.spaces[0].host.section_fault = Some(fault);
                }
                struck
            }
        }
    }

    fn arm(&mut self) {
        self.armed = self.faults.get(self.struck).copied();
        match self.armed {
            Some(Fault::Put(fault)) => self.world.kv.script.push_back(fault),
            Some(Fault::Section(fault)) => self.world.spaces[0].host.section_fault = Some(fault),
            Some(Fault::Alarm(fault)) => self.world.spaces[0].host.alarm_faults.push_back(fault),
            Some(Fault::Read) => self.world.kv.faults.reads = 100,
            Some(Fault::Death) | None => {}
        }
    }

    /// The armed fault has struck; the next is armed.
    fn disarm(&mut self) {
        let host = &mut self.world.spaces[0].host;
        assert!(self.world.kv.script.is_empty() && host.alarm_faults.is_empty(), "{:?}", self.armed);
        self.world.kv.faults.reads = 0;
        if self.armed == Some(Fault::Death) {
            host.kill();
        }
        self.struck += 1;
        self.arm();
        if self.armed == Some(Fault::Death) {
            // It dies before it is told how the other ended.
            self.world.spaces[0].host.kill();
            self.struck += 1;
            self.arm();
        }
    }

    fn has_fallen_silent(&self) -> bool {
        self.falls_silent && self.struck > 0
    }

    fn half(&mut self) {
        if self.world.spaces[0].host.in_turn() {
            self.event(|world| world.spaces[0].host.step(&mut world.kv, world.now));
        } else {
            self.event(|world| world.spaces[0].host.begin_turn(world.now));
        }
        self.world.pass(STEP_MS);
    }

    /// Sends what was not answered yet, as a client does that cannot know.
    fn send(&mut self) {
        while self.answered < self.pushes.len() && !self.has_fallen_silent() {
            if !self.push(self.answered) {
                return;
            }
            self.answered += 1;
        }
    }

    /// Sends push `index`. I2: whatever became of earlier attempts, its results are the same.
    fn push(&mut self, index: usize) -> bool {
        let body = body(&self.pushes, index);
        let first: usize = self.pushes[..index].iter().map(|push| push.len()).sum();
        let user = UserHash::new("https://issuer.example", "alice");
        let answers = self.event(|world| world.spaces[0].host.push(&[(user, &body)], world.now));
        let Ok(answer) = &answers[0] else { return false };
        for (result, number) in answer.results.iter().zip(first as u64 + 1..) {
            let version = Version::new(number).expect("a version");
            assert_eq!((result.id, &result.settled), (number, &Settled::Applied(version)), "I2");
        }
        true
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Push(changes) => {
                self.pushes.push(changes);
                self.states = states(&self.pushes);
                self.send();
            }
            Act::Halves(halves) => (0..halves).for_each(|_| {
                if !self.has_fallen_silent() {
                    self.half();
                }
            }),
            Act::Quiet(ms) => self.quiet(ms),
            Act::Evict => self.world.spaces[0].host.kill(),
            Act::Reset => self.event(|world| world.reset_epoch(0)),
            Act::Claim => {
                let epoch = Some(self.world.spaces[0].host.core(self.world.now).position().epoch);
                let ask = Ask { epoch, since: Version::MAX, ..Ask::default() };
                let _ = self.event(|world| world.ask_coordinator(&ask));
            }
        }
    }

    fn quiet(&mut self, ms: u64) {
        let end = self.world.now.plus(ms);
        while !self.has_fallen_silent() {
            if !self.world.spaces[0].host.in_turn() {
                let Some(alarm) = self.world.spaces[0].host.alarm.filter(|alarm| *alarm <= end) else {
                    break;
                };
                self.world.pass(alarm.since(self.world.now));
            }
            self.half();
        }
        if !self.has_fallen_silent() {
            self.world.pass(end.since(self.world.now));
            self.send();
        }
    }

    /// Only alarms and time, until no alarm is left.
    fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.world.spaces[0].host.in_turn() {
                let Some(alarm) = self.world.spaces[0].host.alarm else { return };
                self.world.pass(alarm.since(self.world.now));
            }
            self.half();
        }
        panic!("I8: an alarm is left after {STEPS_MAX} steps");
    }

    pub(super) fn run(mut self) -> Self {
        for act in ACTS {
            if self.has_fallen_silent() {
                break;
            }
            self.act(*act);
        }
        self.check_the_end();
        // What was not answered is sent again, and so is everything else.
        for index in 0..self.pushes.len() {
            let attempts = (0..=self.faults.len()).filter(|_| self.push(index)).take(1).count();
            assert_eq!(attempts, 1, "a push is answered when nothing goes wrong any more");
            self.answered = self.answered.max(index + 1);
        }
        self.check_the_end();
        let all: usize = self.pushes.iter().map(|push| push.len()).sum();
        assert_eq!(self.durable(), all, "I2: repeated pushes are applied once");
        self
    }

    fn durable(&mut self) -> usize {
        usize::try_from(self.world.spaces[0].host.core(self.world.now).position().version.get())
            .expect("small")
    }

    /// I8, I2 and I7, without any push.
    fn check_the_end(&mut self) {
        self.settle();
        let lost_alarms =
            self.faults.iter().filter(|fault| **fault == Fault::Alarm(AlarmFault::Refused)).count();
        for _ in 0..lost_alarms {
            if !self.head_is_durable() {
                // An alarm that could not be set when it was due is set by the next event.
                self.event(|world| drop(world.ask_coordinator(&Ask::default())));
                self.settle();
            }
        }
        assert!(self.head_is_durable(), "I8: KV's head is not what is durable");
        // What storage refused to note is noted by the next publication.
        if !self.faults.iter().any(|fault| matches!(fault, Fault::Section(SectionFault::Refused(_)))) {
            let row = self.world.spaces[0].host.core(self.world.now).publisher().row().clone();
            assert_eq!((row.put_again_at, row.retry_at, row.building), (None, None, None), "I8");
        }
        let durable = self.durable();
        let sent: Vec<usize> = (0..=self.pushes.len()).map(|n| self.pushes[..n].concat().len()).collect();
        assert!(sent[self.answered] <= durable, "I2: an acknowledged mutation is gone");
        assert!(sent.contains(&durable), "I10: {durable} is in the middle of a push: {sent:?}");
        self.check_new_device(durable);
    }

    fn head_is_durable(&mut self) -> bool {
        let durable = self.world.spaces[0].host.core(self.world.now).position();
        self.head_in_kv().is_none_or(|(head, _)| head.position() == durable)
            && (durable.version == Version::ZERO || !self.head.is_empty())
    }

    /// The head that stands in KV, with all it names.
    fn head_in_kv(&self) -> Option<(Head, Records)> {
        let (scope, now) = (Scope::private(self.world.space()), self.world.now);
        let entry = self.world.kv.central(&scope.head_key(), now)?;
        let (head, tail) = Head::decode(&entry.value, &scope).expect("a head that can be read");
        let mut records = Records::new();
        for part in head.parts() {
            let object = self.world.kv.central(&scope.object_key(&part.sha256.0), now);
            apply(&object.expect("I5: a head names an object that is not there").value, &mut records);
        }
        let oldest_first: Vec<&str> = tail.lines().rev().collect();
        apply(&oldest_first.join("\n"), &mut records);
        Some((head, records))
    }

    /// I5 and I7: whatever head comes to stand in KV, with its objects it is the state at its version.
    fn check_head(&mut self) {
        let key = Scope::private(self.world.space()).head_key();
        let Some(entry) = self.world.kv.central(&key, self.world.now) else { return };
        if entry.value == self.head {
            return;
        }
        self.head.clone_from(&entry.value);
        let (head, records) = self.head_in_kv().expect("a head");
        let version = usize::try_from(head.version.get()).expect("small");
        assert_eq!(records, self.states[version], "I7: the head at {version}");
        self.most_parts = self.most_parts.max(head.base.as_ref().map_or(0, |base| base.parts.len()));
        self.deltas += usize::from(head.delta.is_some());
    }

    /// What a new device loads, which KV serves alone.
    fn check_new_device(&mut self, durable: usize) {
        self.world.kv.forget_caches();
        self.world.locations[1].forget_memory();
        self.world.locations[1].forget_cache();
        self.world.spaces[0].host.is_unreachable = true;
        let loaded = self.world.ask(1, "{}", Format::Ndjson).body;
        self.world.spaces[0].host.is_unreachable = false;
        if durable == 0 {
            return;
        }
        let mut records = Records::new();
        apply(loaded.expect("KV serves a new device alone").text(), &mut records);
        assert_eq!(records, self.states[durable], "I7: a new device");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("from step {} on {:?}, falls silent: {}", self.at, self.faults, self.falls_silent);
        }
    }
}
