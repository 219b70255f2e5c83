//! Every parser of outside bytes, by what must hold for any input (`fuzz/properties/`): on bytes of any kind, on damaged
//! examples, and on the examples themselves, which are the corpus of the fuzz targets. `npm run fuzz` looks for more by
//! coverage. What fails here is printed; put it into `fuzz/corpus/<parser>/`, where it is tried from then on.

#[path = "../fuzz/properties/mod.rs"]
mod properties;

use std::{fmt, fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::Value;

/// The examples of a parser, by name.
fn examples(parser: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(parser);
    let files = fs::read_dir(&folder).expect("a corpus").map(|file| file.expect("a file").path());
    let mut examples: Vec<_> =
        files.map(|path| (path.display().to_string(), fs::read(&path).expect("an example"))).collect();
    if parser == "messages" {
        examples.extend(fixtures());
    }
    examples.sort();
    assert!(!examples.is_empty(), "{} is empty", folder.display());
    examples
}

/// The messages that clients' tests read too.
fn fixtures() -> impl Iterator<Item = (String, Vec<u8>)> {
    let fixtures: Value = serde_json::from_str(include_str!("../fixtures/messages.json")).expect("JSON");
    let texts = |list: &str| fixtures[list].as_array().expect("a list").clone();
    let text = |one: Value| {
        let [name, text] = ["name", "text"].map(|field| one[field].as_str().expect("a text").to_owned());
        (name, text.into_bytes())
    };
    texts("sent").into_iter().chain(texts("refused")).map(text).collect::<Vec<_>>().into_iter()
}

/// Text that means something to one parser or another, put into examples where it may not belong.
const PIECES: [&str; 52] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\n",
    " ",
    "\t",
    ".",
    "%",
    "&",
    "=",
    "null",
    "true",
    "0",
    "-1",
    "1",
    "2",
    "1.0",
    "1e999",
    "9007199254740991",
    "9007199254740992",
    "\"\"",
    "{}",
    "[]",
    "\"a\":",
    "\"base\":0,",
    "\"base\":1,",
    "\"base\":9,",
    "\"op\":\"put\",",
    "\"op\":\"delete\",",
    "\"epoch\":\"0mwrnsa6yk3v9q2\",",
    "\"orPut\":{\"a\":1},",
    "\"unset\":[\"a\"],",
    "\"after\":\"x_0mwrnsa6yk3v9q2_3\",",
    "\"op\":\"resolve\",\"conflict\":\"x_0mwrnsa6yk3v9q2_3\",",
    "\"take\":\"mine\",",
    "\"records\":[{\"collection\":\"c\",\"id\":\"r\",\"deleted\":true}],",
    "a.b",
    "__proto__",
    "\\u0061",
    "\\ud800",
    "\u{85}",
    "é",
    "😀",
    "\u{feff}",
    "$",
    "[[[[[[[[[[[[[[[[",
    "%ff",
];

/// An edit of an example.
#[derive(Debug, Clone)]
enum Edit {
    Insert(Index, usize),
    Remove(Index, usize),
    /// Copies a stretch of so many bytes from one place to another.
    Copy(Index, Index, usize),
    Set(Index, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (any::<Index>(), 0..PIECES.len()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        2 => (any::<Index>(), 1..16_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        2 => (any::<Index>(), any::<Index>(), 1..64_usize).prop_map(|(from, to, count)| Edit::Copy(from, to, count)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let place = |at: &Index| at.index(bytes.len() + 1);
        let until = |start: usize, count: usize| (start + count).min(bytes.len());
        match edit {
            Edit::Insert(at, piece) => {
                let at = place(at);
                bytes.splice(at..at, PIECES[*piece].bytes());
            }
            Edit::Remove(at, count) => {
                let stretch = place(at)..until(place(at), *count);
                bytes.drain(stretch);
            }
            Edit::Copy(from, to, count) => {
                let stretch = bytes[place(from)..until(place(from), *count)].to_vec();
                let to = place(to);
                bytes.splice(to..to, stretch);
            }
            Edit::Set(at, byte) => {
                let at = place(at);
                bytes.splice(at..until(at, 1), [*byte]);
            }
        }
    }
    bytes
}

/// Bytes that are shown as they are typed.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn damaged(parser: &str) -> impl Strategy<Value = Input> {
    let examples = examples(parser);
    (any::<Index>(), vec(edit(), 1..8))
        .prop_map(move |(which, edits)| Input(edited(which.get(&examples).1.clone(), &edits)))
}

fn any_bytes() -> impl Strategy<Value = Input> {
    prop_oneof![vec(any::<u8>(), 0..200), ".*".prop_map(String::into_bytes)].prop_map(Input)
}

macro_rules! parsers {
    ($($parser:ident $cases:literal),*) => { $(
        mod $parser {
            use super::*;

            #[test]
            fn the_examples_keep_what_must_hold() {
                for (name, bytes) in examples(stringify!($parser)) {
                    // Shown only if it fails.
                    println!("{name}");
                    properties::$parser(&bytes);
                }
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases($cases))]

                #[test]
                fn damaged_examples_keep_what_must_hold(input in damaged(stringify!($parser))) {
                    properties::$parser(&input.0);
                }

                #[test]
                fn any_bytes_keep_what_must_hold(input in any_bytes()) {
                    properties::$parser(&input.0);
                }
            }
        }
    )* };
}

parsers! {
    push 2000, resolutions 1000, pull_query 2000, pull_body 2000, cursor 2000, route 1000, token 1000, jwks 1000, head 1000, lines 1000, parts 100,
    internal 1000, value 2000, operations 1000, messages 500, dexie 1000, dexie_live 1000
}
