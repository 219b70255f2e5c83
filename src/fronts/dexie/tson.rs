//! Values as this client writes them, and what JavaScript makes of them.

use std::borrow::Cow;

use crate::json::{decoded, elements, members, number, number_text, text_of};

/// What stands for something that is not there.
pub(super) const UNDEFINED: &str = r#"{"$t":"undefined"}"#;

/// A value, as far as its client can tell it from others.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Undefined,
    Null,
    Boolean(bool),
    /// Also what is none, or not finite.
    Number(f64),
    /// Within the bounds of this type; larger ones are [`Self::Other`].
    BigInt(i128),
    /// A string as it is written, with its quotes.
    Text(&'a str),
    /// Milliseconds since 1970.
    Date(f64),
    /// Bytes, in an encoding that sorts as they do.
    Binary(Cow<'a, str>),
    Array(&'a str),
    Object(&'a str),
    /// Of another type, such as a set.
    Other,
}

impl<'a> Value<'a> {
    /// Of a JSON text.
    pub(super) fn of(text: &'a str) -> Self {
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            Some(b'"') => Self::Text(text),
            Some(b'[') => Self::Array(text),
            Some(b'{') => Self::of_object(text),
            _ => Self::Number(number(text).unwrap_or(f64::NAN)),
        }
    }

    fn of_object(text: &'a str) -> Self {
        let (mut kind, mut value) = (None, None);
        for (name, member) in members(text) {
            match name {
                r#""$t""# => kind = Some(member),
                r#""v""# => value = text_of(member),
                _ => {}
            }
        }
        let Some(kind) = kind else { return Self::Object(text) };
        let value = value.unwrap_or_default();
        match text_of(kind).as_deref() {
            Some("undefined") => Self::Undefined,
            Some("number") => Self::Number(number_of_text(value.as_bytes())),
            Some("bigint") => value.parse().map_or(Self::Other, Self::BigInt),
            Some("Date") => Self::Date(milliseconds(&value).unwrap_or(f64::NAN)),
            Some("ArrayBuffer" | "DataView") => Self::Binary(value),
            Some(kind) if kind.ends_with("Array") || kind == "Uint8ClampedArray" => Self::Binary(value),
            _ => Self::Other,
        }
    }

    /// Whether it counts as true.
    pub(super) fn is_truthy(&self) -> bool {
        match self {
            Self::Undefined | Self::Null | Self::Boolean(false) | Self::BigInt(0) => false,
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Text(text) => *text != r#""""#,
            _ => true,
        }
    }

    /// As `Number()` takes it.
    pub(super) fn to_number(&self) -> f64 {
        match self {
            Self::Null | Self::Boolean(false) => 0.0,
            Self::Boolean(true) => 1.0,
            Self::Number(number) | Self::Date(number) => *number,
            Self::BigInt(number) => *number as f64,
            Self::Text(text) => number_of_text(&decoded(text)),
            Self::Array(_) => number_of_text(&self.to_text()),
            Self::Undefined | Self::Binary(_) | Self::Object(_) | Self::Other => f64::NAN,
        }
    }

    /// As `String()` has it. A date has another text in every time zone, so here it has that of none.
    pub(super) fn to_text(&self) -> Cow<'a, [u8]> {
        self.to_text_at(0)
    }

    fn to_text_at(&self, level: usize) -> Cow<'a, [u8]> {
        let text: Cow<'_, str> = match self {
            Self::Undefined => "undefined".into(),
            Self::Null => "null".into(),
            Self::Boolean(boolean) => boolean.to_string().into(),
            Self::Number(number) => js_text(*number).into(),
            Self::BigInt(number) => number.to_string().into(),
            Self::Text(text) => return decoded(text),
            Self::Date(number) => js_text(*number).into(),
            Self::Array(array) if level < crate::limits::VALUE_DEPTH_MAX => {
                let texts = elements(array).map(|element| match Value::of(element) {
                    Value::Undefined | Value::Null => Cow::Borrowed(&[][..]),
                    element => element.to_text_at(level + 1),
                });
                return texts.collect::<Vec<_>>().join(&b',').into();
            }
            Self::Array(_) | Self::Binary(_) | Self::Object(_) | Self::Other => "[object Object]".into(),
        };
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
}

/// A value that is there: neither null nor undefined.
pub(super) fn given(text: &str) -> Option<&str> {
    (!matches!(Value::of(text), Value::Undefined | Value::Null)).then_some(text)
}

/// Whether a name is one of an object's own: a member of this name would be something else in JavaScript.
pub(super) fn is_own(name: &str) -> bool {
    name != "__proto__"
}

/// The name of a property, as the object that is encoded has it.
pub(super) fn unescaped(name: &str) -> &str {
    if name == "$t" { name } else { name.strip_prefix('$').unwrap_or(name) }
}

/// The name of a property, as it stands in the encoded object.
pub(super) fn escaped(name: &str) -> Cow<'_, str> {
    if name.starts_with('$') { format!("${name}").into() } else { name.into() }
}

/// A number as it is encoded.
pub(super) fn encoded(number: f64) -> String {
    if number.is_finite() {
        number_text(number)
    } else {
        format!(r#"{{"$t":"number","v":"{}"}}"#, js_text(number))
    }
}

fn js_text(number: f64) -> String {
    match number {
        _ if number.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => number_text(number),
    }
}

/// The number that a text is.
pub(super) fn number_of_text(text: &[u8]) -> f64 {
    let Ok(text) = std::str::from_utf8(text) else { return f64::NAN };
    let text = text.trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}');
    let radix = text.get(..2).map(str::to_ascii_lowercase);
    let radix = match radix.as_deref() {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    if let Some(radix) = radix {
        let digits = text[2..].chars().map(|digit| digit.to_digit(radix).map(f64::from));
        let sum = digits.reduce(|sum, digit| Some(sum? * f64::from(radix) + digit?));
        return sum.flatten().unwrap_or(f64::NAN);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_decimal = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    match text {
        "" => 0.0,
        _ if unsigned == "Infinity" || is_decimal => text.parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

/// The time that `toISOString` has written, in ms since 1970.
fn milliseconds(text: &str) -> Option<f64> {
    let digits_of_year = if text.starts_with(['+', '-']) { 7 } else { 4 };
    let (year, rest) = text.split_at_checked(digits_of_year)?;
    let year: i64 = year.parse().ok()?;
    let rest = rest.strip_suffix('Z')?;
    let shape = rest.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    if !shape.eq("-00-00T00:00:00.000".bytes()) {
        return None;
    }
    let part = |from: usize, to: usize| rest.get(from..to)?.parse::<i64>().ok();
    let (month, day) = (part(1, 3)?, part(4, 6)?);
    let (hour, minute, second, rest) = (part(7, 9)?, part(10, 12)?, part(13, 15)?, part(16, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) as f64 * 1000.0 + rest as f64)
}

/// Of a day of the Gregorian calendar. A year that begins in March has its odd day at its end.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_milliseconds_since_1970() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.000Z", Some(0.0)),
            ("1969-12-31T23:59:59.999Z", Some(-1.0)),
            ("2026-02-28T12:34:56.789Z", Some(1_772_282_096_789.0)),
            ("2000-02-29T00:00:00.000Z", Some(951_782_400_000.0)),
            ("+275760-09-13T00:00:00.000Z", Some(8.64e15)),
            ("-271821-04-20T00:00:00.000Z", Some(-8.64e15)),
            ("NaN", None),
            ("2026-02-28", None),
            ("", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn texts_are_numbers_as_javascript_reads_them() {
        for (text, expected) in [
            ("", 0.0),
            (" 12 ", 12.0),
            ("0x1F", 31.0),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(number_of_text(text.as_bytes()), expected, "{text}");
        }
        for text in ["inf", "nan", "1x", "0x", "-", "infinity", "1 2"] {
            assert!(number_of_text(text.as_bytes()).is_nan(), "{text}");
        }
    }
}
