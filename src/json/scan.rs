//! Reading JSON text without building a tree.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::scalar::decoded;

/// Names (decoded) and value texts of the top-level fields of an object text, in order.
///
/// Of a repeated name only the last counts, as in `JSON.parse`. Half a surrogate pair standing alone in a name is legal
/// JSON but no Rust text: it reads as U+FFFD characters here. Such fields are told apart, but may read alike.
pub fn fields(object: &str) -> Vec<(Cow<'_, str>, &str)> {
    distinct(object).into_iter().map(|(name, value)| (readable(name), value)).collect()
}

/// Names (decoded) of the top-level fields whose text `after` changes, adds or removes against `before`, in the order of
/// their bytes. Names read as in [`fields`].
pub fn touched(before: &str, after: &str) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let mut values = Values::new();
    for (side, object) in [before, after].into_iter().enumerate() {
        for member in Members::of(object) {
            values.entry(decoded(member.name)).or_default()[side] = Some(member.value);
        }
    }
    differing(values)
}

/// Those of `names` that [`touched`] would name. For whoever knows that there can be no others: an object may have many
/// fields, and looking through them is much cheaper than remembering them.
pub fn touched_among<'a>(
    before: &'a str,
    after: &'a str,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut values = Values::new();
    for name in names {
        values.insert(Cow::Borrowed(name.as_bytes()), [None; 2]);
    }
    for (side, object) in [before, after].into_iter().enumerate() {
        for member in Members::of(object) {
            if let Some(value) = values.get_mut(&*decoded(member.name)) {
                value[side] = Some(member.value);
            }
        }
    }
    differing(values)
}

/// Before and after, by decoded name. A tree, not a hash table: on wasm the hasher has no random seed, and clients choose
/// the names.
type Values<'a> = BTreeMap<Cow<'a, [u8]>, [Option<&'a str>; 2]>;

fn differing(values: Values<'_>) -> Vec<String> {
    let differing = values.into_iter().filter(|(_, [before, after])| before != after);
    differing.map(|(name, _)| readable(name).into_owned()).collect()
}

/// The fields of an object in order, without those that a later one of the same name replaces.
fn distinct(object: &str) -> Vec<(Cow<'_, [u8]>, &str)> {
    let named = Members::of(object).map(|member| (decoded(member.name), member.value));
    // A tree, not a hash table: on wasm the hasher has no random seed, and clients choose the names.
    let mut seen = BTreeSet::new();
    let mut kept: Vec<_> = named.collect();
    kept.reverse();
    kept.retain(|(name, _)| seen.insert(name.clone()));
    kept.reverse();
    kept
}

/// A decoded name as Rust text.
fn readable(name: Cow<'_, [u8]>) -> Cow<'_, str> {
    match name {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// One `"name":value` of an object.
pub(crate) struct Member<'a> {
    /// Where it stands in the body of the object, in bytes.
    pub(crate) span: Range<usize>,
    /// The name as written, with its quotes.
    pub(crate) name: &'a str,
    /// The value as written.
    pub(crate) value: &'a str,
}

/// Names (as JSON strings) and value texts of the members of an object in order, repeated names included; none of any other
/// text. There may be white space between its tokens.
pub fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    Members::of(object).map(|member| (member.name, member.value))
}

/// The members of an object, repeated names included.
pub(crate) struct Members<'a> {
    body: &'a str,
    at: usize,
}

impl<'a> Members<'a> {
    /// The members of an object text; none of any other text.
    pub(crate) fn of(object: &'a str) -> Self {
        Self { body: body(object, '{', '}'), at: 0 }
    }

    /// The text between the braces.
    pub(crate) fn body(&self) -> &'a str {
        self.body
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let bytes = self.body.as_bytes();
        let name = space_end(bytes, self.at);
        let name = name..value_end(bytes, name);
        let value = space_end(bytes, space_end(bytes, name.end) + 1);
        let value = value..value_end(bytes, value);
        self.at = space_end(bytes, value.end) + 1;
        let span = name.start..value.end;
        Some(Member { span, name: self.body.get(name)?, value: self.body.get(value)?.trim_ascii_end() })
    }
}

/// The text between the brackets of an array; empty of any other text.
pub(crate) fn array_body(array: &str) -> &str {
    body(array, '[', ']')
}

/// The texts of an array's elements; none of any other text. There may be white space between its tokens.
pub fn elements(array: &str) -> impl Iterator<Item = &str> {
    let body = array_body(array);
    let mut at = 0;
    std::iter::from_fn(move || {
        let (element, next) = element_at(body, at)?;
        at = next;
        body.get(element)
    })
}

/// Where the element stands in the body of an array that is the first from `at` on, and from where on the next one is: for whoever
/// goes on later.
pub(crate) fn element_at(body: &str, at: usize) -> Option<(Range<usize>, usize)> {
    let start = space_end(body.as_bytes(), at);
    let end = value_end(body.as_bytes(), start);
    let element = body.get(start..end).map(str::trim_ascii_end).filter(|element| !element.is_empty())?;
    Some((start..start + element.len(), space_end(body.as_bytes(), end) + 1))
}

/// The index of the first byte from `at` on that is no white space.
fn space_end(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn body(text: &str, open: char, close: char) -> &str {
    text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).unwrap_or_default()
}

/// The index after the value that begins at `at`. It counts brackets instead of recursing.
pub(crate) fn value_end(bytes: &[u8], mut at: usize) -> usize {
    let mut open = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                if open == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' if open <= 1 => return at + 1,
            b'}' | b']' => open -= 1,
            // Ends a number, `true`, `false` or `null`.
            b',' if open == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The index after the string whose opening quote is at `open`.
pub(crate) fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    loop {
        at += before(bytes.get(at..).unwrap_or_default(), [b'"', b'\\']);
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(_) => at += 2,
            None => return bytes.len(),
        }
    }
}

/// How many bytes come before the first of `needles`.
pub(crate) fn before<const N: usize>(bytes: &[u8], needles: [u8; N]) -> usize {
    let mut at = 0;
    // Most of a value is string content, so looking at eight bytes at once is most of the speed of [`compact`].
    while let Some(eight) = bytes[at..].first_chunk() {
        let skipped = before_in(u64::from_le_bytes(*eight), needles);
        at += skipped;
        if skipped < 8 {
            return at;
        }
    }
    at + bytes[at..].iter().take_while(|byte| !needles.contains(byte)).count()
}

/// The same of eight bytes, first the lowest.
fn before_in<const N: usize>(eight: u64, needles: [u8; N]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The lowest bit set is exact (a borrow only reaches bytes above the first zero), and only that one is used.
    let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes & HIGH;
    let found =
        needles.into_iter().fold(0, |found, needle| found | zeros(eight ^ (ONES * u64::from(needle))));
    (found.trailing_zeros() / 8) as usize
}
