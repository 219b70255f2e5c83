//! What is added to a property, or removed from it, whatever it is by then. Its client has done the same to its own row, so the
//! result is that of its code, also where that is odd.

use std::collections::BinaryHeap;

use super::tson::{Value, encoded};
use crate::json::{elements, json_text, members, text_of};

/// A change of what stands there.
#[derive(Debug, Clone, Copy)]
pub(super) struct PropMod<'a> {
    add: Option<&'a str>,
    remove: Option<&'a str>,
    replace_prefix: Option<&'a str>,
}

/// What becomes of a property.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Modified {
    /// Nothing: its client could not have done it either.
    Unchanged,
    /// It has none any more.
    Undefined,
    /// This.
    Now(String),
}

impl<'a> PropMod<'a> {
    /// Of a value in a change; none of any other value.
    pub(super) fn of(value: &'a str) -> Option<Self> {
        let member = |object, wanted| members(object).filter(|(name, _)| *name == wanted).last();
        let is_tagged = member(value, r#""$t""#).is_some_and(|(_, kind)| kind == r#""PropModification""#);
        let spec = if is_tagged { value } else { member(value, r#""@@propmod""#)?.1 };
        let given = |name| member(spec, name).map(|(_, value)| value);
        let given = |name| given(name).filter(|value| Value::of(value) != Value::Undefined);
        Some(Self {
            add: given(r#""add""#),
            remove: given(r#""remove""#),
            replace_prefix: given(r#""replacePrefix""#),
        })
    }

    /// What it makes of what stands there.
    pub(super) fn execute(&self, there: Option<&str>) -> Modified {
        let value = there.map_or(Value::Undefined, Value::of);
        if let Some(term) = self.add {
            return match Value::of(term) {
                Value::Array(more) => {
                    Modified::Now(sorted(elements_of(&value).chain(elements(more)).collect()))
                }
                Value::Number(term) => {
                    let number = value.to_number();
                    Modified::Now(encoded(if number.is_nan() { 0.0 } else { number } + term))
                }
                Value::BigInt(term) => big(&value, term),
                _ => Modified::Unchanged,
            };
        }
        if let Some(term) = self.remove {
            return match Value::of(term) {
                Value::Array(less) => {
                    let gone = in_order(elements(less).filter_map(same));
                    let is_gone = |element| gone.binary_search_by(|(other, _)| other.cmp(&element)).is_ok();
                    let stays = |element: &&str| !same(element).is_some_and(is_gone);
                    Modified::Now(sorted(elements_of(&value).filter(stays).collect()))
                }
                Value::Number(term) => Modified::Now(encoded(value.to_number() - term)),
                Value::BigInt(term) => {
                    term.checked_neg().map_or(Modified::Unchanged, |term| big(&value, term))
                }
                _ => Modified::Unchanged,
            };
        }
        match (self.replaced(&value), there) {
            (Some(text), _) => Modified::Now(json_text(&text)),
            (None, Some(there)) if value != Value::Undefined => Modified::Now(there.to_owned()),
            (None, _) => Modified::Undefined,
        }
    }

    fn replaced(&self, value: &Value<'_>) -> Option<String> {
        let Value::Text(text) = value else { return None };
        let mut pair = elements(self.replace_prefix?);
        let prefix = text_of(pair.next()?).filter(|prefix| !prefix.is_empty())?;
        let by = text_of(pair.next()?)?;
        let text = text_of(text)?;
        Some(format!("{by}{}", text.strip_prefix(&*prefix)?))
    }
}

fn elements_of<'a>(value: &Value<'a>) -> impl Iterator<Item = &'a str> {
    elements(if let Value::Array(array) = value { array } else { "" })
}

/// In the order of `sort()`: by their texts, and what is undefined last.
fn sorted(all: Vec<&str>) -> String {
    let keys = all.iter().map(|element| match Value::of(element) {
        Value::Undefined => vec![1],
        value => [&[0], &*super::key::in_utf16_order(&value.to_text())].concat(),
    });
    let sorted: Vec<_> = in_order(keys).into_iter().map(|(_, at)| all[at]).collect();
    format!("[{}]", sorted.join(","))
}

/// Keys in their order, each with its place before that. A heap sorts with a tenth of the code that `sort` has.
fn in_order(keys: impl Iterator<Item = Vec<u8>>) -> Vec<(Vec<u8>, usize)> {
    let keys: Vec<_> = keys.enumerate().map(|(at, key)| (key, at)).collect();
    BinaryHeap::from(keys).into_sorted_vec()
}

/// What is equal by `includes()` is equal here: its type and its text. None of what equals itself alone.
fn same(element: &str) -> Option<Vec<u8>> {
    let value = Value::of(element);
    let kind = match value {
        Value::Undefined => 0,
        Value::Null => 1,
        Value::Boolean(_) => 2,
        Value::Number(_) => 3,
        Value::BigInt(_) => 4,
        Value::Text(_) => 5,
        _ => return None,
    };
    Some([&[kind], &*value.to_text()].concat())
}

/// As `BigInt()` takes a value, and 0 for what it does not take.
fn big(value: &Value<'_>, term: i128) -> Modified {
    let number = match value {
        Value::BigInt(number) => *number,
        Value::Boolean(boolean) => i128::from(*boolean),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e38 => *number as i128,
        Value::Text(_) => std::str::from_utf8(&value.to_text()).ok().map_or(0, |text| {
            let text = text.trim();
            text.parse().unwrap_or_default()
        }),
        _ => 0,
    };
    match number.checked_add(term) {
        Some(sum) => Modified::Now(format!(r#"{{"$t":"bigint","v":"{sum}"}}"#)),
        None => Modified::Unchanged,
    }
}
