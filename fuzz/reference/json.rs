//! JSON text, read a second time and in the plainest way, for comparison.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of an object in order, repeated names included. None for anything else, and for a name that is no Rust
/// text, such as half a surrogate pair.
pub(crate) fn members(text: &str) -> Option<Vec<(String, &str)>> {
    struct Members<'a>(Vec<(String, &'a RawValue)>);
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
    Some(members.0.into_iter().map(|(name, raw)| (name, raw.get())).collect())
}

/// The elements of an array. None for anything else.
pub(crate) fn elements(text: &str) -> Option<Vec<&str>> {
    let raw: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(raw.into_iter().map(RawValue::get).collect())
}

/// A string as Rust text. None for anything else.
pub(crate) fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// A whole number that JavaScript holds exactly. None for anything else.
pub(crate) fn number(text: &str) -> Option<u64> {
    serde_json::from_str(text).ok().filter(|number| *number < 1 << 53)
}

/// Whether the text is one JSON value.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Valid JSON with `space` between all tokens instead of the white space it has.
pub(crate) fn spaced(text: &str, space: &str) -> String {
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
pub(crate) fn nesting(text: &str) -> usize {
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
