//! One spelling of each string and number, and one order of names: those of RFC 8785, except that an integer keeps all of its
//! digits. The contract's "The same mutation" says why.

use std::cmp::Ordering;

use crate::json::scalar::{decoded, number_text, unescape_unit};

/// The digits that a double holds for certain.
const DIGITS_EXACT: usize = 15;
/// JavaScript writes so many digits before the point without an exponent.
const DIGITS_PLAIN: i64 = 21;

/// Appends a JSON string (given with its quotes) as `JSON.stringify` would write it.
pub(crate) fn push_text(quoted: &str, out: &mut String) {
    if !quoted.as_bytes().contains(&b'\\') {
        return out.push_str(quoted);
    }
    let mut rest = quoted;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        rest = push_escape(escape, out);
    }
    out.push_str(rest);
}

/// Appends what an escape, of which the backslash has been read, stands for, and returns what follows it.
fn push_escape<'a>(escape: &'a str, out: &mut String) -> &'a str {
    let (kind, rest) = escape.split_at_checked(1).unwrap_or_default();
    if kind != "u" {
        out.push_str(if kind == "/" { "" } else { "\\" });
        out.push_str(kind);
        return rest;
    }
    let mut content = Vec::new();
    let after = unescape_unit(rest.as_bytes(), &mut content).len();
    let (digits, after) = rest.split_at_checked(rest.len() - after).unwrap_or_default();
    match (&*content, std::str::from_utf8(&content)) {
        ([control @ (8..=10 | 12 | 13)], _) => {
            out.push('\\');
            out.push(char::from(b"btn.fr"[usize::from(control - 8)]));
        }
        ([byte @ (b'"' | b'\\')], _) => out.extend(['\\', char::from(*byte)]),
        ([0..=0x1f], _) | (_, Err(_)) => {
            out.push_str("\\u");
            out.push_str(&digits.to_ascii_lowercase());
        }
        (_, Ok(text)) => out.push_str(text),
    }
    after
}

/// Appends a JSON number: an integer with all of its digits, any other number as the double nearest to it, both as
/// `JSON.stringify` would write them. What is too large for a double has all of its digits too.
pub(crate) fn push_number(text: &str, out: &mut String) {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = digits.len() <= DIGITS_PLAIN as usize && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain && text != "-0" {
        out.push_str(text);
    } else {
        // What is larger than anything that can be counted stays as it is written.
        out.push_str(&respelled(text).unwrap_or_else(|| text.to_owned()));
    }
}

fn respelled(text: &str) -> Option<String> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let sign = &text[..text.len() - unsigned.len()];
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let significant = all.trim_start_matches('0');
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    // The number is 0.digits × 10^point.
    let point = (whole.len() + significant.len()) as i64 - all.len() as i64;
    let point = exponent.parse::<i64>().ok().and_then(|exponent| exponent.checked_add(point));
    if point.is_none() && exponent.starts_with('-') {
        return Some("0".to_owned());
    }
    let point = point?;
    let is_integer = digits.len() as i64 <= point;
    if !is_integer
        && (digits.len() > DIGITS_EXACT || point < -300)
        && let Some(double) = text.parse::<f64>().ok().filter(|double| double.is_finite())
    {
        return Some(number_text(double));
    }
    Some(format!("{sign}{}", laid_out(digits, point)))
}

/// Digits as ECMAScript's `Number::toString` lays them out.
fn laid_out(digits: &str, point: i64) -> String {
    let zeros = |count: i64| "0".repeat(count.unsigned_abs() as usize);
    let count = digits.len() as i64;
    match point {
        _ if count <= point && point <= DIGITS_PLAIN => format!("{digits}{}", zeros(point - count)),
        1..=DIGITS_PLAIN => {
            let (whole, fraction) = digits.split_at(point as usize);
            format!("{whole}.{fraction}")
        }
        -5..=0 => format!("0.{}{digits}", zeros(point)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{first}{dot}{rest}e{:+}", point - 1)
        }
    }
}

/// Compares two names (given with their quotes) by the UTF-16 units of their content.
pub(crate) fn order_of_names(one: &str, other: &str) -> Ordering {
    // Only the characters from U+E000 to U+FFFF stand elsewhere in UTF-8: before those that UTF-16 has as surrogates.
    let rank = |byte: &u8| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { *byte };
    // Most names differ soon and before any escape, so that nothing of them has to be decoded.
    let mut pairs = one.as_bytes().iter().zip(other.as_bytes());
    let differing = pairs.find(|(one, other)| one != other || **one == b'\\');
    if let Some((one, other)) = differing
        && ![one, other].iter().any(|byte| matches!(byte, b'\\' | b'"'))
    {
        return rank(one).cmp(&rank(other));
    }
    let (one, other) = (decoded(one), decoded(other));
    one.iter().map(rank).cmp(other.iter().map(rank))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> String {
        let mut out = String::new();
        push_number(text, &mut out);
        out
    }

    #[test]
    fn an_exponent_that_no_machine_can_count_is_nothing_or_stays_as_it_is() {
        for text in ["1e99999999999999999999", "1e9223372036854775807"] {
            assert_eq!(number(text), text);
        }
        for text in ["1e-99999999999999999999", "-1e-99999999999999999999", "0.1e-9223372036854775808"] {
            assert_eq!(number(text), "0", "{text}");
        }
        assert_eq!(number("0e99999999999999999999"), "0");
        assert_eq!(number("0.001e9223372036854775807"), "1e+9223372036854775804");
    }

    proptest! {
        #[test]
        fn a_double_has_the_text_that_javascript_gives_it_however_it_is_written(
            double in any::<f64>().prop_filter("JSON", |double| double.is_finite()),
            places in 17_usize..40,
        ) {
            let shortest = number_text(double);
            prop_assert_eq!(number(&shortest), &*shortest);
            if double.fract() != 0.0 {
                prop_assert_eq!(number(&format!("{double:.places$e}")), &*shortest);
                prop_assert_eq!(number(&format!("{double:.400}")), &*shortest);
            }
        }

        #[test]
        fn an_integer_keeps_its_digits_wherever_the_point_is(
            digits in "[1-9][0-9]{0,40}", zeros in 0_usize..30, shift in 0_usize..60,
        ) {
            let whole = format!("{digits}{}", "0".repeat(zeros));
            let padded = format!("{}{whole}", "0".repeat(shift));
            let (before, after) = padded.split_at(padded.len() - shift);
            let before = before.trim_start_matches('0');
            let moved = format!("{}.{after}0e{shift}", if before.is_empty() { "0" } else { before });
            prop_assert_eq!(number(&moved), number(&whole));
            if whole.len() <= 21 {
                prop_assert_eq!(number(&whole), whole);
            } else {
                let laid_out = number(&whole);
                let (mantissa, exponent) = laid_out.split_once("e+").expect("an exponent");
                prop_assert_eq!(mantissa.replace('.', ""), digits.trim_end_matches('0'));
                prop_assert_eq!(exponent.parse(), Ok(whole.len() - 1));
            }
        }
    }
}
