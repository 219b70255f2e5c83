//! The revision that a client keeps: where it is in its own space, and in each realm that it shares. It only compares them, so that one
//! that has no realm but its own has a plain position.

use std::{collections::BTreeMap, fmt};

use crate::{
    json::{json_text, members, text_of},
    version::Position,
};

/// The name of the user's own space among those of realms, which no realm has.
const HOME: &str = "~";

/// Where a client is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revision {
    /// In its own space; none where it has nothing of it, or something of another server's.
    pub home: Option<Position>,
    /// In realms, by their ids.
    pub realms: BTreeMap<String, Position>,
}

impl Revision {
    /// Out of what a client has kept; none of what is not ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(home) = Position::parse(text) {
            return Some(Self { home: Some(home), ..Self::default() });
        }
        if !text.starts_with('{') {
            return None;
        }
        let mut revision = Self::default();
        for (name, position) in members(text) {
            let (name, position) = (text_of(name)?, Position::parse(&text_of(position)?)?);
            if name == HOME {
                revision.home = Some(position);
            } else {
                revision.realms.insert(name.into_owned(), position);
            }
        }
        (!revision.realms.is_empty()).then_some(revision)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { home, realms } = self;
        match home {
            Some(home) if realms.is_empty() => return write!(f, "{home}"),
            _ => {}
        }
        let home = home.iter().map(|home| (HOME, home));
        let realms = realms.iter().map(|(realm, at)| (realm.as_str(), at));
        let all: Vec<_> =
            home.chain(realms).map(|(name, at)| format!("{}:\"{at}\"", json_text(name))).collect();
        write!(f, "{{{}}}", all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: u64) -> Position {
        Position::parse(&format!("0mwrnsa6yk3v9q2.{version}")).expect("a position")
    }

    #[test]
    fn revisions_are_pinned_because_devices_keep_them() {
        let alone = Revision { home: Some(at(57)), ..Revision::default() };
        let realms = BTreeMap::from([("rlm\"1".to_owned(), at(3)), ("rlm0".to_owned(), at(4))]);
        let shared = Revision { home: Some(at(57)), realms: realms.clone() };
        let elsewhere = Revision { home: None, realms };
        let consequence = "every device would fetch everything anew";
        for (revision, text) in [
            (alone, "0mwrnsa6yk3v9q2.57"),
            (shared, r#"{"~":"0mwrnsa6yk3v9q2.57","rlm\"1":"0mwrnsa6yk3v9q2.3","rlm0":"0mwrnsa6yk3v9q2.4"}"#),
            (elsewhere, r#"{"rlm\"1":"0mwrnsa6yk3v9q2.3","rlm0":"0mwrnsa6yk3v9q2.4"}"#),
        ] {
            assert_eq!(revision.to_string(), text, "{consequence}");
            assert_eq!(Revision::parse(text), Some(revision), "{consequence}");
        }
    }

    #[test]
    fn what_is_not_ours_is_none() {
        for text in [
            "",
            "[1,\"2823\"]",
            "{}",
            "{",
            r#"{"rlm0":7}"#,
            r#"{"rlm0":"x"}"#,
            r#"{"~":"0mwrnsa6yk3v9q2.57"}"#,
        ] {
            assert_eq!(Revision::parse(text), None, "{text}");
        }
    }
}
