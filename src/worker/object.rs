//! The object that coordinates one space: reads calls, lets pushes that arrive together share a transaction, and carries
//! out what the publisher says when the alarm fires. The rules are `headwater::coordinator`'s.

mod administration;
mod directory;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use headwater::{
    coordinator::{
        Coordinator as Core, Person,
        crowd::Crowd,
        directory::Directory,
        ledger::{LedgerResult, SqlLedger},
        publication::{Effect, PutOutcome},
        queue::{Done, Queue, Ticket},
        rate::{self, Rate},
        shares::Shares,
    },
    edge::{answer::Usage, config::LogLevel},
    ids::{SpaceId, UserHash},
    limits,
    protocol::{
        act::Act,
        directory::PATH as DIRECTORY,
        error::ApiError,
        internal::{Ask, Caller, ConflictsAfter, Order, encode_reply},
        push::{PushAnswer, PushRequest, Reading},
        role::Role,
    },
    snapshot::{head::HeadMetadata, keys::Scope},
    time::Millis,
    version::Position,
};
use serde_json::json;
use wasm_bindgen::{JsCast, prelude::*};
use worker::{
    DurableObject, Env, Error, Request, Result, State, WebSocket, WebSocketIncomingMessage, durable_object,
};

use crate::{
    http::{self, Reply},
    isolate,
    location::{self, now},
    log,
    sql::{ObjectSql, ObjectStorage, Rows},
};

/// How long a put may take before nobody knows how it ended, in ms.
const PUT_TIMEOUT_MS: u32 = 25_000;

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    type Group;
    #[wasm_bindgen(constructor)]
    fn new(storage: &ObjectStorage) -> Group;
    #[wasm_bindgen(method, catch)]
    async fn turn(this: &Group, is_under_way: bool) -> std::result::Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    fn take(this: &Group) -> bool;
    #[wasm_bindgen(method)]
    fn committed(this: &Group);
    type Events;
    #[wasm_bindgen(constructor)]
    fn new(state: &JsValue) -> Events;
    #[wasm_bindgen(method)]
    fn begin(this: &Events);
    #[wasm_bindgen(method)]
    fn end(this: &Events);
    #[wasm_bindgen(catch, js_name = putValue)]
    async fn put_value(
        env: &JsValue,
        key: &str,
        value: &str,
        options: &str,
        timeout_ms: u32,
    ) -> std::result::Result<JsValue, JsValue>;
}

type Ledger = SqlLedger<ObjectSql>;
type Begin = for<'a> fn(&'a [u8]) -> std::result::Result<Reading<'a>, ApiError>;
/// An error says where the space stands if a part of the push was settled before.
type Settled = std::result::Result<(PushAnswer, Rows), (ApiError, Option<Position>)>;

/// Whose space an object is that no event has opened yet.
enum Whose {
    /// A user's own, under this scope. It begins when it is first used.
    Private(Scope),
    /// A shared one that this person makes, unless it is there.
    SharedAnew(SpaceId, Box<Person>),
    /// One that is there, or none.
    Known,
}

impl Whose {
    fn of(caller: &Caller, act: Option<(Act, &Order)>) -> std::result::Result<Self, ApiError> {
        match (caller.space.as_str(), act) {
            ("", _) => Scope::parse(&caller.scope).map(Self::Private).ok_or(ApiError::Internal),
            (id, Some((Act::Create, order))) => {
                let id = SpaceId::parse(id).map_err(|_| ApiError::Internal)?;
                Ok(Self::SharedAnew(id, Box::new(Person::of(order)?)))
            }
            _ => Ok(Self::Known),
        }
    }
}

/// Who waits for a push.
struct Waiting {
    user: UserHash,
    /// What it has cost to read it, in units.
    units: u64,
    /// What slices have cost that have settled parts of it.
    rows: Rows,
    settled: Rc<RefCell<Option<Settled>>>,
}

/// An event under way: if the module breaks off before it ends, so does the object.
struct Event<'a>(&'a Events);

impl<'a> Event<'a> {
    fn begin(object: &'a Coordinator) -> Self {
        // First of all, because an instance of the module that begins ends what an older one has left behind.
        isolate::config(&object.env);
        object.events.begin();
        Self(&object.events)
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A body that is held.
struct Held<'a> {
    shares: &'a RefCell<Shares>,
    user: UserHash,
    bytes: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shares.borrow_mut().give_back(&self.user, self.bytes);
    }
}

/// One space: the only writer of its changes.
#[durable_object]
struct Coordinator {
    env: Env,
    storage: ObjectStorage,
    sql: ObjectSql,
    core: RefCell<Option<Core<Ledger>>>,
    /// Instead of a space, where the object is a directory.
    directory: RefCell<Option<Directory<Ledger>>>,
    rate: RefCell<Option<Rate>>,
    /// Bodies from their arrival to their answer.
    held: RefCell<Shares>,
    queue: RefCell<Queue>,
    waiting: RefCell<BTreeMap<Ticket, Waiting>>,
    group: Group,
    crowd: RefCell<Crowd>,
    /// What whoever reads a long body, or many pages, waits for.
    reading: Group,
    events: Events,
    last_group: Cell<u32>,
}

impl DurableObject for Coordinator {
    fn new(state: State, env: Env) -> Self {
        let storage: ObjectStorage = state.storage().as_raw().unchecked_ref::<ObjectStorage>().clone();
        Self {
            env,
            sql: ObjectSql::new(storage.clone()),
            group: Group::new(&storage),
            crowd: RefCell::default(),
            reading: Group::new(&storage),
            events: Events::new(state.as_raw()),
            storage,
            core: RefCell::new(None),
            directory: RefCell::new(None),
            rate: RefCell::new(None),
            held: RefCell::new(Shares::new(limits::BODIES_HELD_MAX)),
            queue: RefCell::default(),
            waiting: RefCell::default(),
            last_group: Cell::new(0),
        }
    }

    async fn fetch(&self, request: Request) -> Result<worker::Response> {
        let _event = Event::begin(self);
        let (path, caller) = http::path_and_caller(request.inner());
        let caller: std::result::Result<Caller, _> = serde_json::from_str(&caller);
        let reply = match &caller {
            Ok(caller) => self.answer(request.inner(), &path, caller).await,
            Err(_) => Err(ApiError::Internal),
        };
        let (id, origin) = caller.as_ref().map_or(("", ""), |caller| (&caller.request, &caller.origin));
        let reply = reply
            .unwrap_or_else(|error| http::problem(&error, id, "", Usage { object: 1, ..Usage::default() }));
        Ok(http::response(id, Some(origin).filter(|origin| !origin.is_empty()), reply)?.into())
    }

    async fn alarm(&self) -> Result<worker::Response> {
        let _event = Event::begin(self);
        let Err(error) = self.publish().await else { return worker::Response::empty() };
        log::write(LogLevel::Error, "publication failed", json!({ "code": error.code() }));
        if let Some(core) = self.core.borrow_mut().as_mut() {
            core.turn_broke_off();
        }
        // Which alarm is set is not known, if any is: the platform's own retries are what is left.
        Err(Error::RustError("the publication will be tried again".to_owned()))
    }

    // The trait's own handlers panic, and a panic restarts every object of the isolate: so all of them answer.

    async fn connect(&self, _socket: worker::Socket) -> Result<()> {
        Ok(())
    }

    async fn websocket_message(&self, _socket: WebSocket, _message: WebSocketIncomingMessage) -> Result<()> {
        Ok(())
    }

    async fn websocket_close(
        &self,
        _socket: WebSocket,
        _code: usize,
        _reason: String,
        _clean: bool,
    ) -> Result<()> {
        Ok(())
    }

    async fn websocket_error(&self, _socket: WebSocket, _error: Error) -> Result<()> {
        Ok(())
    }
}

impl Coordinator {
    async fn answer(
        &self,
        request: &web_sys::Request,
        path: &str,
        caller: &Caller,
    ) -> std::result::Result<Reply, ApiError> {
        let user = UserHash::parse(&caller.user).map_err(|_| ApiError::Internal)?;
        if path == DIRECTORY {
            return self.answer_directory(&user, request).await;
        }
        let act = Act::parse(path);
        match act {
            Some(act) if act.is_owners() => self.rate(|rate| rate.admit_owners(&user, now())),
            _ => self.rate(|rate| rate.admit(&user, now())),
        }?;
        if let Some(act) = act {
            let body = http::call_bytes(request, limits::CALL_BYTES_MAX).await?;
            let order = Order::parse(&body).ok_or(ApiError::Internal)?;
            self.open(Whose::of(caller, Some((act, &order)))?).await?;
            return self.act(&user, act, &order, &caller.request).await;
        }
        self.open(Whose::of(caller, None)?).await?;
        match path {
            "push" => self.receive_push(user, request, &caller.request, PushRequest::read).await,
            "resolve" => {
                self.receive_push(user, request, &caller.request, PushRequest::read_resolutions).await
            }
            "conflicts" => {
                let body = http::call_bytes(request, limits::CALL_BYTES_MAX).await?;
                self.conflicts(&user, &body)
            }
            "pull" => {
                let body = http::call_bytes(request, limits::CALL_BYTES_MAX).await?;
                let scope = Scope::parse(&caller.scope).ok_or(ApiError::GrantRequired)?;
                self.pull(&user, &scope, &body).await
            }
            // That of an edge which is newer: there will be one soon.
            _ => Err(ApiError::Upstream),
        }
    }

    /// Takes the body of a push, unless its user may not push: then nothing of it enters memory, in which there is room for
    /// four such bodies at once, and the user pays for it.
    async fn receive_push(
        &self,
        user: UserHash,
        request: &web_sys::Request,
        id: &str,
        begin: Begin,
    ) -> std::result::Result<Reply, ApiError> {
        let length = http::call_length(request);
        if let Err(refused) = self.with(|core| core.admit(&user, Role::Writer)) {
            self.rate(|rate| rate.charge_refused(&user, rate::cost(length, 0), now()));
            return Err(refused);
        }
        let _held = self.hold(&user, length)?;
        let body = http::call_bytes(request, limits::BODY_BYTES_MAX).await?;
        self.push(user, body, id, begin).await
    }

    /// Notes that a body of so many bytes is held, if memory has room for it.
    fn hold(&self, user: &UserHash, bytes: usize) -> std::result::Result<Held<'_>, ApiError> {
        let has_room = self.held.borrow_mut().take(user, bytes);
        let held = || Held { shares: &self.held, user: user.clone(), bytes };
        has_room.then(held).ok_or(ApiError::Overloaded)
    }

    /// Opens the space at the first event of an instance.
    async fn open(&self, whose: Whose) -> std::result::Result<(), ApiError> {
        if self.core.borrow().is_some() {
            return Ok(());
        }
        let alarm = self.storage.get_alarm().await.map_err(|_| ApiError::Internal)?;
        let alarm = alarm.as_f64().map(|at| Millis(at as u64));
        let mut core = self.core.borrow_mut();
        // Another event may have opened it meanwhile.
        if core.is_none() {
            let opened = self.open_ledger(whose, alarm).map_err(|error| {
                log::write(LogLevel::Error, "storage failed", json!({ "error": format!("{error:?}") }));
                ApiError::Internal
            })?;
            *core = Some(opened.ok_or(ApiError::NotFound("There is no such space."))?);
        }
        Ok(())
    }

    /// The space as storage has it, or a new one. None where there is none and none is to be made: then nothing is written.
    fn open_ledger(&self, whose: Whose, alarm: Option<Millis>) -> LedgerResult<Option<Core<Ledger>>> {
        let config = isolate::config(&self.env).publication;
        let is_used = SqlLedger::is_used(&self.sql)?;
        let ledger = || SqlLedger::open(self.sql.clone());
        let core = match whose {
            Whose::Private(scope) => Core::open(ledger()?, Some(scope), config, alarm, now(), random()),
            Whose::SharedAnew(id, owner) if !is_used => {
                Core::create(ledger()?, &id, &owner, config, now(), random())
            }
            Whose::SharedAnew(..) | Whose::Known if is_used => {
                Core::open(ledger()?, None, config, alarm, now(), random())
            }
            Whose::SharedAnew(..) | Whose::Known => return Ok(None),
        };
        core.map(Some)
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Core<Ledger>) -> T) -> T {
        let mut core = self.core.borrow_mut();
        let core = core.as_mut().expect("BUG: the space was not opened");
        let result = use_it(core);
        if let Some(failure) = core.take_failure() {
            log::write(LogLevel::Error, "storage failed", json!({ "error": failure }));
        }
        result
    }

    fn conflicts(&self, user: &UserHash, body: &[u8]) -> std::result::Result<Reply, ApiError> {
        let ask: ConflictsAfter = serde_json::from_slice(body).map_err(|_| ApiError::Internal)?;
        self.sql.take_rows();
        let page = self.with(|core| core.conflicts(user, ask.after))?;
        let rows = self.sql.take_rows();
        let body = page.to_json();
        self.charge(user, rate::cost(body.len(), 0) + rows.units());
        let mut reply = Reply::json(200, body);
        reply.usage = Usage { rows_read: rows.read, rows_written: rows.written, ..Usage::default() };
        Ok(reply)
    }

    fn rate<T>(&self, use_it: impl FnOnce(&mut Rate) -> T) -> T {
        let mut rate = self.rate.borrow_mut();
        use_it(rate.get_or_insert_with(|| Rate::new(isolate::config(&self.env).rate, now())))
    }

    /// Charges a call that was admitted what it has cost beyond its unit.
    fn charge(&self, user: &UserHash, units: u64) {
        self.rate(|rate| rate.charge(user, units, now()));
    }

    async fn push(
        &self,
        user: UserHash,
        body: Vec<u8>,
        id: &str,
        begin: Begin,
    ) -> std::result::Result<Reply, ApiError> {
        let push = self.read(&body, begin).await;
        let units = rate::cost(body.len(), push.as_ref().map_or(0, PushRequest::changes));
        // One that cannot be read has cost as much.
        let push = push.inspect_err(|_| self.charge(&user, units))?;
        drop(body);
        // Who may not push does not get to say that storage has gone back either; that may have changed with the body.
        self.with(|core| core.admit(&user, Role::Writer))?;
        if let (Some(epoch), Some(since)) = (&push.epoch, push.since) {
            let claimed = Position { epoch: epoch.clone(), version: since };
            self.settle_claim(Some(claimed)).await?;
        }
        let settled = Rc::new(RefCell::new(None));
        let ticket = self.queue.borrow_mut().push(user.clone(), push);
        let waiting = Waiting { user, units, rows: Rows::default(), settled: Rc::clone(&settled) };
        self.waiting.borrow_mut().insert(ticket, waiting);
        // Pushes that are read in the meantime join. Whoever wakes first settles the next slice, so that no push depends on a
        // request whose client may hang up. Between two slices is a turn, in which others are heard.
        while settled.borrow().is_none() && self.queue.borrow().holds(ticket) {
            let is_under_way = self.queue.borrow().begun().next().is_some();
            self.group.turn(is_under_way).await.map_err(|_| ApiError::Upstream)?;
            if settled.borrow().is_none() && self.group.take() {
                self.settle_slice().await?;
            }
        }
        let (answer, rows) = match settled.take().ok_or(ApiError::Internal)? {
            Ok(settled) => settled,
            Err((error, None)) => return Err(error),
            Err((error, Some(position))) => {
                return Ok(
                    http::problem(&error, id, "", Usage { object: 1, ..Usage::default() }).at(&position)
                );
            }
        };
        let mut reply = Reply::json(200, answer.to_json()).at(&answer.position);
        reply.usage =
            Usage { object: 1, rows_read: rows.read, rows_written: rows.written, ..Usage::default() };
        Ok(reply)
    }

    /// Reads a push; of a long one as much as a slice has, and then others are heard. So they are between its coming, which has
    /// copied it, and the look for its mutations, and after that.
    async fn read(&self, body: &[u8], begin: Begin) -> std::result::Result<PushRequest, ApiError> {
        let is_long = body.len() > limits::READ_BYTES_MAX;
        let let_others_be_heard = || async {
            if is_long {
                self.reading.turn(true).await.map_err(|_| ApiError::Upstream).map(drop)
            } else {
                Ok(())
            }
        };
        let_others_be_heard().await?;
        let mut reading = begin(body)?;
        let_others_be_heard().await?;
        while reading.go_on(limits::READ_BYTES_MAX)? {
            let_others_be_heard().await?;
        }
        reading.finish()
    }

    /// Settles the next slice of the pushes that wait, in one transaction.
    async fn settle_slice(&self) -> std::result::Result<(), ApiError> {
        let mut may_begin = |user: &UserHash| self.rate(|rate| rate.admit_again(user, now()));
        self.sql.take_rows();
        let done = self.with(|core| core.settle(&mut self.queue.borrow_mut(), &mut may_begin, now()));
        self.last_group.set(u32::try_from(done.len()).unwrap_or(u32::MAX));
        self.tell(done, self.sql.take_rows());
        let armed = self.arm().await;
        self.group.committed();
        armed
    }

    /// Tells those whose pushes are done. Rows are counted for the slice: one push of it carries them all.
    fn tell(&self, done: Vec<Done>, mut rows: Rows) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(begun) =
            self.queue.borrow().begun().next().and_then(|(ticket, _)| waiting.get_mut(&ticket))
        {
            begun.rows.add(std::mem::take(&mut rows));
        }
        for Done { ticket, answer, work, written } in done {
            let Some(one) = waiting.remove(&ticket) else { continue };
            let bytes = work + answer.as_ref().map_or(0, |answer| answer.changes.len());
            self.charge(&one.user, one.units + rate::cost(bytes, 0));
            rows.add(one.rows);
            let settled = answer.map(|answer| (answer, std::mem::take(&mut rows)));
            one.settled.replace(Some(settled.map_err(|error| (error, written))));
        }
    }

    /// Sets the alarm if it has to be set. The first await after the rows were written, so that both are one transaction.
    async fn arm(&self) -> std::result::Result<(), ApiError> {
        let Some(at) = self.with(|core| core.poll_alarm(now())) else { return Ok(()) };
        self.storage.set_alarm(at.0 as f64).await.map(drop).map_err(|_| {
            // Nobody knows which alarm is set now: the next event sets one.
            self.with(Core::turn_broke_off);
            ApiError::Internal
        })
    }

    async fn pull(
        &self,
        user: &UserHash,
        scope: &Scope,
        body: &[u8],
    ) -> std::result::Result<Reply, ApiError> {
        let ask: Ask = serde_json::from_slice(body).map_err(|_| ApiError::Internal)?;
        self.wait_for_page(user, &ask).await?;
        let claimed = self.with(|core| core.claimed_by(user, scope, &ask, now()))?;
        self.settle_claim(claimed).await?;
        self.sql.take_rows();
        let (reply, lines) = self.with(|core| core.pull(user, scope, &ask, now()))?;
        let rows = self.sql.take_rows();
        self.charge(user, rate::cost(lines.len(), 0));
        self.crowd.borrow_mut().has_read(user, lines.len(), now());
        self.arm().await?;
        let mut answer = Reply::json(200, encode_reply(&reply, &lines));
        answer.usage = Usage { rows_read: rows.read, rows_written: rows.written, ..Usage::default() };
        Ok(answer)
    }

    /// Whoever has just read a page waits for the next, so that others are heard, and is then admitted once more.
    async fn wait_for_page(&self, user: &UserHash, ask: &Ask) -> std::result::Result<(), ApiError> {
        let has_to_wait = self.crowd.borrow().has_to_wait(user, now());
        if !has_to_wait || self.with(|core| core.asks_for_little(ask)) {
            return Ok(());
        }
        let wait_ms = self.crowd.borrow_mut().wait_ms(user, now());
        location::pause(wait_ms as u32).await;
        self.rate(|rate| rate.admit_again(user, now()))
    }

    /// A request that claims a position above ours: either its claim is false, or this instance has been superseded, which
    /// a confirmed write tells, or storage has gone back, and then a new epoch begins.
    async fn settle_claim(&self, claimed: Option<Position>) -> std::result::Result<(), ApiError> {
        let Some(claimed) =
            claimed.filter(|claimed| self.with(|core| core.is_from_the_future(claimed, now())))
        else {
            return Ok(());
        };
        self.with(|core| core.touch()).map_err(|_| ApiError::Internal)?;
        self.storage.sync().await.map_err(|_| ApiError::Upstream)?;
        let is_ahead = self.with(|core| core.is_from_the_future(&claimed, now()));
        if is_ahead && self.with(|core| core.begin_epoch_after(&claimed, now(), random()))? {
            self.arm().await?;
            log::write(LogLevel::Error, "storage went back: a new epoch begins", json!({}));
        }
        Ok(())
    }

    /// One turn of the publisher.
    async fn publish(&self) -> std::result::Result<(), ApiError> {
        self.open(Whose::Known).await?;
        let watchdog = self.with(|core| core.begin_turn(now()));
        self.set_watchdog(watchdog).await?;
        let (mut bytes, mut watched_from) = (0, now());
        loop {
            match self.with(|core| core.next_effect(now())) {
                Effect::ReadHead { key } => {
                    let metadata = location::head_metadata(&self.env, &key).await;
                    // A read that fails is tried again with the next turn: without it nothing may be overwritten.
                    let metadata = metadata.map_err(|()| ApiError::Upstream)?;
                    self.with(|core| core.head_was_read(metadata.as_ref(), now(), random()));
                }
                Effect::PutObject { key, body, ttl_s } => {
                    bytes += body.len();
                    let outcome = self.put(&key, &body, &json!({ "expirationTtl": ttl_s }).to_string()).await;
                    self.with(|core| core.object_was_put(outcome, now()));
                }
                Effect::PutHead { key, value, metadata, expiration_s } => {
                    bytes += value.len();
                    // After a long turn the watchdog would fire before a head that is put now must have landed.
                    if now().since(watched_from) > self.with(|core| core.publisher().settle_ms()) / 4 {
                        let watchdog = self.with(|core| core.watchdog(now()));
                        self.set_watchdog(watchdog).await?;
                        watched_from = now();
                    }
                    let options = format!("{{\"expiration\":{expiration_s},\"metadata\":{metadata}}}");
                    let outcome = self.put(&key, &value, &options).await;
                    self.with(|core| core.head_was_put(outcome, now()));
                    self.log_publication(&metadata, outcome, bytes);
                }
                Effect::Sleep(None) => {
                    return self.storage.delete_alarm().await.map(drop).map_err(|_| ApiError::Internal);
                }
                Effect::Sleep(Some(at)) => {
                    let set = self.storage.set_alarm(at.0 as f64).await;
                    return set.map(drop).map_err(|_| ApiError::Internal);
                }
            }
        }
    }

    async fn set_watchdog(&self, watchdog: Millis) -> std::result::Result<(), ApiError> {
        self.storage.set_alarm(watchdog.0 as f64).await.map(drop).map_err(|_| ApiError::Internal)
    }

    async fn put(&self, key: &str, value: &str, options: &str) -> PutOutcome {
        let answer = put_value(&self.env, key, value, options, PUT_TIMEOUT_MS).await;
        let words = answer.ok().and_then(|answer| answer.as_string()).unwrap_or_else(|| "error".to_owned());
        let outcome = match words.as_str() {
            "" => return PutOutcome::Done,
            // KV says which of its two limits it was only in words ("KV PUT failed: 429 Too Many Requests").
            words if words.contains("limit exceeded") => PutOutcome::Exhausted,
            words if words.contains("429") => PutOutcome::Refused,
            _ => PutOutcome::Unknown,
        };
        log::write(
            LogLevel::Error,
            "put failed",
            json!({ "outcome": format!("{outcome:?}"), "error": words }),
        );
        outcome
    }

    fn log_publication(&self, metadata: &str, outcome: PutOutcome, bytes: usize) {
        let Some(metadata) = HeadMetadata::parse(metadata) else { return };
        let fields = json!({
            "version": metadata.v, "bytes": bytes, "outcome": format!("{outcome:?}"), "lastGroup": self.last_group.get(),
        });
        log::write(LogLevel::Info, "published", fields);
    }
}

fn random() -> u64 {
    (js_sys::Math::random() * 9_007_199_254_740_992.0) as u64
}
