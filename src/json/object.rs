//! How what edge and objects say to each other travels: as a JSON object of texts, of which those that say nothing are left out.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{json_text, members, text_of};

/// Such an object as it is written.
#[derive(Debug, Default)]
pub(crate) struct Written(String);

impl Written {
    /// Adds a text.
    pub(crate) fn and(mut self, name: &str, text: &str) -> Self {
        let before = if self.0.is_empty() { '{' } else { ',' };
        self.0.push_str(&format!("{before}\"{name}\":{}", json_text(text)));
        self
    }

    /// Adds a text that may be absent.
    pub(crate) fn and_some(self, name: &str, text: Option<String>) -> Self {
        match text {
            Some(text) => self.and(name, &text),
            None => self,
        }
    }

    /// The object.
    pub(crate) fn end(self) -> String {
        if self.0.is_empty() { "{}".to_owned() } else { self.0 + "}" }
    }
}

/// Such an object as it is read: its texts by their names. Whatever else it holds is left out.
#[derive(Debug)]
pub(crate) struct Texts<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Texts<'a> {
    /// Out of JSON; none of what is not JSON.
    pub(crate) fn parse(json: &'a str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(json).ok()?;
        let texts = members(raw.get()).filter_map(|(name, text)| Some((text_of(name)?, text_of(text)?)));
        Some(Self(texts.collect()))
    }

    /// The text of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(named, _)| named == name).map(|(_, text)| &**text)
    }
}
