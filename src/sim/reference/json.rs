//! JSON text, read a second time and in the plainest way, for comparison.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of an object in order, repeated names included. None for anything else, and for a name that is no Rust
/// text, such as half a surrogate pair.
pub fn members(text: &str) -> Option<Vec<(String, &str)>> {
    raw_members(text)?.into_iter().map(|(name, value)| Some((string(name)?, value))).collect()
}

/// The same with the names as they are written.
pub fn raw_members(text: &str) -> Option<Vec<(&str, &str)>> {
    struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);
    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct InOrder;
            impl<'de> Visitor<'de> for InOrder {
                type Value = Members<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(InOrder)
        }
    }
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    Some(members.0.into_iter().map(|(name, raw)| (name.get(), raw.get())).collect())
}

/// The elements of an array. None for anything else.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(raw.into_iter().map(RawValue::get).collect())
}

/// A string as Rust text. None for anything else.
pub fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// A number that is whole and that JavaScript holds exactly, however it is written. None for anything else.
pub fn number(text: &str) -> Option<u64> {
    let number: f64 = text.parse().ok().filter(|_| is_json(text))?;
    (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

/// Valid JSON as it is kept: without white space between tokens, line ends in strings as escapes.
pub fn kept(text: &str) -> String {
    let text = spaced(text, "");
    text.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// Whether every string of valid JSON is one in UTF-8 and every number a finite double.
pub fn is_fit(text: &str) -> bool {
    let spaced = spaced(text, "\n");
    // No string has a line feed.
    spaced.split('\n').all(|token| match token.chars().next() {
        Some('"') => string(token).is_some(),
        Some('-' | '0'..='9') => token.parse().is_ok_and(f64::is_finite),
        _ => true,
    })
}

/// Whether an object in valid JSON has a name twice.
pub fn has_repeated(text: &str) -> bool {
    if let Some(members) = members(text) {
        let names: BTreeSet<_> = members.iter().map(|(name, _)| name).collect();
        return names.len() < members.len() || members.iter().any(|(_, value)| has_repeated(value));
    }
    elements(text).is_some_and(|elements| elements.into_iter().any(has_repeated))
}

/// Whether the text is one JSON value.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Valid JSON with `space` between all tokens instead of the white space it has.
pub fn spaced(text: &str, space: &str) -> String {
    let (mut spaced, mut is_string, mut is_escape) = (String::new(), false, false);
    for character in text.chars() {
        if is_string {
            spaced.push(character);
            is_string = is_escape || character != '"';
            is_escape = !is_escape && character == '\\';
        } else if matches!(character, '{' | '}' | '[' | ']' | ',' | ':') {
            spaced.extend([space, &character.to_string(), space]);
        } else if !matches!(character, ' ' | '\t' | '\r' | '\n') {
            is_string = character == '"';
            spaced.push(character);
        }
    }
    spaced
}

/// How deep the brackets of valid JSON go.
pub fn nesting(text: &str) -> usize {
    let (mut open, mut deepest, mut is_string, mut is_escape) = (0_usize, 0, false, false);
    for character in text.chars() {
        match character {
            _ if is_escape => is_escape = false,
            '\\' => is_escape = is_string,
            '"' => is_string = !is_string,
            '{' | '[' if !is_string => open += 1,
            '}' | ']' if !is_string => open -= 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}
