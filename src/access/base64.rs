//! Base64 as PEM, `btoa` and this protocol's client write it, by way of the alphabet that everything of ours is written in: a second one
//! would be in the module once more.

use base64ct::{Base64UrlUnpadded, Encoding};

/// The text of bytes, with its padding.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    let mut text = translated(&Base64UrlUnpadded::encode_string(bytes), ['-', '_'], ['+', '/']);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// The bytes of a text; none of what is not base64.
pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    let is_whole = text.len().is_multiple_of(4) && !text.contains(['-', '_']);
    let digits = text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(text);
    let digits = translated(Some(digits).filter(|_| is_whole)?, ['+', '/'], ['-', '_']);
    Base64UrlUnpadded::decode_vec(&digits).ok()
}

fn translated(text: &str, from: [char; 2], to: [char; 2]) -> String {
    let translated =
        |digit| from.iter().zip(to).find(|(from, _)| **from == digit).map_or(digit, |(_, to)| to);
    text.chars().map(translated).collect()
}

#[cfg(test)]
mod tests {
    use base64ct::Base64;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_those_of_the_standard_alphabet(bytes: Vec<u8>) {
            prop_assert_eq!(encoded(&bytes), Base64::encode_string(&bytes));
            prop_assert_eq!(decoded(&encoded(&bytes)), Some(bytes));
        }

        #[test]
        fn nothing_else_is_read(text in "[A-Ca-c/+_=-]{0,9}") {
            prop_assert_eq!(decoded(&text), Base64::decode_vec(&text).ok(), "{}", text);
        }
    }
}
