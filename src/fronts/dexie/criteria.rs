//! Which records a condition means: those that an index has within a range.

use super::{
    key::IndexKey,
    realm::Realm,
    tson::{Value, escaped, given},
};
use crate::{
    json::{Members, decoded, elements, members, text_of},
    limits,
};

/// A condition, read once and asked of many records.
#[derive(Debug)]
pub(super) struct Criteria {
    index: Index,
    range: Range,
    /// Whether an array in a record counts by its elements: the condition does not say whether its index has several entries for
    /// a record, but then its bounds are no arrays.
    by_elements: bool,
}

#[derive(Debug)]
enum Index {
    Id,
    /// Names on the way to a property, as they stand in values.
    Path(Vec<Vec<u8>>),
    /// Several properties together.
    Paths(Vec<Vec<Vec<u8>>>),
}

#[derive(Debug)]
enum Range {
    Any,
    Never,
    Within { lower: Option<Bound>, upper: Option<Bound> },
}

#[derive(Debug)]
struct Bound {
    key: IndexKey,
    is_open: bool,
}

impl Criteria {
    /// Reads a condition; none if it is not understood.
    pub(super) fn parse(json: &str) -> Option<Self> {
        if json.len() > limits::DEXIE_CRITERIA_MAX {
            return None;
        }
        let (mut index, mut range) = (None, None);
        for (name, value) in members(json) {
            match name {
                r#""index""# => index = given(value),
                r#""range""# => range = given(value),
                _ => {}
            }
        }
        let index = match index {
            Some(name) => Index::parse(&text_of(name)?),
            None => Index::Id,
        };
        let range = Range::parse(range?)?;
        let is_array = |bound: &Bound| matches!(&bound.key, IndexKey::Array(keys) if !is_last(keys));
        let by_elements = match &range {
            Range::Within { lower, upper } => !lower.iter().chain(upper).any(is_array),
            Range::Any | Range::Never => true,
        };
        Some(Self { index, range, by_elements })
    }

    /// Whether no record can be meant.
    pub(super) const fn is_never(&self) -> bool {
        matches!(self.range, Range::Never)
    }

    /// Whether it means a record of a realm, for a user.
    pub(super) fn means(&self, id: &str, value: &str, (realm, sub): (&Realm, &str)) -> bool {
        match &self.index {
            Index::Id => self.range.has(&IndexKey::of_id(id, sub)),
            Index::Path(path) => found(value, path, realm).is_some_and(|there| self.means_value(there)),
            Index::Paths(paths) => {
                let keys = paths.iter().map(|path| IndexKey::of(found(value, path, realm)?));
                keys.collect::<Option<_>>().is_some_and(|keys| self.range.has(&IndexKey::Array(keys)))
            }
        }
    }

    fn means_value(&self, there: &str) -> bool {
        match Value::of(there) {
            Value::Array(array) if self.by_elements => {
                matches!(self.range, Range::Any) && IndexKey::of(there).is_some()
                    || elements(array).filter_map(IndexKey::of).any(|key| self.range.has(&key))
            }
            _ => IndexKey::of(there).is_some_and(|key| self.range.has(&key)),
        }
    }
}

impl Index {
    fn parse(name: &str) -> Self {
        let path = |name: &str| name.split('.').map(|name| escaped(name).as_bytes().to_vec()).collect();
        match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            _ if name == ":id" => Self::Id,
            Some(names) => Self::Paths(names.split('+').map(path).collect()),
            None => Self::Path(path(name)),
        }
    }
}

impl Range {
    fn parse(json: &str) -> Option<Self> {
        let field =
            |wanted: &str| members(json).filter(|(name, _)| *name == wanted).last().map(|(_, value)| value);
        let is_open = |name| field(name) == Some("true");
        let bound = |name, is_open| match field(name).and_then(given) {
            Some(value) => IndexKey::of(value).map(|key| Some(Bound { key, is_open })),
            None => Some(None),
        };
        match Value::of(field(r#""type""#)?).to_number() {
            1.0 => {
                let lower = bound(r#""lower""#, false)??;
                let upper = Bound { key: lower.key.clone(), is_open: false };
                Some(Self::Within { lower: Some(lower), upper: Some(upper) })
            }
            2.0 => {
                let lower = bound(r#""lower""#, is_open(r#""lowerOpen""#))?;
                let upper = bound(r#""upper""#, is_open(r#""upperOpen""#))?;
                Some(Self::Within { lower, upper })
            }
            3.0 => Some(Self::Any),
            4.0 => Some(Self::Never),
            _ => None,
        }
    }

    fn has(&self, key: &IndexKey) -> bool {
        match self {
            Self::Any => true,
            Self::Never => false,
            Self::Within { lower, upper } => {
                let is_above =
                    |bound: &Bound| if bound.is_open { *key > bound.key } else { *key >= bound.key };
                let is_below =
                    |bound: &Bound| if bound.is_open { *key < bound.key } else { *key <= bound.key };
                lower.as_ref().is_none_or(is_above) && upper.as_ref().is_none_or(is_below)
            }
        }
    }
}

/// Whether it is `[[]]`, by which this client means the end of all keys.
fn is_last(keys: &[IndexKey]) -> bool {
    matches!(keys, [IndexKey::Array(none)] if none.is_empty())
}

/// What stands at a path in a value.
fn found<'a>(value: &'a str, path: &[Vec<u8>], realm: &'a Realm) -> Option<&'a str> {
    if let [name] = path
        && let Some(default) = std::str::from_utf8(name).ok().and_then(|name| realm.default_of(name))
    {
        return found_in(value, path).or(Some(default));
    }
    found_in(value, path)
}

fn found_in<'a>(value: &'a str, path: &[Vec<u8>]) -> Option<&'a str> {
    let mut there = value;
    for name in path {
        there = match Value::of(there) {
            Value::Object(object) => {
                Members::of(object).filter(|member| *decoded(member.name) == **name).last()?.value
            }
            Value::Array(array) => {
                let at: usize = std::str::from_utf8(name).ok()?.parse().ok()?;
                elements(array).nth(at)?
            }
            _ => return None,
        };
    }
    Some(there)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::json::json_text;

    /// A key as the specification of IndexedDB has it.
    #[derive(Debug, Clone, PartialEq)]
    enum Plain {
        Number(f64),
        Date(f64),
        Text(String),
        Binary(Vec<u8>),
        Array(Vec<Self>),
    }

    impl Plain {
        const fn rank(&self) -> u8 {
            match self {
                Self::Number(_) => 1,
                Self::Date(_) => 2,
                Self::Text(_) => 3,
                Self::Binary(_) => 4,
                Self::Array(_) => 5,
            }
        }

        fn compare(&self, other: &Self) -> Ordering {
            match (self, other) {
                (Self::Number(one), Self::Number(two)) | (Self::Date(one), Self::Date(two)) => {
                    one.partial_cmp(two).expect("numbers")
                }
                (Self::Text(one), Self::Text(two)) => one.encode_utf16().cmp(two.encode_utf16()),
                (Self::Binary(one), Self::Binary(two)) => one.cmp(two),
                (Self::Array(one), Self::Array(two)) => {
                    let pairs = one.iter().zip(two).map(|(one, two)| one.compare(two));
                    pairs.fold(Ordering::Equal, Ordering::then).then(one.len().cmp(&two.len()))
                }
                _ => self.rank().cmp(&other.rank()),
            }
        }

        fn text(&self) -> String {
            match self {
                Self::Number(number) => crate::fronts::dexie::tson::encoded(*number),
                Self::Date(day) => {
                    format!(r#"{{"$t":"Date","v":"1970-01-{:02}T00:00:00.000Z"}}"#, *day as u32 + 1)
                }
                Self::Text(text) => json_text(text),
                Self::Binary(bytes) => format!(r#"{{"$t":"Uint8Array","v":"{}"}}"#, b64lex(bytes)),
                Self::Array(all) => {
                    let all: Vec<_> = all.iter().map(Self::text).collect();
                    format!("[{}]", all.join(","))
                }
            }
        }
    }

    /// Base64 in an alphabet that is in the order of its characters.
    fn b64lex(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz|";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let number = three.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
            let number = number << (8 * (3 - three.len()));
            for at in 0..4 {
                let digit = ALPHABET[(number >> (18 - 6 * at) & 63) as usize];
                text.push(if at > three.len() { '-' } else { char::from(digit) });
            }
        }
        text
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let numbers = vec![0.0, -0.0, 1.0, -1.5, 1e300, f64::INFINITY, f64::NEG_INFINITY];
        let texts = vec!["", "a", "b", "a\u{0}", "\u{ffff}", "\u{10000}", "\u{e000}", "é", "\"\n"];
        let leaf = prop_oneof![
            select(numbers).prop_map(Plain::Number),
            (0..4_u8).prop_map(|day| Plain::Date(f64::from(day))),
            select(texts).prop_map(|text| Plain::Text(text.to_owned())),
            vec(any::<u8>(), 0..5).prop_map(Plain::Binary),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| vec(inner, 0..3).prop_map(Plain::Array))
    }

    fn range(lower: &Plain, upper: &Plain, open: [bool; 2]) -> String {
        format!(
            r#"{{"type":2,"lower":{},"upper":{},"lowerOpen":{},"upperOpen":{}}}"#,
            lower.text(),
            upper.text(),
            open[0],
            open[1]
        )
    }

    fn is_within(key: &Plain, lower: &Plain, upper: &Plain, open: [bool; 2]) -> bool {
        let (from, to) = (key.compare(lower), key.compare(upper));
        let is_above = from.is_gt() || from.is_eq() && !open[0];
        is_above && (to.is_lt() || to.is_eq() && !open[1])
    }

    fn means(index: &str, range: &str, id: &str, value: &str) -> bool {
        let criteria = Criteria::parse(&format!(r#"{{"index":{index},"range":{range}}}"#));
        criteria.expect("a condition").means(id, value, (&Realm::own("alice"), "alice"))
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_the_specification(one in plain(), two in plain()) {
            let keys = [&one, &two].map(|key| IndexKey::of(&key.text()).expect("a key"));
            prop_assert_eq!(keys[0].cmp(&keys[1]), one.compare(&two), "{} {}", one.text(), two.text());
        }

        #[test]
        fn a_range_means_what_lies_within_it(
            there in plain(), lower in plain(), upper in plain(), open in any::<[bool; 2]>(),
        ) {
            let range = range(&lower, &upper, open);
            let value = format!(r#"{{"x":{{"y":{}}}}}"#, there.text());
            let is_last = |bound: &Plain| *bound == Plain::Array(vec![Plain::Array(Vec::new())]);
            let by_elements = [&lower, &upper].iter().all(|bound| bound.rank() < 5 || is_last(bound));
            let expected = match &there {
                Plain::Array(all) if by_elements => all.iter().any(|key| is_within(key, &lower, &upper, open)),
                key => is_within(key, &lower, &upper, open),
            };
            prop_assert_eq!(means(r#""x.y""#, &range, "r", &value), expected, "{} {}", range, value);
        }

        #[test]
        fn several_properties_are_an_array(
            there in [plain(), plain()], lower in plain(), upper in plain(), open in any::<[bool; 2]>(),
        ) {
            let value = format!(r#"{{"a":{},"$$b":{}}}"#, there[0].text(), there[1].text());
            let expected = is_within(&Plain::Array(there.to_vec()), &lower, &upper, open);
            prop_assert_eq!(means(r#""[a+$b]""#, &range(&lower, &upper, open), "r", &value), expected);
        }
    }

    #[test]
    fn what_is_no_key_is_in_no_range() {
        let any = r#"{"type":3,"lower":{"$t":"number","v":"-Infinity"},"upper":[[]]}"#;
        for there in
            ["null", "true", "{}", r#"{"$t":"number","v":"NaN"}"#, r#"{"$t":"Date","v":"NaN"}"#, "[{}]"]
        {
            assert!(!means(r#""x""#, any, "r", &format!(r#"{{"x":{there}}}"#)), "{there}");
        }
        assert!(!means(r#""x""#, any, "r", "{}"));
        assert!(means(r#""x""#, any, "r", r#"{"x":[]}"#));
        assert!(means("null", any, "r", "{}"), "all records have an id");
        assert!(!means(r#""x""#, r#"{"type":4}"#, "r", r#"{"x":1}"#));
    }

    #[test]
    fn an_id_is_a_text_or_an_array_and_a_private_one_is_without_its_user() {
        let equal = |key: &str| format!(r#"{{"type":1,"lower":{key}}}"#);
        assert!(means("null", &equal(r#"["x",1]"#), r#"["x",1]"#, "{}"));
        assert!(means(r#"":id""#, &equal(r##""#me""##), "#me:alice", "{}"));
        assert!(means(r#"{"$t":"undefined"}"#, &equal(r#""[x]""#), "[x]", "{}"), "no array");
    }
}
