//! Keys of IndexedDB, and their order.

use crate::{
    json::{decoded, elements},
    limits,
};

use super::tson::Value;

/// A key: its variants stand in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IndexKey {
    Number(Ordered),
    /// In ms.
    Date(Ordered),
    /// As [`in_utf16_order`].
    Text(Vec<u8>),
    /// In the encoding of its client, which sorts as its bytes do.
    Binary(Vec<u8>),
    Array(Vec<Self>),
}

/// A double that is a number, by its bits: those of a larger one are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ordered(u64);

impl Ordered {
    fn of(number: f64) -> Option<Self> {
        // Adding 0 makes -0 a 0.
        let bits = (number + 0.0).to_bits();
        let bits = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
        (!number.is_nan()).then_some(Self(bits))
    }
}

impl IndexKey {
    /// Of a value; none of one that is no key.
    pub(super) fn of(value: &str) -> Option<Self> {
        Self::at(value, 0)
    }

    fn at(value: &str, level: usize) -> Option<Self> {
        Some(match Value::of(value) {
            Value::Number(number) => Self::Number(Ordered::of(number)?),
            Value::Date(time) => Self::Date(Ordered::of(time)?),
            Value::Text(text) => Self::Text(in_utf16_order(&decoded(text))),
            Value::Binary(bytes) => Self::Binary(bytes.as_bytes().to_vec()),
            Value::Array(array) if level < limits::VALUE_DEPTH_MAX => {
                let keys = elements(array).map(|element| Self::at(element, level + 1));
                Self::Array(keys.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// Of the id of a record, which is a text or the text of an array. Ids that are private to a user have the user behind them.
    pub(super) fn of_id(id: &str, sub: &str) -> Self {
        let array = Some(id).filter(|id| {
            id.starts_with('[') && serde_json::from_str::<&serde_json::value::RawValue>(id).is_ok()
        });
        if let Some(key) = array.and_then(Self::of) {
            return key;
        }
        let private =
            id.strip_suffix(sub).and_then(|id| id.strip_suffix(':')).filter(|id| id.starts_with('#'));
        Self::Text(in_utf16_order(private.unwrap_or(id).as_bytes()))
    }
}

/// Bytes that compare as the UTF-16 units of a text do. Only the characters from U+E000 to U+FFFF stand elsewhere in UTF-8:
/// before those that UTF-16 has as surrogates.
pub(super) fn in_utf16_order(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { *byte }).collect()
}
