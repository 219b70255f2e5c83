//! What clients push: nothing stops a queue, poisons a reader, or grows without bound.

use super::*;
use crate::{
    fronts::headwater::answer::Format, ids::ClientId, limits, mutation::Settled, sim::check::Change,
};

fn mutation(id: u64, changes: &str) -> String {
    format!("{{\"id\":{id},\"changes\":[{changes}]}}")
}

fn put_text(id: &str, value: &str) -> String {
    format!("{{\"op\":\"put\",\"collection\":\"c\",\"id\":\"{id}\",\"value\":{value}}}")
}

fn op(op: &str, rest: &str) -> String {
    format!("{{\"op\":\"{op}\",\"collection\":\"c\",\"id\":\"r\",{rest}}}")
}

#[test]
fn h05_a_queue_goes_on_behind_whatever_is_wrong_inside_a_mutation() {
    let deep =
        format!("{{\"a\":{}1{}}}", "[".repeat(limits::VALUE_DEPTH_MAX), "]".repeat(limits::VALUE_DEPTH_MAX));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(limits::VALUE_BYTES_MAX));
    let many = vec![put_text("r", "{}"); limits::MUTATION_CHANGES_MAX + 1].join(",");
    let bad = [
        op("transmute", "\"value\":{}"),
        put_text("r", &deep),
        put_text("r", &large),
        many,
        put_text("r", "7"),
        put_text(&"x".repeat(257), "{}"),
        put_text("\\u0000", "{}"),
        put_text("r", "{}").replace("\"c\"", "\"$conflicts\""),
        put_text("r", "{}").replace("\"c\"", "\"no collection\""),
        put_text("r", "{},\"base\":-1"),
        op("patch", "\"set\":{\"a..b\":1}"),
        op("patch", "\"set\":{\"__proto__.x\":1}"),
        op("patch", "\"set\":{\"list.0\":1}"),
        op("patch", "\"set\":{\"a\":1,\"a.b\":2}"),
        op("add", "\"path\":\"huge\",\"by\":1e308"),
        op("add", "\"path\":\"n\",\"by\":\"one\""),
        op("include", "\"path\":\"list\",\"values\":[{}]"),
        "17".to_owned(),
        "{}".to_owned(),
    ];
    let mut world = small();
    let there = put_text("r", "{\"list\":[1],\"huge\":1e308}");
    push_text(&mut world, "client-a", &[mutation(1, &there)]).expect("an answer");
    for (index, bad) in bad.iter().enumerate() {
        let id = 2 * index as u64 + 2;
        let good = put_text("good", &format!("{{\"n\":{index}}}"));
        let answer = push_text(&mut world, "client-a", &[mutation(id, bad), mutation(id + 1, &good)]);
        let answer = answer.expect("only the envelope fails a request");
        let start = &bad[..bad.len().min(80)];
        assert!(
            matches!(answer.results[0].settled, Settled::Rejected(_)),
            "{start}: {:?}",
            answer.results[0]
        );
        let version = Version::new(index as u64 + 2).expect("a version");
        assert_eq!(answer.results[1].settled, Settled::Applied(version), "behind {start}");
    }
}

#[test]
fn h04_a_mutation_that_is_rewritten_to_what_it_was_is_the_one_that_was_pushed() {
    let deletion = |id: &str| Change::Edit(Edit::Delete(name(id)));
    for pushed in [deletion("a"), Change::Since(Version::ZERO, Edit::Delete(name("a")))] {
        let mut world = small();
        for (changes, is_first) in [(pushed, true), (deletion("b"), false), (deletion("a"), false)] {
            let (mark, changes) = world.spaces[0].oracle.plan_behind(vec![changes], &[]);
            if is_first {
                world.clients[0].queue(changes, mark);
                world.push(0, true).expect("an answer, which is lost");
            } else {
                world.clients[0].compact(changes, mark);
            }
        }
        world.push(0, false).expect("an answer");
        assert!(world.clients[0].outbox.is_empty(), "it was applied");
    }
}

#[test]
fn h13_a_pretty_printed_push_is_one_line_for_every_reader() {
    let mut world = small();
    let value = "{\n  \"title\" : \"two\\nlines\",\r\n\t\"n\": 1.50,\n  \"list\": [\n 1,\n 2 ]\n}";
    push_text(&mut world, "client-a", &[mutation(1, &put_text("quote \\\" and é", value))])
        .expect("an answer");
    world.spaces[0].host.begin_turn(world.now);
    while world.spaces[0].host.step(&mut world.kv, world.now) {}
    assert!(world.kv.puts.len() == 1, "it is published");
    let expected = r#"{"version":1,"collection":"c","id":"quote \" and é","value":{"title":"two\nlines","n":1.50,"list":[1,2]}}"#;
    for strong in ["", "\"consistency\":\"strong\""] {
        let answer = world.ask(0, &format!("{{{strong}}}"), Format::Ndjson).body.expect("an answer");
        let lines: Vec<&str> = answer.text().lines().collect();
        assert_eq!((lines.len(), lines[1]), (3, expected), "{strong}");
    }
}

#[test]
fn h17e_a_put_behind_ones_own_queued_delete_has_base_0() {
    let with_base =
        |id: u64, base: u64, change: &str| format!("{{\"id\":{id},\"base\":{base},\"changes\":[{change}]}}");
    let delete = "{\"op\":\"delete\",\"collection\":\"c\",\"id\":\"r\"}";
    let queue = [with_base(1, 1, delete), with_base(2, 0, &put_text("r", "{\"mine\":1}"))];
    for somebody_else_was_faster in [false, true] {
        let mut world = small();
        push_text(&mut world, "client-b", &[mutation(1, &put_text("r", "{}"))]).expect("an answer");
        if somebody_else_was_faster {
            push_text(&mut world, "client-b", &[mutation(2, &put_text("r", "{\"theirs\":1}"))])
                .expect("an answer");
        }
        let answer = push_text(&mut world, "client-a", &queue).expect("an answer");
        for result in answer.results {
            let is_conflict = matches!(result.settled, Settled::Conflict { .. });
            assert_eq!(is_conflict, somebody_else_was_faster, "{result:?}");
        }
    }
}

#[test]
fn h26_what_is_answered_and_kept_of_many_conflicts_has_a_bound() {
    let mut world = small();
    let value = format!("{{\"x\":\"{}\"}}", "x".repeat(20_000));
    let theirs: Vec<String> =
        (1..=100).map(|id| mutation(id, &put_text(&format!("r{id}"), &value))).collect();
    push_text(&mut world, "client-b", &theirs).expect("an answer");
    let mine: Vec<String> = (1..=100)
        .map(|id| format!("{{\"id\":{id},\"base\":0,\"changes\":[{}]}}", put_text(&format!("r{id}"), &value)))
        .collect();
    let answer = push_text(&mut world, "client-a", &mine).expect("an answer");
    assert!(answer.results.iter().all(|result| matches!(result.settled, Settled::Conflict { .. })));
    let length = answer.to_json().len();
    let brief = 200 * answer.results.len();
    assert!(length > value.len() && length < limits::CONFLICT_BYTES_MAX + brief, "{length} bytes answered");
    let (user, client) = (UserHash::new("https://issuer.example", "alice"), ClientId::parse("client-a"));
    let row = world.spaces[0].host.core(world.now).ledger().client(&user, &client.expect("a client id"));
    let kept = format!("{:?}", row.expect("a read").expect("a client")).len();
    assert!(kept < 100 * answer.results.len(), "{kept} bytes kept");
}
