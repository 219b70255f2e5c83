//! The one text that all spellings of a mutation have in common: the contract's "The same mutation".

use std::cmp::Ordering;

use crate::value::{compact, order_of_names, push_number, push_text, string_end, value_end};

/// Below so many arrays and objects nothing is ordered. No mutation that is applied has as many.
const LEVELS_MAX: usize = 100;

/// The canonical text of a mutation. `json` is valid JSON; other text panics nowhere, and what it gives means nothing.
pub(super) fn canonical(json: &str) -> String {
    let mut writer = Writer { json, at: 0, out: String::with_capacity(json.len()), members: Vec::new() };
    writer.value(Place::Mutation, 0);
    writer.out
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
            Self::Mutation => value == "null",
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
    out: String,
    /// Of the objects that are open.
    members: Vec<Member>,
}

/// Where `"name":value,` stands in what was written.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    colon: usize,
    end: usize,
}

impl Writer<'_> {
    fn value(&mut self, place: Place, level: usize) {
        let start = self.skip_space();
        let bytes = self.json.as_bytes();
        match bytes.get(start) {
            Some(b'{') if level < LEVELS_MAX => self.object(place, level),
            Some(b'[') if level < LEVELS_MAX => self.array(place, level),
            Some(b'{' | b'[') => {
                self.at = value_end(bytes, start);
                self.out.push_str(&compact(&self.json[start..self.at]).text);
            }
            Some(b'"') => self.text(),
            first => {
                let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
                let length = bytes[start..].iter().position(is_end);
                self.at = length.map_or(bytes.len(), |length| start + length);
                let scalar = &self.json[start..self.at];
                if matches!(first, Some(b'-' | b'0'..=b'9')) {
                    push_number(scalar, &mut self.out);
                } else {
                    self.out.push_str(scalar);
                }
            }
        }
    }

    fn text(&mut self) {
        let end = string_end(self.json.as_bytes(), self.at);
        push_text(&self.json[self.at..end], &mut self.out);
        self.at = end;
    }

    fn array(&mut self, place: Place, level: usize) {
        self.out.push('[');
        self.at += 1;
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
        self.out.push('{');
        self.at += 1;
        let (body, first) = (self.out.len(), self.members.len());
        let mut is_canonical = true;
        while self.goes_on(b'}') {
            let start = self.out.len();
            self.text();
            let colon = self.out.len();
            self.skip_space();
            self.at += 1;
            self.out.push(':');
            self.value(place.of_member(&self.out[start..colon]), level + 1);
            // Not kept until the end: there may be a million of them, of which none counts.
            let is_of_it = match &self.out[start..colon] {
                "\"at\"" => !planted!(AtIgnored),
                name => name == "\"changes\"",
            };
            if place == Place::Mutation && !is_of_it {
                self.out.truncate(start);
                continue;
            }
            self.out.push(',');
            let member = Member { start, colon, end: self.out.len() };
            let last = self.members[first..].last();
            is_canonical &= last.is_none_or(|last| self.order(last, &member) == Ordering::Less);
            is_canonical &= !self.is_without(place, &member);
            self.members.push(member);
        }
        if !is_canonical {
            self.put_in_order(place, body, first);
        }
        self.members.truncate(first);
        self.out.truncate(self.out.len() - usize::from(self.out.len() > body));
        self.out.push('}');
    }

    /// Orders the members that were written last, and leaves out those that do not count. Of a repeated name the last one
    /// counts, as in `JSON.parse`.
    fn put_in_order(&mut self, place: Place, body: usize, first: usize) {
        let mut members = self.members.split_off(first);
        members.sort_by(|one, other| self.order(one, other));
        let mut ordered = String::with_capacity(self.out.len() - body);
        for (at, member) in members.iter().enumerate() {
            let is_repeated =
                members.get(at + 1).is_some_and(|next| self.order(member, next) == Ordering::Equal);
            if !is_repeated && !self.is_without(place, member) {
                ordered.push_str(&self.out[member.start..member.end]);
            }
        }
        self.out.truncate(body);
        self.out.push_str(&ordered);
    }

    fn is_without(&self, place: Place, member: &Member) -> bool {
        place.is_without(&self.out[member.start..member.colon], &self.out[member.colon + 1..member.end - 1])
    }

    fn order(&self, one: &Member, other: &Member) -> Ordering {
        let name = |member: &Member| &self.out[member.start..member.colon];
        order_of_names(name(one), name(other))
    }

    /// Passes over commas and white space, and over the bracket if it comes next. Whether something else does.
    fn goes_on(&mut self, bracket: u8) -> bool {
        loop {
            let at = self.skip_space();
            match self.json.as_bytes().get(at) {
                Some(b',') => self.at += 1,
                Some(byte) if *byte == bracket => {
                    self.at += 1;
                    return false;
                }
                next => return next.is_some(),
            }
        }
    }

    fn skip_space(&mut self) -> usize {
        while matches!(self.json.as_bytes().get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn i2_the_fixtures_are_spelled_as_the_contract_says() {
        let fixtures: Value =
            serde_json::from_str(include_str!("../../../fixtures/canonical.json")).expect("JSON");
        let mutations = fixtures["mutations"].as_array().expect("mutations");
        assert!(mutations.len() > 20);
        let mut seen = std::collections::BTreeSet::new();
        for fixture in mutations {
            for text in fixture["texts"].as_array().expect("texts") {
                let text = text.as_str().expect("a text");
                assert_eq!(canonical(text), fixture["canonical"], "{}: {text}", fixture["name"]);
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
        assert_eq!(canonical(text), text);
    }

    #[test]
    fn deep_and_wide_mutations_take_a_time_that_grows_with_their_length() {
        let deep = format!(r#"{{"changes":{} 1 {}}}"#, r#"[{"b":1,"a":"#.repeat(50_000), "}]".repeat(50_000));
        assert_eq!(canonical(&deep).len(), deep.len() - 2, "ordered down to a level, and compact below");
        let names: Vec<_> = (0..100_000).rev().map(|name| format!("\"{name:06}\":0")).collect();
        let wide = format!(r#"{{"changes":[{{"op":"put","value":{{{}}}}}]}}"#, names.join(","));
        assert!(canonical(&wide).starts_with(r#"{"changes":[{"op":"put","value":{"000000":0,"000001":0,"#));
    }
}
