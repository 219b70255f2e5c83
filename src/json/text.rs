//! Texts in and out of small objects of our own. Serde's way through an object of optional fields costs kilobytes of wasm each
//! time; this reads what reads values anyway.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::members;

/// The field of that name, if `json` is an object and the field a string.
#[must_use]
#[inline(never)]
pub fn text_field(json: &str, name: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(json).ok()?;
    let named = members(raw.get()).filter(|(field, _)| text_of(field).is_some_and(|field| field == name));
    text_of(named.last()?.1).map(Cow::into_owned)
}

/// The content of a JSON string; none of anything else, and of a string that holds half of a surrogate pair.
#[must_use]
pub fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let content = json.strip_prefix('"')?.strip_suffix('"')?;
    if content.as_bytes().contains(&b'\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(content))
    }
}

/// A text as a JSON string, without a character at which a reader of lines would end one.
#[must_use]
#[inline(never)]
pub fn json_text(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..' ' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                json.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_if_it_is_a_text_of_an_object() {
        let json = r#" { "a" : "x\"\u00e9", "b": 1, "c": null, "d": {"a": "inner"} } "#;
        assert_eq!(text_field(json, "a").as_deref(), Some("x\"é"));
        for name in ["b", "c", "d", "e", ""] {
            assert_eq!(text_field(json, name), None, "{name}");
        }
        for json in ["", "[]", "\"a\"", "null", "{", "{\"a\":\"x\"", "{\"a\":\"x\"}}"] {
            assert_eq!(text_field(json, "a"), None, "{json}");
        }
        assert_eq!(text_field(r#"{"a":"x","\u0061":"y"}"#, "a").as_deref(), Some("y"), "the last one counts");
    }

    #[test]
    fn a_text_survives_being_json() {
        for text in ["", "a\"b\\c", "line\nfeed\u{0}", "é🗝", "\u{2028}"] {
            assert_eq!(serde_json::from_str::<String>(&json_text(text)).expect("JSON"), text);
        }
    }

    #[test]
    fn no_reader_of_lines_ends_one_within_a_text() {
        let ends = "\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}";
        let json = json_text(ends);
        assert!(!json.contains(|character| ends.contains(character)), "{json}");
        assert_eq!(json, r#""\u000a\u000d\u000b\u000c\u001c\u001d\u001e\u0085\u2028\u2029""#);
    }
}
