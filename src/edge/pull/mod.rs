//! How a pull is answered: which layer to ask next, and what to make of what is known.
//!
//! The shell asks [`Pull::next`], carries out what it says, reports with a `learn_*` method, and asks again until there is
//! an answer. Layers, nearest first: the isolate's memory, the location's cache, KV, the coordinator.

mod fresh;
mod serve;

use std::rc::Rc;

use crate::{
    call::{Ask, Left, PullReply, Seen},
    edge::known::{Known, KnownHead, Overlay, Wanted},
    error::ApiError,
    fronts::headwater::{
        answer::{Format, PullAnswer, Source},
        pull::{Consistency, Cursor, PullRequest},
    },
    ids::{ContentHash, SpaceHash},
    time::Millis,
    version::{Position, Version},
};

/// How long memory answers without looking at the location's cache, in ms.
pub const MEMORY_MS: u64 = 1_000;
/// How long what KV or the coordinator said is good for a location, in ms. KV's own cache keeps a key for 30 s at least
/// (kv/api/read-key-value-pairs, `cacheTtl`), so looking more often shows nothing.
pub const LOCATION_MS: u64 = 30_000;
/// How long a location's cache keeps an overlay, in ms. Longer than it is fresh: until the next confirmation it is what keeps
/// this location from going back.
pub const OVERLAY_KEPT_MS: u64 = 20 * LOCATION_MS;
/// `cacheTtl` of heads, in seconds: the least that KV takes (kv/api/read-key-value-pairs).
pub const HEAD_TTL_S: u32 = 30;
/// `cacheTtl` of objects, which never change, in seconds; and of a second look: a location may remember that one was missing.
pub const OBJECT_TTLS_S: [u32; 2] = [86_400, HEAD_TTL_S];

/// Which layers answer which pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPlan {
    /// Whether increments are looked for in KV. A KV read costs three times as much as asking the coordinator, and where
    /// publication waits for demand, only asking makes demand felt.
    pub increments_from_kv: bool,
}

impl ReadPlan {
    /// The plan of a kind of space: private or shared, published eagerly or by demand.
    #[must_use]
    pub fn of(is_private: bool, eager: bool) -> Self {
        Self { increments_from_kv: eager || !is_private }
    }
}

/// What the shell has to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Look into the location's cache; report with [`Pull::learn_cached`].
    Cache,
    /// Read the head from KV, with its body if [`Pull::wanted`] says so; report with [`Pull::learn_kv`].
    Kv,
    /// Ask the coordinator; report with [`Pull::learn_reply`] or [`Pull::coordinator_failed`].
    Ask(Box<Ask>),
    /// Send this.
    Answer(PullAnswer),
    /// Send this error.
    Fail(ApiError),
}

/// One pull under way.
#[derive(Debug)]
pub struct Pull {
    request: PullRequest,
    format: Format,
    plan: ReadPlan,
    /// How much is left of the day's requests of objects.
    left: Left,
    known: Known,
    checked_at: Millis,
    /// Where the space stood after the last write that is known of at this location.
    written: Option<Position>,
    cache_seen: bool,
    kv_seen: Option<Seen>,
    asked: bool,
    failure: Option<ApiError>,
    page: Option<PullAnswer>,
    restart: bool,
    missed: Option<ContentHash>,
    source: Source,
}

impl Pull {
    /// Begins with what memory holds and when that was last checked, and with where the space stood after the last write that
    /// passed this isolate.
    #[must_use]
    pub fn new(
        request: PullRequest,
        format: Format,
        plan: ReadPlan,
        (known, checked_at): (Known, Millis),
        written: Option<Position>,
    ) -> Self {
        Self {
            request,
            format,
            plan,
            left: Left::Enough,
            known,
            checked_at,
            written,
            cache_seen: false,
            kv_seen: None,
            asked: false,
            failure: None,
            page: None,
            restart: false,
            missed: None,
            source: Source::Edge,
        }
    }

    /// What is known by now.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// When what is known was last checked (0: never): against the location's cache, which has the note of the last write that
    /// passed this location, or by the coordinator. A head from KV alone may be older than that write.
    #[must_use]
    pub fn checked_at(&self) -> Millis {
        self.checked_at
    }

    /// How the answer will be written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Notes that objects of a load are read from KV.
    pub fn reads_objects(&mut self) {
        self.source = self.source.max(Source::Kv);
    }

    /// The furthest layer asked so far.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Milliseconds since the state that answers was published; 0 if the coordinator has just said it.
    #[must_use]
    pub fn age_ms(&self, now: Millis) -> u64 {
        if self.source == Source::Coordinator {
            return 0;
        }
        now.since(self.confirmed_at())
    }

    /// The tag of an answer (RFC 9110, 8.8.3), of which each form has its own. If it brings nothing that is its position, which a
    /// client can write down by itself. Any other also says whose it is and from where it leads there, so that it counts for
    /// no other request; it is weak, because the same changes can come in several orders.
    #[must_use]
    pub fn tag(&self, answer: &PullAnswer, space: &SpaceHash, is_coded: bool) -> String {
        let form = match self.format {
            Format::Json => "",
            Format::Ndjson if is_coded => ".ndjson.gzip",
            Format::Ndjson => ".ndjson",
        };
        let position = answer.position();
        if matches!(answer, PullAnswer::Nothing { .. }) {
            return format!("\"{position}{form}\"");
        }
        let own = self.request.position().map_or_else(|| Version::ZERO.to_string(), |own| own.to_string());
        let from = self.request.cursor.as_ref().map_or(own, ToString::to_string);
        format!("W/\"{position}-{}.{from}{form}\"", &space.as_str()[..16])
    }

    /// The next step.
    pub fn next(&mut self, now: Millis) -> Next {
        if let Some(page) = self.page.take() {
            return Next::Answer(page);
        }
        match &self.request.cursor {
            _ if self.restart => self.ask_or_fail(now),
            Some(Cursor::Ordered { .. }) => self.ask_or_fail(now),
            Some(Cursor::Parts { .. }) => self.resume(now),
            None => self.pull(now),
        }
    }

    /// A load goes on with any head that names the same base; without one the coordinator starts it over.
    fn resume(&mut self, now: Millis) -> Next {
        if let Some(answer) = self.serve(false) {
            return Next::Answer(answer);
        }
        if !self.cache_seen {
            return Next::Cache;
        }
        if self.kv_seen.is_none() {
            return Next::Kv;
        }
        self.restart = true;
        self.ask_or_fail(now)
    }

    /// Whether it is answered out of what is known where the coordinator does not answer.
    pub fn can_do_without(&self) -> bool {
        let asks = self.request.consistency == Consistency::Strong || self.request.cursor.is_some();
        !asks
            && !self.restart
            && self.known.head.is_some()
            && (self.takes_what_there_is() || self.shows_writes())
    }

    /// Whether it is answered out of what is known where the coordinator refuses it for its user's rate.
    pub fn takes_what_there_is(&self) -> bool {
        self.request.consistency == Consistency::Eventual
    }

    fn pull(&mut self, now: Millis) -> Next {
        let is_lenient = |failure: &ApiError| match failure {
            ApiError::Overloaded
            | ApiError::OverBudget { .. }
            | ApiError::Upstream
            | ApiError::UsedUp { .. }
            | ApiError::Internal => true,
            ApiError::RateLimited { .. } => self.takes_what_there_is(),
            _ => false,
        };
        if let Some(failure) = self.failure.as_ref().filter(|failure| !is_lenient(failure)) {
            return Next::Fail(failure.clone());
        }
        if self.asked {
            return self.after_asking(now);
        }
        if self.request.consistency == Consistency::Strong {
            return Next::Ask(Box::new(self.ask(now)));
        }
        if let Some(answer) = self.remembered(now) {
            return Next::Answer(answer);
        }
        if !self.cache_seen {
            return Next::Cache;
        }
        if self.kv_may_help(now) {
            return Next::Kv;
        }
        if self.kv_seen.is_some()
            && self.request.consistency == Consistency::Eventual
            && self.shows_writes()
            && let Some(answer) = self.serve(true)
        {
            return Next::Answer(answer);
        }
        Next::Ask(Box::new(self.ask(now)))
    }

    /// The answer, if memory has it: then nothing has to be waited for.
    pub fn remembered(&mut self, now: Millis) -> Option<PullAnswer> {
        let asks = self.request.cursor.is_some() || self.request.consistency == Consistency::Strong;
        let checked = now.since(self.checked_at) <= MEMORY_MS || self.cache_seen;
        if checked && !asks && self.is_fresh(now) && self.shows_writes() { self.serve(false) } else { None }
    }

    fn ask_or_fail(&self, now: Millis) -> Next {
        match (&self.failure, self.asked) {
            (Some(failure), _) => Next::Fail(failure.clone()),
            (None, true) => Next::Fail(ApiError::Upstream),
            (None, false) => Next::Ask(Box::new(self.ask(now))),
        }
    }

    /// The coordinator's word settles it; when it did not answer, whatever takes nobody back is good enough. Whoever asks for no
    /// more than is there may get a state without the last write, nobody else.
    fn after_asking(&mut self, now: Millis) -> Next {
        let lenient = self.failure.is_some();
        let answer = self.serve(false);
        if answer.is_none() && !lenient {
            // The overlay and the head do not make an answer together: the horizon has passed this client in between,
            // or the head stands above the coordinator. It answers alone.
            (self.restart, self.asked) = (true, false);
            return self.ask_or_fail(now);
        }
        if lenient && self.kv_seen.is_none() && (answer.is_none() || !self.shows_writes()) {
            return Next::Kv;
        }
        let fails = match self.request.consistency {
            Consistency::Strong => lenient,
            Consistency::Session => lenient && !self.shows_writes(),
            Consistency::Eventual => false,
        };
        match answer.or_else(|| if lenient { self.serve(true) } else { None }) {
            Some(answer) if !fails => Next::Answer(answer),
            _ => Next::Fail(self.failure.clone().unwrap_or(ApiError::Upstream)),
        }
    }

    /// What the location's cache holds, and where the space stood after the last write that passed this location.
    pub fn learn_cached(&mut self, cached: Known, written: Option<Position>, now: Millis) {
        self.cache_seen = true;
        self.written = self.written.take().max(written.filter(|_| !planted!(CachedWriteIgnored)));
        self.checked_at = now;
        self.known.learn(cached);
    }

    /// Whether the body of a head is needed to answer.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        match self.request.position() {
            Some(own) if self.request.since > Version::ZERO && self.request.cursor.is_none() => {
                Wanted::Above(own)
            }
            _ => Wanted::Always,
        }
    }

    /// What KV showed: a head, nothing, or (with an error) neither.
    pub fn learn_kv(&mut self, read: Result<Option<KnownHead>, ()>) {
        self.source = self.source.max(Source::Kv);
        self.kv_seen = Some(match read {
            Err(()) => Seen::Unknown,
            Ok(None) => Seen::Nothing,
            Ok(Some(head)) => {
                let position = head.position();
                self.known.learn_head(Rc::new(head));
                Seen::Head(position)
            }
        });
    }

    /// What the coordinator answered.
    pub fn learn_reply(&mut self, reply: PullReply, lines: &str, now: Millis) {
        self.asked = true;
        self.source = Source::Coordinator;
        match reply {
            PullReply::Overlay { epoch, from, version, horizon, asked_at } => {
                self.checked_at = now;
                let lines = lines.to_owned();
                self.known.learn_overlay(Rc::new(Overlay { epoch, from, version, horizon, asked_at, lines }));
            }
            PullReply::Page { epoch, version, reset, next } => {
                let position = Position { epoch, version };
                self.page = Some(PullAnswer::Page { position, reset, next, lines: lines.to_owned() });
            }
        }
    }

    /// The coordinator did not answer, or with an error.
    pub fn coordinator_failed(&mut self, error: ApiError) {
        self.asked = true;
        self.source = Source::Coordinator;
        self.failure = Some(error);
    }

    /// An object that the answer needs is not to be had, and nothing has been sent yet: the coordinator takes over. Named
    /// when KV says that it does not have it, absent when KV failed.
    pub fn object_is_missing(&mut self, hash: Option<ContentHash>) {
        self.asked = false;
        self.restart = true;
        self.missed = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_the_tag_of_nothing_new_and_every_other_answer_has_one_of_its_own() {
        let position = Position::parse("0mwrnsa6yk3v9q2.57").expect("a position");
        let pairs = |query: &str| crate::fronts::headwater::pull::query_pairs(query).expect("pairs");
        let tag = |query: &str, format, is_coded, brings: bool, user| {
            let space = SpaceHash::private("i", user);
            let request = PullRequest::from_query(&pairs(query), &space).expect("a pull");
            let pull = Pull::new(request, format, ReadPlan::of(true, true), Default::default(), None);
            let position = position.clone();
            let answer = if brings {
                PullAnswer::Changes { position, reset: false, lines: String::new() }
            } else {
                PullAnswer::Nothing { position }
            };
            pull.tag(&answer, &space, is_coded)
        };
        let own = "epoch=0mwrnsa6yk3v9q2&since=57";
        let told = "clients write this tag down without having seen it";
        assert_eq!(tag(own, Format::Json, false, false, "a"), "\"0mwrnsa6yk3v9q2.57\"", "{told}");
        assert_eq!(tag(own, Format::Ndjson, false, false, "a"), "\"0mwrnsa6yk3v9q2.57.ndjson\"", "{told}");
        let mut tags = Vec::new();
        for query in [
            "",
            own,
            "epoch=0mwrnsa6yk3v9q2&since=41",
            "epoch=0mwrnsa6yk3v9q1&since=41",
            "epoch=0mwrnsa6yk3v9q2",
        ] {
            for (format, is_coded) in [(Format::Json, false), (Format::Ndjson, false), (Format::Ndjson, true)]
            {
                for user in ["a", "b"] {
                    tags.push(tag(query, format, is_coded, true, user));
                }
            }
        }
        let scope = SpaceHash::private("i", "a").as_str()[..16].to_owned();
        for cursor in
            ["o.0mwrnsa6yk3v9q2.0.41.3", "o.0mwrnsa6yk3v9q2.0.42.3", "p.0mwrnsa6yk3v9q2.0123456789abcdef.1"]
        {
            tags.push(tag(&format!("cursor={scope}.{cursor}"), Format::Ndjson, false, true, "a"));
        }
        let is_tag = |tag: &String| {
            let opaque = tag.strip_prefix("W/\"").and_then(|rest| rest.strip_suffix('"'));
            opaque.is_some_and(|opaque| opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
        };
        assert!(tags.iter().all(is_tag), "{tags:?}");
        let count = tags.len();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), count, "two answers have the same tag");
    }
}
