//! The day's budget: that the leases of a day are never more than it has, and how it is shared out.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::*;
use crate::{
    call::{BudgetAnswer, BudgetCall, Caller, Destination, LeaseAsk, Left, Usage},
    coordinator::budget::BudgetMax,
    sim::{
        DAY_MS, Rng,
        host::{Host, SectionFault},
        kv::Kv,
        tests::planted::{Fault, is_noticed},
    },
    time::HOUR_MS,
};

const MINUTE_MS: u64 = 60_000;
/// Private spaces that are published as often as shared ones.
const EACH_QUARTER: PublicationConfig =
    PublicationConfig { private_max_delay_ms: BY_DEMAND.max_delay_ms, ..BY_DEMAND };
/// 00:00 UTC of some day.
const MIDNIGHT: Millis = START.next_day();

fn kv_writes(max: u32) -> BudgetMax {
    BudgetMax { kv_writes: Some(max), object_requests: None }
}

fn object_requests(max: u32) -> BudgetMax {
    BudgetMax { kv_writes: None, object_requests: Some(max) }
}

fn budget(max: BudgetMax, seed: u64) -> Host {
    let mut host = Host::new(None, None, BY_DEMAND, Rng::new(seed));
    host.set_budget(max, None);
    host
}

fn space_of(number: u64) -> SpaceHash {
    SpaceHash::private("https://issuer.example", &number.to_string())
}

fn caller(user: UserHash) -> Caller {
    let (request, origin, spent) = (String::new(), String::new(), Usage::default());
    Caller {
        user,
        destination: Destination::Budget,
        request,
        origin,
        sub: String::new(),
        iss: String::new(),
        spent,
    }
}

fn lease(host: &mut Host, space: u64, ask: LeaseAsk, now: Millis) -> Option<BudgetAnswer> {
    host.answer_as_budget(&caller(space_of(space).into()), BudgetCall::Lease(ask), now)
}

fn one(is_first: bool) -> LeaseAsk {
    LeaseAsk { writes: 1, is_first, ..LeaseAsk::default() }
}

fn count(host: &mut Host, name: &str, requests: u32, now: Millis) -> BudgetAnswer {
    let counted = host.answer_as_budget(&caller(user(name)), BudgetCall::Count { requests }, now);
    counted.expect("it is reached")
}

/// Asks at random, over some days, with an instance that dies, storage that fails and answers that are lost.
fn leases_stay_within_the_budget(seed: u64) {
    let (mut rng, max) = (Rng::new(seed), 40);
    let (mut host, mut now) = (budget(kv_writes(max), seed), START);
    let (mut leased, mut waiting) = (BTreeMap::<u64, u32>::new(), BTreeMap::<u32, u32>::new());
    for _ in 0..600 {
        now = now.plus(rng.below(20 * MINUTE_MS));
        if rng.chance(20) {
            host.kill();
        }
        if rng.chance(20) {
            let faults = [SectionFault::Refused(1), SectionFault::Lost, SectionFault::Kept];
            host.section_fault = Some(faults[rng.index(3)]);
        }
        let is_urgent = rng.chance(10);
        let writes = 1 + u32::try_from(rng.below(8)).expect("it is small");
        let ask = LeaseAsk { writes, is_urgent, is_first: rng.chance(30), requests: 1 };
        // A clock may be behind another one.
        let at = Millis(now.0 - rng.below(2_000));
        let Some(answer) = lease(&mut host, rng.below(9), ask, at) else { continue };
        assert!(answer.writes <= writes, "seed {seed}: more than was asked for");
        assert!(answer.writes > 0 || answer.wait_ms > 0, "seed {seed}: a refusal says until when");
        let day = leased.entry(answer.day).or_default();
        *day += answer.writes;
        assert!(*day <= max, "seed {seed}: {day} of {max} values are leased on day {}", answer.day);
        let can_wait = waiting.entry(u32::try_from(answer.day).expect("a day")).or_default();
        *can_wait += if is_urgent { 0 } else { answer.writes };
        assert!(*can_wait <= max - max / 20, "seed {seed}: the reserve is leased to what can wait");
    }
    let days = leased.values().filter(|day| **day > max / 2).count();
    assert!(days >= 2, "seed {seed}: the budget was hardly used: {leased:?}");
}

/// Spaces with their alarms, which publish for some days while instances of theirs and of the budget die.
fn spaces_put_no_more_than_they_have_leased(seed: u64) {
    let (mut rng, max) = (Rng::new(seed), 30);
    let budget = Rc::new(RefCell::new(budget(kv_writes(max), seed)));
    let mut kv = Kv::new(1, Rng::new(rng.any()));
    let mut spaces: Vec<_> = (0..6)
        .map(|number| {
            let scope = Scope::private(&space_of(number));
            let mut host = Host::new(Some(scope), None, EACH_QUARTER, Rng::new(rng.any()));
            host.set_budget(kv_writes(max), Some(Rc::clone(&budget)));
            (host, 0)
        })
        .collect();
    let (mut now, mut puts) = (START, BTreeMap::<u64, u64>::new());
    while now < START.plus(2 * DAY_MS) {
        now = now.plus(rng.below(4 * MINUTE_MS));
        let (host, last) = &mut spaces[rng.index(6)];
        *last += 1;
        // Some are so long that they need parts.
        let length = if rng.chance(2) { 300_000 } else { 100 };
        let change = put(*last, "r", &format!("{{\"x\":\"{}{last}\"}}", "x".repeat(length)));
        let pushed = host.push(&[(user("alice"), &body("client-1", &[change]))], now);
        assert!(pushed[0].is_ok(), "{pushed:?}");
        for (host, _) in &mut spaces {
            if host.alarm_is_due(now) {
                host.begin_turn(now);
            }
            while host.in_turn() && host.step(&mut kv, now) {
                puts.insert(now.day(), puts.get(&now.day()).copied().unwrap_or(0) + kv.puts.len() as u64);
                kv.puts.clear();
                now = now.plus(rng.below(5_000));
                if rng.chance(2) {
                    host.kill();
                }
            }
            if rng.chance(5) {
                budget.borrow_mut().kill();
            }
        }
    }
    let unanswered: u64 = spaces.iter().map(|(host, _)| host.unbudgeted).sum();
    assert_eq!(unanswered, 0, "seed {seed}: nothing was lost here");
    for (day, puts) in &puts {
        assert!(*puts <= u64::from(max), "seed {seed}: {puts} of {max} values were put on day {day}");
    }
    assert!(puts.values().any(|puts| *puts > u64::from(max) / 2), "seed {seed}: hardly anything was put");
}

#[test]
fn the_leases_of_a_day_are_never_more_than_its_budget_whatever_is_lost() {
    (0..60).for_each(leases_stay_within_the_budget);
}

#[test]
fn spaces_never_put_more_than_the_day_has_whatever_dies_and_midnight_in_between() {
    (0..4).for_each(spaces_put_no_more_than_they_have_leased);
}

#[test]
fn mistakes_in_the_budget_are_noticed() {
    for fault in [Fault::LeasedAboveTheBudget, Fault::LeaseNotNoted] {
        let check = || (0..20).for_each(leases_stay_within_the_budget);
        assert!(is_noticed(fault, check), "{fault:?}");
    }
    let check = || (0..3).for_each(spaces_put_no_more_than_they_have_leased);
    assert!(is_noticed(Fault::LeaseNeverEnds, check));
}

/// Spaces that publish as soon as they may from one hour of the day to another, each as often as it wants. How often each did, and
/// the longest that one of them waited for a lease.
fn day_of(spaces: &[(u64, u64)], (from, to): (u64, u64), max: u32) -> Vec<(u32, u64)> {
    let mut host = budget(kv_writes(max), 1);
    let mut due: Vec<_> = spaces.iter().map(|_| MIDNIGHT.plus(from * HOUR_MS)).collect();
    let mut done = vec![(0, 0); spaces.len()];
    loop {
        let (space, at) = due.iter().copied().enumerate().min_by_key(|(_, at)| *at).expect("a space");
        if at >= MIDNIGHT.plus(to * HOUR_MS) {
            return done;
        }
        let (published, longest) = &mut done[space];
        let answer = lease(&mut host, space as u64, one(*published == 0), at).expect("it is reached");
        *published += answer.writes;
        *longest = answer.wait_ms.max(*longest);
        due[space] = at.plus(answer.wait_ms.max(spaces[space].1));
    }
}

#[test]
fn ten_spaces_that_publish_all_day_as_they_always_do_hardly_wait() {
    let spaces: Vec<_> = (0..10).map(|space| (space, 15 * MINUTE_MS)).collect();
    for (published, longest) in day_of(&spaces, (8, 18), 1_000) {
        assert!(published >= 39 && longest <= 20 * MINUTE_MS, "{published} {longest}");
    }
}

#[test]
fn what_is_scarce_is_spread_over_the_whole_day_and_over_all_spaces_alike() {
    let spaces: Vec<_> = (0..100).map(|space| (space, 15 * MINUTE_MS)).collect();
    let done = day_of(&spaces, (0, 24), 1_000);
    let (least, most) = (done.iter().min().expect("a space"), done.iter().max().expect("a space"));
    assert!(least.0 >= 7 && most.0 <= 12, "{least:?} {most:?}");
    assert!(done.iter().all(|(_, longest)| *longest < 6 * HOUR_MS), "nobody waits for tomorrow: {done:?}");
}

#[test]
fn a_space_that_publishes_as_often_as_it_may_leaves_the_others_their_day() {
    let mut spaces: Vec<_> = (0..10).map(|space| (space, 15 * MINUTE_MS)).collect();
    spaces.push((10, 30_000));
    let done = day_of(&spaces, (8, 18), 1_000);
    let (greedy, others) = done.split_last().expect("it");
    assert!(others.iter().all(|(published, _)| *published >= 30), "{others:?} {greedy:?}");
    let [alone] = day_of(&[(0, 30_000)], (0, 24), 1_000)[..] else { panic!("one space") };
    assert!(alone.0 >= 940, "where nobody else wants any, one space has all but the reserve: {alone:?}");
}

#[test]
fn the_reserve_is_for_spaces_whose_history_has_changed() {
    let mut host = budget(kv_writes(100), 1);
    let all = lease(&mut host, 1, LeaseAsk { writes: 100, is_first: true, ..LeaseAsk::default() }, MIDNIGHT);
    let all = all.expect("it is reached");
    assert_eq!((all.writes, all.kv_writes), (95, Left::Reserve));
    let refused = lease(&mut host, 2, one(true), MIDNIGHT).expect("it is reached");
    let until = MIDNIGHT.plus(refused.wait_ms);
    assert_eq!((refused.writes, until.day()), (0, MIDNIGHT.day() + 1));
    assert!(until.since(MIDNIGHT.next_day()) < 15 * MINUTE_MS, "spaces come back a little after each other");
    let urgent = LeaseAsk { writes: 8, is_urgent: true, ..LeaseAsk::default() };
    assert_eq!(lease(&mut host, 2, urgent, MIDNIGHT).expect("it is reached").writes, 5);
    assert_eq!(lease(&mut host, 2, urgent, MIDNIGHT).expect("it is reached").kv_writes, Left::Nothing);
    let tomorrow = lease(&mut host, 2, one(true), until).expect("it is reached");
    assert_eq!((tomorrow.writes, tomorrow.kv_writes), (1, Left::Enough));
}

#[test]
fn who_makes_more_requests_than_are_left_for_all_others_pauses_and_nobody_else_does() {
    let (mut host, noon) = (budget(object_requests(10_000), 1), MIDNIGHT.plus(DAY_MS / 2));
    let mut paused = 0;
    for _ in 0..200 {
        paused = paused.max(count(&mut host, "mallory", 32, noon).pause_s);
    }
    assert_eq!(paused, 60, "slowed down, and not stopped");
    let left = count(&mut host, "alice", 32, noon);
    assert_eq!((left.pause_s, left.object_requests), (0, Left::Low));
    for number in 0..100 {
        let pause_s = count(&mut host, &number.to_string(), 10, noon).pause_s;
        assert_eq!(pause_s, 0, "one of many with little each");
    }
    let again = count(&mut host, "mallory", 32, noon);
    assert_eq!(again.pause_s, 60, "who has made the most is remembered among many");
    for _ in 0..50 {
        count(&mut host, "alice", 32, noon);
    }
    assert_eq!(count(&mut host, "bob", 1, noon).object_requests, Left::Reserve);
    let tomorrow = count(&mut host, "mallory", 32, noon.plus(DAY_MS));
    assert_eq!((tomorrow.pause_s, tomorrow.object_requests), (0, Left::Enough));
}

#[test]
fn whoever_is_all_of_a_deployment_is_slowed_down_and_not_stopped() {
    let mut host = budget(object_requests(1_000), 1);
    let evening = MIDNIGHT.plus(DAY_MS / 2);
    for _ in 0..60 {
        assert!(count(&mut host, "alice", 32, evening).pause_s <= 60);
    }
}

#[test]
fn a_day_far_ahead_that_a_wrong_clock_has_noted_does_not_hold() {
    let mut host = budget(kv_writes(100), 1);
    lease(&mut host, 1, one(true), MIDNIGHT.plus(40 * DAY_MS));
    let today = lease(&mut host, 1, one(true), MIDNIGHT).expect("it is reached");
    assert_eq!((today.day, today.writes), (MIDNIGHT.day(), 1));
}

/// A space that has published under a budget and has to wait.
fn waiting() -> (Host, Kv, Rc<RefCell<Host>>) {
    let scarce = Rc::new(RefCell::new(budget(kv_writes(2), 1)));
    let mut host = Host::new(Some(Scope::private(&space_of(1))), None, EACH_QUARTER, Rng::new(1));
    host.set_budget(kv_writes(2), Some(Rc::clone(&scarce)));
    let mut kv = Kv::new(1, Rng::new(1));
    write(&mut host, 1, MIDNIGHT);
    let due = host.alarm.expect("it is set");
    host.begin_turn(due);
    while host.step(&mut kv, due) {}
    assert_eq!(kv.puts.len(), 1);
    (host, kv, scarce)
}

fn write(host: &mut Host, last: u64, now: Millis) {
    let change = put(last, "r", &format!("{{\"x\":{last}}}"));
    let pushed = host.push(&[(user("alice"), &body("client-1", &[change]))], now);
    assert!(pushed[0].is_ok(), "{pushed:?}");
}

#[test]
fn a_budget_that_is_raised_or_taken_away_counts_at_once() {
    for max in [Some(1_000), None] {
        let (mut host, _, budget) = waiting();
        let now = MIDNIGHT.plus(HOUR_MS);
        write(&mut host, 2, now);
        assert!(host.alarm.expect("it is set").since(now) > HOUR_MS);
        host.set_budget(BudgetMax { kv_writes: max, object_requests: None }, Some(budget));
        write(&mut host, 3, now);
        assert!(host.alarm.expect("it is set").since(now) <= EACH_QUARTER.max_delay_ms, "{max:?}");
    }
}

#[test]
fn what_stood_there_before_a_new_epoch_is_not_put_with_a_lease_that_comes_after_it() {
    let budget = Rc::new(RefCell::new(budget(kv_writes(100), 1)));
    let mut host = Host::new(Some(Scope::private(&space_of(1))), None, EACH_QUARTER, Rng::new(1));
    host.set_budget(kv_writes(100), Some(Rc::clone(&budget)));
    let mut kv = Kv::new(1, Rng::new(1));
    write(&mut host, 1, MIDNIGHT);
    let due = host.alarm.expect("it is set");
    host.begin_turn(due);
    while budget.borrow().requests == 0 {
        assert!(host.step(&mut kv, due), "it asks for a lease");
    }
    host.reset_epoch(due, due).expect("a write");
    while host.step(&mut kv, due) {}
    assert_eq!(kv.puts.len(), 0);
}

#[test]
fn the_row_is_the_text_that_budgets_in_the_field_have() {
    let text = format!(
        r#"{{"day":"{}","writes":"7","spaces":"2","requests":"90","callers":"{} 64","told":"3"}}"#,
        MIDNIGHT.day(),
        user("alice").as_str()
    );
    let mut ledger = MemoryLedger::default();
    ledger.put_private("budget", "", &text).expect("a write");
    let mut budget = crate::coordinator::budget::Budget::open(ledger, kv_writes(1_000)).expect("a read");
    let ask = BudgetCall::Lease(one(true));
    budget.answer(&space_of(1).into(), &ask, MIDNIGHT).expect("a write");
    let row = budget.ledger().private("budget", "").expect("a read").expect("a row");
    let changed = [(r#""7""#, r#""8""#), (r#""2""#, r#""3""#), (r#""90""#, r#""91""#)];
    let expected = changed.iter().fold(text, |text, (from, to)| text.replace(from, to));
    assert_eq!(row.replace(&format!("\"told\":\"{}\"", MIDNIGHT.0 / HOUR_MS), "\"told\":\"3\""), expected);
}

#[test]
fn a_space_that_does_not_reach_the_budget_publishes_once_an_hour() {
    let mut host = Host::new(Some(Scope::private(&space_of(1))), None, EACH_QUARTER, Rng::new(1));
    host.set_budget(kv_writes(100), None);
    let (mut kv, mut now) = (Kv::new(1, Rng::new(1)), START);
    for last in 1..=240 {
        write(&mut host, last, now);
        now = now.plus(MINUTE_MS);
        if host.alarm_is_due(now) {
            host.begin_turn(now);
            while host.step(&mut kv, now) {}
        }
    }
    assert!((3..=5).contains(&kv.puts.len()), "{} in four hours", kv.puts.len());
    assert_eq!(host.unbudgeted, kv.puts.len() as u64);
}

#[test]
fn many_parts_are_put_one_an_hour_while_the_budget_is_not_reached_and_all_that_are_left_once_it_is() {
    let scope = Scope::private(&space_of(1));
    let budget = Rc::new(RefCell::new(budget(kv_writes(100), 1)));
    let mut host = Host::new(Some(scope.clone()), None, EACH_QUARTER, Rng::new(1));
    host.set_budget(kv_writes(100), Some(Rc::clone(&budget)));
    let (mut kv, mut now) = (Kv::new(1, Rng::new(1)), MIDNIGHT);
    // Six megabytes, of which a part takes one to one and a half.
    for number in 1..=24 {
        let change = put(number, &format!("r{number}"), &format!("{{\"x\":\"{}\"}}", "x".repeat(250_000)));
        let pushed = host.push(&[(user("alice"), &body("client-1", &[change]))], now);
        assert!(pushed[0].is_ok(), "{pushed:?}");
    }
    let mut pass = |minutes: u64, kv: &mut Kv| {
        for _ in 0..minutes {
            now = now.plus(MINUTE_MS);
            if host.alarm_is_due(now) {
                host.begin_turn(now);
                while host.step(kv, now) {}
            }
        }
    };
    budget.borrow_mut().is_unreachable = true;
    pass(30, &mut kv);
    for hour in 1..=3 {
        assert_eq!(kv.puts.len(), hour, "one value in hour {hour}");
        pass(60, &mut kv);
    }
    let head = scope.head_key();
    assert!(kv.puts.iter().all(|(key, _)| *key != head), "no head names what is not there");
    budget.borrow_mut().is_unreachable = false;
    pass(60, &mut kv);
    let keys: Vec<_> = kv.puts.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys.last(), Some(&head.as_str()), "the head comes last");
    let distinct: BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "no part is put twice: {keys:?}");
    assert!(keys.len() > 5, "{keys:?}");
}
