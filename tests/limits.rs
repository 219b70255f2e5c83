//! The limits of a push: exactly at each it is taken, and one above it gets the error that the contract names. Those of
//! the body's length, of tokens and of use are tested on the runtime (`bodies`, `tokens` and `rate` in `tests/runtime/`).

use headwater::{
    call::PushRequest,
    config::Config,
    coordinator::Coordinator,
    ids::{SpaceHash, UserHash},
    limits,
    mutation::Settled,
    sim::ledger::MemoryLedger,
    snapshot::keys::Scope,
    time::Millis,
};

const NOW: Millis = Millis(1_795_341_182_362);

/// What becomes of a push to a new space: the code of its refusal, or those of its mutations, each told once.
fn outcome(mutations: &[String]) -> String {
    let numbered = mutations.iter().enumerate();
    let numbered: Vec<_> = numbered.map(|(at, fields)| format!(r#"{{"id":{},{fields}}}"#, at + 1)).collect();
    pushed(&format!(r#"{{"client":"c_12345678","mutations":[{}]}}"#, numbered.join(",")))
}

fn pushed(body: &str) -> String {
    let scope = Scope::private(&SpaceHash::private("i", "alice"));
    let config = Config::read(|_| None).object.publication;
    let core = Coordinator::open(MemoryLedger::default(), Some(scope), config, None, NOW, 7);
    let push = match PushRequest::parse(body.as_bytes()) {
        Ok(push) => push,
        Err(error) => return format!("{} {}", error.status(), error.code()),
    };
    let mut answers = core.expect("a space").push(&[(UserHash::new("i", "alice"), push)], NOW);
    let results = match answers.remove(0) {
        Ok(answer) => answer.results,
        Err(error) => return format!("{} {}", error.status(), error.code()),
    };
    let mut told: Vec<_> = results
        .iter()
        .map(|result| match &result.settled {
            Settled::Applied(_) | Settled::Missing(_) => "applied",
            Settled::Rejected(rejection) => rejection.code.as_str(),
            _ => "else",
        })
        .collect();
    told.dedup();
    told.join(" ")
}

fn changes(list: &[String]) -> String {
    format!(r#""changes":[{}]"#, list.join(","))
}

fn put(id: usize, value: &str) -> String {
    format!(r#"{{"op":"put","collection":"c","id":"r{id}","value":{value}}}"#)
}

fn one(change: String) -> Vec<String> {
    vec![changes(&[change])]
}

fn text(bytes: usize) -> String {
    format!(r#"{{"s":"{}"}}"#, "x".repeat(bytes - r#"{"s":""}"#.len()))
}

fn nested(depth: usize) -> String {
    format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
}

fn list(count: usize, piece: impl Fn(usize) -> String) -> String {
    (0..count).map(piece).collect::<Vec<_>>().join(",")
}

/// A body of so many bytes.
fn body(bytes: usize) -> String {
    let start = r#"{"client":"c_12345678","mutations":[]}"#;
    format!("{start}{}", " ".repeat(bytes - start.len()))
}

/// A mutation of so many bytes.
fn mutation(bytes: usize) -> String {
    let values = |last: usize| {
        let long = limits::VALUE_BYTES_MAX - 1024;
        changes(&[long, long, long, long, last].map(|bytes| put(1, &text(bytes))))
    };
    values(bytes - r#"{"id":1,}"#.len() - values(8).len() + 8)
}

#[test]
fn what_escapes_make_longer_than_a_mutation_may_be_is_rejected() {
    let long = |end: &str, count: usize| format!(r#"{{"s":"{}"}}"#, end.repeat(count));
    assert_eq!(outcome(&one(put(1, &long("\u{2028}", 43_000)))), "applied");
    assert_eq!(outcome(&one(put(1, &long("\u{2028}", 44_000)))), "too_large", "a value");
    let puts =
        |count: usize| changes(&(0..count).map(|id| put(id, &long("\u{85}", 40_000))).collect::<Vec<_>>());
    assert_eq!(outcome(&[puts(4)]), "applied");
    assert_eq!(outcome(&[puts(5)]), "too_large", "a mutation, which would not fit a row if it were parked");
}

#[test]
fn exactly_at_a_limit_a_push_is_taken_and_one_above_it_gets_its_error() {
    let puts = |count: usize| changes(&(0..count).map(|id| put(id, "{}")).collect::<Vec<_>>());
    let into = |count: usize| {
        (0..count)
            .map(|at| changes(&[put(1, "{}").replace("\"c\"", &format!("\"c{at}\""))]))
            .collect::<Vec<_>>()
    };
    let patch = |count: usize| {
        one(format!(
            r#"{{"op":"patch","collection":"c","id":"r","set":{{{}}}}}"#,
            list(count, |at| format!(r#""{at:x}":0"#))
        ))
    };
    let unset = |count: usize| {
        one(format!(
            r#"{{"op":"patch","collection":"c","id":"r","unset":[{}]}}"#,
            list(count, |at| format!(r#""{at:x}""#))
        ))
    };
    let deep = |paths: usize, more: usize| {
        let below = ".a".repeat(15);
        let set = list(paths, |at| format!(r#""{at:x}{below}":0"#));
        let unset = list(more, |_| r#""other""#.to_owned());
        one(format!(r#"{{"op":"patch","collection":"c","id":"r","set":{{{set}}},"unset":[{unset}]}}"#))
    };
    let include = |count: usize| {
        one(format!(
            r#"{{"op":"include","collection":"c","id":"r","path":"a","values":[{}]}}"#,
            list(count, |at| at.to_string())
        ))
    };
    let named = |id: &str, collection: &str| {
        one(format!(r#"{{"op":"delete","collection":"{collection}","id":"{id}"}}"#))
    };
    let path = |names: usize| {
        one(format!(
            r#"{{"op":"add","collection":"c","id":"r","path":"{}","by":1}}"#,
            vec!["a"; names].join(".")
        ))
    };
    let at_path = |depth: usize| {
        one(format!(
            r#"{{"op":"patch","collection":"c","id":"r","set":{{"a.b":{}{}}}}}"#,
            "[".repeat(depth - 2),
            "]".repeat(depth - 2)
        ))
    };
    let follow = |count: usize| {
        let names = list(count, |_| r#""x_0mwrnsa6yk3v9q2_1""#.to_owned());
        format!(r#""after":[{names}],{}"#, puts(1))
    };
    let client = |bytes: usize| pushed(&format!(r#"{{"client":"{}","mutations":[]}}"#, "c".repeat(bytes)));

    let (fields, value) = (limits::NAMES_MAX, limits::VALUE_BYTES_MAX);
    let table: Vec<(&str, String, String, &str, &str)> = vec![
        (
            "bytes of a body",
            pushed(&body(limits::BODY_BYTES_MAX)),
            pushed(&body(limits::BODY_BYTES_MAX + 1)),
            "",
            "413 too_large",
        ),
        ("mutations", outcome(&vec![puts(0); 500]), outcome(&vec![puts(0); 501]), "applied", "413 too_large"),
        (
            "changes of a push",
            outcome(&[puts(1000), puts(1000)]),
            outcome(&[puts(1000), puts(1000), puts(1)]),
            "applied",
            "413 too_large",
        ),
        (
            "conflicts that a push follows",
            outcome(&[follow(1000), follow(1000)]),
            outcome(&[follow(1000), follow(1000), follow(1)]),
            "applied",
            "413 too_large",
        ),
        (
            "names in the paths of a push, and values that it lists",
            outcome(&[patch(fields / 2), include(fields / 2)].concat()),
            outcome(&[patch(fields / 2), include(fields / 2), unset(1)].concat()),
            "applied",
            "413 too_large",
        ),
        ("changes of a mutation", outcome(&[puts(1000)]), outcome(&[puts(1001)]), "applied", "too_large"),
        (
            "bytes of a mutation",
            outcome(&[mutation(limits::MUTATION_BYTES_MAX)]),
            outcome(&[mutation(limits::MUTATION_BYTES_MAX + 1)]),
            "applied",
            "too_large",
        ),
        (
            "bytes of a value",
            outcome(&one(put(1, &text(value)))),
            outcome(&one(put(1, &text(value + 1)))),
            "applied",
            "too_large",
        ),
        (
            "nesting",
            outcome(&one(put(1, &nested(64)))),
            outcome(&one(put(1, &nested(65)))),
            "applied",
            "too_large",
        ),
        ("nesting below a path", outcome(&at_path(64)), outcome(&at_path(65)), "applied", "too_large"),
        ("names of a path", outcome(&path(16)), outcome(&path(17)), "applied", "invalid_value"),
        ("collections", outcome(&into(200)), outcome(&into(201)), "applied", "applied quota_exceeded"),
        ("paths to set", outcome(&patch(fields)), outcome(&patch(fields + 1)), "applied", "too_large"),
        ("paths to unset", outcome(&unset(fields)), outcome(&unset(fields + 1)), "applied", "too_large"),
        (
            "names in paths",
            outcome(&deep(fields / 16, 0)),
            outcome(&deep(fields / 16, 1)),
            "applied",
            "too_large",
        ),
        (
            "values to include",
            outcome(&include(fields)),
            outcome(&include(fields + 1)),
            "applied",
            "too_large",
        ),
        (
            "bytes of an id",
            outcome(&named(&"r".repeat(256), "c")),
            outcome(&named(&"r".repeat(257), "c")),
            "applied",
            "invalid_value",
        ),
        (
            "bytes of a collection",
            outcome(&named("r", &"c".repeat(64))),
            outcome(&named("r", &"c".repeat(65))),
            "applied",
            "invalid_value",
        ),
        ("bytes of a client id", client(64), client(65), "", "400 malformed"),
    ];
    for (name, at, above, taken, refused) in table {
        assert_eq!(at, taken, "exactly at the limit: {name}");
        assert_eq!(above, refused, "one above the limit: {name}");
    }
}

#[test]
fn what_names_too_much_in_many_small_changes_is_rejected_too() {
    let include = |count: usize| {
        format!(
            r#"{{"op":"include","collection":"c","id":"r","path":"a","values":[{}]}}"#,
            list(count, |at| at.to_string())
        )
    };
    assert_eq!(outcome(&[changes(&vec![include(20); 1000])]), "applied");
    assert_eq!(outcome(&[changes(&[vec![include(20); 999], vec![include(21)]].concat())]), "too_large");
}

#[test]
fn what_a_mutation_writes_is_counted_as_often_as_it_is_written() {
    let long = put(1, &text(limits::VALUE_BYTES_MAX - 20));
    let add = r#"{"op":"add","collection":"c","id":"r1","path":"n","by":1}"#.to_owned();
    let times = |count: usize| {
        outcome(&[
            changes(std::slice::from_ref(&long)),
            changes(&vec![add.clone(); count]),
            changes(&[put(2, "{}")]),
        ])
    };
    assert_eq!(times(40), "applied");
    assert_eq!(times(65), "413 too_large", "the client splits between mutations");
    let alone =
        |count: usize| outcome(&[changes(std::slice::from_ref(&long)), changes(&vec![add.clone(); count])]);
    assert_eq!(alone(64), "applied");
    assert_eq!(alone(65), "applied too_large");
}
