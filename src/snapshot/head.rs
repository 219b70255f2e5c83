//! The head: the one mutable KV value of a space. One line of JSON, then the newest records.

use serde::{Deserialize, Serialize};

use super::{keys::Scope, lines};
use crate::{
    ids::ContentHash,
    limits,
    time::Millis,
    version::{Epoch, Position, Version},
};

/// The format that this build writes. It reads no other: an unknown head is treated as none.
pub const FORMAT: u32 = 1;

/// The first line of a head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Always 1.
    pub format: u32,
    /// The space it belongs to.
    pub scope: Scope,
    /// The history.
    pub epoch: Epoch,
    /// The version at which the tail was queried.
    pub version: Version,
    /// When it was put.
    pub published_at: Millis,
    /// When it and everything it names may be gone.
    pub expires: Millis,
    /// The newest deletion that has been forgotten.
    pub horizon: Version,
    /// Whether the client of Dexie Cloud is shut out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shuts_dexie: bool,
    /// The newest records, which follow the line.
    pub tail: Tail,
    /// Records between the base and the tail.
    pub delta: Option<Run>,
    /// The oldest records.
    pub base: Option<Run>,
}

/// What the tail holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Records with a version above this.
    pub from: Version,
    /// Bytes after the first line.
    pub bytes: usize,
    /// Their hash.
    pub sha256: String,
}

/// Records whose version, when they were queried, lay in (`from`, `to`]: a base by key, a delta by version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Exclusive.
    pub from: Version,
    /// Inclusive.
    pub to: Version,
    /// In the order of the run.
    pub parts: Vec<PartName>,
}

/// An object that holds a part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartName {
    /// Its name.
    pub sha256: ContentHashText,
    /// Its length.
    pub bytes: usize,
}

/// A [`ContentHash`] in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHashText(pub ContentHash);

impl TryFrom<String> for ContentHashText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        ContentHash::parse(&text).map(Self).map_err(|rule| rule.0)
    }
}

impl From<ContentHashText> for String {
    fn from(hash: ContentHashText) -> Self {
        hash.0.as_str().to_owned()
    }
}

impl Run {
    /// Tells this run from any other: 16 digits of the hash of its list of parts.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let names: Vec<&str> = self.parts.iter().map(|part| part.sha256.0.as_str()).collect();
        ContentHash::of(names.join("\n").as_bytes()).as_str()[..16].to_owned()
    }
}

/// Metadata of the head's key, returned with the value at no charge, so that a poll reads no body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadMetadata {
    /// The format.
    pub f: u32,
    /// The epoch.
    pub e: Epoch,
    /// The version.
    pub v: Version,
    /// When it was put.
    pub p: Millis,
    /// When it expires.
    pub x: Millis,
    /// The horizon.
    pub z: Version,
    /// Where the tail begins.
    pub t: Version,
    /// Bytes of the first line, with its line feed.
    pub h: usize,
    /// Bytes of the tail.
    pub b: usize,
    /// Whether the client of Dexie Cloud is shut out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub d: bool,
}

impl HeadMetadata {
    /// Out of JSON; none if it is not what this build writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|metadata: &Self| metadata.f == FORMAT)
    }

    /// Where the head stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.e.clone(), version: self.v }
    }
}

impl Tail {
    /// Of a head whose newest records, those above `from`, are these lines.
    #[must_use]
    pub fn of(from: Version, lines: &str) -> Self {
        let sha256 = ContentHash::of(lines.as_bytes()).as_str().to_owned();
        Self { from, bytes: lines.len(), sha256 }
    }
}

impl Head {
    /// The value, which ends with the lines of its tail, and the metadata to put.
    ///
    /// None when the runs have more parts than a first line may name, about 700 MiB of records: such a space is served
    /// by its coordinator alone.
    #[must_use]
    pub fn encode(self, tail: &str) -> Option<(String, String)> {
        assert!(tail.len() <= limits::TAIL_BYTES_MAX, "BUG: a tail above its limit");
        let below = self.delta.as_ref().or(self.base.as_ref()).map_or(Version::ZERO, |run| run.to);
        assert!(self.tail.from == below, "BUG: the tail does not begin where the runs end");
        assert!(self.tail.bytes == tail.len(), "BUG: a head has another tail");
        let mut value = serde_json::to_string(&self).ok()?;
        value.push('\n');
        if value.len() > limits::HEAD_LINE_BYTES_MAX {
            return None;
        }
        let metadata = HeadMetadata {
            f: FORMAT,
            e: self.epoch,
            v: self.version,
            p: self.published_at,
            x: self.expires,
            z: self.horizon,
            t: self.tail.from,
            h: value.len(),
            b: tail.len(),
            d: self.shuts_dexie,
        };
        value.push_str(tail);
        Some((value, serde_json::to_string(&metadata).ok()?))
    }

    /// Reads a value, trusting nothing: KV may hold what another build or another hand has written.
    ///
    /// None for what is not a head of this space and this format, or whose tail does not hash to its name (I6, I9).
    #[must_use]
    pub fn decode<'a>(value: &'a str, scope: &Scope) -> Option<(Self, &'a str)> {
        let (line, tail) = value.split_once('\n')?;
        let head: Self = serde_json::from_str(line).ok()?;
        let sound = head.format == FORMAT
            && (head.scope == *scope || planted!(IncarnationLeftOut))
            && head.tail.bytes == tail.len()
            && (head.tail.sha256 == ContentHash::of(tail.as_bytes()).as_str() || planted!(TailNotHashed))
            && lines::are_lines(tail);
        sound.then_some((head, tail))
    }

    /// Where the head stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), version: self.version }
    }

    /// The objects a new client needs, oldest first, so that for one record a later line is newer.
    pub fn parts(&self) -> impl Iterator<Item = &PartName> {
        self.base.iter().chain(&self.delta).flat_map(|run| &run.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SpaceHash;

    fn head() -> Head {
        let version = |number| Version::new(number).expect("a version");
        let part =
            |text: &str, bytes| PartName { sha256: ContentHashText(ContentHash::of(text.as_bytes())), bytes };
        Head {
            format: FORMAT,
            scope: Scope::private(&SpaceHash::parse(&"ab".repeat(32)).expect("a hash")),
            epoch: Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch"),
            version: version(57),
            published_at: Millis(1_795_341_182_362),
            expires: Millis(1_797_933_182_362),
            horizon: version(3),
            shuts_dexie: false,
            tail: Tail::of(version(41), TAIL),
            delta: Some(Run { from: version(30), to: version(41), parts: vec![part("d", 1)] }),
            base: Some(Run { from: version(0), to: version(30), parts: vec![part("b1", 2), part("b2", 2)] }),
        }
    }

    const TAIL: &str = "{\"version\":57,\"collection\":\"todos\",\"id\":\"t1\",\"value\":{\"title\":\"milk\"}}\n\
                        {\"version\":56,\"collection\":\"todos\",\"id\":\"t3\",\"deleted\":true}\n";

    #[test]
    fn the_head_is_pinned_because_edges_of_other_versions_read_it() {
        let (value, metadata) = head().encode(TAIL).expect("a head");
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/kv-schema/v1/");
        let read = |name| std::fs::read_to_string(format!("{golden}{name}")).unwrap_or_default();
        let consequence =
            "edges of the deployed version would treat the head as missing and ask the coordinator";
        assert_eq!(value, read("head.txt"), "{consequence}");
        assert_eq!(metadata, read("head.metadata.json").trim_end(), "{consequence}");
    }

    #[test]
    fn a_head_reads_back_and_a_changed_byte_does_not() {
        let (value, _) = head().encode(TAIL).expect("a head");
        let scope = head().scope;
        assert_eq!(Head::decode(&value, &scope), Some((head(), TAIL)));
        assert_eq!(head().parts().count(), 3);
        assert_eq!(Head::decode(&value.replace("milk", "mulk"), &scope), None);
        let other = Scope::private(&SpaceHash::parse(&"cd".repeat(32)).expect("a hash"));
        assert_eq!(Head::decode(&value, &other), None, "a head of another space is no head");
    }

    #[test]
    fn a_head_says_where_a_client_is_shut_out_and_one_of_an_earlier_build_shuts_out_nobody() {
        let (value, metadata) = Head { shuts_dexie: true, ..head() }.encode(TAIL).expect("a head");
        assert!(HeadMetadata::parse(&metadata).is_some_and(|metadata| metadata.d), "{metadata}");
        assert!(Head::decode(&value, &head().scope).is_some_and(|(head, _)| head.shuts_dexie));
        let (_, metadata) = head().encode(TAIL).expect("a head");
        assert!(
            !metadata.contains("\"d\"") && HeadMetadata::parse(&metadata).is_some_and(|metadata| !metadata.d)
        );
    }

    #[test]
    fn metadata_fits_into_what_kv_takes() {
        let largest = HeadMetadata {
            f: FORMAT,
            e: Epoch::parse(&"z".repeat(32)).expect("an epoch"),
            v: Version::MAX,
            p: Millis(u64::MAX),
            x: Millis(u64::MAX),
            z: Version::MAX,
            t: Version::MAX,
            h: usize::MAX,
            b: usize::MAX,
            d: true,
        };
        assert!(serde_json::to_string(&largest).expect("JSON").len() <= 1024);
    }
}
