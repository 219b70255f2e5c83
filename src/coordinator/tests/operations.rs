//! Random sequences of mutations by several clients, in both ledgers, against the reference (`sim/reference/`), which is
//! written from the protocol and keeps every record's whole history.

use std::fmt;

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    coordinator::ledger::{SqlLedger, tests::sqlite::Sqlite},
    sim::reference::{
        Submission, System, assert_follows,
        reading::Mutation,
        rules::{apply, finds_nothing},
        tree::Tree,
    },
};

impl<L: Ledger> System for Desk<L> {
    fn push(&mut self, body: &str) -> Result<String, String> {
        let answer = Self::push(self, body);
        answer.map(|answer| answer.to_json()).map_err(|error| error.code().to_owned())
    }

    fn value(&mut self, collection: &str, id: &str) -> Option<String> {
        let key = Key { collection: Collection::parse(collection).ok()?, id: RecordId::parse(id).ok()? };
        self.core.ledger().record(&key).expect("a read")?.value(&key).map(str::to_owned)
    }
}

/// A desk whose pushes say nothing of conflicts: what they would say is the policy of the collections.
struct ByCollection(Desk);

impl System for ByCollection {
    fn push(&mut self, body: &str) -> Result<String, String> {
        let (start, rest) = body.split_once(r#""onConflict":""#).unwrap_or((body, ""));
        let (policy, rest) = rest.split_once(r#"","#).unwrap_or_default();
        for collection in ["c", "d"] {
            let key = Key { collection: Collection::stored("$policies"), id: RecordId::stored(collection) };
            let clock = ledger::Clock { version: Version::ZERO, writer: 0, foreign: Version::ZERO };
            let line = ledger::live_line(&key, &format!(r#"{{"onConflict":"{policy}"}}"#));
            let record = ledger::Record { clock, deleted_at: None, line, fields: None };
            self.0.core.ledger().put_record(&key, &record).expect("a write");
        }
        System::push(&mut self.0, &format!("{start}{rest}"))
    }

    fn value(&mut self, collection: &str, id: &str) -> Option<String> {
        System::value(&mut self.0, collection, id)
    }
}

/// Some are equal in several texts, which only a comparison of what they mean tells.
const SCALARS: [&str; 18] = [
    "null",
    "true",
    "0",
    "-0",
    "1",
    "1.0",
    "10e-1",
    "1e308",
    "0.1",
    "12345678901234567890",
    r#""""#,
    r#""a""#,
    r#""\u0061""#,
    r#""\ud800""#,
    "\"\u{2028}\u{85}\"",
    r#""\u2028\u0085""#,
    r#""\"\\""#,
    r#""é😀""#,
];
const NAMES: [&str; 8] =
    [r#""a""#, r#""\u0061""#, r#""b""#, r#""c""#, r#""a.b""#, r#""""#, r#""\ud83d\ude00""#, "\"\u{2029}\""];
const PATHS: [&str; 8] = ["a", "b", "c", "a.b", "a.c", "b.a.c", "😀", "\u{2029}"];
/// What a change should not have, and what it may.
const BESIDE: [&str; 5] = [
    r#","sets":{}"#,
    r#","values":[1]"#,
    r#","op":"put""#,
    r#","value":{}"#,
    r#","take":null,"values":null"#,
];
const NO_PATHS: [&str; 3] = ["__proto__", "a..b", ""];

fn value() -> impl Strategy<Value = String> {
    let scalar = select(&SCALARS[..]).prop_map(str::to_owned);
    scalar.prop_recursive(3, 12, 4, |inner| prop_oneof![2 => object(inner.clone()), 1 => list(inner)])
}

fn object(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let members = vec((select(&NAMES[..]), inner), 0..4);
    members.prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{{{}}}", members.join(" ,"))
    })
}

fn list(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    vec(inner, 0..4).prop_map(|elements| format!("[{}]", elements.join(", ")))
}

/// Mostly what is good: of what is rejected nothing more is seen.
fn mostly<T: fmt::Debug>(
    good: impl Strategy<Value = T> + 'static,
    bad: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![40 => good, 1 => bad]
}

fn few<T: fmt::Debug + 'static>(one: BoxedStrategy<T>) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![3 => vec(one.clone(), 1), 1 => vec(one, 0..4)]
}

fn quoted_path() -> impl Strategy<Value = String> {
    mostly(select(&PATHS[..]), select(&NO_PATHS[..])).prop_map(|path| format!("\"{path}\""))
}

/// What an op says beside the record it works on.
fn op() -> impl Strategy<Value = String> {
    let sets = few((quoted_path(), value()).boxed()).prop_map(|sets| {
        let sets: Vec<_> = sets.iter().map(|(path, value)| format!("{path}:{value}")).collect();
        format!("{{{}}}", sets.join(","))
    });
    let unsets = prop_oneof![
        4 => Just("null".to_owned()),
        2 => quoted_path().prop_map(|path| format!("[{path}]")),
        1 => list(quoted_path()),
    ];
    let or_put = || {
        let value = mostly(prop_oneof![3 => object(value()), 1 => Just("null".to_owned())], value());
        option::weighted(0.4, value)
            .prop_map(|value| value.map_or_else(String::new, |value| format!(",\"orPut\":{value}")))
    };
    let by = mostly(select(vec!["0", "1", "-1", "0.1", "1e307"]), select(vec!["1e400", "\"1\""]));
    let scalars = || list(mostly(select(&SCALARS[..]).prop_map(str::to_owned), value()));
    prop_oneof![
        5 => object(value()).prop_map(|value| format!(r#""op":"put","value":{value}"#)),
        7 => (sets, unsets, or_put())
            .prop_map(|(set, unset, or_put)| format!(r#""op":"patch","set":{set},"unset":{unset}{or_put}"#)),
        3 => Just(r#""op":"delete""#.to_owned()),
        1 => (quoted_path(), by, or_put())
            .prop_map(|(path, by, or_put)| format!(r#""op":"add","path":{path},"by":{by}{or_put}"#)),
        1 => (quoted_path(), scalars(), or_put())
            .prop_map(|(path, values, or_put)| format!(r#""op":"include","path":{path},"values":{values}{or_put}"#)),
        1 => (quoted_path(), scalars(), or_put())
            .prop_map(|(path, values, or_put)| format!(r#""op":"exclude","path":{path},"values":{values}{or_put}"#)),
    ]
}

/// Mostly one that is reached soon: one that lies in the future is of another history.
fn base() -> impl Strategy<Value = String> {
    let version = prop_oneof![3 => 0..4_u64, 2 => 2..8_u64, 1 => 0..16_u64];
    let spelling = select(vec!["", ".0", "e0", "0e-1"]);
    option::weighted(0.5, (version, spelling))
        .prop_map(|base| base.map_or_else(String::new, |(base, end)| format!(r#","base":{base}{end}"#)))
}

fn mutation() -> impl Strategy<Value = String> {
    let collections = mostly(prop_oneof![9 => Just("c"), 1 => Just("d")], select(vec!["$c", "", "é"]));
    let ids = prop_oneof![3 => Just("r"), 1 => Just("s")];
    let beside = mostly(Just(""), select(&BESIDE[..]));
    let change = (op(), collections, ids, base(), beside).prop_map(|(op, collection, id, base, beside)| {
        format!(r#"{{"collection":"{collection}","id":"{id}",{op}{base}{beside}}}"#)
    });
    let changes = few(change.boxed());
    let epochs = prop_oneof![9 => Just(""), 1 => Just(r#","epoch":"0mwrnsa6yk3v9q2""#)];
    // Steps that opened a conflict, and others. A desk begins in the same epoch each time.
    let afters = option::weighted(0.1, 1..9_u64).prop_map(|opened| {
        let epoch = Epoch::begin(START, None, 7);
        opened.map_or_else(String::new, |opened| format!(r#","after":"x_{epoch}_{opened}""#))
    });
    (changes, base(), epochs, afters).prop_map(|(changes, base, epoch, after)| {
        format!(r#"{{"changes":[{}]{base}{epoch}{after}}}"#, changes.join(","))
    })
}

fn submission() -> impl Strategy<Value = Submission> {
    let clients = select(vec!["client-a", "client-b", "client-c"]);
    let policies = select(vec!["reject", "merge", "merge", "overwrite"]);
    (clients, policies, mutation()).prop_map(|(client, policy, mutation)| Submission {
        client: client.to_owned(),
        policy: policy.to_owned(),
        mutation,
    })
}

/// Clients and the tests on the runtime read them too.
#[test]
fn the_fixtures_are_what_the_reference_says_and_the_coordinator_does() {
    let fixtures: serde_json::Value =
        serde_json::from_str(include_str!("../../../fixtures/operations.json")).expect("JSON");
    for operation in fixtures["operations"].as_array().expect("operations") {
        let text = |name: &str| operation[name].as_str();
        let (name, before, after) = (text("name").expect("a name"), text("before"), text("after"));
        let changes = text("changes").expect("changes");
        let read = Mutation::read(&format!(r#"{{"changes":{changes}}}"#)).expect("a mutation").changes;
        let (value, _) = apply(&read, |_| before).and_then(|mut left| left.pop_first()).expect("a record").1;
        assert_eq!(value, after.map(Tree::parse), "{name}");
        let missing = finds_nothing(&read, |_| before.is_some(), |_| true);
        assert_eq!(missing, operation["missing"] == true, "{name}");
        let mut desk = Desk::new();
        if let Some(before) = before {
            desk.put("client-b", 1, "r", before);
        }
        let settled = desk.settle("client-a", &format!(r#"{{"id":1,"changes":{changes}}}"#));
        assert_eq!(
            (desk.value("r").as_deref(), settled),
            match missing {
                true => (after, Settled::Missing(version(desk.version()))),
                false => (after, applied(desk.version())),
            },
            "{name}"
        );
    }
}

#[test]
fn a_patch_that_names_a_path_twice_is_rejected_also_where_there_is_no_record() {
    let mut desk = Desk::new();
    let patch = |number: u64, paths: &str| {
        let patch = format!(r#""op":"patch","collection":"c","id":"r",{paths},"orPut":{{"z":1}}"#);
        format!(r#"{{"id":{number},"changes":[{{{patch}}}]}}"#)
    };
    let twice = [r#""set":{"q":1,"q.r":2}"#, r#""set":{"q":1},"unset":["q"]"#, r#""unset":["q.r","q"]"#];
    for (number, paths) in (1..).zip(twice) {
        let settled = desk.settle("client-a", &patch(number, paths));
        assert_eq!(code(&settled), Some(RejectCode::InvalidValue), "{paths}");
    }
    assert_eq!((desk.value("r"), desk.version()), (None, 0));
    assert_eq!(desk.settle("client-a", &patch(4, r#""set":{"q.s":1,"q.r":2}"#)), applied(1));
}

fn on(number: u64, op: &str) -> String {
    format!(r#"{{"id":{number},"changes":[{{"collection":"c","id":"r",{op}}}]}}"#)
}

#[test]
fn an_operation_that_finds_no_record_and_does_nothing_is_told_and_told_again() {
    let mut desk = Desk::new();
    let vain = [
        r#""op":"patch","set":{"a":1}"#,
        r#""op":"add","path":"a","by":1"#,
        r#""op":"include","path":"a","values":[1]"#,
        r#""op":"exclude","path":"a","values":[1]"#,
    ];
    let mutations: Vec<_> = (1..).zip(vain).map(|(number, op)| on(number, op)).collect();
    for _ in 0..2 {
        let answer = desk.push(&body("client-a", &mutations)).expect("an answer");
        let settled: Vec<_> = answer.results.iter().map(|result| result.settled.clone()).collect();
        assert_eq!(settled, vec![Settled::Missing(version(0)); 4]);
        assert!(answer.to_json().contains(r#""missing":true"#), "{}", answer.to_json());
    }
    let beside = on(5, vain[0]).replace('[', r#"[{"op":"put","collection":"c","id":"s","value":{}},"#);
    assert_eq!(desk.settle("client-a", &beside), Settled::Missing(version(1)), "the other change is made");
    assert_eq!(
        desk.settle("client-a", &on(6, r#""op":"delete""#)),
        Settled::Missing(version(1)),
        "a misspelt id would be told by nothing else"
    );
    let or_put = r#""op":"patch","set":{"a":1},"orPut":{"a":2}"#;
    assert_eq!(desk.settle("client-a", &on(7, or_put)), applied(2));
    assert_eq!(desk.settle("client-a", &on(8, vain[0])), applied(3), "now it is there");
}

#[test]
fn a_field_that_its_op_does_not_have_is_never_passed_over() {
    let mut desk = Desk::new();
    desk.put("client-b", 1, "r", "{}");
    let typos = [
        r#""op":"patch","sets":{"a":1}"#,
        r#""op":"patch","set":{"a":1},"unsett":["b"]"#,
        r#""op":"put","value":{},"orPut":{}"#,
        r#""op":"put","value":{},"bases":1"#,
        r#""op":"delete","value":{}"#,
        r#""op":"add","path":"a","by":1,"set":{"b":1}"#,
        r#""op":"include","path":"a","values":[1],"value":2"#,
        r#""op":"put","value":{},"":1"#,
        r#""op":"put","value":{},"Base":1"#,
    ];
    for (number, op) in (1..).zip(typos) {
        let settled = desk.settle("client-a", &on(number, op));
        assert_eq!(code(&settled), Some(RejectCode::UnsupportedOp), "{op}: {settled:?}");
    }
    let beside = |number: u64, field: &str| {
        on(number, r#""op":"put","value":{}"#).replace(",\"changes", &format!(",{field},\"changes"))
    };
    for (number, field) in (10..).zip([r#""bases":1"#, r#""onConflict":"overwrite""#, r#""client":"x""#]) {
        let settled = desk.settle("client-a", &beside(number, field));
        assert_eq!(code(&settled), Some(RejectCode::UnsupportedOp), "{field}: {settled:?}");
    }
    for (number, field) in (13..).zip([r#""base":0,"base":1"#, r#""base":"1""#, r#""after":1"#]) {
        let settled = desk.settle("client-a", &beside(number, field));
        assert_eq!(code(&settled), Some(RejectCode::InvalidValue), "{field}: {settled:?}");
    }
    let all_null = r#""op":"delete","base":null,"value":null,"set":null,"unset":null,"path":null,"by":null,"values":null,
        "orPut":null,"conflict":null,"take":null,"records":null,"deleted":null"#;
    assert_eq!(desk.settle("client-a", &on(16, all_null)), applied(2), "null is absent");
    let Settled::Rejected(rejection) = desk.settle("client-a", &on(17, typos[0])) else { panic!("applied") };
    assert_eq!(rejection.detail, "change 0: patch takes no field sets");
}

#[test]
fn what_leaves_the_text_of_a_record_changes_nothing_for_anybody() {
    let mut desk = Desk::new();
    desk.put("client-b", 1, "r", r#"{"n":7,"t":"x"}"#);
    let within = |number: u64, id: &str, one: &str, two: &str| {
        let change = |op: &str| format!(r#"{{"collection":"c","id":"{id}",{op}}}"#);
        format!(r#"{{"id":{number},"changes":[{},{}]}}"#, change(one), change(two))
    };
    let put = r#""op":"put","value":{"n":7,"t":"x"}"#;
    for mutation in [
        on(1, r#""op":"put","value":{ "n": 7, "t": "x" }"#),
        on(2, r#""op":"patch","unset":["a","t.b"],"set":{"n":7}"#),
        on(3, r#""op":"add","path":"n","by":0"#),
        on(4, r#""op":"exclude","path":"tags.a","values":["x"]"#),
        within(5, "r", r#""op":"delete""#, put),
        within(6, "absent", put, r#""op":"delete""#),
        on(7, put),
    ] {
        assert_eq!(desk.settle("client-a", &mutation), applied(1), "{mutation}");
    }
    assert_eq!(desk.value("r").as_deref(), Some(r#"{"n":7,"t":"x"}"#));
    let seen = on(2, r#""op":"put","value":{}"#).replace(",\"changes", ",\"base\":1,\"changes");
    assert_eq!(desk.settle("client-b", &seen), applied(2), "nobody has changed it since");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_sequence_of_mutations_does_in_memory_what_the_protocol_says(submissions in vec(submission(), 1..40)) {
        assert_follows(Desk::new, &submissions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_sequence_of_mutations_does_by_policies_of_collections_what_the_protocol_says(
        submissions in vec(submission(), 1..40)
    ) {
        assert_follows(|| ByCollection(Desk::new()), &submissions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_sequence_of_mutations_does_in_sqlite_what_the_protocol_says(submissions in vec(submission(), 1..40)) {
        assert_follows(|| Desk::on(SqlLedger::open(Sqlite::in_memory()).expect("a database")), &submissions);
    }
}
