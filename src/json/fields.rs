//! The fields of an object in a request. There are none but those that the contract names, and none comes twice: a field
//! that is misspelt would otherwise be ignored, and nobody would be told that what it says is not done.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{elements, members, text_of};
use crate::version::Version;

/// As many fields as an object of the contract may have.
const MOST: usize = 16;

/// What is wrong with a field, in words for whoever sent it.
#[derive(Debug)]
pub(crate) struct Misfit(pub(crate) String);

impl Misfit {
    /// A field or a parameter that `of` does not have.
    pub(crate) fn unknown(of: &str, kind: &str, name: &str) -> Self {
        // Whatever it is, it stands in an answer.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_plain = (1..=32).contains(&name.len()) && name.bytes().all(is_plain);
        Self(format!("{of} takes no {kind} {}", if is_plain { name } else { "of such a name" }))
    }
}

/// The members of an object, by the names that they may have.
pub(crate) struct Fields<'a> {
    names: &'static [&'static str],
    values: [Option<&'a str>; MOST],
    is_twice: [bool; MOST],
    unknown: Option<Cow<'a, str>>,
}

/// The text of a body.
pub(crate) fn text_of_body(body: Vec<u8>) -> Result<String, Misfit> {
    String::from_utf8(body).map_err(|_| not_utf8())
}

fn not_utf8() -> Misfit {
    Misfit("the body is not UTF-8".to_owned())
}

impl<'a> Fields<'a> {
    /// The fields of a body, which is `of` those names.
    pub(crate) fn of_body(body: &'a [u8], of: &str, names: &'static [&'static str]) -> Result<Self, Misfit> {
        Self::of_body_text(std::str::from_utf8(body).map_err(|_| not_utf8())?, of, names)
    }

    /// The same of a body whose text is known.
    pub(crate) fn of_body_text(
        text: &'a str,
        of: &str,
        names: &'static [&'static str],
    ) -> Result<Self, Misfit> {
        // The parser's own words may quote the input, so they are not passed on.
        let json: &RawValue = serde_json::from_str(text).map_err(|error| {
            Misfit(format!("the body is not JSON: line {}, column {}", error.line(), error.column()))
        })?;
        let fields = Self::of(json.get(), names);
        let fields = fields.ok_or_else(|| Misfit("the body is not a JSON object".to_owned()))?;
        fields.only(of, names)?;
        Ok(fields)
    }

    /// The members of an object in valid JSON; none of anything else.
    pub(crate) fn of(json: &'a str, names: &'static [&'static str]) -> Option<Self> {
        if !json.starts_with('{') {
            return None;
        }
        let mut fields = Self { names, values: [None; MOST], is_twice: [false; MOST], unknown: None };
        for (name, value) in members(json) {
            // What is no text has no name that could be told.
            let name = text_of(name).unwrap_or_default();
            match names.iter().position(|known| *known == name) {
                Some(at) => {
                    fields.is_twice[at] |= fields.values[at].is_some();
                    fields.values[at] = Some(value);
                }
                None => fields.unknown = fields.unknown.or(Some(name)),
            }
        }
        Some(fields)
    }

    /// That there are no fields but these. What is null is absent, and may have any name that is known.
    pub(crate) fn only(&self, of: &str, allowed: &[&str]) -> Result<(), Misfit> {
        let given = self.names.iter().zip(self.values);
        let mut given = given.filter(|(_, value)| value.is_some_and(|value| value != "null"));
        let elsewhere = given.find(|(name, _)| !allowed.contains(name)).map(|(name, _)| *name);
        match self.unknown.as_deref().or(elsewhere) {
            Some(name) => Err(Misfit::unknown(of, "field", name)),
            None => Ok(()),
        }
    }

    /// The text of a field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&'a str>, Misfit> {
        let at = self.names.iter().position(|known| *known == name);
        let at = at.expect("BUG: a field is read that is not listed");
        if self.is_twice[at] {
            return Err(Misfit(format!("{name} is given twice")));
        }
        Ok(self.values[at].filter(|value| *value != "null"))
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Misfit> {
        self.read(name, "a text", text_of)
    }

    /// Whether it is true; absent is false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Misfit> {
        let flag = |json| matches!(json, "true" | "false").then_some(json == "true");
        Ok(self.read(name, "true or false", flag)?.unwrap_or(false))
    }

    /// A whole number, however it is written.
    pub(crate) fn number(&self, name: &str) -> Result<Option<Version>, Misfit> {
        self.read(name, "a whole number from 0 to 2^53-1", Version::read)
    }

    /// A list, of which one element more than `most` is enough.
    pub(crate) fn list(&self, name: &str, most: usize) -> Result<Option<Vec<&'a str>>, Misfit> {
        self.read(name, "a list", |json| list(json, most))
    }

    fn read<T>(
        &self,
        name: &str,
        what: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, Misfit> {
        let Some(json) = self.get(name)? else { return Ok(None) };
        read(json).map(Some).ok_or_else(|| Misfit(format!("{name} is not {what}")))
    }
}

/// The elements of a list, of which one more than `most` is enough: it shows that there are too many as well as millions would.
fn list(json: &str, most: usize) -> Option<Vec<&str>> {
    json.starts_with('[').then(|| elements(json).take(most + 1).collect())
}
