//! The crash matrix. A fixed run of a space, in which every external write and the read of KV's head, one after the
//! other, end in every way they can, and in which the instance dies behind every step. However that was, what was
//! acknowledged is there once, and KV's head reaches what is durable without a further push.

mod run;
mod scenario;

use super::super::{
    World,
    host::{AlarmFault, SectionFault},
    kv::PutFault,
};
use crate::{coordinator::ledger::MetaTable, version::Version};
use run::Run;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A put of an object or a head.
    Put(PutFault),
    /// A section of storage.
    Section(SectionFault),
    /// Setting or deleting the alarm.
    Alarm(AlarmFault),
    /// The read of KV's head.
    Read,
    /// The instance dies afterwards.
    Death,
}

/// What a step of the run did outside of the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Did {
    puts: u64,
    writes: u64,
    alarms: u64,
    reads: u64,
}

impl Did {
    fn so_far(world: &World) -> Self {
        let puts = world.kv.puts.len() as u64;
        Self {
            puts,
            writes: world.spaces[0].host.writes,
            alarms: world.spaces[0].host.alarms_set,
            reads: world.kv.reads,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            puts: self.puts - before.puts,
            writes: self.writes - before.writes,
            alarms: self.alarms - before.alarms,
            reads: self.reads - before.reads,
        }
    }

    /// Every way in which this step can go wrong.
    fn faults(self) -> Vec<Fault> {
        // An alarm that could not be set is tried once more before the answer.
        assert!(self.puts < 2 && self.alarms <= 2 && self.reads < 2, "a step is half an effect: {self:?}");
        let mut faults = vec![Fault::Death];
        if self.puts > 0 {
            // Late before the put that repeats it, and after.
            let late = [PutFault::Late(500), PutFault::Late(3_900)];
            let failed = [PutFault::Refused, PutFault::Exhausted, PutFault::Lost, PutFault::Unanswered];
            faults.extend(failed.into_iter().chain(late).map(Fault::Put));
        }
        if self.writes > 0 {
            let refused = (1..=self.writes).map(SectionFault::Refused);
            let all = refused.chain([SectionFault::Lost, SectionFault::Kept]);
            faults.extend(all.map(Fault::Section));
        }
        if self.alarms > 0 {
            faults.extend([AlarmFault::Refused, AlarmFault::RefusedButSet].map(Fault::Alarm));
        }
        if self.reads > 0 {
            faults.push(Fault::Read);
        }
        faults
    }
}

/// Every single fault of the run, by the step it strikes at.
fn cases() -> Vec<(usize, Fault)> {
    let mut undisturbed = Run::new(usize::MAX, Vec::new(), false).run();
    assert!(undisturbed.most_parts >= 3, "a base of {} parts", undisturbed.most_parts);
    assert!(undisturbed.deltas > 0, "a head with a delta");
    let now = undisturbed.world.now;
    let meta = undisturbed.world.spaces[0].host.core(now).ledger().meta().expect("a read").expect("a space");
    assert!(meta.horizon > Version::ZERO, "deletions are forgotten");
    let did = &undisturbed.did;
    assert!(did.iter().any(|did| did.reads > 0), "KV's head is read");
    assert!(
        did.iter().any(|did| did.puts > 0 && did.alarms > 0),
        "a watchdog is renewed before a head is put"
    );
    let steps = did.iter().enumerate();
    steps.flat_map(|(step, did)| did.faults().into_iter().map(move |fault| (step, fault))).collect()
}

#[test]
fn whatever_becomes_of_one_external_write_kvs_head_reaches_what_is_durable() {
    let cases = cases();
    for falls_silent in [true, false] {
        for (step, fault) in &cases {
            let run = Run::new(*step, vec![*fault], falls_silent).run();
            assert_eq!(run.struck, 1, "the fault was never reached");
        }
    }
    println!("{} cases: {} faults, each with and without events behind it", 2 * cases.len(), cases.len());
}

#[test]
fn whatever_becomes_of_two_external_writes_kvs_head_reaches_what_is_durable() {
    let seconds = [
        Fault::Put(PutFault::Late(3_900)),
        Fault::Section(SectionFault::Lost),
        Fault::Section(SectionFault::Kept),
        Fault::Alarm(AlarmFault::Refused),
        Fault::Death,
    ];
    let (mut runs, mut both) = (0, 0);
    for (step, fault) in cases() {
        for second in seconds {
            // A put that lands late does harm where something newer was put meanwhile; after anything else, silence does.
            let falls_silent = !matches!(fault, Fault::Put(_));
            let run = Run::new(step, vec![fault, second], falls_silent).run();
            assert!(run.struck > 0, "the first fault was never reached");
            runs += 1;
            both += usize::from(run.struck == 2);
        }
    }
    assert!(both * 10 > runs * 7, "the second fault strikes as a rule: {both} of {runs}");
    println!("{runs} pairs, in {both} of which both struck");
}
