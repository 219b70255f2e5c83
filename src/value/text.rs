//! Texts in and out of small objects of our own. Serde's way through an object of optional fields costs kilobytes of wasm each
//! time; this reads what reads values anyway.

use serde_json::value::RawValue;

use super::{compact, fields};

/// The field of that name, if `json` is an object and the field a string.
#[must_use]
#[inline(never)]
pub fn text_field(json: &str, name: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(json).ok()?;
    let (object, _) = compact(raw.get());
    if !object.starts_with('{') {
        return None;
    }
    let fields = fields(&object);
    let (_, text) = fields.iter().find(|(field, _)| field == name)?;
    serde_json::from_str(text).ok()
}

/// A text as a JSON string.
#[must_use]
#[inline(never)]
pub fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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
}
