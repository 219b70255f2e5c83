//! A pull that the edge cannot answer, and what it is answered.

use std::fmt;

use crate::{
    ids::ContentHash,
    json::{Texts, Written},
    time::Millis,
    version::{Epoch, Position, Version},
};

/// A pull that the edge cannot answer, with what it has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ask {
    /// The client's history, if it has one.
    pub epoch: Option<Epoch>,
    /// The client's version in it.
    pub since: Version,
    /// `<position>` that must be reached.
    pub min: Option<Position>,
    /// A version of the present epoch that must be reached.
    pub min_version: Option<Version>,
    /// Where a paged pull goes on.
    pub cursor: Option<OrderedCursor>,
    /// Whether a page is to begin a full state, as something of the published one is missing.
    pub restart: bool,
    /// Bytes after which a page ends.
    pub page_bytes: usize,
    /// The head that the edge holds and wants continued.
    pub held: Option<Position>,
    /// What the edge saw in KV, if it looked.
    pub seen: Seen,
    /// An object that the head named and KV does not have.
    pub missed: Option<ContentHash>,
    /// Whether the head's life is in its last third.
    pub expiring: bool,
}

/// What a look into KV showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seen {
    /// The edge did not look, or could not.
    #[default]
    Unknown,
    /// There is no head.
    Nothing,
    /// A head at this position.
    Head(Position),
}

/// Where a paged pull goes on in the coordinator, by version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderedCursor {
    /// The history.
    pub epoch: Epoch,
    /// The version from which this pull began.
    pub start: Version,
    /// The version up to which it has brought everything.
    pub reached: Version,
    /// The horizon when the page was made.
    pub horizon: Version,
}

/// The first line of the coordinator's answer to an [`Ask`]; record lines follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullReply {
    /// Everything in (`from`, `version`], newest first: good for every reader of the space.
    Overlay {
        /// The history.
        epoch: Epoch,
        /// Where it begins.
        from: Version,
        /// Where the space stands.
        version: Version,
        /// The newest deletion that has been forgotten.
        horizon: Version,
        /// When the coordinator was asked.
        asked_at: Millis,
    },
    /// A page for one client, oldest first.
    Page {
        /// The history.
        epoch: Epoch,
        /// Where the space stands.
        version: Version,
        /// Whether this page begins a full state.
        reset: bool,
        /// Where the pull goes on, if it does.
        next: Option<OrderedCursor>,
    },
}

impl Ask {
    /// As it travels.
    pub(super) fn written(&self) -> Written {
        let yes = |is_so: bool| is_so.then(|| YES.to_owned());
        let seen = match &self.seen {
            Seen::Unknown => None,
            Seen::Nothing => Some(NOTHING.to_owned()),
            Seen::Head(position) => Some(position.to_string()),
        };
        Written::default()
            .and_some("epoch", self.epoch.as_ref().map(Epoch::to_string))
            .and_some("since", (self.since > Version::ZERO).then(|| self.since.to_string()))
            .and_some("min", self.min.as_ref().map(Position::to_string))
            .and_some("min_version", self.min_version.as_ref().map(Version::to_string))
            .and_some("cursor", self.cursor.as_ref().map(OrderedCursor::to_string))
            .and_some("restart", yes(self.restart))
            .and_some("page_bytes", (self.page_bytes > 0).then(|| self.page_bytes.to_string()))
            .and_some("held", self.held.as_ref().map(Position::to_string))
            .and_some("seen", seen)
            .and_some("missed", self.missed.as_ref().map(|hash| hash.as_str().to_owned()))
            .and_some("expiring", yes(self.expiring))
    }

    /// Out of what [`Self::written`] wrote. Of anything else it says less.
    pub(super) fn read(texts: &Texts<'_>) -> Self {
        let position = |name| texts.get(name).and_then(Position::parse);
        let version = |name| texts.get(name).and_then(Version::parse);
        let is = |name| texts.get(name) == Some(YES);
        let seen = match texts.get("seen") {
            Some(NOTHING) => Seen::Nothing,
            seen => seen.and_then(Position::parse).map_or(Seen::Unknown, Seen::Head),
        };
        Self {
            epoch: texts.get("epoch").and_then(Epoch::parse),
            since: version("since").unwrap_or_default(),
            min: position("min"),
            min_version: version("min_version"),
            cursor: texts.get("cursor").and_then(OrderedCursor::parse),
            restart: is("restart"),
            page_bytes: texts.get("page_bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or_default(),
            held: position("held"),
            seen,
            missed: texts.get("missed").and_then(|hash| ContentHash::parse(hash).ok()),
            expiring: is("expiring"),
        }
    }
}

/// What is so, and is left out where it is not.
const YES: &str = "yes";
/// [`Seen::Nothing`], which is no position.
const NOTHING: &str = "nothing";

impl OrderedCursor {
    /// Out of its text; none of anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut pieces = text.split('.');
        let epoch = Epoch::parse(pieces.next()?)?;
        let mut version = || pieces.next().and_then(Version::parse);
        let cursor = Self { epoch, start: version()?, reached: version()?, horizon: version()? };
        pieces.next().is_none().then_some(cursor)
    }
}

impl fmt::Display for OrderedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, start, reached, horizon } = self;
        write!(f, "{epoch}.{start}.{reached}.{horizon}")
    }
}

/// Joins a reply and its lines.
#[must_use]
pub fn encode_reply(reply: &PullReply, lines: &str) -> String {
    let head = match reply {
        PullReply::Overlay { epoch, from, version, horizon, asked_at } => Written::default()
            .and("epoch", epoch.as_str())
            .and("version", &version.to_string())
            .and("from", &from.to_string())
            .and("horizon", &horizon.to_string())
            .and("asked_at", &asked_at.0.to_string()),
        PullReply::Page { epoch, version, reset, next } => Written::default()
            .and("epoch", epoch.as_str())
            .and("version", &version.to_string())
            .and_some("reset", reset.then(|| YES.to_owned()))
            .and_some("next", next.as_ref().map(OrderedCursor::to_string)),
    };
    let mut text = head.end();
    text.reserve(lines.len() + 1);
    text.push('\n');
    text.push_str(lines);
    text
}

/// Parts a reply from its lines; none if it is not one. A field that a newer object has added is left out.
#[must_use]
pub fn decode_reply(text: &str) -> Option<(PullReply, &str)> {
    let (head, lines) = text.split_once('\n')?;
    let texts = Texts::parse(head)?;
    let number = |name| texts.get(name).and_then(Version::parse);
    let (epoch, version) = (Epoch::parse(texts.get("epoch")?)?, number("version")?);
    let reply = match texts.get("from") {
        Some(from) => PullReply::Overlay {
            epoch,
            from: Version::parse(from)?,
            version,
            horizon: number("horizon")?,
            asked_at: Millis(texts.get("asked_at")?.parse().ok()?),
        },
        None => PullReply::Page {
            epoch,
            version,
            reset: texts.get("reset").is_some(),
            next: match texts.get("next") {
                Some(next) => Some(OrderedCursor::parse(next)?),
                None => None,
            },
        },
    };
    Some((reply, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_pinned_because_worker_and_object_are_deployed_apart() {
        let epoch = || Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch");
        let version = |number| Version::new(number).expect("a version");
        let (start, reached, horizon) = (Version::ZERO, version(9), version(1));
        let next = Some(OrderedCursor { epoch: epoch(), start, reached, horizon });
        let page = |reset, next| PullReply::Page { epoch: epoch(), version: version(57), reset, next };
        let overlay = PullReply::Overlay {
            epoch: epoch(),
            from: Version::ZERO,
            version: version(57),
            horizon: version(3),
            asked_at: Millis(5),
        };
        for (reply, head) in [
            (overlay, r#","from":"0","horizon":"3","asked_at":"5""#),
            (page(false, None), ""),
            (page(true, next), r#","reset":"yes","next":"0mwrnsa6yk3v9q2.0.9.1""#),
        ] {
            let text = format!("{{\"epoch\":\"0mwrnsa6yk3v9q2\",\"version\":\"57\"{head}}}\n{{}}\n");
            let consequence = "pulls would fail while a deployment is under way";
            assert_eq!(encode_reply(&reply, "{}\n"), text, "{consequence}");
            assert_eq!(decode_reply(&text), Some((reply.clone(), "{}\n")), "{consequence}");
            let later = text.replacen('{', r#"{"later":[1],"#, 1);
            assert_eq!(decode_reply(&later), Some((reply, "{}\n")), "{consequence}");
        }
    }

    #[test]
    fn what_is_not_a_reply_is_none() {
        for head in [
            "",
            "{}",
            r#"{"epoch":"0mwrnsa6yk3v9q2"}"#,
            r#"{"epoch":"0mwrnsa6yk3v9q2","version":57}"#,
            r#"{"epoch":"0mwrnsa6yk3v9q2","version":"57","from":"0"}"#,
            r#"{"epoch":"0mwrnsa6yk3v9q2","version":"57","next":"0mwrnsa6yk3v9q2.0.9"}"#,
            r#"{"epoch":"0mwrnsa6yk3v9q2","version":"57","next":"0mwrnsa6yk3v9q2.0.9.1.1"}"#,
        ] {
            assert_eq!(decode_reply(&format!("{head}\n")), None, "{head}");
        }
        assert_eq!(decode_reply(r#"{"epoch":"0mwrnsa6yk3v9q2","version":"57"}"#), None, "without its lines");
    }
}
