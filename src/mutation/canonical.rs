//! The one text that all spellings of a mutation have in common: the contract's "The same mutation".

use std::{borrow::Cow, cmp::Ordering};

use crate::json::{order_of_names, push_number, push_text, string_end};

/// Below so many arrays and objects nothing is ordered. No mutation that is applied has as many.
const LEVELS_MAX: usize = 100;

/// The canonical text of a mutation, and whether an object of it has a name twice. `json` is compact valid JSON of less than
/// 4 GiB; other text panics nowhere, and what it gives means nothing. It is read twice and written once, however deep it is
/// and however its names are ordered.
pub(super) fn canonical(json: &str) -> (String, bool) {
    let (ends, out) = (ends_of(json), String::with_capacity(json.len()));
    let mut writer = Writer { json, at: 0, ends, next: 0, out, has_repeated: false };
    writer.value(Place::Mutation, 0);
    (writer.out, writer.has_repeated)
}

/// Whether an object in a value has a name twice. `json` as in [`canonical`].
#[cfg(feature = "dexie")]
pub(super) fn has_repeated(json: &str) -> bool {
    let (ends, out) = (ends_of(json), String::with_capacity(json.len()));
    let mut writer = Writer { json, at: 0, ends, next: 0, out, has_repeated: false };
    writer.value(Place::Value, 0);
    writer.has_repeated
}

/// Where something stands: what a member means, and whether it counts, depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Mutation,
    /// A list of changes, or of the records of a resolution.
    Changes,
    Change,
    Value,
}

impl Place {
    fn of_member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Mutation, "\"changes\"") | (Self::Change, "\"records\"") => Self::Changes,
            _ => Self::Value,
        }
    }

    fn of_element(self) -> Self {
        if self == Self::Changes { Self::Change } else { Self::Value }
    }

    /// Whether a member means the same as its absence, or says under which conditions a mutation is made and not which it is.
    fn is_without(self, name: &str, value: &str) -> bool {
        match self {
            Self::Mutation => {
                let is_of_it = name == "\"changes\"" || (name == "\"at\"" && !planted!(AtIgnored));
                value == "null" || !is_of_it
            }
            Self::Change => {
                value == "null"
                    || matches!(
                        (name, value),
                        ("\"base\"", _) | ("\"set\"", "{}") | ("\"unset\"", "[]") | ("\"deleted\"", "false")
                    )
            }
            Self::Changes | Self::Value => false,
        }
    }
}

struct Writer<'a> {
    json: &'a str,
    at: usize,
    /// Of every array and object, in the order in which they begin, where it ends.
    ends: Vec<End>,
    /// The next of them to begin from `at` on.
    next: usize,
    out: String,
    has_repeated: bool,
}

/// The end of an array or object.
#[derive(Clone, Copy)]
struct End {
    /// The index after it.
    at: u32,
    /// How many have begun by then.
    begun: u32,
}

/// A member of an object: its name as it is spelled, and where its value begins.
struct Member<'a> {
    name: Cow<'a, str>,
    value: usize,
    next: usize,
    /// Whether it says something of what the mutation is.
    counts: bool,
}

impl<'a> Writer<'a> {
    fn value(&mut self, place: Place, level: usize) {
        match self.json.as_bytes().get(self.at) {
            Some(b'{') if level < LEVELS_MAX => self.object(place, level),
            Some(b'[') if level < LEVELS_MAX => self.array(place, level),
            first => {
                let (start, first) = (self.at, first.copied());
                self.skip_value();
                let text = self.text(start, self.at);
                match first {
                    Some(b'"') => push_text(text, &mut self.out),
                    Some(b'-' | b'0'..=b'9') => push_number(text, &mut self.out),
                    _ => self.out.push_str(text),
                }
            }
        }
    }

    fn array(&mut self, place: Place, level: usize) {
        self.out.push('[');
        self.begin();
        let mut is_first = true;
        while self.goes_on(b']') {
            if !is_first {
                self.out.push(',');
            }
            is_first = false;
            self.value(place.of_element(), level + 1);
        }
        self.out.push(']');
    }

    fn object(&mut self, place: Place, level: usize) {
        let members = self.members(place);
        let (at, next) = (self.at, self.next);
        self.out.push('{');
        let mut is_first = true;
        for (index, member) in members.iter().enumerate() {
            // Of a repeated name the last one counts, as in `JSON.parse`.
            if members.get(index + 1).is_some_and(|next| next.name == member.name) {
                self.has_repeated = true;
                continue;
            }
            if !member.counts {
                continue;
            }
            if !is_first {
                self.out.push(',');
            }
            is_first = false;
            self.out.push_str(&member.name);
            self.out.push(':');
            (self.at, self.next) = (member.value, member.next);
            self.value(place.of_member(&member.name), level + 1);
        }
        self.out.push('}');
        (self.at, self.next) = (at, next);
    }

    /// Reads the object that begins here: its members in order, and those of one name in the order in which they stand.
    fn members(&mut self, place: Place) -> Vec<Member<'a>> {
        let mut members: Vec<Member<'_>> = Vec::new();
        self.begin();
        let mut is_in_order = true;
        while self.goes_on(b'}') {
            let start = self.at;
            self.at = string_end(self.json.as_bytes(), start);
            let name = spelled(self.text(start, self.at));
            self.at += 1;
            let (value, next) = (self.at, self.next);
            self.skip_value();
            let counts = !place.is_without(&name, self.text(value, self.at));
            let member = Member { name, value, next, counts };
            let order = members.last().map(|last| order_of_names(&last.name, &member.name));
            is_in_order &= order.is_none_or(|order| order != Ordering::Greater);
            members.push(member);
        }
        if !is_in_order {
            members.sort_by(|one, other| order_of_names(&one.name, &other.name));
        }
        members
    }

    fn text(&self, start: usize, end: usize) -> &'a str {
        self.json.get(start..end).unwrap_or_default()
    }

    /// Goes into the array or object that begins here.
    fn begin(&mut self) {
        self.at += 1;
        self.next += 1;
    }

    fn skip_value(&mut self) {
        let bytes = self.json.as_bytes();
        match (bytes.get(self.at), self.ends.get(self.next)) {
            (Some(b'{' | b'['), Some(end)) => {
                (self.at, self.next) = (end.at as usize, end.begun as usize);
            }
            (Some(b'"'), _) => self.at = string_end(bytes, self.at),
            _ => {
                let rest = bytes.get(self.at..).unwrap_or_default();
                let length = rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}'));
                // One at least: what is no JSON must come to its end too.
                self.at += length.unwrap_or(rest.len()).max(1).min(rest.len());
            }
        }
    }

    /// Passes over a comma, and over the bracket if it comes next. Whether something else does.
    fn goes_on(&mut self, bracket: u8) -> bool {
        let bytes = self.json.as_bytes();
        self.at += usize::from(bytes.get(self.at) == Some(&b','));
        let is_over = bytes.get(self.at).is_none_or(|byte| *byte == bracket);
        self.at += usize::from(is_over && self.at < bytes.len());
        !is_over
    }
}

/// Looked for once: what looked for the end of each value anew would read what lies deep as often as it is deep.
fn ends_of(json: &str) -> Vec<End> {
    let (bytes, mut at) = (json.as_bytes(), 0);
    let (mut ends, mut open) = (Vec::new(), Vec::new());
    let index = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => {
                open.push(ends.len());
                ends.push(End { at: index(bytes.len()), begun: u32::MAX });
            }
            b'}' | b']' => {
                if let Some(begun) = open.pop() {
                    ends[begun] = End { at: index(at + 1), begun: index(ends.len()) };
                }
            }
            _ => {}
        }
        at += 1;
    }
    ends
}

fn spelled(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return Cow::Borrowed(name);
    }
    let mut out = String::new();
    push_text(name, &mut out);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::value::compact;

    fn text_of(json: &str) -> String {
        canonical(&compact(json).text).0
    }

    #[test]
    fn i2_the_fixtures_are_spelled_as_the_contract_says() {
        let fixtures: Value =
            serde_json::from_str(include_str!("../../fixtures/canonical.json")).expect("JSON");
        let mutations = fixtures["mutations"].as_array().expect("mutations");
        assert!(mutations.len() > 20);
        let mut seen = std::collections::BTreeSet::new();
        for fixture in mutations {
            for text in fixture["texts"].as_array().expect("texts") {
                let text = text.as_str().expect("a text");
                assert_eq!(text_of(text), fixture["canonical"], "{}: {text}", fixture["name"]);
            }
            let hash = Sha256::digest(fixture["canonical"].as_str().expect("a text"));
            assert_eq!(hex::encode(hash), fixture["sha256"], "{}", fixture["name"]);
            assert!(seen.insert(fixture["canonical"].as_str()), "{} twice", fixture["name"]);
        }
    }

    #[test]
    fn a_canonical_text_is_its_own() {
        let text =
            r#"{"at":1,"changes":[{"id":"r","op":"put","value":{"a":[{"b":[[],{}]},1e+300,"\\"],"c":{}}}]}"#;
        assert_eq!(text_of(text), text);
    }

    #[test]
    fn deep_and_wide_mutations_take_a_time_that_grows_with_their_length() {
        let deep = format!(r#"{{"changes":{} 1 {}}}"#, r#"[{"b":1,"a":"#.repeat(50_000), "}]".repeat(50_000));
        assert_eq!(text_of(&deep).len(), deep.len() - 2, "ordered down to a level, and compact below");
        let names: Vec<_> = (0..100_000).rev().map(|name| format!("\"{name:06}\":0")).collect();
        let wide = format!(r#"{{"changes":[{{"op":"put","value":{{{}}}}}]}}"#, names.join(","));
        assert!(text_of(&wide).starts_with(r#"{"changes":[{"op":"put","value":{"000000":0,"000001":0,"#));
    }

    #[test]
    fn a_name_that_stands_twice_is_noticed_wherever_it_does() {
        let has_repeated = |value: &str| {
            canonical(&compact(&format!(r#"{{"changes":[{{"op":"put","value":{value}}}]}}"#)).text).1
        };
        for value in
            [r#"{"a":1,"a":1}"#, r#"{"b":0,"a":1,"\u0061":2}"#, r#"{"x":[[{"y":{"a":1,"b":2,"a":3}}]]}"#]
        {
            assert!(has_repeated(value), "{value}");
        }
        assert!(!has_repeated(r#"{"a":{"a":[{"a":1},{"a":2}]},"A":1}"#));
    }

    #[test]
    fn other_text_panics_nowhere() {
        for text in [
            "",
            "{",
            "[",
            "{\"",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "{\"changes\":[",
            "]",
            "}}",
            "{]",
            "[}",
            "{\"a\":}",
            "[,,]",
            "é{",
            "{é}",
        ] {
            canonical(text);
        }
    }
}
