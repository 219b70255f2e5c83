//! Which records a condition means: those that an index has within a range.

use super::{
    key::Key,
    tson::{Value, escaped, given},
};
use crate::json::{Members, decoded, elements, members, text_of};

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
    key: Key,
    is_open: bool,
}

impl Criteria {
    /// Reads a condition; none if it is not understood.
    pub(super) fn parse(json: &str) -> Option<Self> {
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
        let is_array = |bound: &Bound| matches!(&bound.key, Key::Array(keys) if !is_last(keys));
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

    /// Whether it means a record of a user's.
    pub(super) fn means(&self, id: &str, value: &str, sub: &str) -> bool {
        match &self.index {
            Index::Id => self.range.has(&Key::of_id(id, sub)),
            Index::Path(path) => found(value, path).is_some_and(|there| self.means_value(there)),
            Index::Paths(paths) => {
                let keys = paths.iter().map(|path| Key::of(found(value, path)?));
                keys.collect::<Option<_>>().is_some_and(|keys| self.range.has(&Key::Array(keys)))
            }
        }
    }

    fn means_value(&self, there: &str) -> bool {
        match Value::of(there) {
            Value::Array(array) if self.by_elements => {
                matches!(self.range, Range::Any) && Key::of(there).is_some()
                    || elements(array).filter_map(Key::of).any(|key| self.range.has(&key))
            }
            _ => Key::of(there).is_some_and(|key| self.range.has(&key)),
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
            Some(value) => Key::of(value).map(|key| Some(Bound { key, is_open })),
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

    fn has(&self, key: &Key) -> bool {
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
fn is_last(keys: &[Key]) -> bool {
    matches!(keys, [Key::Array(none)] if none.is_empty())
}

/// What stands at a path in a value.
fn found<'a>(value: &'a str, path: &[Vec<u8>]) -> Option<&'a str> {
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
