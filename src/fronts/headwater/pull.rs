//! `GET|POST /sync/pull`: the request, parsed from a query or a body, and cursors.

use std::fmt;

use crate::{
    call::OrderedCursor,
    error::ApiError,
    ids::SpaceHash,
    json::Fields,
    version::{Epoch, Position, Version},
};

/// A pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The history the client is in; absent until it has received one.
    pub epoch: Option<Epoch>,
    /// The version up to which it has pulled; 0: everything is wanted.
    pub since: Version,
    /// A position that the client knows to exist.
    pub min: Option<Min>,
    /// How fresh the answer has to be.
    pub consistency: Consistency,
    /// Where a paged pull goes on.
    pub cursor: Option<Cursor>,
}

/// A position that must be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Min {
    /// In a named epoch.
    Position(Position),
    /// In the client's epoch, or the present one if it has none.
    Version(Version),
}

/// How fresh an answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// At or above the client's position and `min`.
    #[default]
    Session,
    /// At least what the coordinator has when asked.
    Strong,
    /// Whatever the nearest layer has.
    Eventual,
}

/// Where a paged pull goes on. Bound to a space and an epoch; it names what remains, never a version to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// In the coordinator.
    Ordered(OrderedCursor),
    /// In the parts of a published base.
    Parts {
        /// The history.
        epoch: Epoch,
        /// The first 16 digits of the hash of the base's list of parts.
        base: String,
        /// How many parts are done.
        done: usize,
    },
}

impl Cursor {
    /// The cursor as a client gets it.
    #[must_use]
    pub fn text(&self, space: &SpaceHash) -> String {
        format!("{}.{self}", &space.as_str()[..16])
    }

    /// Parses what a client sent.
    ///
    /// # Errors
    /// [`ApiError::CursorExpired`] for a cursor of another space, [`ApiError::Malformed`] for what never was one.
    pub fn parse(text: &str, space: &SpaceHash) -> Result<Self, ApiError> {
        let never = || ApiError::Malformed("cursor is not a cursor".to_owned());
        let (scope, rest) = text.split_once('.').ok_or_else(never)?;
        let cursor = Self::parse_rest(rest).ok_or_else(never)?;
        if scope == &space.as_str()[..16] { Ok(cursor) } else { Err(ApiError::CursorExpired) }
    }

    fn parse_rest(text: &str) -> Option<Self> {
        match text.split_once('.')? {
            ("o", ordered) => OrderedCursor::parse(ordered).map(Self::Ordered),
            ("p", parts) => {
                let mut fields = parts.split('.');
                let epoch = Epoch::parse(fields.next()?)?;
                let is_base = |base: &&str| base.len() == 16 && base.bytes().all(|b| b.is_ascii_hexdigit());
                let base = fields.next().filter(is_base)?.to_owned();
                let done = usize::try_from(Version::parse(fields.next()?)?.get()).ok()?;
                fields.next().is_none().then_some(Self::Parts { epoch, base, done })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ordered(cursor) => write!(f, "o.{cursor}"),
            Self::Parts { epoch, base, done } => write!(f, "p.{epoch}.{base}.{done}"),
        }
    }
}

/// The fields of a pull, in a body and in a query.
pub(super) const FIELDS: &[&str; 5] = &["epoch", "since", "min", "consistency", "cursor"];

impl PullRequest {
    /// Out of a JSON body. An empty one asks for everything.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] names the field.
    pub fn from_body(body: &[u8], space: &SpaceHash) -> Result<Self, ApiError> {
        let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
        Self::from_fields(&Fields::of_body(body, "a pull", FIELDS)?, space)
    }

    /// Out of the members of a JSON object, of which others may be something else.
    pub(super) fn from_fields(fields: &Fields<'_>, space: &SpaceHash) -> Result<Self, ApiError> {
        // A position is a text, a bare version a number.
        let min = match fields.get("min")? {
            Some(json) if json.starts_with('"') => fields.text("min")?.map(|text| Min::position(&text)),
            json => json.map(Min::version),
        };
        let texts = [fields.text("epoch")?, fields.text("consistency")?, fields.text("cursor")?];
        Self::new(texts.each_ref().map(Option::as_deref), fields.number("since")?, min, space)
    }

    /// Out of the decoded pairs of a query.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] names the field.
    pub fn from_query(pairs: &[(String, String)], space: &SpaceHash) -> Result<Self, ApiError> {
        let field = |name: &str| {
            let pair = pairs.iter().find(|(key, value)| key == name && !value.is_empty());
            pair.map(|(_, value)| value.as_str())
        };
        let since = field("since").map(|since| Version::read(since).ok_or_else(|| malformed(SINCE)));
        let min = field("min").map(|min| Min::position(min).or_else(|_| Min::version(min)));
        let texts = [field("epoch"), field("consistency"), field("cursor")];
        Self::new(texts, since.transpose()?, min, space)
    }

    fn new(
        [epoch, consistency, cursor]: [Option<&str>; 3],
        since: Option<Version>,
        min: Option<Result<Min, ApiError>>,
        space: &SpaceHash,
    ) -> Result<Self, ApiError> {
        let epoch = epoch
            .map(|epoch| Epoch::parse(epoch).ok_or_else(|| malformed("epoch is not an epoch")))
            .transpose()?;
        let since = since.unwrap_or_default();
        if since > Version::ZERO && epoch.is_none() {
            return Err(malformed("since belongs to an epoch: send both"));
        }
        let consistency = match consistency {
            None | Some("session") => Consistency::Session,
            Some("strong") => Consistency::Strong,
            Some("eventual") => Consistency::Eventual,
            Some(_) => return Err(malformed("consistency is session, strong or eventual")),
        };
        let cursor = cursor.map(|cursor| Cursor::parse(cursor, space)).transpose()?;
        Ok(Self { epoch, since, min: min.transpose()?, consistency, cursor })
    }

    /// Where the client stands.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.epoch.clone().map(|epoch| Position { epoch, version: self.since })
    }
}

const SINCE: &str = "since is not a whole number from 0 to 2^53-1";

impl Min {
    fn position(text: &str) -> Result<Self, ApiError> {
        Position::parse(text).map(Self::Position).ok_or_else(|| malformed("min is not a position"))
    }

    fn version(number: &str) -> Result<Self, ApiError> {
        let rule = "min is not a position, nor a whole number from 0 to 2^53-1";
        Version::read(number).map(Self::Version).ok_or_else(|| malformed(rule))
    }
}

pub(super) fn malformed(detail: &str) -> ApiError {
    ApiError::Malformed(detail.to_owned())
}

/// The decoded pairs of a query string; a pair that does not decode to UTF-8 is malformed.
///
/// # Errors
/// [`ApiError::Malformed`] for bad escapes.
#[inline(never)]
pub fn query_pairs(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decoded(name, true)?, percent_decoded(value, true)?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| malformed("the query has an escape that is not UTF-8"))
}

/// A text without its escapes, in a query also without the pluses that stand for spaces. None if that is not UTF-8.
pub(crate) fn percent_decoded(text: &str, is_query: bool) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if is_query => b' ',
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let digit = |byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high)? << 4 | digit(low)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> SpaceHash {
        SpaceHash::private("i", "alice")
    }

    #[test]
    fn a_query_and_a_body_mean_the_same() {
        let pairs = query_pairs("epoch=0mwrnsa6yk3v9q2&since=41&min=0mwrnsa6yk3v9q2%2E57&consistency=strong")
            .expect("pairs");
        let body =
            br#"{"epoch":"0mwrnsa6yk3v9q2","since":41,"min":"0mwrnsa6yk3v9q2.57","consistency":"strong"}"#;
        assert_eq!(PullRequest::from_query(&pairs, &space()), PullRequest::from_body(body, &space()));
        assert_eq!(PullRequest::from_query(&[], &space()), PullRequest::from_body(b"", &space()));
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let plain = br#"{"epoch":"0mwrnsa6yk3v9q2","since":41,"min":57}"#;
        let plain = PullRequest::from_body(plain, &space()).expect("a pull");
        for (since, min) in [("41.0", "57.0"), ("4.1e1", "570e-1")] {
            let body = format!(r#"{{"epoch":"0mwrnsa6yk3v9q2","since":{since},"min":{min}}}"#);
            assert_eq!(PullRequest::from_body(body.as_bytes(), &space()).as_ref(), Ok(&plain), "{body}");
            let query = format!("epoch=0mwrnsa6yk3v9q2&since={since}&min={min}");
            let pairs = query_pairs(&query).expect("pairs");
            assert_eq!(PullRequest::from_query(&pairs, &space()).as_ref(), Ok(&plain), "{query}");
        }
    }

    #[test]
    fn a_cursor_survives_its_own_text_and_belongs_to_one_space() {
        let epoch = Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch");
        let version = |number| Version::new(number).expect("a version");
        for cursor in [
            Cursor::Ordered(OrderedCursor {
                epoch: epoch.clone(),
                start: version(0),
                reached: version(57),
                horizon: version(3),
            }),
            Cursor::Parts { epoch: epoch.clone(), base: "0123456789abcdef".to_owned(), done: 3 },
        ] {
            let text = cursor.text(&space());
            assert_eq!(Cursor::parse(&text, &space()), Ok(cursor));
            let other = SpaceHash::private("i", "bob");
            assert_eq!(Cursor::parse(&text, &other), Err(ApiError::CursorExpired));
            assert!(matches!(Cursor::parse(&format!("{text}.1"), &space()), Err(ApiError::Malformed(_))));
        }
    }

    #[test]
    fn bad_fields_are_named() {
        for (body, name) in [
            (r#"{"since":1}"#, "since"),
            (r#"{"since":"1","epoch":"0mwrnsa6yk3v9q2"}"#, "since"),
            (r#"{"min":"1"}"#, "min"),
            (r#"{"min":1.5}"#, "min"),
            (r#"{"since":1e16,"epoch":"0mwrnsa6yk3v9q2"}"#, "since"),
            (r#"{"since":-1,"epoch":"0mwrnsa6yk3v9q2"}"#, "since"),
            (r#"{"since":1.5,"epoch":"0mwrnsa6yk3v9q2"}"#, "since"),
            (r#"{"epoch":"x"}"#, "epoch"),
            (r#"{"min":"x.1"}"#, "min"),
            (r#"{"consistency":"maybe"}"#, "consistency"),
            (r#"{"cursor":"x"}"#, "cursor"),
        ] {
            match PullRequest::from_body(body.as_bytes(), &space()) {
                Err(ApiError::Malformed(detail)) => assert!(detail.contains(name), "{body}: {detail}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
