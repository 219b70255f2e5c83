//! What the protocol says of values, as claims, and all of it once more against a plain model.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::{
    json::{fields, number_text, touched, touched_among},
    sim::reference::tree::{No, Op, Tree, as_javascript},
};

fn path(text: &str) -> Path {
    Path::parse(text).expect("a path")
}

fn patched(object: &str, set: &[(&str, &str)], unset: &[&str]) -> Result<String, Refused> {
    let set: Vec<_> = set.iter().map(|(name, value)| (path(name), *value)).collect();
    let unset: Vec<_> = unset.iter().map(|name| path(name)).collect();
    patch(object, &set, &unset)
}

fn run(object: &str, op: &Op) -> Result<String, Refused> {
    fn texts(values: &[String]) -> Vec<&str> {
        values.iter().map(String::as_str).collect()
    }
    match op {
        Op::Patch(set, unset) => {
            let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            patched(object, &set, &texts(unset))
        }
        Op::Add(at, by) => add(object, &path(at), *by),
        Op::Include(at, values) => include(object, &path(at), &texts(values)),
        Op::Exclude(at, values) => exclude(object, &path(at), &texts(values)),
    }
}

#[test]
fn compact_removes_white_space_between_tokens_only() {
    for (raw, expected, depth) in [
        ("{}", "{}", 1),
        (" 1 ", "1", 0),
        ("\t\"a b\"\n", "\"a b\"", 0),
        ("{\r\n \"a b\" :\t[ 1 , 2 ] , \"c\":{ } }", "{\"a b\":[1,2],\"c\":{}}", 2),
        (r#"{"a": "\" , \\" , "b": "\\\\" }"#, r#"{"a":"\" , \\","b":"\\\\"}"#, 1),
        ("[ 1.50, 1E5, -0, 12345678901234567890 ]", "[1.50,1E5,-0,12345678901234567890]", 1),
        ("[\"[[[[\", [ ]]", "[\"[[[[\",[]]", 2),
        (
            "\" é 😀 long enough for more than eight bytes \" ",
            "\" é 😀 long enough for more than eight bytes \"",
            0,
        ),
    ] {
        assert_eq!(compact(raw), fit(expected, depth), "{raw}");
    }
}

fn fit(text: &str, depth: usize) -> Compact<'_> {
    Compact { text: Cow::Borrowed(text), depth, unfit: None }
}

#[test]
fn what_some_readers_take_for_the_end_of_a_line_is_escaped() {
    for (raw, expected) in [
        ("\"\u{85}\"", r#""\u0085""#),
        ("\"a\u{2028}\u{2029}b\"", r#""a\u2028\u2029b""#),
        ("{\"\u{2028}\": \"eight or more \u{2029} around\"}", r#"{"\u2028":"eight or more \u2029 around"}"#),
        // Others that begin with the same bytes, and an escape before one that counts.
        ("\"\u{a0}\u{b0}“\u{2027}\u{202a}€\"", "\"\u{a0}\u{b0}“\u{2027}\u{202a}€\""),
        ("\"\\\\\u{85}\\\"\u{2028}\"", r#""\\\u0085\"\u2028""#),
        (r#""\u2028\u0085""#, r#""\u2028\u0085""#),
    ] {
        let kept = compact(raw);
        assert_eq!((&*kept.text, kept.unfit), (expected, None), "{raw}");
        assert_eq!(Tree::parse(&kept.text), Tree::parse(raw), "{raw}");
        assert!(matches!(compact(expected).text, Cow::Borrowed(_)), "{expected}");
    }
}

#[test]
fn half_of_a_surrogate_pair_and_what_no_double_holds_are_not_sent_on() {
    for raw in [
        r#""\ud83c""#,
        r#""\uDC00""#,
        r#""\udc00\ud800""#,
        r#""\ud83c\ud83c\udf89""#,
        r#""\ud83c\u0041""#,
        r#""\ud83cdf89""#,
        r#""\ud83c\\udf89""#,
        r#"[1,{"a":"\udbff"}]"#,
        r#"{"\udfff":1}"#,
    ] {
        assert_eq!(compact(raw).unfit, Some(Refused::HalfPair), "{raw}");
    }
    for raw in ["1e309", "[-1E+999]", r#"{"a":1e400}"#, &"9".repeat(400)] {
        assert_eq!(compact(raw).unfit, Some(Refused::Infinite), "{raw}");
    }
    for raw in [
        r#""\ud83c\udf89\uD83D\uDE00 \\ud83c \u00d8\ud7ff\ue000""#,
        "[1e308,-1.7976931348623157e308,1e-999,0e999999999999]",
        &"9".repeat(308),
        &format!("0.{}", "3".repeat(400)),
    ] {
        assert_eq!(compact(raw).unfit, None, "{raw}");
    }
}

#[test]
fn compact_copies_nothing_when_there_is_nothing_to_remove() {
    for raw in ["{}", r#"{"a b":" \" ","c":[1,{"d":null}]}"#] {
        assert!(matches!(compact(raw).text, Cow::Borrowed(same) if same == raw), "{raw}");
    }
}

#[test]
fn no_nesting_is_too_deep() {
    let levels = 1 << 21;
    let deep = "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(compact(&deep).depth, levels);
    assert_eq!(compact(&"[".repeat(levels)).depth, levels);
    let object = format!("{{\"a\":{deep},\"b\":{}1{}}}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert_eq!(fields(&object)[0].1, deep);
    assert_eq!(patched(&object, &[], &["a", "b"]).as_deref(), Ok("{}"));
    assert_eq!(patched(&object, &[], &["a", "b.a.a.a.a"]).as_deref(), Ok(r#"{"b":{"a":{"a":{"a":{}}}}}"#));
    assert_eq!(include(&object, &path("a"), &["1"]).expect("an array").len(), object.len() + 2);
}

#[test]
fn many_paths_and_many_values_cost_no_product() {
    let names: Vec<_> = (0..50_000).map(|n| (path(&format!("a.f{n}")), "1")).collect();
    let object = patch("{}", &names, &[]).expect("distinct paths");
    let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
    assert_eq!(patch(&object, &[], &names).as_deref(), Ok(r#"{"a":{}}"#));
    let values: Vec<_> = (0..50_000).map(|n| n.to_string()).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let object = include("{}", &path("a"), &values).expect("scalars");
    assert_eq!(include(&object, &path("a"), &values).as_ref(), Ok(&object));
    assert_eq!(exclude(&object, &path("a"), &values).as_deref(), Ok(r#"{"a":[]}"#));
}

#[test]
fn fields_are_decoded_names_and_value_texts_in_order() {
    let object =
        r#"{"b":[1,{"x":"}"}],"\u0061\n":1.0,"":null,"\ud83d\ude00":{"a":1},"é":"\"","\ud800":true}"#;
    let expected =
        [("b", r#"[1,{"x":"}"}]"#), ("a\n", "1.0"), ("", "null"), ("😀", r#"{"a":1}"#), ("é", r#""\"""#)];
    let read = fields(object);
    let plain: Vec<_> = read.iter().map(|(name, value)| (&**name, *value)).collect();
    assert_eq!(plain[..5], expected);
    assert!(plain[5].0.starts_with('\u{fffd}') && plain[5].1 == "true");
    assert_eq!(fields("{}"), []);
}

#[test]
fn of_a_repeated_name_the_last_is_the_field() {
    let object = r#"{"a":1,"b":2,"\u0061":3,"c":4}"#;
    assert_eq!(fields(object), [("b".into(), "2"), ("a".into(), "3"), ("c".into(), "4")]);
    for (edited, expected) in [
        (add(object, &path("a"), 1.0), r#"{"b":2,"\u0061":4,"c":4}"#),
        (add(object, &path("a"), 0.0), object),
        (add(object, &path("b"), 1.0), r#"{"a":1,"b":3,"\u0061":3,"c":4}"#),
        (patched(object, &[("a", "9")], &[]), r#"{"b":2,"\u0061":9,"c":4}"#),
        (patched(object, &[("a", "3")], &[]), object),
        (patched(object, &[], &["a"]), r#"{"b":2,"c":4}"#),
        (patched(object, &[], &["a.b"]), object),
        (patched(object, &[("a.x", "1")], &[]), r#"{"b":2,"\u0061":{"x":1},"c":4}"#),
    ] {
        assert_eq!(edited.as_deref(), Ok(expected));
    }
}

#[test]
fn touched_names_what_is_changed_added_or_removed_by_its_text() {
    for (before, after, expected) in [
        ("{}", "{}", &[][..]),
        (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, &[]),
        (r#"{"a":1,"b":2,"z":0,"y":0}"#, r#"{"c":3,"a":1.0,"b":2}"#, &["a", "c", "y", "z"]),
        (r#"{"\u0061":1}"#, r#"{"a":1}"#, &[]),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, &[]),
        (r#"{"a":2}"#, r#"{"a":2,"a":1}"#, &["a"]),
        (r#"{"a":{"b":1}}"#, r#"{"a":{"b":2}}"#, &["a"]),
        (r#"{"\ud800":1}"#, r#"{"\ud801":1}"#, &["\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}"]),
    ] {
        assert_eq!(touched(before, after), expected, "{before} {after}");
    }
}

#[test]
fn a_path_is_1_to_16_allowed_names() {
    let sixteen = ["n"; 16].join(".");
    for good in ["a", "meta.n", "0.1", "a b", "ÄÖ.😀", "toString", "__proto", "\"\\\u{1}", &sixteen] {
        assert!(Path::parse(good).is_ok(), "{good}");
    }
    let seventeen = ["n"; 17].join(".");
    for bad in ["", ".", "a.", ".a", "a..b", "__proto__", "a.prototype", "constructor.b", &seventeen] {
        assert_eq!(Path::parse(bad), Err(Refused::Path), "{bad}");
    }
}

#[test]
fn a_path_knows_its_top() {
    assert_eq!((path("meta.n").top(), path("meta").top()), ("meta", "meta"));
}

#[test]
fn set_creates_objects_on_the_way_and_replaces_null_or_a_scalar_there() {
    for (object, name, value, expected) in [
        ("{}", "a", "[1]", r#"{"a":[1]}"#),
        ("{}", "a.b.c", "1", r#"{"a":{"b":{"c":1}}}"#),
        (r#"{"a":null,"z":0}"#, "a.b", "1", r#"{"a":{"b":1},"z":0}"#),
        (r#"{"a":"x","z":0}"#, "a.b", "1", r#"{"a":{"b":1},"z":0}"#),
        (r#"{"a":{"x":1.0,"b":5},"z":0}"#, "a.b", r#""y""#, r#"{"a":{"x":1.0,"b":"y"},"z":0}"#),
        (r#"{"a":[1],"z":0}"#, "a", "2", r#"{"a":2,"z":0}"#),
        (r#"{"\u0061":1}"#, "a", "2", r#"{"\u0061":2}"#),
        (r#"{"a.b":1}"#, "a.b", "2", r#"{"a.b":1,"a":{"b":2}}"#),
        ("{}", "\"\\\n\u{1f}é", "1", r#"{"\"\\\u000a\u001fé":1}"#),
        (r#"{"0":1}"#, "0", "2", r#"{"0":2}"#),
    ] {
        assert_eq!(patched(object, &[(name, value)], &[]).as_deref(), Ok(expected), "{object} {name}");
    }
}

#[test]
fn new_fields_go_to_the_end_in_the_order_of_set() {
    let set = [("z", "1"), ("m.y", "2"), ("b", "3"), ("m.a", "4"), ("c.d", "5")];
    let expected = r#"{"b":3,"a":0,"z":1,"m":{"y":2,"a":4},"c":{"d":5}}"#;
    assert_eq!(patched(r#"{"b":0,"a":0}"#, &set, &[]).as_deref(), Ok(expected));
}

#[test]
fn unset_removes_fields_wherever_they_stand() {
    let object = r#"{"a":1,"b":{"c":[],"d":2},"e":3}"#;
    for (unset, expected) in [
        (&["a"][..], r#"{"b":{"c":[],"d":2},"e":3}"#),
        (&["e"], r#"{"a":1,"b":{"c":[],"d":2}}"#),
        (&["b"], r#"{"a":1,"e":3}"#),
        (&["b.c"], r#"{"a":1,"b":{"d":2},"e":3}"#),
        (&["b.d", "b.c"], r#"{"a":1,"b":{},"e":3}"#),
        (&["e", "a", "b"], "{}"),
    ] {
        assert_eq!(patched(object, &[], unset).as_deref(), Ok(expected), "{unset:?}");
    }
}

#[test]
fn unset_of_what_is_not_there_changes_nothing() {
    let object = r#"{"a":null,"b":1,"c":{}}"#;
    for unset in ["x", "x.y", "a.b", "b.c.d", "c.d", "c.d.e"] {
        assert_eq!(patched(object, &[], &[unset]).as_deref(), Ok(object), "{unset}");
    }
}

#[test]
fn set_and_unset_of_one_patch_work_together() {
    let object = r#"{"a":{"x":1},"b":2,"c":3}"#;
    let edited = patched(object, &[("a.y", "5"), ("b", "6"), ("d", "7")], &["a.x", "c", "n.m"]);
    assert_eq!(edited.as_deref(), Ok(r#"{"a":{"y":5},"b":6,"d":7}"#));
    assert_eq!(patched(r#"{"a":1}"#, &[("a.b", "1")], &["a.c"]).as_deref(), Ok(r#"{"a":{"b":1}}"#));
    assert_eq!(patched("{}", &[], &[]).as_deref(), Ok("{}"));
}

#[test]
fn one_path_or_a_path_and_its_ancestor_twice_is_refused() {
    for (set, unset) in [
        (&["a", "a"][..], &[][..]),
        (&["a", "a.b"], &[]),
        (&["a.b.c", "x", "a"], &[]),
        (&["a"], &["a"]),
        (&["a.b"], &["a"]),
        (&["a"], &["a.b.c"]),
        (&[], &["a", "a"]),
        (&[], &["a.b", "a"]),
    ] {
        let set: Vec<_> = set.iter().map(|name| (*name, "1")).collect();
        assert_eq!(patched("{}", &set, unset), Err(Refused::Overlap), "{set:?} {unset:?}");
        let paths: Vec<_> = set.iter().map(|(name, _)| name).chain(unset).map(|name| path(name)).collect();
        assert_eq!(distinct(&paths), Err(Refused::Overlap), "{paths:?}");
    }
    assert!(patched("{}", &[("a.b", "1"), ("a.c", "1"), ("ab", "1")], &["a.bc", "b"]).is_ok());
}

#[test]
fn an_array_on_the_way_is_refused_and_nothing_else_is() {
    let object = r#"{"a":[{"b":1}],"o":{"a":[]}}"#;
    for name in ["a.b", "a.0", "a.0.b", "o.a.x"] {
        assert_eq!(patched(object, &[(name, "1")], &[]), Err(Refused::Array), "set {name}");
        assert_eq!(patched(object, &[], &[name]), Err(Refused::Array), "unset {name}");
        assert_eq!(add(object, &path(name), 1.0), Err(Refused::Array), "add {name}");
        assert_eq!(include(object, &path(name), &["1"]), Err(Refused::Array), "include {name}");
        assert_eq!(exclude(object, &path(name), &["1"]), Err(Refused::Array), "exclude {name}");
    }
    assert_eq!(add(object, &path("a"), 1.0).as_deref(), Ok(r#"{"a":1,"o":{"a":[]}}"#));
}

#[test]
fn add_takes_anything_but_a_number_for_0() {
    for (existing, by, expected) in [
        ("1", 2.0, "3"),
        ("-1.5e1", 0.5, "-14.5"),
        ("0.1", 0.2, "0.30000000000000004"),
        ("null", 1.0, "1"),
        (r#""5""#, 1.0, "1"),
        ("true", 0.0, "0"),
        ("[7]", 1.0, "1"),
        (r#"{"x":7}"#, 1.0, "1"),
        ("1", -1.0, "0"),
        ("false", -0.0, "0"),
        ("9007199254740992", 2.0, "9007199254740994"),
        ("999999999999999999999", 1e6, "1.000000000000001e+21"),
        ("0.000001", -9.5e-7, "4.9999999999999945e-8"),
    ] {
        let edited = add(&format!("{{\"n\":{existing}}}"), &path("n"), by);
        assert_eq!(edited, Ok(format!("{{\"n\":{expected}}}")), "{existing} + {by}");
    }
    assert_eq!(add("{}", &path("a.n"), 0.0).as_deref(), Ok(r#"{"a":{"n":0}}"#));
    assert_eq!(add(r#"{"a":1}"#, &path("a.n"), 1.0).as_deref(), Ok(r#"{"a":{"n":1}}"#));
}

#[test]
fn add_writes_the_shortest_form_also_of_a_sum_that_is_the_number_there() {
    for (existing, by, expected) in [
        ("1.0", 0.0, "1"),
        ("1E2", 0.0, "100"),
        ("-0", 0.0, "0"),
        ("-0", -0.0, "0"),
        ("1e-400", 0.0, "0"),
        ("12345678901234567890", 1.0, "12345678901234567000"),
        ("123456789012345678901234567890", 1.0, "1.2345678901234568e+29"),
        ("7", 0.0, "7"),
    ] {
        let edited = add(&format!("{{\"n\":{existing}}}"), &path("n"), by);
        assert_eq!(edited, Ok(format!("{{\"n\":{expected}}}")), "{existing} + {by}");
    }
}

#[test]
fn a_sum_that_is_not_finite_is_refused() {
    for (existing, by) in
        [("1.7e308", 1e308), ("1e999", 1.0), ("-1e999", 0.0), ("0", f64::NAN), ("0", f64::INFINITY)]
    {
        let edited = add(&format!("{{\"n\":{existing}}}"), &path("n"), by);
        assert_eq!(edited, Err(Refused::NotFinite), "{existing} + {by}");
    }
}

#[test]
fn numbers_are_written_as_javascript_writes_them() {
    for (number, expected) in [
        (0.0, "0"),
        (-0.0, "0"),
        (100.0, "100"),
        (-1.5, "-1.5"),
        (1e20, "100000000000000000000"),
        (1.2345e20, "123450000000000000000"),
        (1e21, "1e+21"),
        (-1.5e300, "-1.5e+300"),
        (123456789012345680000.0, "123456789012345680000"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (-1e-7, "-1e-7"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (9007199254740991.0, "9007199254740991"),
        (0.1, "0.1"),
        // In the middle of two that are as short.
        (2f64.powi(-25), "2.9802322387695312e-8"),
        (8093389204627405.0 / 4.0, "2023347301156851.2"),
        (-8093389204627407.0 / 4.0, "-2023347301156851.8"),
    ] {
        assert_eq!(number_text(number), expected);
    }
}

#[test]
fn include_appends_what_is_not_present_in_order() {
    for (existing, values, expected) in [
        ("[]", &["1", "2"][..], "[1,2]"),
        (r#"["a",{"b":1},[1]]"#, &[r#""c""#, "1", r#""a""#], r#"["a",{"b":1},[1],"c",1]"#),
        ("[1]", &["1.0", "1e0", "10E-1", "2", "2.0"], "[1,2]"),
        ("[0]", &["-0", "-0.0", "0e5"], "[0]"),
        ("[1]", &[r#""1""#, "true", "null"], r#"[1,"1",true,null]"#),
        (r#"["\u0061"]"#, &[r#""a""#, r#""\u0041""#], r#"["\u0061","\u0041"]"#),
        (r#"["\ud800"]"#, &[r#""\uD800""#, r#""\ud801""#, r#""\udc00""#], r#"["\ud800","\ud801","\udc00"]"#),
        (r#"["😀","/"]"#, &[r#""\ud83d\ude00""#, r#""\/""#], r#"["😀","/"]"#),
        (r#"["\\u0061"]"#, &[r#""a""#], r#"["\\u0061","a"]"#),
        ("[1e999]", &["1e998", "-1e999"], "[1e999,-1e999]"),
        ("[]", &["9007199254740993", "9007199254740992"], "[9007199254740993]"),
        ("null", &["1"], "[1]"),
        (r#"{"a":1}"#, &["1"], "[1]"),
        ("1", &[], "[]"),
    ] {
        let edited = include(&format!("{{\"l\":{existing}}}"), &path("l"), values);
        assert_eq!(edited, Ok(format!("{{\"l\":{expected}}}")), "{existing} with {values:?}");
    }
    assert_eq!(include("{}", &path("a.l"), &["1"]).as_deref(), Ok(r#"{"a":{"l":[1]}}"#));
}

#[test]
fn exclude_removes_all_equal_elements() {
    for (existing, values, expected) in [
        ("[1,2,1.0,3]", &["1"][..], "[2,3]"),
        (r#"["a",["a"],{"a":"a"},"\u0061"]"#, &[r#""a""#], r#"[["a"],{"a":"a"}]"#),
        ("[null,true,false]", &["false", "null"], "[true]"),
        (r#"["\ud83d\ud83d\ude00","x"]"#, &[r#""\uD83D😀""#], r#"["x"]"#),
        ("[1]", &["2"], "[1]"),
        ("[1]", &[], "[1]"),
    ] {
        let edited = exclude(&format!("{{\"l\":{existing}}}"), &path("l"), values);
        assert_eq!(edited, Ok(format!("{{\"l\":{expected}}}")), "{existing} without {values:?}");
    }
}

#[test]
fn exclude_changes_nothing_where_there_is_no_array() {
    for object in
        ["{}", r#"{"a":null}"#, r#"{"a":7}"#, r#"{"a":{}}"#, r#"{"a":{"l":"x"}}"#, r#"{"a":{"l":{"x":1}}}"#]
    {
        assert_eq!(exclude(object, &path("a.l"), &[r#""x""#]).as_deref(), Ok(object));
    }
}

#[test]
fn objects_and_arrays_cannot_be_included_or_excluded() {
    for value in ["{}", "[]", "[1]"] {
        assert_eq!(include(r#"{"l":[]}"#, &path("l"), &["1", value]), Err(Refused::NotScalar));
        assert_eq!(exclude(r#"{"l":[]}"#, &path("l"), &["1", value]), Err(Refused::NotScalar));
    }
}

const SCALARS: [&str; 27] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "10e-1",
    "-1",
    "2",
    "1e2",
    "1E+2",
    "0.1",
    "1e-7",
    "1e21",
    "1e308",
    "-1e999",
    "12345678901234567890",
    r#""""#,
    r#""a""#,
    r#""\u0061""#,
    r#""\ud800""#,
    r#""😀""#,
    r#""\uD83D\ude00""#,
    r#""\\\" ,:[]{}""#,
    r#""\"""#,
    r#""a b\nc longer than eight bytes""#,
];
const QUOTED_NAMES: [&str; 12] = [
    r#""a""#,
    r#""\u0061""#,
    r#""b""#,
    r#""c""#,
    r#""a.b""#,
    r#""""#,
    r#""\"\\""#,
    r#""\u0022\u005c""#,
    r#""é""#,
    r#""\u00E9""#,
    r#""\ud800""#,
    r#""\uDBFF\udfff""#,
];
const PATH_NAMES: [&str; 7] = ["a", "b", "c", "é", "\"\\", "\u{10ffff}", "\u{2028}\u{85}"];

/// The tokens of a JSON value.
fn tokens() -> impl Strategy<Value = Vec<String>> {
    let scalar = select(&SCALARS[..]).prop_map(|text| vec![text.to_owned()]);
    scalar.prop_recursive(5, 48, 6, |inner| {
        let member = (select(&QUOTED_NAMES[..]), inner.clone());
        let member = member.prop_map(|(name, value)| [vec![name.to_owned(), ":".to_owned()], value].concat());
        prop_oneof![
            2 => vec(member, 0..6).prop_map(|members| joined("{", members, "}")),
            1 => vec(inner, 0..6).prop_map(|elements| joined("[", elements, "]")),
        ]
    })
}

/// The tokens of an object.
fn object_tokens() -> impl Strategy<Value = Vec<String>> {
    let member = (select(&QUOTED_NAMES[..]), tokens());
    let member = member.prop_map(|(name, value)| [vec![name.to_owned(), ":".to_owned()], value].concat());
    vec(member, 0..6).prop_map(|members| joined("{", members, "}"))
}

fn joined(open: &str, parts: Vec<Vec<String>>, close: &str) -> Vec<String> {
    let comma = [",".to_owned()];
    [vec![open.to_owned()], parts.join(&comma[..]), vec![close.to_owned()]].concat()
}

fn path_text() -> impl Strategy<Value = String> {
    vec(select(&PATH_NAMES[..]), 1..4).prop_map(|names| names.join("."))
}

fn op() -> impl Strategy<Value = Op> {
    let json = || tokens().prop_map(|tokens| tokens.concat());
    let values = || vec(prop_oneof![9 => select(&SCALARS[..]).prop_map(str::to_owned), 1 => json()], 0..5);
    let by = prop_oneof![select(vec![0.0, -0.0, 1.0, -1.0, 0.1, 1e21, 1e308]), any::<f64>()];
    prop_oneof![
        (vec((path_text(), json()), 0..4), vec(path_text(), 0..3))
            .prop_map(|(set, unset)| Op::Patch(set, unset)),
        (path_text(), by).prop_map(|(path, by)| Op::Add(path, by)),
        (path_text(), values()).prop_map(|(path, values)| Op::Include(path, values)),
        (path_text(), values()).prop_map(|(path, values)| Op::Exclude(path, values)),
    ]
}

/// The top-level fields an operation may touch.
fn tops(op: &Op) -> Vec<String> {
    let paths: Vec<_> = match op {
        Op::Patch(set, unset) => set.iter().map(|(path, _)| path).chain(unset).collect(),
        Op::Add(path, _) | Op::Include(path, _) | Op::Exclude(path, _) => vec![path],
    };
    paths.into_iter().map(|text| path(text).top().to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_value_round_trips_through_compact(tokens in tokens(), spaces in vec("[ \t\r\n]{0,3}", 1..8)) {
        let space = spaces.iter().cycle();
        let spaced: String = tokens.iter().zip(space).flat_map(|(token, space)| [space.as_str(), token]).collect();
        let spaced = spaced + &spaces[0];
        serde_json::from_str::<&serde_json::value::RawValue>(&spaced).expect("the generator makes valid JSON");
        let Compact { text, depth, unfit } = compact(&spaced);
        prop_assert_eq!(&text, &tokens.concat());
        prop_assert_eq!(Tree::parse(&text), Tree::parse(&spaced));
        prop_assert_eq!(unfit.is_none(), serde_json::from_str::<serde_json::Value>(&spaced).is_ok());
        let again = compact(&text);
        prop_assert!(matches!(again.text, Cow::Borrowed(same) if same == text));
        prop_assert_eq!((again.depth, again.unfit), (depth, unfit));
    }

    #[test]
    fn depth_is_that_of_the_deepest_bracket(tokens in tokens()) {
        // A repeated name may hide the deepest value from a tree.
        let distinct = tokens.iter().enumerate().map(|(at, token)| {
            if tokens.get(at + 1).is_some_and(|next| next == ":") { format!("\"{at}\"") } else { token.clone() }
        });
        let json: String = distinct.collect();
        prop_assert_eq!(compact(&json).depth, Tree::parse(&json).depth());
    }

    #[test]
    fn fields_are_those_of_the_tree(tokens in object_tokens()) {
        let object = tokens.concat();
        let Tree::Object(expected) = Tree::parse(&object) else { unreachable!() };
        let read = fields(&object);
        prop_assert_eq!(read.len(), expected.len());
        for ((name, value), (units, tree)) in read.iter().zip(&expected) {
            if let Ok(expected) = String::from_utf16(units) {
                prop_assert_eq!(name, &expected);
            }
            prop_assert_eq!(&Tree::parse(value), tree);
        }
    }

    #[test]
    fn any_sequence_of_operations_equals_the_model(tokens in object_tokens(), ops in vec(op(), 1..12)) {
        let mut text = tokens.concat();
        let mut tree = Tree::parse(&text);
        for op in ops {
            let edited = run(&text, &op);
            let expected = tree.after(&op);
            prop_assert_eq!(edited.clone().map(|text| Tree::parse(&text)).map_err(|_| No), expected, "{} {:?}", text, op);
            let Ok(edited) = edited else { continue };
            prop_assert!(matches!(compact(&edited).text, Cow::Borrowed(_)), "{edited}");
            serde_json::from_str::<&serde_json::value::RawValue>(&edited).expect("valid JSON");
            let tops = tops(&op);
            let among = touched_among(&text, &edited, tops.iter().map(|top| top.as_ref()));
            prop_assert_eq!(touched(&text, &edited), among, "{} {:?} {}", text, op, edited);
            let after = Tree::parse(&edited);
            // A set may write the same value in another way.
            if after == tree && !matches!(&op, Op::Patch(set, _) if !set.is_empty()) {
                prop_assert_eq!(&edited, &text);
            }
            (text, tree) = (edited, after);
        }
    }

    #[test]
    fn touched_is_what_differs(before in object_tokens(), after in object_tokens()) {
        let (before, after) = (before.concat(), after.concat());
        let (old, new) = (fields(&before), fields(&after));
        let text = |fields: &[(Cow<'_, str>, &str)], name: &str| {
            fields.iter().find(|(other, _)| other == name).map(|(_, text)| (*text).to_owned())
        };
        let names = touched(&before, &after);
        for (name, _) in old.iter().chain(&new) {
            prop_assert_eq!(names.contains(&name.to_string()), text(&old, name) != text(&new, name), "{}", name);
        }
    }

    #[test]
    fn any_double_is_written_as_the_specification_says(number in any::<f64>(), small in -1e7..1e7_f64, power in -1074..1024) {
        let quarters = (small * 1e9).round() + 0.25;
        for number in [number, small, small.round(), quarters, 2f64.powi(power)] {
            let text = number_text(number);
            prop_assert_eq!(&text, &as_javascript(number));
            prop_assert_eq!(text.parse(), Ok(number));
        }
    }

    #[test]
    fn no_text_makes_anything_panic(
        text in prop_oneof![".*", "[\\[\\]{}\",:\\\\a1é \n]{0,40}", "\\{[\\[\\]{}\",:\\\\a1ué]{0,40}\\}"],
        op in op(),
        path_text in ".*",
    ) {
        let _ = (compact(&text), fields(&text), touched(&text, "{}"), Path::parse(&path_text));
        let _ = run(&text, &op);
        let garbage = [text.as_str(), "\"\\", "\"\\u12", "-"];
        let _ = patch(&text, &[(path("a.b"), &text)], &[path("a.c")]);
        let _ = include(&text, &path("a"), &garbage);
        let _ = exclude(&text, &path("a"), &garbage);
    }

    #[test]
    fn no_damaged_object_makes_anything_panic(tokens in object_tokens(), op in op(), at in any::<prop::sample::Index>()) {
        let mut characters: Vec<_> = tokens.concat().chars().collect();
        characters.remove(at.index(characters.len()));
        let damaged: String = characters.into_iter().collect();
        let _ = (compact(&damaged), fields(&damaged), touched(&damaged, "{}"), run(&damaged, &op));
    }
}
