//! A value as it is kept and sent on.

use std::borrow::Cow;

use super::Refused;
use crate::json::before;

/// A JSON text as it is kept and sent on.
#[derive(Debug, PartialEq, Eq)]
pub struct Compact<'a> {
    /// Borrowed when it is what came in.
    pub text: Cow<'a, str>,
    /// The nesting: 0 for a scalar, 1 for `{}`, 2 for `[{}]`.
    pub depth: usize,
    /// Why it must not be sent on: there are JSON parsers that would refuse everything it comes with.
    pub unfit: Option<Refused>,
}

/// `raw` without white space between (and around) tokens, and with escapes for the characters at which some readers of
/// lines end one, although JSON allows them in strings: U+0085, U+2028 and U+2029. The other such characters are controls,
/// which JSON itself has escaped.
///
/// `raw` is any valid JSON of any depth; this is one pass that keeps no stack.
pub fn compact(raw: &str) -> Compact<'_> {
    let bytes = raw.as_bytes();
    let (mut open, mut depth, mut unfit) = (0_usize, 0, None);
    let (mut kept, mut at) = (Kept { raw, text: String::new(), copied: 0 }, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let (end, is_fit) = compact_string(bytes, at + 1, &mut kept);
                unfit = unfit.or((!is_fit).then_some(Refused::HalfPair));
                at = end;
                continue;
            }
            b'-' | b'0'..=b'9' => {
                let is_of_number =
                    |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(is_of_number).count();
                unfit = unfit.or((!is_finite(&raw[at..end])).then_some(Refused::Infinite));
                at = end;
                continue;
            }
            b'{' | b'[' => {
                open += 1;
                depth = depth.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            b' ' | b'\t' | b'\n' | b'\r' => kept.replace(at, at + 1, ""),
            _ => {}
        }
        at += 1;
    }
    Compact { text: kept.finished(), depth, unfit }
}

/// The index after the string whose content begins at `at`, and whether its escapes make characters.
fn compact_string(bytes: &[u8], mut at: usize, kept: &mut Kept<'_>) -> (usize, bool) {
    let mut is_fit = true;
    loop {
        // C2 and E2 begin the line ends, and few other characters.
        at += before(bytes.get(at..).unwrap_or_default(), [b'"', b'\\', 0xc2, 0xe2]);
        let (length, escape) = match bytes.get(at..).unwrap_or_default() {
            [] => return (bytes.len(), is_fit),
            [b'"', ..] => return (at + 1, is_fit),
            [b'\\', b'u', digits @ ..] => {
                let length = unit_length(digits);
                is_fit &= length.is_some();
                (length.unwrap_or(6), "")
            }
            [b'\\', ..] => (2, ""),
            [0xc2, 0x85, ..] => (2, "\\u0085"),
            [0xe2, 0x80, 0xa8, ..] => (3, "\\u2028"),
            [0xe2, 0x80, 0xa9, ..] => (3, "\\u2029"),
            _ => (1, ""),
        };
        if !escape.is_empty() {
            kept.replace(at, at + length, escape);
        }
        at += length;
    }
}

/// How long the `\u` escape with these digits is, both of a surrogate pair together; none for half a pair.
fn unit_length(digits: &[u8]) -> Option<usize> {
    match digits {
        [
            b'd' | b'D',
            b'8' | b'9' | b'a' | b'b' | b'A' | b'B',
            _,
            _,
            b'\\',
            b'u',
            b'd' | b'D',
            b'c'..=b'f' | b'C'..=b'F',
            ..,
        ] => Some(12),
        [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..] => None,
        _ => Some(6),
    }
}

/// Whether a number is one as a double. Parsers differ in what they make of others: infinity, or an error.
fn is_finite(number: &str) -> bool {
    let is_short = number.len() <= f64::MAX_10_EXP as usize && !number.contains(['e', 'E']);
    is_short || number.parse().is_ok_and(f64::is_finite)
}

/// A copy of a text with some of it replaced, which begins with the first replacement.
struct Kept<'a> {
    raw: &'a str,
    text: String,
    copied: usize,
}

impl<'a> Kept<'a> {
    fn replace(&mut self, from: usize, to: usize, by: &str) {
        self.text.push_str(&self.raw[self.copied..from]);
        self.text.push_str(by);
        self.copied = to;
    }

    fn finished(mut self) -> Cow<'a, str> {
        // A replacement moves `copied` past itself.
        if self.copied == 0 {
            return Cow::Borrowed(self.raw);
        }
        self.text.push_str(&self.raw[self.copied..]);
        Cow::Owned(self.text)
    }
}
