//! A day of a deployment on the free plan, 24 virtual hours of the real machines: what people with the notes app do, what it takes
//! of each of the platform's meters, and what gives way where that is not enough. `cargo test --lib sim::tests::day -- --nocapture`
//! prints the tables.

mod deployment;

use deployment::{Deployment, Plan};

use crate::coordinator::budget::BudgetMax;

const FREE: BudgetMax = BudgetMax { kv_writes: Some(1_000), object_requests: Some(100_000) };

fn day(what: &str, plan: &Plan) -> Deployment {
    let mut day = Deployment::new(plan);
    day.passes();
    println!("{what}, of seed {}\n{}", plan.seed, day.table());
    day
}

fn nothing_runs_low(what: &str, has_sockets: bool, seed: u64) {
    let mut day = day(what, &Plan { people: 10, budget: FREE, has_sockets, seed });
    assert_eq!(day.above(), [""; 0]);
    assert_eq!((day.refusals(), day.out_of_sync()), (0, 0));
    assert_eq!(day.told(), [""; 0], "nothing runs low");
}

#[test]
fn ten_people_with_two_devices_each_work_all_day_on_the_free_plan() {
    nothing_runs_low("ten people with sockets", true, 1);
}

#[test]
fn where_no_socket_gets_through_polls_are_within_the_free_plan_too() {
    nothing_runs_low("ten people who poll", false, 2);
}

#[test]
fn of_sixty_people_publications_are_stretched_and_nobody_is_refused_anything() {
    let budget = BudgetMax { kv_writes: Some(400), ..FREE };
    let plan = Plan { people: 60, budget, has_sockets: true, seed: 3 };
    let mut day = day("sixty people with sockets, with 400 KV writes", &plan);
    assert!(!day.above().contains(&"KV writes".to_owned()));
    assert_eq!((day.refusals(), day.out_of_sync()), (0, 0));
    assert!(day.told().iter().any(|told| told.ends_with("kvWrites low")), "the state says so");
}

#[test]
fn where_object_requests_run_out_pulls_spare_them_then_end_and_every_push_is_taken() {
    let budget = BudgetMax { object_requests: Some(7_000), ..FREE };
    let plan = Plan { people: 10, budget, has_sockets: false, seed: 4 };
    let mut day = day("ten people who poll, with 7,000 object requests", &plan);
    let order: Vec<_> =
        day.told().iter().map(|told| told.split_once(' ').map_or("", |told| told.1)).collect();
    let place = |what: &str| order.iter().position(|told| told.starts_with(what));
    // What is refused within the minute in which the reserve begins is seen before the state is.
    let places = ["objectRequests low", "objectRequests reserve", "objectRequests nothing"].map(place);
    assert!(places.is_sorted() && places[0].is_some(), "{order:?}");
    assert!(place("first refusal, of /sync/pull") > places[0], "{order:?}");
    assert_eq!(day.refused_pushes(), 0, "the reserve is for them");
    assert!(day.warned > 0, "answers say that requests run low");
    day.next_morning();
    assert_eq!(day.out_of_sync(), 0, "with the next day everything goes on");
}
