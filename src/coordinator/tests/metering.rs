//! What a space's ledger says of its bill, and that no row is written for that alone.

use super::{
    tasks::{AT, CONFIG, answer},
    *,
};
use crate::{
    call::{Aside, Ask, Call, Caller, Destination, Usage},
    coordinator::{
        cache::Common,
        metering::{DailyUsage, Day},
        object::{Answer, Effect, Event, Moment, Object, Task},
    },
    mutation::RejectCode,
};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Alice's private space, with what its platform has carried out.
struct Site {
    object: Object<MemoryLedger>,
    now: Millis,
    alarm: Option<Millis>,
    billed: Usage,
    next: u64,
}

impl Site {
    fn new() -> Self {
        let object = Object::new(MemoryLedger::default(), CONFIG, Common::default(), START);
        Self { object, now: START, alarm: None, billed: Usage::default(), next: 1 }
    }

    /// The instance ends, and with it what only memory has.
    fn evicted(self) -> Self {
        let Self { mut object, now, .. } = self;
        let rows = object.rows().opened();
        Self { object: Object::new(rows, CONFIG, Common::default(), now), ..self }
    }

    fn run(&mut self, task: &mut Task, text: &str) -> Option<Answer> {
        let mut event = Event::Begun;
        loop {
            event = match self.object.step(task, event, Moment { now: self.now, ..AT }) {
                Effect::ReadAlarm => Event::Alarm(self.alarm),
                Effect::SetAlarm(at) => {
                    self.billed.alarms_set += u64::from(at.is_some());
                    self.alarm = at;
                    Event::AlarmSet(true)
                }
                Effect::ReadBody { .. } => Event::Body(Ok(text.as_bytes().to_vec())),
                Effect::ReadHead { .. } => {
                    self.billed.kv += 1;
                    Event::Head(Ok(None))
                }
                Effect::Put { .. } => {
                    self.billed.kv_written += 1;
                    Event::Put(Ok(()))
                }
                Effect::Rest => return None,
                effect @ Effect::Answer(_) => return Some(answer(effect)),
                _ => Event::Resumed,
            };
        }
    }

    fn call(&mut self, call: &Call, text: &str, spent: Usage) -> Answer {
        self.billed.object += 1;
        self.billed.add(&spent);
        let (request, origin) = (String::new(), String::new());
        let destination = Destination::Private(scope());
        let caller = Caller {
            user: user("alice"),
            destination,
            request,
            origin,
            sub: String::new(),
            iss: String::new(),
            spent,
        };
        self.run(&mut Task::call(call.name(), caller, || text.len()), text).expect("an answer")
    }

    fn push(&mut self) -> Answer {
        let text = body("client-0", &[put(self.next, "a", &format!("{{\"n\":{}}}", self.next))]);
        self.next += 1;
        self.call(&Call::Push, &text, Usage { worker: 1, ..Usage::default() })
    }

    fn pull(&mut self) -> Answer {
        let pull = Call::Pull(Box::new(Ask { page_bytes: 1, ..Ask::default() }));
        self.call(&pull, &pull.body(), Usage { worker: 1, cache: 3, kv: 1, ..Usage::default() })
    }

    fn ring(&mut self) {
        self.now = self.now.max(self.alarm.take().expect("an alarm is set"));
        self.billed.object += 1;
        assert!(self.run(&mut Task::alarm(), "").is_none());
    }

    fn used(&self) -> DailyUsage {
        self.object.core().expect("it is open").used().expect("memory can be read")
    }

    /// Everything but time and rows read, which memory does not count.
    fn total(&self) -> Usage {
        Usage { active_ms: 0, rows_read: 0, ..self.used().total() }
    }

    fn all_billed(&mut self) -> Usage {
        Usage { rows_written: self.object.rows().written_ever(), ..self.billed }
    }
}

#[test]
fn i15_where_nothing_is_lost_the_ledger_says_exactly_what_was_used() {
    let mut site = Site::new();
    for round in 0..20 {
        site.push();
        site.pull();
        if round % 3 == 0 {
            site.ring();
        }
        site.object.message_came(site.now);
        site.billed.messages += 1;
        assert_eq!(site.total(), site.all_billed(), "round {round}");
        site.now = site.now.plus(7 * HOUR_MS);
    }
    let days = site.used().days().count();
    assert!(days >= 6, "{days} days in 20 times 7 hours");
}

#[test]
fn i15_a_push_writes_down_what_was_used_so_far_and_itself_and_its_alarm_and_no_row_more() {
    let mut site = Site::new();
    let rows = |site: &mut Site| site.object.rows().written_ever();
    site.push();
    let before = rows(&mut site);
    let told = site.push();
    assert_eq!((rows(&mut site) - before, told.used.rows_written), (3, 3), "record, index and client");
    let (total, billed) = (site.total(), site.all_billed());
    assert_eq!(total, billed);
    let mut site = site.evicted();
    site.push();
    assert_eq!(site.total(), site.all_billed(), "the last push of an instance had written all of it down");
    site.ring();
    let mut site = site.evicted();
    site.push();
    let mut lost = site.all_billed();
    lost.take_off(&site.total());
    assert!(lost.billed() <= 1, "only the alarm that ends a turn may be lost: {lost:?}");
}

#[test]
fn i15_what_no_row_has_is_lost_with_the_instance_and_never_counted_twice() {
    let mut site = Site::new();
    site.push();
    for _ in 0..10 {
        site.pull();
        site = site.evicted();
    }
    site.push();
    let (total, billed) = (site.total(), site.all_billed());
    let pulls = Usage { worker: 10, cache: 30, kv: 10, object: 10, ..Usage::default() };
    let mut all = total;
    all.add(&pulls);
    assert_eq!(all, billed);
}

#[test]
fn what_was_rejected_is_counted_once_in_the_row_that_the_push_writes_anyway_and_the_edge_is_told_why() {
    let mut site = Site::new();
    site.push();
    let before = site.object.rows().written_ever();
    let mutations =
        [put(2, "a", "{}"), r#"{"id":3,"changes":[{"op":"grow","collection":"c","id":"a"}]}"#.to_owned()];
    let text = body("client-0", &mutations);
    let told = site.call(&Call::Push, &text, Usage::default());
    assert_eq!((told.used.rejected, told.aside), (1, Some(Aside::Rejected(RejectCode::UnsupportedOp))));
    assert_eq!(site.object.rows().written_ever() - before, 3, "record, index and client");
    let told = site.call(&Call::Push, &text, Usage::default());
    assert_eq!((told.used.rejected, told.aside), (0, None), "it was rejected before");
    assert_eq!(site.used().total().rejected, 1);
    let mut site = site.evicted();
    site.pull();
    assert_eq!(site.used().total().rejected, 1, "its client's row says so");
}

#[test]
fn much_that_no_row_has_is_written_down_by_a_pull() {
    let mut site = Site::new();
    site.push();
    site.ring();
    let before = site.object.rows().written_ever();
    for _ in 0..400 {
        site.pull();
    }
    let rows = site.object.rows().written_ever() - before;
    assert_eq!((rows, site.total()), (1, site.all_billed()), "a row for 1,000 operations");
    let site = site.evicted();
    assert!(site.billed.worker > 400);
}

#[test]
fn the_first_publication_of_a_day_takes_over_what_clients_rows_say_and_each_day_stays_for_35() {
    let mut site = Site::new();
    for day in 0..40 {
        site.now = START.plus(day * DAY_MS);
        site.push();
        site.ring();
        let in_rows = site.object.core_mut().expect("it is open").ledger().usage_of_clients().expect("a sum");
        assert!(in_rows.days().count() <= 2, "{in_rows:?}");
        let mut again = site.evicted();
        again.push();
        site = again;
    }
    let used = site.used();
    assert_eq!(used.days().count(), 35);
    let today = Day::of(site.now);
    assert_eq!(used.days().last().expect("a day").0, today);
    let per_day: Vec<_> = used.days().map(|(_, used)| used.worker).collect();
    assert_eq!(per_day, [2; 35], "two pushes a day");
}

#[test]
fn where_the_clock_has_gone_back_nothing_is_counted_twice() {
    let mut site = Site::new();
    for days in [3, 0, 1, 4, 2, 5] {
        site.now = START.plus(days * DAY_MS);
        site.push();
        site.alarm = Some(site.now);
        site.ring();
    }
    assert_eq!(site.total(), site.all_billed());
}

#[test]
fn the_answer_names_days_and_all_meters_and_writes_nothing() {
    let mut site = Site::new();
    site.push();
    let rows = site.object.rows().written_ever();
    let usage = Call::Administer(Administration::Usage);
    let told = site.call(&usage, &usage.body(), Usage::default()).result.expect("its owner asks");
    let text = told.into_text().expect("a body");
    let day = Day::of(START).to_date();
    assert!(
        text.starts_with(&format!(r#"{{"days":[{{"day":"{day}","workerRequests":1,"cacheLookups":0,"#)),
        "{text}"
    );
    assert!(text.contains(r#""objectRequests":2,"#), "with itself: {text}");
    assert_eq!(site.object.rows().written_ever(), rows);
}
