//! What hostile bodies cost: no body, however it is made, takes memory or time out of proportion to its length. Memory is
//! counted by the allocator of this test program, which is why it is one of its own. An isolate has 128 MB for all its
//! objects, pointers there are half as long as here, and what is exhausted there ends all of them.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use headwater::{
    call::PushRequest,
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

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// All that was ever given out: what is copied again and again shows here, whatever the clock says.
static TOTAL: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own; what is added is two counters.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        TOTAL.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
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
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    #[expect(
        clippy::disallowed_methods,
        reason = "the core has no clock, but what it costs is measured with one"
    )]
    let start = Instant::now();
    let result = work();
    (result, PEAK.load(Ordering::Relaxed) - before, start.elapsed().as_secs_f64() * 1e3)
}

/// Bytes that reading a body may take beside it, with pointers of 64 bits.
const MEMORY_MAX: usize = 5 * limits::BODY_BYTES_MAX;
/// Bytes that reading it may take one after the other.
const COPIED_MAX: usize = 24 * limits::BODY_BYTES_MAX;
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
        let total = TOTAL.load(Ordering::Relaxed);
        let (parsed, peak, ms) = measured(|| PushRequest::read(bytes)?.finish());
        let copied = TOTAL.load(Ordering::Relaxed) - total;
        let outcome = match &parsed {
            Ok(push) => format!(
                "{} mutations, {} rejected",
                push.mutations.len(),
                push.mutations.iter().filter(|one| one.mutation.is_err()).count()
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
