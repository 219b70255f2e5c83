//! Every op, all or nothing, and what the answer carries.

use super::*;

const CLIENT: &str = "client-a";

/// `value` after a mutation with `changes` on the record `r`.
fn after(value: Option<&str>, changes: &str) -> (Settled, Option<String>) {
    let mut desk = Desk::new();
    let mut number = 1;
    if let Some(value) = value {
        desk.put(CLIENT, 1, "r", value);
        number = 2;
    }
    let settled = desk.settle(CLIENT, &format!(r#"{{"id":{number},"changes":[{changes}]}}"#));
    (settled, desk.value("r"))
}

fn op(name: &str, rest: &str) -> String {
    format!(r#"{{"op":"{name}","collection":"c","id":"r"{rest}}}"#)
}

#[test]
fn every_op_does_what_the_contract_says() {
    for (before, change, expected) in [
        (r#"{"b":1.0,"a":2}"#, op("put", r#","value":{ "z" : 1e2, "a":[ ] }"#), Some(r#"{"z":1e2,"a":[]}"#)),
        (
            r#"{"b":1.0,"a":2}"#,
            op("patch", r#","set":{"a":{"x":1}},"unset":["b"]"#),
            Some(r#"{"a":{"x":1}}"#),
        ),
        (r#"{"m":null}"#, op("patch", r#","set":{"m.n":2}"#), Some(r#"{"m":{"n":2}}"#)),
        (r#"{"m":"text"}"#, op("patch", r#","set":{"m.n":2}"#), Some(r#"{"m":{"n":2}}"#)),
        (r#"{"a":1}"#, op("delete", ""), None),
        (r#"{"n":1.5}"#, op("add", r#","path":"n","by":2"#), Some(r#"{"n":3.5}"#)),
        (r#"{"n":"x"}"#, op("add", r#","path":"n","by":2"#), Some(r#"{"n":2}"#)),
        (
            r#"{"t":["a"]}"#,
            op("include", r#","path":"t","values":["a","b",1]"#),
            Some(r#"{"t":["a","b",1]}"#),
        ),
        (r#"{"t":7}"#, op("include", r#","path":"t","values":["a"]"#), Some(r#"{"t":["a"]}"#)),
        (r#"{"t":["a",1,"a"]}"#, op("exclude", r#","path":"t","values":["a"]"#), Some(r#"{"t":[1]}"#)),
    ] {
        let (settled, value) = after(Some(before), &change);
        assert_eq!((settled, value.as_deref()), (applied(2), expected), "{before} {change}");
    }
}

#[test]
fn on_an_absent_record_ops_put_or_put_or_do_nothing() {
    for (name, rest) in [
        ("patch", r#","set":{"a":1}"#),
        ("add", r#","path":"n","by":1"#),
        ("include", r#","path":"t","values":["a"]"#),
        ("exclude", r#","path":"t","values":["a"]"#),
    ] {
        assert_eq!(after(None, &op(name, rest)), (Settled::Missing(version(0)), None), "{name}");
        let with_or_put = op(name, &format!(r#"{rest},"orPut":{{"new":true}}"#));
        assert_eq!(after(None, &with_or_put), (applied(1), Some(r#"{"new":true}"#.to_owned())), "{name}");
    }
    assert_eq!(after(None, &op("delete", "")), (Settled::Missing(version(0)), None));
}

#[test]
fn changes_of_a_mutation_are_applied_in_order_and_share_its_version() {
    let changes = [
        op("put", r#","value":{"n":1}"#),
        op("add", r#","path":"n","by":2"#),
        op("delete", ""),
        op("patch", r#","set":{"x":1},"orPut":{"n":9}"#),
        r#"{"op":"put","collection":"d","id":"r","value":{}}"#.to_owned(),
    ];
    let mut desk = Desk::new();
    desk.settle(CLIENT, &format!(r#"{{"id":1,"changes":[{}]}}"#, changes.join(",")));
    let lines = desk.core.ledger().lines_after(Version::ZERO, 1_000).expect("lines").text;
    let expected = "{\"version\":1,\"collection\":\"c\",\"id\":\"r\",\"value\":{\"n\":9}}\n\
                    {\"version\":1,\"collection\":\"d\",\"id\":\"r\",\"value\":{}}\n";
    assert_eq!(lines, expected);
}

#[test]
fn a_mutation_that_changes_no_record_is_applied_and_takes_no_version() {
    let mut desk = Desk::new();
    desk.put(CLIENT, 1, "r", r#"{"n":1}"#);
    for (number, change) in [
        (2, op("put", r#","value":{"n":1}"#)),
        (3, op("add", r#","path":"n","by":0"#)),
        (4, op("patch", r#","unset":["x"]"#)),
        (5, op("put", r#","value":{"n":2}"#) + "," + &op("put", r#","value":{"n":1}"#)),
    ] {
        let settled = desk.settle(CLIENT, &format!(r#"{{"id":{number},"changes":[{change}]}}"#));
        assert_eq!(settled, applied(1), "{change}");
    }
    assert_eq!(desk.version(), 1);
}

#[test]
fn i10_one_change_that_cannot_be_applied_leaves_nothing_of_its_mutation() {
    let large = "x".repeat(200 * 1024);
    for (change, expected) in [
        (op("add", r#","path":"n","by":1e308"#), RejectCode::InvalidValue),
        (op("patch", r#","set":{"t.x":1}"#), RejectCode::InvalidValue),
        (op("patch", &format!(r#","set":{{"b":"{large}"}}"#)), RejectCode::TooLarge),
        (op("merge", ""), RejectCode::UnsupportedOp),
        (r#"{"op":"put","collection":"$members","id":"r","value":{}}"#.to_owned(), RejectCode::Forbidden),
        (op("put", r#","value":[]"#), RejectCode::InvalidValue),
        (op("put", r#","value":{},"base":-1"#), RejectCode::InvalidValue),
    ] {
        let mut desk = Desk::new();
        desk.put(CLIENT, 1, "r", &format!(r#"{{"n":1e308,"t":[],"a":"{large}"}}"#));
        let other = r#"{"op":"put","collection":"c","id":"other","value":{}}"#;
        let bad = format!(r#"{{"id":2,"changes":[{other},{change}]}}"#);
        let answer = desk.push(&body(CLIENT, &[bad, put(3, "next", "{}")])).expect("an answer");
        assert_eq!(code(&answer.results[0].settled), Some(expected), "{change:.80}");
        assert_eq!(desk.value("other"), None, "{change:.80}");
        assert_eq!(answer.results[1].settled, applied(2), "I11: what is queued behind it goes on");
    }
}

#[test]
fn the_time_of_a_mutation_is_a_number_or_absent() {
    let mut desk = Desk::new();
    for (number, at) in (1..).zip(["1795341182362", "-0.5e3", "null"]) {
        let mutation = format!(r#"{{"id":{number},"at":{at},"changes":[]}}"#);
        assert_eq!(desk.settle(CLIENT, &mutation), applied(0), "{at}");
    }
    for (number, at) in (4..).zip([r#""2026-11-28""#, "true", "{}", "[1]"]) {
        let mutation = format!(r#"{{"id":{number},"at":{at},"changes":[]}}"#);
        assert_eq!(code(&desk.settle(CLIENT, &mutation)), Some(RejectCode::InvalidValue), "{at}");
    }
}

#[test]
fn i11_an_empty_mutation_takes_the_place_of_one_that_cannot_be_sent() {
    let mut desk = Desk::new();
    assert_eq!(desk.settle(CLIENT, r#"{"id":1,"changes":[]}"#), applied(0));
    assert_eq!(desk.put(CLIENT, 2, "r", "{}"), applied(1));
}

#[test]
fn a_space_has_at_most_200_collections_and_those_it_has_stay_writable() {
    let mut desk = Desk::new();
    let into = |number: u64, collection: String| {
        let change =
            format!(r#"{{"op":"put","collection":"{collection}","id":"r","value":{{"n":{number}}}}}"#);
        format!(r#"{{"id":{number},"changes":[{change}]}}"#)
    };
    let mutations: Vec<_> = (1..=200).map(|number| into(number, format!("c{number}"))).collect();
    desk.push(&body(CLIENT, &mutations)).expect("an answer");
    assert_eq!(code(&desk.settle(CLIENT, &into(201, "d".to_owned()))), Some(RejectCode::QuotaExceeded));
    assert_eq!(desk.settle(CLIENT, &into(202, "c7".to_owned())), applied(201));
    let mut again = Desk { core: open(desk.core.ledger().clone(), desk.now), now: desk.now };
    assert_eq!(code(&again.settle(CLIENT, &into(203, "d".to_owned()))), Some(RejectCode::QuotaExceeded));
}

/// A push with `since`, on top of what the space holds.
fn since(desk: &mut Desk, client: &str, number: u64, since: u64) -> PushAnswer {
    let epoch = desk.epoch();
    let mutation = put(number, "mine", &format!("{{\"n\":{number}}}"));
    desk.push(&format!(
        r#"{{"client":"{client}","epoch":"{epoch}","since":{since},"mutations":[{mutation}]}}"#
    ))
    .expect("an answer")
}

#[test]
fn a_push_with_since_brings_what_the_client_was_missing_itself_included() {
    let mut desk = Desk::new();
    desk.put("client-b", 1, "a", "{}");
    desk.put("client-b", 2, "b", "{}");
    let answer = since(&mut desk, CLIENT, 1, 1);
    assert_eq!((answer.position.version, answer.more), (version(3), false));
    let expected = "{\"version\":2,\"collection\":\"c\",\"id\":\"b\",\"value\":{}}\n\
                    {\"version\":3,\"collection\":\"c\",\"id\":\"mine\",\"value\":{\"n\":1}}\n";
    assert_eq!(answer.changes, expected);
    let plain = desk.push(&body(CLIENT, &[put(2, "x", "{}")])).expect("an answer");
    assert_eq!((plain.more, plain.changes.as_str()), (false, ""), "without since nothing is brought");
}

#[test]
fn what_does_not_fit_64_kib_is_pulled_instead() {
    let mut desk = Desk::new();
    desk.put("client-b", 1, "a", &format!("{{\"x\":\"{}\"}}", "x".repeat(65_000)));
    assert!(!since(&mut desk, CLIENT, 1, 0).more);
    desk.put("client-b", 2, "b", &format!("{{\"x\":\"{}\"}}", "x".repeat(1_000)));
    let answer = since(&mut desk, CLIENT, 2, 0);
    assert_eq!((answer.more, answer.changes.as_str()), (true, ""));
}

#[test]
fn i7_below_the_horizon_nothing_is_brought_with_a_push() {
    let mut desk = Desk::new();
    desk.put("client-b", 1, "a", "{}");
    desk.delete("client-b", 2, "a");
    desk.put("client-b", 3, "b", "{}");
    desk.core.meta.horizon = version(2);
    assert!(since(&mut desk, CLIENT, 1, 1).more, "it cannot be told of the deletion at 2");
    assert!(!since(&mut desk, CLIENT, 2, 2).more);
}

#[test]
fn a_short_mutation_cannot_leave_a_version_that_no_page_can_hold() {
    let mut desk = Desk::new();
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(250_000));
    for number in 1..=40 {
        assert_eq!(desk.put("client-a", number, &format!("r{number}"), &long), applied(number));
    }
    let add = |id: u64| format!(r#"{{"op":"add","collection":"c","id":"r{id}","path":"n","by":1}}"#);
    let adds = |from: u64, to: u64| (from..=to).map(add).collect::<Vec<_>>().join(",");
    let too_large = desk.settle("client-a", &format!(r#"{{"id":41,"changes":[{}]}}"#, adds(1, 20)));
    assert_eq!(code(&too_large), Some(RejectCode::TooLarge));
    assert_eq!(desk.version(), 40, "it changed nothing");
    let fits = desk.settle("client-a", &format!(r#"{{"id":42,"changes":[{}]}}"#, adds(1, 16)));
    assert_eq!(fits, applied(41));
}

/// Slices until no push waits: of each, the pushes that it is done with.
fn slices(desk: &mut Desk, queue: &mut Queue) -> Vec<Vec<Done>> {
    let mut slices = Vec::new();
    while !queue.is_empty() {
        slices.push(desk.core.settle(queue, &mut |_| Ok(()), desk.now));
    }
    slices
}

#[test]
fn a_push_that_rewrites_too_much_is_refused_after_what_was_settled_and_repeated_it_gets_on() {
    let mut desk = Desk::new();
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(250_000));
    for number in 1..=100 {
        desk.put("client-a", number, &format!("r{number}"), &long);
    }
    let add = |id: u64| format!(r#"{{"op":"add","collection":"c","id":"r{id}","path":"n","by":1}}"#);
    let mutations: Vec<_> = (1..=100).map(|id| format!(r#"{{"id":{id},"changes":[{}]}}"#, add(id))).collect();
    let large = (user("alice"), parsed(&body("client-b", &mutations)));
    let small = |client: &str| (user("alice"), parsed(&body(client, &[put(1, client, "{}")])));
    let answers = desk.core.push(&[small("client-c"), large.clone(), small("client-d")], desk.now);
    assert!(answers[0].is_ok() && answers[2].is_ok(), "the others are not harmed: {answers:?}");
    assert!(matches!(answers[1], Err(ApiError::TooLarge(_))), "{:?}", answers[1]);
    let settled = desk.version() - 102;
    assert!((60..80).contains(&settled), "{settled} of it are settled");
    let again = desk.core.push(&[large], desk.now).remove(0).expect("repeated, it gets to its end");
    let duplicates = again.results.iter().filter(|result| result.duplicate).count() as u64;
    assert_eq!((duplicates, desk.version()), (settled, 202));
    assert_eq!(desk.value("r1"), Some(long.replace('}', r#","n":1}"#)), "and nothing is applied twice");
}

#[test]
fn a_push_says_what_it_took_and_whoever_comes_behind_much_has_a_slice_of_its_own() {
    let mut desk = Desk::new();
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(250_000));
    desk.put("client-a", 1, "long", &long);
    let add = |times: usize| {
        let add = r#"{"op":"add","collection":"c","id":"long","path":"n","by":1}"#;
        (
            user("alice"),
            parsed(&body("client-b", &[format!(r#"{{"id":1,"changes":[{}]}}"#, vec![add; times].join(","))])),
        )
    };
    let small = (user("bob"), parsed(&body("client-c", &[put(1, "small", "{}")])));
    let works = |desk: &mut Desk, pushes: [&(UserHash, PushRequest); 2]| {
        let mut queue = Queue::default();
        for (user, push) in pushes {
            queue.push(user.clone(), push.clone());
        }
        let works = |done: Vec<Done>| done.into_iter().map(|done| done.work).collect::<Vec<_>>();
        slices(desk, &mut queue).into_iter().map(works).collect::<Vec<_>>()
    };
    let taken = works(&mut desk, [&add(10), &small]);
    assert!(
        taken.len() == 2 && taken[0][0] > 10 * 250_000,
        "a short body rewrote a long record ten times: {taken:?}"
    );
    let taken = works(&mut desk, [&small, &add(10)]);
    assert_eq!(taken, [[0, 0]], "what is little shares the transaction, and what is settled takes nothing");
}

/// `count` mutations of as many changes, numbered from `first`.
fn mutations(first: u64, count: u64, changes: u64) -> Vec<String> {
    let change =
        |id: u64, at: u64| format!(r#"{{"op":"put","collection":"c","id":"{id}-{at}","value":{{}}}}"#);
    let changes = |id: u64| (0..changes).map(|at| change(id, at)).collect::<Vec<_>>().join(",");
    (first..first + count).map(|id| format!(r#"{{"id":{id},"changes":[{}]}}"#, changes(id))).collect()
}

#[test]
fn a_long_push_is_settled_in_slices_and_short_ones_get_in_between_while_it_gets_on_with_each() {
    let mut desk = Desk::new();
    let mut queue = Queue::default();
    let long = queue.push(user("alice"), parsed(&body("client-long", &mutations(1, 500, 4))));
    let (mut waits, mut settled, mut answers) = (0, 0, 0);
    while queue.holds(long) {
        let before = desk.version();
        let short =
            |at: u64| body(&format!("client-{at}-{waits}"), &[put(1, &format!("short-{at}-{waits}"), "{}")]);
        let shorts: Vec<_> = (0..3).map(|at| queue.push(user("bob"), parsed(&short(at)))).collect();
        let done = desk.core.settle(&mut queue, &mut |_| Ok(()), desk.now);
        waits += 1;
        answers += done.iter().filter(|done| shorts.contains(&done.ticket) && done.answer.is_ok()).count();
        let here = queue.begun().next().map_or(500, |(_, results)| results.len());
        assert!(here > settled, "it gets on with each slice");
        assert!(desk.version() - before <= 3 + 25, "a slice has 100 changes");
        settled = here;
    }
    assert_eq!((waits, answers, desk.version()), (20, 60, 500 + 60));
}

#[test]
fn a_mutation_is_never_cut_however_large_it_is() {
    let mut desk = Desk::new();
    let mut queue = Queue::default();
    queue.push(user("alice"), parsed(&body("client-long", &mutations(1, 2, 1_000))));
    let versions = std::iter::from_fn(|| {
        (!queue.is_empty()).then(|| {
            desk.core.settle(&mut queue, &mut |_| Ok(()), desk.now);
            desk.version()
        })
    });
    assert_eq!(versions.collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_push_waits_for_an_earlier_one_of_its_client_and_for_no_other() {
    let mut desk = Desk::new();
    let mut queue = Queue::default();
    let long = queue.push(user("alice"), parsed(&body("client-a", &mutations(1, 100, 4))));
    let own = queue.push(user("alice"), parsed(&body("client-a", &mutations(101, 1, 1))));
    let other = queue.push(user("bob"), parsed(&body("client-a", &mutations(1, 1, 1))));
    let done: Vec<Vec<_>> = slices(&mut desk, &mut queue)
        .into_iter()
        .map(|done| done.into_iter().map(|done| (done.ticket, done.answer.is_ok())).collect())
        .collect();
    assert_eq!(done, [vec![(other, true)], vec![], vec![], vec![(long, true)], vec![(own, true)]]);
}

#[test]
fn whoever_may_not_begin_is_refused_and_what_has_begun_goes_on() {
    let mut desk = Desk::new();
    let mut queue = Queue::default();
    queue.push(user("alice"), parsed(&body("client-a", &mutations(1, 50, 4))));
    let refused = |_: &UserHash| Err(ApiError::RateLimited { retry_after_s: 1, of_space: false });
    desk.core.settle(&mut queue, &mut |_| Ok(()), desk.now);
    queue.push(user("alice"), parsed(&body("client-b", &mutations(1, 50, 4))));
    queue.push(user("alice"), parsed(&body("client-c", &mutations(1, 1, 1))));
    let ends = |done: Vec<Done>| done.iter().map(|done| done.answer.is_ok()).collect::<Vec<_>>();
    assert_eq!(ends(desk.core.settle(&mut queue, &mut { refused }, desk.now)), [false, true]);
    assert_eq!(ends(desk.core.settle(&mut queue, &mut { refused }, desk.now)), [false]);
    assert_eq!((queue.is_empty(), desk.version()), (true, 50));
}

#[test]
fn what_comes_between_two_slices_counts_for_the_rest_of_the_push_and_the_prefix_stays_settled() {
    let mut desk = Desk::new();
    let push = |epoch: &Epoch| {
        let mutations = mutations(1, 50, 4).join(",");
        parsed(&format!(r#"{{"client":"client-a","epoch":"{epoch}","acked":7,"mutations":[{mutations}]}}"#))
    };
    let mut queue = Queue::default();
    let before = desk.epoch();
    queue.push(user("alice"), push(&before));
    assert!(desk.core.settle(&mut queue, &mut |_| Ok(()), desk.now).is_empty());
    desk.core.begin_epoch(&before, desk.now, 1).expect("a write");
    let done = desk.core.settle(&mut queue, &mut |_| Ok(()), desk.now).remove(0);
    let Err(ApiError::EpochMismatch { last, settled, more, .. }) = done.answer else { panic!("no mismatch") };
    assert_eq!((last, settled.len(), more), (25, 25, false));
    let again =
        desk.core.push(&[(user("alice"), push(&desk.epoch()))], desk.now).remove(0).expect("an answer");
    let duplicates: Vec<_> = again.results.iter().filter(|result| result.duplicate).collect();
    assert_eq!((duplicates.len(), desk.version()), (25, 50));
    assert!(duplicates.iter().all(|result| result.settled != Settled::Done), "none of them was acknowledged");
}

#[test]
fn field_names_cannot_grow_a_row_beyond_what_it_holds() {
    let mut desk = Desk::new();
    for number in 1..=20 {
        let value = format!(r#"{{"{}{number}":1}}"#, "n".repeat(200_000));
        assert_eq!(desk.put("client-a", number, "r", &value), applied(number));
    }
    let key =
        Key { collection: Collection::parse("c").expect("a name"), id: RecordId::parse("r").expect("an id") };
    let fields = desk.core.ledger().record(&key).expect("a read").expect("a record").fields;
    assert_eq!(fields, None, "every field counts as changed with the record");
}

#[test]
fn add_is_exact_to_the_last_digit() {
    let mut desk = Desk::new();
    let add = r#"{"op":"add","collection":"c","id":"r","path":"n","by":99.17050698901525,"orPut":{"n":0}}"#;
    desk.put("client-a", 1, "r", r#"{"n":0}"#);
    desk.settle("client-a", &format!(r#"{{"id":2,"changes":[{add}]}}"#));
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"n":99.17050698901525}"#));
}

#[test]
fn i2_a_long_push_whose_client_says_that_it_has_results_of_it_neither_overtakes_nor_forks_itself() {
    let mut desk = Desk::new();
    let mut push = |from: u64, count: u64, acked: u64| {
        let text = body("client-a", &mutations(from, count, 4));
        let push = parsed(&text.replacen('{', &format!("{{\"acked\":{acked},"), 1));
        let answer = desk.core.push(&[(user("alice"), push)], desk.now).remove(0);
        let results = answer.expect("an answer").results;
        (results.len(), results.iter().filter(|result| result.duplicate).count())
    };
    assert_eq!(push(1, 50, 0), (50, 0));
    assert_eq!(push(1, 300, 50), (300, 50), "no later push has overtaken it");
    assert_eq!(push(1, 500, 300), (500, 300), "what it compares with is kept until it is done");
    assert_eq!(push(501, 10, 500), (10, 0));
    assert_eq!(push(495, 20, 494), (6 + 10, 16), "now one has");
    assert_eq!(desk.version(), 510);
}
