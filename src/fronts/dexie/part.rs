//! What a space answers to a push that was sent to several. It is no answer for a client: the edge makes one of all of them.

use std::collections::BTreeSet;

use super::answer::Line;
use crate::{
    ids::Key,
    json::{Texts, Written, json_text},
    mutation::Outcome,
    version::Position,
};

/// What a space has said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartAnswer {
    /// Up to where `changes` brings the client; none if where it was says nothing about this space.
    pub at: Option<Position>,
    /// What was rejected, as JSON objects.
    pub rejections: String,
    /// Operations that undo what names that cannot be have made at the client.
    pub corrections: String,
    /// Record lines that the client has not.
    pub changes: String,
    /// Record lines of what the push names: all of them, whether or not they stand in this space.
    pub touched: String,
    /// Record lines that name what the push has left on its way into other realms and has no room among these: not how it stands.
    pub left: String,
}

impl PartAnswer {
    /// Of what has become of a push.
    #[must_use]
    pub(super) fn of(
        outcome: &Outcome<'_>,
        (rejections, corrections): (String, String),
        strays: &BTreeSet<Key>,
    ) -> Self {
        let (at, changes, touched) = (outcome.reached.cloned(), outcome.changes, outcome.touched);
        let told: BTreeSet<_> = lines_of(touched).map(|line| (line.collection, line.id)).collect();
        let left = strays.iter().filter_map(|Key { collection, id }| {
            let (collection, id) = (collection.as_str(), json_text(id.as_str()));
            let name =
                format!("{{\"version\":0,\"collection\":\"{collection}\",\"id\":{id},\"deleted\":true}}\n");
            (!told.contains(&(collection, &*id))).then_some(name)
        });
        let (changes, touched) = (changes.to_owned(), touched.to_owned());
        Self { at, rejections, corrections, changes, touched, left: left.collect() }
    }

    /// As it travels: what is known of it, on a line, and the records behind it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { at, rejections, corrections, changes, touched, left } = self;
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let known = Written::default()
            .and_some("at", at.as_ref().map(Position::to_string))
            .and_some("rejections", some(rejections))
            .and_some("corrections", some(corrections))
            .and("changes", &changes.len().to_string())
            .and_some("left", (!left.is_empty()).then(|| left.len().to_string()))
            .end();
        format!("{known}\n{changes}{left}{touched}")
    }

    /// The rows of `members` in it: ids as JSON, and values of those that are there.
    pub fn member_rows(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let lines = self.changes.split_terminator('\n').chain(self.touched.split_terminator('\n'));
        let rows = lines.filter_map(Line::of).filter(|line| line.collection == "members");
        rows.map(|line| (line.id, line.value))
    }

    /// Out of [`Self::to_text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (known, records) = text.split_once('\n')?;
        let known = Texts::parse(known)?;
        let (changes, records) = records.split_at_checked(known.get("changes")?.parse().ok()?)?;
        let (left, touched) = records.split_at_checked(known.get("left").unwrap_or("0").parse().ok()?)?;
        let at = match known.get("at") {
            Some(at) => Some(Position::parse(at)?),
            None => None,
        };
        let text = |name| known.get(name).unwrap_or_default().to_owned();
        Some(Self {
            at,
            rejections: text("rejections"),
            corrections: text("corrections"),
            changes: changes.to_owned(),
            touched: touched.to_owned(),
            left: left.to_owned(),
        })
    }
}

fn lines_of(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split_terminator('\n').filter_map(Line::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_space_says_is_pinned_because_worker_and_object_are_deployed_apart() {
        let said = PartAnswer {
            at: Position::parse("0mwrnsa6yk3v9q2.57"),
            rejections: r#"{"name":"forbidden"}"#.to_owned(),
            corrections: "x".to_owned(),
            changes: "ä\n".to_owned(),
            touched: "b\n".to_owned(),
            left: "c\n".to_owned(),
        };
        let text = "{\"at\":\"0mwrnsa6yk3v9q2.57\",\"rejections\":\"{\\\"name\\\":\\\"forbidden\\\"}\",\"corrections\":\"x\",\"changes\":\"3\",\"left\":\"2\"}\nä\nc\nb\n";
        assert_eq!(
            said.to_text(),
            text,
            "pushes to several spaces would fail while a deployment is under way"
        );
        for said in [said, PartAnswer::default()] {
            assert_eq!(PartAnswer::parse(&said.to_text()), Some(said));
        }
        for text in [
            "",
            "{}\n",
            "{\"changes\":\"1\"}\n",
            "{\"changes\":\"1\"}\nä",
            "{\"changes\":\"0\",\"at\":\"x\"}\n",
        ] {
            assert_eq!(PartAnswer::parse(text), None, "{text}");
        }
    }
}
