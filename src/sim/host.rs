//! The object: opens the coordinator on its storage, carries out effects one half at a time, and can be killed between any
//! two of them, with nothing left but storage and the alarm.

use super::{
    Rng,
    kv::{Entry, Kv},
};
use crate::{
    coordinator::{
        Coordinator,
        ledger::MemoryLedger,
        publication::{Effect, PublicationConfig, PutOutcome},
    },
    ids::{ClientId, UserHash},
    protocol::{
        error::ApiError,
        internal::{Ask, Reply, decode_reply, encode_reply},
        push::{PushAnswer, PushRequest},
    },
    snapshot::{head::HeadMetadata, keys::Scope},
    time::Millis,
    version::Position,
};

/// What the shell waits for in a turn.
#[derive(Debug)]
enum Waiting {
    Watchdog,
    Head(Option<HeadMetadata>),
    Object(PutOutcome),
    HeadPut(PutOutcome),
}

/// The host of one object.
#[derive(Debug)]
pub struct Host {
    /// When the platform will wake the object.
    pub alarm: Option<Millis>,
    /// Whether calls fail.
    pub is_unreachable: bool,
    /// Calls that arrived.
    pub requests: u64,
    core: Option<Coordinator<MemoryLedger>>,
    storage: MemoryLedger,
    scope: Scope,
    config: PublicationConfig,
    rng: Rng,
    turn: Option<Waiting>,
}

impl Host {
    /// An object that was never used.
    #[must_use]
    pub fn new(scope: Scope, config: PublicationConfig, rng: Rng) -> Self {
        Self {
            alarm: None,
            is_unreachable: false,
            requests: 0,
            core: None,
            storage: MemoryLedger::default(),
            scope,
            config,
            rng,
            turn: None,
        }
    }

    /// The coordinator, opened if it is not running.
    pub fn core(&mut self, now: Millis) -> &mut Coordinator<MemoryLedger> {
        self.core.get_or_insert_with(|| {
            let (storage, scope) = (std::mem::take(&mut self.storage), self.scope.clone());
            Coordinator::open(storage, Some(scope), self.config, self.alarm, now, self.rng.any())
                .expect("storage in memory can be read")
        })
    }

    /// The coordinator if it is running.
    #[must_use]
    pub fn running(&self) -> Option<&Coordinator<MemoryLedger>> {
        self.core.as_ref()
    }

    /// The instance dies with everything but its storage.
    pub fn kill(&mut self) {
        if let Some(mut core) = self.core.take() {
            self.storage = core.ledger().clone();
        }
        self.turn = None;
    }

    /// Storage as it stands, to be restored later.
    pub fn copy_of_storage(&mut self, now: Millis) -> MemoryLedger {
        self.core(now).ledger().clone()
    }

    /// The instance dies and storage becomes `storage`, as after a restore.
    pub fn restore(&mut self, storage: MemoryLedger) {
        self.kill();
        self.storage = storage;
    }

    /// Pushes that share a transaction.
    pub fn push(
        &mut self,
        pushes: Vec<(UserHash, PushRequest)>,
        now: Millis,
    ) -> Vec<Result<PushAnswer, ApiError>> {
        self.requests += pushes.len() as u64;
        if self.is_unreachable {
            return vec![Err(ApiError::Upstream); pushes.len()];
        }
        for (user, push) in &pushes {
            let claimed = push.epoch.clone().zip(push.since);
            let claimed = claimed.map(|(epoch, version)| Position { epoch, version });
            if let Err(error) = self.settle_claim(claimed, Some((user, &push.client)), now) {
                return vec![Err(error); pushes.len()];
            }
        }
        let answers = self.core(now).push(&pushes, now);
        self.arm(now);
        answers
    }

    /// A pull that an edge cannot answer, as the wire between the two carries it.
    ///
    /// # Errors
    /// What the coordinator refuses with.
    pub fn pull(&mut self, ask: &Ask, now: Millis) -> Result<(Reply, String), ApiError> {
        self.requests += 1;
        if self.is_unreachable {
            return Err(ApiError::Upstream);
        }
        let ask: Ask =
            serde_json::from_str(&serde_json::to_string(ask).expect("an ask is JSON")).expect("an ask");
        let claimed = self.core(now).claimed_by(&ask, now);
        self.settle_claim(claimed, None, now)?;
        let (reply, lines) = self.core(now).pull(&ask, now)?;
        self.arm(now);
        let text = encode_reply(&reply, &lines);
        let (reply, lines) = decode_reply(&text).expect("a reply");
        Ok((reply, lines.to_owned()))
    }

    /// Begins a new epoch, as an owner may ask for.
    pub fn reset_epoch(&mut self, now: Millis) -> Position {
        let random = self.rng.any();
        let core = self.core(now);
        let epoch = core.position().epoch;
        core.begin_epoch(&epoch, now, random).expect("storage in memory can be written");
        let position = core.position();
        self.arm(now);
        position
    }

    /// Whether the platform would fire the alarm.
    #[must_use]
    pub fn alarm_is_due(&self, now: Millis) -> bool {
        self.turn.is_none() && self.alarm.is_some_and(|alarm| alarm <= now)
    }

    /// Whether a turn is under way.
    #[must_use]
    pub fn in_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// The alarm fires, due or not.
    pub fn begin_turn(&mut self, now: Millis) {
        self.alarm = Some(self.core(now).begin_turn(now));
        self.turn = Some(Waiting::Watchdog);
    }

    /// Reports what the turn waits for and sends its next effect: everything between two awaits of the shell. Returns
    /// whether the turn goes on.
    pub fn step(&mut self, kv: &mut Kv, now: Millis) -> bool {
        let Some(waiting) = self.turn.take() else { return false };
        let random = self.rng.any();
        let core = self.core(now);
        match waiting {
            Waiting::Watchdog => {}
            Waiting::Head(metadata) => core.head_was_read(metadata.as_ref(), now, random),
            Waiting::Object(outcome) => core.object_was_put(outcome, now),
            Waiting::HeadPut(outcome) => core.head_was_put(outcome, now),
        }
        let effect = core.next_effect(now);
        self.turn = self.send(effect, kv, now);
        self.turn.is_some()
    }

    fn send(&mut self, effect: Effect, kv: &mut Kv, now: Millis) -> Option<Waiting> {
        match effect {
            Effect::ReadHead { key } => {
                // The object sees KV from a place of its own. A read that fails ends the turn; the watchdog is set.
                let here = kv.locations() - 1;
                let entry = kv.read(here, &key, 30_000, now).ok()?;
                Some(Waiting::Head(entry.and_then(|entry| HeadMetadata::parse(&entry.metadata))))
            }
            Effect::PutObject { key, body, ttl_s } => {
                let entry = Entry { value: body, metadata: String::new(), expires: now.plus(ttl_s * 1000) };
                Some(Waiting::Object(kv.put(&key, entry, now)))
            }
            Effect::PutHead { key, value, metadata, expiration_s } => {
                let entry = Entry { value, metadata, expires: Millis(expiration_s * 1000) };
                Some(Waiting::HeadPut(kv.put(&key, entry, now)))
            }
            Effect::Sleep(alarm) => {
                self.alarm = alarm;
                None
            }
        }
    }

    fn settle_claim(
        &mut self,
        claimed: Option<Position>,
        client: Option<(&UserHash, &ClientId)>,
        now: Millis,
    ) -> Result<(), ApiError> {
        let random = self.rng.any();
        let core = self.core(now);
        let Some(claimed) = claimed.filter(|claimed| core.is_from_the_future(claimed, now)) else {
            return Ok(());
        };
        core.touch().expect("storage in memory can be written");
        core.begin_epoch_after(&claimed, client, now, random)?;
        self.arm(now);
        Ok(())
    }

    fn arm(&mut self, now: Millis) {
        if let Some(at) = self.core(now).poll_alarm(now) {
            self.alarm = Some(at);
        }
    }
}
