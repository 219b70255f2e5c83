//! Scalars: what a JSON text of one means, and how one is written.

use std::borrow::Cow;

/// A scalar as parsed. Two are equal when JavaScript's `===` says so of their `JSON.parse`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scalar<'a> {
    /// `null`, `true` or `false`.
    Word(&'a str),
    /// The bits of a double that is not -0 and not NaN, so that equal numbers have equal bits.
    Number(u64),
    /// As [`decoded`].
    Text(Cow<'a, [u8]>),
}

impl<'a> Scalar<'a> {
    /// The scalar a JSON text stands for; `None` for an object or an array.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        match text {
            "null" | "true" | "false" => Some(Self::Word(text)),
            _ if text.starts_with('"') => Some(Self::Text(decoded(text))),
            // Adding 0 makes -0 a 0.
            _ => number(text).map(|number| Self::Number((number + 0.0).to_bits())),
        }
    }
}

/// The double a JSON number stands for, infinite when too large for one; `None` for anything but a number.
pub(crate) fn number(text: &str) -> Option<f64> {
    // Rust would also read `inf` and `nan`.
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    // Most numbers are whole and short, and every element of a long array is read: a double holds 15 digits exactly.
    if text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let whole = text.bytes().fold(0, |whole: u64, digit| whole * 10 + u64::from(digit - b'0'));
        return Some(whole as f64);
    }
    text.parse().ok()
}

/// A finite number as JavaScript's `JSON.stringify` writes it: the shortest digits that read back as the same double,
/// of several those nearest to it, of two as near the even ones.
pub(crate) fn number_text(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let plain = (1e-6..1e21).contains(&number.abs());
    let shortest = if plain { number.to_string() } else { format!("{number:e}") };
    // Of two as near Rust takes the larger, unless it is told how many digits to write. Told that, it may write digits
    // that read back as the neighbour below a power of two. A whole number is never in the middle.
    let mantissa = shortest.split('e').next().unwrap_or_default();
    let text = match mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len()) {
        0 => shortest,
        places => {
            let even = if plain { format!("{number:.places$}") } else { format!("{number:.places$e}") };
            if even.parse() == Ok(number) { even } else { shortest }
        }
    };
    if number.abs() < 1.0 { text } else { text.replace('e', "e+") }
}

/// The content of a JSON string (given with its quotes), equal exactly when the strings are equal.
///
/// These are bytes and not `str` because `"\ud800"` is legal: half a surrogate pair standing alone becomes the three
/// bytes UTF-8 would have for it (WTF-8), and everything else is UTF-8.
pub(crate) fn decoded(quoted: &str) -> Cow<'_, [u8]> {
    let bytes =
        quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().as_bytes();
    if !bytes.contains(&b'\\') {
        return Cow::Borrowed(bytes);
    }
    let mut content = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'\\' {
            rest = unescape(after, &mut content);
        } else {
            content.push(byte);
            rest = after;
        }
    }
    Cow::Owned(content)
}

/// Decodes one escape whose backslash has been read; returns what follows it.
fn unescape<'a>(escape: &'a [u8], content: &mut Vec<u8>) -> &'a [u8] {
    let Some((&kind, rest)) = escape.split_first() else { return escape };
    let plain = match kind {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unescape_unit(rest, content),
        other => other,
    };
    content.push(plain);
    rest
}

/// Decodes the digits of a `\u` escape, and with them the escape that follows if both are one surrogate pair.
pub(crate) fn unescape_unit<'a>(digits: &'a [u8], content: &mut Vec<u8>) -> &'a [u8] {
    let Some((unit, rest)) = unit(digits) else { return digits };
    let pair = rest.strip_prefix(b"\\u").and_then(self::unit);
    if let Some((low @ 0xdc00..=0xdfff, after)) = pair
        && (0xd800..=0xdbff).contains(&unit)
    {
        push_code_point(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00), content);
        return after;
    }
    push_code_point(unit, content);
    rest
}

/// Reads four hexadecimal digits: a UTF-16 unit, and what follows.
fn unit(digits: &[u8]) -> Option<(u32, &[u8])> {
    let (four, rest) = digits.split_at_checked(4)?;
    let unit = u32::from_str_radix(std::str::from_utf8(four).ok()?, 16).ok()?;
    Some((unit, rest))
}

fn push_code_point(point: u32, content: &mut Vec<u8>) {
    match char::from_u32(point) {
        Some(character) => content.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        // Only half a surrogate pair is no character.
        None => content.extend([0xed, 0x80 | (point >> 6 & 0x3f) as u8, 0x80 | (point & 0x3f) as u8]),
    }
}
