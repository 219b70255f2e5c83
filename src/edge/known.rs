//! What a location knows of a space: a head from KV, and an overlay from the coordinator on top of it.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    call::{PullReply, decode_reply, encode_reply},
    limits,
    snapshot::{
        head::{Head, HeadMetadata},
        keys::Scope,
        lines::are_lines,
    },
    time::Millis,
    version::{Epoch, Position, Version},
};

/// A head as it was read from KV, perhaps without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHead {
    /// What KV returns beside the value.
    pub metadata: HeadMetadata,
    /// The value, read when somebody needed more than the position.
    pub body: Option<HeadBody>,
    /// When KV was asked.
    pub read_at: Millis,
}

/// The value of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadBody {
    /// The first line, parsed.
    pub head: Head,
    /// The value as it was read: kept whole, so that it can be handed to the location's cache as it is.
    pub value: String,
}

impl HeadBody {
    /// The newest records, newest first.
    #[must_use]
    pub fn tail(&self) -> &str {
        &self.value[self.value.len() - self.head.tail.bytes..]
    }
}

/// Whether the body of a head is wanted, which is read beside its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Whatever the metadata say.
    Always,
    /// If the head stands above this position.
    Above(Position),
}

/// KV has metadata of another format, as while a deployment is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherFormat;

impl Wanted {
    /// Whether the body beside these metadata is wanted.
    #[must_use]
    pub fn wants(&self, metadata: &HeadMetadata) -> bool {
        match self {
            Self::Always => true,
            Self::Above(own) => metadata.position() > *own,
        }
    }

    /// The same, of metadata as they are stored. Beside what says nothing here no body is wanted.
    #[must_use]
    pub fn wants_of(&self, metadata: &str) -> bool {
        HeadMetadata::parse(metadata).is_some_and(|metadata| self.wants(&metadata))
    }
}

impl KnownHead {
    /// A head as KV has it: metadata, and the value if that was wanted. A value that is no head of `scope` counts as none.
    ///
    /// # Errors
    /// [`OtherFormat`]: the head is not missing, it only says nothing here.
    pub fn of_kv(
        metadata: Option<&str>,
        value: Option<String>,
        scope: &Scope,
        read_at: Millis,
    ) -> Result<Option<Self>, OtherFormat> {
        let Some(metadata) = metadata else { return Ok(None) };
        let metadata = HeadMetadata::parse(metadata).ok_or(OtherFormat)?;
        Ok(Self::new(metadata, value, scope, read_at))
    }

    /// A head of `scope` whose body, if given, agrees with its metadata. None for anything else.
    #[must_use]
    pub fn new(
        metadata: HeadMetadata,
        value: Option<String>,
        scope: &Scope,
        read_at: Millis,
    ) -> Option<Self> {
        let body = match value {
            None => None,
            Some(value) => {
                let (head, _) = Head::decode(&value, scope)?;
                if head.position() != metadata.position() {
                    return None;
                }
                Some(HeadBody { head, value })
            }
        };
        Some(Self { metadata, body, read_at })
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.metadata.position()
    }

    /// Whether it is in the last third of its life, when somebody should see to its renewal.
    #[must_use]
    pub fn is_expiring(&self, now: Millis) -> bool {
        let life = self.metadata.x.since(self.metadata.p);
        self.metadata.x.since(now) < life / 3
    }

    fn bytes(&self) -> usize {
        512 + self.body.as_ref().map_or(0, |body| body.value.len())
    }
}

/// An overlay: everything in (`from`, `version`], newest first, as the coordinator had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The history.
    pub epoch: Epoch,
    /// Exclusive.
    pub from: Version,
    /// Inclusive: where the space stood.
    pub version: Version,
    /// The newest deletion that had been forgotten.
    pub horizon: Version,
    /// When the coordinator was asked.
    pub asked_at: Millis,
    /// The lines.
    pub lines: String,
}

impl Overlay {
    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), version: self.version }
    }

    /// As the location's cache has it, and the coordinator said it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { epoch, from, version, horizon, asked_at, lines } = self;
        let (epoch, from, version) = (epoch.clone(), *from, *version);
        let (horizon, asked_at) = (*horizon, *asked_at);
        encode_reply(&PullReply::Overlay { epoch, from, version, horizon, asked_at }, lines)
    }

    /// Out of [`Self::to_text`]; none for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (reply, lines) = decode_reply(text)?;
        let PullReply::Overlay { epoch, from, version, horizon, asked_at } = reply else { return None };
        are_lines(lines).then(|| Self { epoch, from, version, horizon, asked_at, lines: lines.to_owned() })
    }

    /// Whether it can lie on top of `head`: it begins at or below it, ends at or above, and nothing that was deleted since
    /// the head had been forgotten: that would be in neither, and come back to life.
    #[must_use]
    pub fn continues(&self, head: &KnownHead) -> bool {
        let at = head.metadata.v;
        self.epoch == head.metadata.e
            && (self.from <= at || planted!(OverlayAboveHead))
            && self.version >= at
            && (self.horizon <= at || planted!(HeadBelowHorizonContinued))
    }
}

/// What a location knows of one space. Newer positions are never replaced by older ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// From KV.
    pub head: Option<Rc<KnownHead>>,
    /// From the coordinator.
    pub overlay: Option<Rc<Overlay>>,
}

/// What the location's cache holds of a space, as texts; none where there is nothing.
#[derive(Debug, Clone, Default)]
pub struct CachedTexts {
    /// The metadata of the head.
    pub metadata: Option<String>,
    /// When KV was asked for it.
    pub read_at: Option<String>,
    /// Its value, if there is one and it was wanted.
    pub value: Option<String>,
    /// The overlay.
    pub overlay: Option<String>,
}

impl Known {
    /// What the location's cache holds of `scope`. What is not of this format counts as nothing.
    #[must_use]
    pub fn of_cache(texts: CachedTexts, scope: &Scope) -> Self {
        let CachedTexts { metadata, read_at, value, overlay } = texts;
        let metadata = metadata.and_then(|text| HeadMetadata::parse(&text));
        let read_at = read_at.and_then(|text| text.parse().ok()).map(Millis);
        let head = metadata.zip(read_at);
        let head = head.and_then(|(metadata, read_at)| KnownHead::new(metadata, value, scope, read_at));
        let overlay = overlay.and_then(|text| Overlay::parse(&text));
        Self { head: head.map(Rc::new), overlay: overlay.map(Rc::new) }
    }

    /// Takes a head in, unless one is known that stands higher, or as high and with more of its body.
    pub fn learn_head(&mut self, head: Rc<KnownHead>) {
        let keep = self.head.as_ref().is_some_and(|known| {
            let (known_at, new_at) = (known.position(), head.position());
            known_at > new_at || (known_at == new_at && known.read_at >= head.read_at && known.body.is_some())
        });
        if keep {
            return;
        }
        let old = self.head.take();
        // The same head, asked for again without its body: keep the body, note that it was confirmed.
        let with_body =
            old.filter(|old| head.body.is_none() && old.metadata == head.metadata && old.body.is_some());
        self.head = Some(match with_body {
            Some(old) => Rc::new(KnownHead { read_at: head.read_at, ..(*old).clone() }),
            None => head,
        });
    }

    /// Takes an overlay in, unless one is known that stands higher. Of two that stand alike the one that reaches further
    /// back serves more readers.
    pub fn learn_overlay(&mut self, new: Rc<Overlay>) {
        self.overlay = Some(match self.overlay.take() {
            Some(known) if known.position() > new.position() => known,
            Some(known) if known.position() == new.position() => {
                let longer = if known.from <= new.from { &known } else { &new };
                Rc::new(Overlay {
                    asked_at: known.asked_at.max(new.asked_at),
                    horizon: known.horizon.max(new.horizon),
                    ..(**longer).clone()
                })
            }
            _ => new,
        });
    }

    /// Takes in what another layer knows.
    pub fn learn(&mut self, other: Self) {
        if let Some(head) = other.head {
            self.learn_head(head);
        }
        if let Some(overlay) = other.overlay {
            self.learn_overlay(overlay);
        }
    }

    /// The highest position known.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let head = self.head.as_ref().map(|head| head.position());
        head.max(self.overlay.as_ref().map(|overlay| overlay.position()))
    }

    /// What it takes in memory. Also to know nothing of a space takes a place.
    fn bytes(&self) -> usize {
        let overlay = self.overlay.as_ref().map_or(0, |overlay| 512 + overlay.lines.len());
        256 + overlay + self.head.as_ref().map_or(0, |head| head.bytes())
    }
}

/// The isolate's memory of spaces, bounded by bytes; the longest unused goes first.
#[derive(Debug, Default)]
pub struct Memory {
    spaces: BTreeMap<Scope, Remembered>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug, Default)]
struct Remembered {
    known: Known,
    checked_at: Millis,
    used: u64,
}

impl Memory {
    /// What is remembered of a space, and when that was last checked (0: never).
    pub fn recall(&mut self, scope: &Scope) -> (Known, Millis) {
        self.clock += 1;
        let Some(remembered) = self.spaces.get_mut(scope) else { return Default::default() };
        remembered.used = self.clock;
        (remembered.known.clone(), remembered.checked_at)
    }

    /// Takes in what a request has learnt, and when it checked that ([`super::pull::Pull::checked_at`]).
    pub fn remember(&mut self, scope: &Scope, known: Known, checked_at: Millis) {
        self.clock += 1;
        let mut entry = self.forget(scope).unwrap_or_default();
        entry.known.learn(known);
        entry.checked_at = entry.checked_at.max(checked_at);
        entry.used = self.clock;
        self.bytes += entry.known.bytes();
        self.spaces.insert(scope.clone(), entry);
        while self.bytes > limits::MEMORY_BYTES_MAX {
            let oldest =
                self.spaces.iter().min_by_key(|(_, entry)| entry.used).map(|(scope, _)| scope.clone());
            let Some(oldest) = oldest else { break };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, scope: &Scope) -> Option<Remembered> {
        let entry = self.spaces.remove(scope)?;
        self.bytes -= entry.known.bytes();
        Some(entry)
    }
}
