//! What hostile bodies cost: no body, however it is made, takes memory or time out of proportion to its length. Memory is
//! counted by the allocator of this test program, which is why it is one of its own. An isolate has 128 MB for all its
//! objects, pointers there are half as long as here, and what is exhausted there ends all of them.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use headwater::{
    call::{PushRequest, ReadPush},
    config::Config,
    coordinator::Coordinator,
    error::ApiError,
    ids::{SpaceHash, UserHash},
    limits,
    mutation::Settled,
    sim::ledger::MemoryLedger,
    snapshot::keys::Scope,
    time::Millis,
};

struct Counting;

thread_local! {
    /// Bytes that are held, and the most of them since [`measured`] began. Each thread counts its own: what the program that
    /// runs the tests gives out and frees meanwhile is not a body's.
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// All that was ever given out: what is copied again and again shows here, whatever the clock says.
    static TOTAL: Cell<usize> = const { Cell::new(0) };
}

/// What the allocator of an isolate takes for it (dlmalloc, with pointers of 32 bits): a text of one byte takes sixteen.
fn taken(layout: Layout) -> usize {
    (layout.size() + 4).next_multiple_of(8).max(16)
}

// SAFETY: every call is the system allocator's own; what is added is two counters.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = taken(layout);
        let now = NOW.get() + bytes as isize;
        NOW.set(now);
        PEAK.set(PEAK.get().max(now));
        TOTAL.set(TOTAL.get() + bytes);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.set(NOW.get() - taken(layout) as isize);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Held by a test from its first line on: the counters see all threads, and tests run on several.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `work` gives, the most memory it held at once in bytes, and how long it took in ms.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, f64) {
    let before = NOW.get();
    PEAK.set(before);
    #[expect(
        clippy::disallowed_methods,
        reason = "the core has no clock, but what it costs is measured with one"
    )]
    let start = Instant::now();
    let result = work();
    (result, (PEAK.get() - before) as usize, start.elapsed().as_secs_f64() * 1e3)
}

/// Bytes that reading a body may take beside it, with pointers of 64 bits.
const MEMORY_MAX: usize = 5 * limits::BODY_BYTES_MAX;
/// Bytes that reading it may take one after the other: a number that is spelled anew, such as `1e20`, takes several short texts.
const COPIED_MAX: usize = 40 * limits::BODY_BYTES_MAX;
const ROOM: usize = limits::BODY_BYTES_MAX - 200;
const MIB: usize = 1024 * 1024;

fn filled(start: &str, piece: &str, end: &str, bytes: usize) -> String {
    let count = bytes.saturating_sub(start.len() + end.len()) / piece.len();
    format!("{start}{}{end}", piece.repeat(count).trim_end_matches(','))
}

fn numbered(start: &str, piece: impl Fn(usize) -> String, end: &str, bytes: usize) -> String {
    let mut text = start.to_owned();
    for number in 0.. {
        let piece = piece(number);
        if text.len() + piece.len() + end.len() > bytes {
            break;
        }
        text += &piece;
    }
    text.truncate(text.trim_end_matches(',').len());
    text + end
}

fn push(mutations: &str) -> String {
    format!(r#"{{"client":"c_12345678","mutations":[{mutations}]}}"#)
}

/// Four mutations of one change each, as large as they may be.
fn four(change: impl Fn(usize) -> String) -> String {
    let one = |id: usize| format!(r#"{{"id":{id},"changes":[{}]}}"#, change(MIB - 64));
    push(&list_of(4, one))
}

fn change(fields: &str) -> String {
    format!(r#"{{"op":{fields},"collection":"c","id":"r"}}"#)
}

fn list_of(count: usize, piece: impl Fn(usize) -> String) -> String {
    (1..=count).map(piece).collect::<Vec<_>>().join(",")
}

fn text_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

/// Bodies of almost 4 MiB, each the worst of its kind that came to mind.
fn bodies() -> Vec<(&'static str, String)> {
    let nested = |open: &str, close: &str| open.repeat(ROOM / 2) + &close.repeat(ROOM / 2);
    vec![
        ("brackets that never close", "[".repeat(ROOM)),
        ("an object of objects that never close", r#"{"a":"#.repeat(ROOM / 5)),
        ("an unknown field, nested", format!(r#"{{"x":{}}}"#, nested("[", "]"))),
        ("mutations, nested", push(&nested("[", "]"))),
        ("a change, nested", push(&format!(r#"{{"id":1,"changes":{}}}"#, nested("[", "]")))),
        (
            "a value, nested",
            four(|bytes| {
                change(&format!(
                    r#""put","value":{{"a":{}{}}}"#,
                    "[".repeat(bytes / 2 - 40),
                    "]".repeat(bytes / 2 - 40)
                ))
            }),
        ),
        ("millions of mutations", filled(r#"{"client":"c_12345678","mutations":["#, "0,", "]}", ROOM)),
        ("a million empty mutations", filled(r#"{"client":"c_12345678","mutations":["#, "{},", "]}", ROOM)),
        (
            "hundred thousands of numbered mutations",
            numbered(
                r#"{"client":"c_12345678","mutations":["#,
                |at| format!(r#"{{"id":{}}},"#, at + 1),
                "]}",
                ROOM,
            ),
        ),
        (
            "a million fields beside the envelope",
            filled(r#"{"client":"c_12345678","mutations":[],"#, r#""a":0,"#, r#","b":0}"#, ROOM),
        ),
        (
            "a million fields beside a mutation's",
            push(&filled(r#"{"id":1,"#, r#""a":0,"#, r#","b":0}"#, ROOM)),
        ),
        ("millions of changes", push(&filled(r#"{"id":1,"changes":["#, "0,", "]}", ROOM))),
        (
            "500 mutations of a million changes",
            push(
                &(1..=500)
                    .map(|id| filled(&format!(r#"{{"id":{id},"changes":["#), "0,", "]}", ROOM / 501))
                    .collect::<Vec<_>>()
                    .join(","),
            ),
        ),
        (
            "a hundred thousand whole changes",
            push(
                &(1..=300)
                    .map(|id| {
                        filled(
                            &format!(r#"{{"id":{id},"changes":["#),
                            r#"{"op":"delete","collection":"c","id":"r"},"#,
                            "]}",
                            ROOM / 301,
                        )
                    })
                    .collect::<Vec<_>>()
                    .join(","),
            ),
        ),
        (
            "a hundred thousand changes whose last is bad",
            push(
                &(1..=300)
                    .map(|id| {
                        filled(
                            &format!(r#"{{"id":{id},"changes":["#),
                            r#"{"op":"delete","collection":"c","id":"r"},"#,
                            ",7]}",
                            ROOM / 301,
                        )
                    })
                    .collect::<Vec<_>>()
                    .join(","),
            ),
        ),
        (
            "values to include",
            four(|bytes| change(&filled(r#""include","path":"a","values":["#, "1,", "]", bytes - 40))),
        ),
        (
            "numbers that are spelled shorter than they are compared",
            four(|bytes| change(&filled(r#""include","path":"a","values":["#, "1e20,", "]", bytes - 40))),
        ),
        (
            "values to exclude, all different",
            four(|bytes| {
                change(&numbered(
                    r#""exclude","path":"a","values":["#,
                    |at| format!("{at},"),
                    "]",
                    bytes - 40,
                ))
            }),
        ),
        (
            "fields to set",
            four(|bytes| {
                change(&numbered(r#""patch","set":{"#, |at| format!(r#""{at:x}":0,"#), "}", bytes - 40))
            }),
        ),
        (
            "fields to unset",
            four(|bytes| {
                change(&numbered(r#""patch","unset":["#, |at| format!(r#""{at:x}","#), "]", bytes - 40))
            }),
        ),
        (
            "twenty mutations, each of fewer fields than it may set",
            push(&list_of(20, |id| {
                let patch =
                    numbered(r#""patch","set":{"#, |at| format!(r#""{at:x}":0,"#), "}", ROOM / 20 - 100);
                format!(r#"{{"id":{id},"changes":[{}]}}"#, change(&patch))
            })),
        ),
        (
            "one field to unset, again and again",
            four(|bytes| change(&filled(r#""patch","unset":["#, r#""a","#, "]", bytes - 40))),
        ),
        (
            "long paths to set",
            four(|bytes| {
                change(&numbered(
                    r#""patch","set":{"#,
                    |at| format!(r#""a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.{at:x}":0,"#),
                    "}",
                    bytes - 40,
                ))
            }),
        ),
        (
            "a path of a megabyte",
            four(|bytes| change(&format!(r#""patch","unset":["{}"]"#, "a.".repeat(bytes / 2 - 60)))),
        ),
        (
            "an id of escapes",
            four(|bytes| {
                format!(r#"{{"op":"delete","collection":"c","id":"{}"}}"#, r"\u0061".repeat(bytes / 6 - 20))
            }),
        ),
        (
            "a number of a megabyte",
            four(|bytes| change(&format!(r#""add","path":"a","by":1{}"#, "1".repeat(bytes - 90)))),
        ),
        (
            "a base of a megabyte",
            push(&format!(r#"{{"id":1,"base":{},"changes":[]}}"#, "1".repeat(ROOM - 100))),
        ),
        (
            "an id that is a number of megabytes",
            push(&format!(r#"{{"id":{},"changes":[]}}"#, "1".repeat(ROOM - 100))),
        ),
        (
            "objects in each other, each in no order",
            push(&list_of(16, |id| {
                let value = r#"{"b":0,"a":"#.repeat(61) + &text_of(ROOM / 16 - 1_000) + &"}".repeat(61);
                format!(r#"{{"id":{id},"changes":[{}]}}"#, change(&format!(r#""put","value":{value}"#)))
            })),
        ),
        (
            "objects in each other, deeper than any that is taken",
            push(&format!(
                r#"{{"id":1,"changes":[{}{}{}]}}"#,
                r#"{"b":0,"a":"#.repeat(98),
                text_of(ROOM - 2_000),
                "}".repeat(98)
            )),
        ),
        ("white space", push(&format!(r#"{{"id":1,"changes":[{}]}}"#, " ".repeat(ROOM - 100)))),
        ("a client of megabytes", format!(r#"{{"client":"{}","mutations":[]}}"#, "c".repeat(ROOM - 100))),
        ("not UTF-8 at the end", format!(r#"{{"client":"{}"#, "\u{80}".repeat(ROOM / 2 - 100))),
    ]
}

#[test]
fn i11_no_body_takes_more_than_its_length_five_times_over_to_read() {
    let _alone = alone();
    let mut above = Vec::new();
    for (name, body) in bodies() {
        assert!(body.len() <= limits::BODY_BYTES_MAX, "{name} has {} bytes", body.len());
        let (length, bytes) = (body.len(), body.into_bytes());
        let total = TOTAL.get();
        let (parsed, peak, ms) = measured(|| PushRequest::read(bytes)?.finish());
        let copied = TOTAL.get() - total;
        let outcome = match &parsed {
            Ok(push) => format!(
                "{} mutations, {} rejected",
                push.mutations.len(),
                push.mutations.iter().filter(|one| one.intent.mutation().is_none()).count()
            ),
            Err(error) => format!("{} {}", error.status(), error.code()),
        };
        println!(
            "{name:45} {outcome:30} {:6.1} MiB at once {:6.1} MiB in all {ms:7.1} ms {:5.1} ns/byte",
            peak as f64 / MIB as f64,
            copied as f64 / MIB as f64,
            ms * 1e6 / length as f64
        );
        if peak > MEMORY_MAX || copied > COPIED_MAX {
            above.push(name);
        }
    }
    let (at_once, in_all) = (MEMORY_MAX / MIB, COPIED_MAX / MIB);
    assert_eq!(above, [""; 0], "these bodies take more than {at_once} MiB at once, or {in_all} MiB in all");
}

/// Pushes of at most so many bytes, of whatever is made most of for its length and is taken.
fn hostile(bytes: usize) -> Vec<(&'static str, String)> {
    let alone = |id: usize, change: &str| format!(r#"{{"id":{id},"changes":[{change}]}},"#);
    let many = |one: &dyn Fn(usize) -> String, most: usize| {
        let room = bytes - 60;
        let all = numbered("", |at| if at < most { one(at + 1) } else { " ".repeat(room) }, "", room);
        let left = room.saturating_sub(all.len());
        // What is left of the bytes are texts, as those of records may be.
        let text = limits::VALUE_BYTES_MAX - 200;
        let next = all.matches(r#"{"id""#).count() + 1;
        let texts = (0..left / (text + 200) + 1).map(|at| {
            let value = text_of(text.min((left - at * (text + 200)).saturating_sub(200)));
            alone(next + at, &change(&format!(r#""put","value":{{"s":{value}}}"#)))
        });
        let texts: String = if left > 1_000 { texts.collect() } else { String::new() };
        push((all + "," + &texts).trim_end_matches(','))
    };
    // All names that there may be, in two mutations, after which there is a text.
    let named = |op: &'static str, piece: &'static dyn Fn(usize) -> String, end: &'static str| {
        let one = move |id: usize| {
            let list = list_of((limits::NAMES_MAX / 2).min(bytes / 2 / (piece(1_000).len() + 2)), piece);
            alone(id, &change(&format!("{op}{list}{end}")))
        };
        many(&one, 2)
    };
    // Of two mutations, which have as many as they may, but for those of the texts.
    let changes = |one: &'static str| {
        let count = (limits::MUTATION_CHANGES_MAX - 20).min((bytes / 2 - 60) / (one.len() + 1));
        let one = |id: usize| format!(r#"{{"id":{id},"changes":[{}]}},"#, vec![one; count].join(","));
        many(&one, 2)
    };
    // A line separator of two bytes is kept as six. All of a push may keep 4 MiB.
    let separated = |at: usize| {
        let text = "\u{85}".repeat((bytes / 40).min(40_000));
        alone(at + 1, &change(&format!(r#""put","value":{{"s":"{text}"}}"#)))
    };
    let separators = numbered("", separated, "", bytes.min(1_300_000) - 60);
    vec![
        ("values", named(r#""include","path":"a","values":["#, &|_| "1".to_owned(), "]")),
        ("fields to set", named(r#""patch","set":{"#, &|at| format!(r#""{at:x}":0"#), "}")),
        ("fields to unset", named(r#""patch","unset":["#, &|at| format!(r#""{at:x}""#), "]")),
        ("mutations that are none", many(&|id| format!(r#"{{"id":{id}}},"#), 480)),
        ("mutations without changes", many(&|id| format!(r#"{{"id":{id},"changes":[]}},"#), 480)),
        (
            "mutations that are told at length why they are none",
            many(&|id| alone(id, &change(r#""include","path":"a","values":[{}]"#)), 480),
        ),
        ("mutations of a deletion", many(&|id| alone(id, &change(r#""delete""#)), 480)),
        ("mutations of a field", many(&|id| alone(id, &change(r#""patch","set":{"a":0}"#)), 480)),
        ("mutations of a value", many(&|id| alone(id, &change(r#""include","path":"a","values":[1]"#)), 480)),
        ("deletions", changes(r#"{"op":"delete","collection":"c","id":"r"}"#)),
        ("fields", changes(r#"{"op":"patch","collection":"c","id":"r","set":{"a":0},"unset":["b"]}"#)),
        ("resolutions", changes(r#"{"op":"resolve","conflict":"x_0mwrnsa6yk3v9q2_1","take":"mine"}"#)),
        (
            "records of resolutions",
            changes(
                r#"{"op":"resolve","conflict":"x_0mwrnsa6yk3v9q2_1","records":[{"collection":"c","id":"r","deleted":true}]}"#,
            ),
        ),
        (
            "conflicts that are followed",
            many(
                &|id| {
                    let count = limits::MUTATION_CHANGES_MAX.min(bytes / 2 / 22).saturating_sub(5).max(1);
                    let names = list_of(count, |_| r#""x_0mwrnsa6yk3v9q2_1""#.to_owned());
                    format!(r#"{{"id":{id},"after":[{names}],"changes":[]}},"#)
                },
                2,
            ),
        ),
        ("texts that are longer once they are kept", push(separators.trim_end_matches(','))),
        (
            "texts",
            many(
                &|id| {
                    let text = text_of((bytes / 18).min(limits::VALUE_BYTES_MAX - 200));
                    alone(id, &change(&format!(r#""put","value":{{"s":{text}}}"#)))
                },
                480,
            ),
        ),
    ]
}

#[test]
fn i11_no_push_takes_more_between_two_steps_than_it_weighs() {
    let _alone = alone();
    let mut above = Vec::new();
    let now = || NOW.get();
    for kib in [1, 10, 40, 64, 200, 1_024, 4_096] {
        for (name, body) in hostile(kib * 1024) {
            assert!(body.len() <= kib * 1024, "{name}: {} bytes", body.len());
            let most = limits::push_weight(body.len()) as isize;
            let before = now();
            let bytes = body.clone().into_bytes();
            let mut reading = PushRequest::read(bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let mut taken = now() - before;
            while reading.go_on(limits::READ_BYTES_MAX).unwrap_or_else(|error| panic!("{name}: {error:?}")) {
                taken = taken.max(now() - before);
            }
            taken = taken.max(now() - before);
            let weight = reading.weight() as isize;
            let push = reading.finish().expect("an envelope in order");
            let kept = now() - before;
            println!(
                "{kib:5} KiB {:4} mutations {name:50} {:4.1} {:4.1} of its length, {taken:9} of {most:9}, then {kept:9} of {weight:9}",
                push.mutations.len(),
                taken as f64 / body.len() as f64,
                kept as f64 / body.len() as f64,
            );
            if taken > most || kept > weight.min(most) {
                above.push(format!("{name} of {kib} KiB"));
            }
        }
    }
    assert_eq!(above, [""; 0], "these pushes take more than they weigh");
}

/// A space of alice's, and what she pushes.
struct Space(Coordinator<MemoryLedger>);

impl Space {
    fn new() -> Self {
        let scope = Scope::private(&SpaceHash::private("i", "alice"));
        let config = Config::read(|_| None).object.publication;
        let core = Coordinator::open(
            MemoryLedger::default(),
            Some(scope),
            config,
            None,
            Millis(1_795_341_182_362),
            7,
        );
        Self(core.expect("a space"))
    }

    fn push(&mut self, client: &str, mutations: &[String]) -> Result<Vec<Settled>, ApiError> {
        let numbered = mutations.iter().enumerate();
        let numbered: Vec<_> =
            numbered.map(|(at, changes)| format!(r#"{{"id":{},"changes":[{changes}]}}"#, at + 1)).collect();
        let body = format!(r#"{{"client":"{client}","mutations":[{}]}}"#, numbered.join(","));
        let push = PushRequest::parse(body.as_bytes())?;
        let mut answers = self.0.push(&[(UserHash::new("i", "alice"), push)], Millis(1_795_341_182_362));
        Ok(answers.remove(0)?.results.into_iter().map(|result| result.settled).collect())
    }

    /// Puts `value` under as many ids.
    fn fill(&mut self, count: usize, value: &str) {
        for batch in 0..count.div_ceil(12) {
            let puts: Vec<_> = (batch * 12..count.min(batch * 12 + 12))
                .map(|at| format!(r#"{{"op":"put","collection":"c","id":"r{at}","value":{value}}}"#))
                .collect();
            let settled = self.push(&format!("c_filling_{batch}"), &puts).expect("an answer");
            assert!(settled.iter().all(|settled| matches!(settled, Settled::Applied(_))), "{settled:?}");
        }
    }
}

/// A value of 256 KiB, and pushes against records that have it.
fn edits() -> Vec<(&'static str, String, usize, Vec<String>)> {
    let all = limits::VALUE_BYTES_MAX - 200;
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(all));
    let array = filled(r#"{"a":["#, "1,", "]}", all);
    let fields = numbered("{", |at| format!(r#""{at:x}":0,"#), "}", all);
    let on = |op: &str, at: usize| format!(r#"{{"op":{op},"collection":"c","id":"r{at}"}}"#);
    let same = |op: &str, count: usize| vec![on(op, 0); count].join(",");
    let each = |op: &str, count: usize| (0..count).map(|at| on(op, at)).collect::<Vec<_>>().join(",");
    let patch = r#""patch","set":{"n":1}"#;
    vec![
        ("one long text patched 2,000 times", text.clone(), 1, vec![same(patch, 1_000); 2]),
        ("one record of many fields patched 2,000 times", fields.clone(), 1, vec![same(patch, 1_000); 2]),
        (
            "a long array that includes 2,000 times",
            array.clone(),
            1,
            vec![same(r#""include","path":"a","values":[7]"#, 1_000); 2],
        ),
        (
            "a long array that excludes 2,000 times",
            array,
            1,
            vec![same(r#""exclude","path":"a","values":[7]"#, 1_000); 2],
        ),
        ("a number added 2,000 times", fields.clone(), 1, vec![same(r#""add","path":"0","by":1"#, 1_000); 2]),
        (
            "500 mutations of one record of many fields",
            fields.clone(),
            1,
            (0..500).map(|at| on(&format!(r#""patch","set":{{"n":{at}}}"#), 0)).collect(),
        ),
        (
            "500 mutations that turn the fields around",
            fields,
            1,
            (0..500).map(|at| on(&format!(r#""patch","set":{{"0":{at}}},"unset":["1"]"#), 0)).collect(),
        ),
        ("400 long records deleted at once", text.clone(), 400, vec![each(r#""delete""#, 400)]),
        ("400 long records overwritten at once", text.clone(), 400, vec![each(r#""put","value":{}"#, 400)]),
        (
            "400 long records deleted one by one",
            text.clone(),
            400,
            (0..400).map(|at| on(r#""delete""#, at)).collect(),
        ),
        ("400 long records that conflict", text, 400, vec![each(r#""delete","base":0"#, 400)]),
    ]
}

#[test]
fn i11_no_push_takes_memory_or_time_by_what_it_makes_of_long_records() {
    let _alone = alone();
    let (mut above, mut kept) = (Vec::new(), None::<(usize, String, Space)>);
    for (name, value, count, mutations) in edits() {
        let mut space = match kept.take() {
            Some((there, text, space)) if there == count && text == value && count > 1 => space,
            _ => {
                let mut space = Space::new();
                space.fill(count, &value);
                space
            }
        };
        let (settled, peak, ms) =
            measured(|| space.push(&format!("c_{}", name.len() + 1_000_000), &mutations));
        let outcome = match &settled {
            Ok(settled) => format!(
                "{} mutations, {} rejected",
                settled.len(),
                settled.iter().filter(|one| matches!(one, Settled::Rejected(_))).count()
            ),
            Err(error) => format!("{} {}", error.status(), error.code()),
        };
        println!("{name:48} {outcome:30} {:6.1} MiB {ms:8.1} ms", peak as f64 / MIB as f64);
        if peak > 4 * limits::MUTATION_WORK_MAX {
            above.push(name);
        }
        if matches!(&settled, Ok(settled) if settled.iter().all(|one| matches!(one, Settled::Rejected(_))))
            || settled.is_err()
        {
            kept = Some((count, value, space));
        }
    }
    assert_eq!(above, [""; 0], "these pushes take more than {} MiB", 4 * limits::MUTATION_WORK_MAX / MIB);
}
