//! The object of one space: carries out what the tasks of `headwater::coordinator::object` ask for.

use std::{cell::RefCell, rc::Rc};

use headwater::{
    call::{BUDGET_TIMEOUT_MS, BudgetAnswer, BudgetCall, Call, Caller},
    coordinator::{
        ledger::{LedgerResult, Rows, SqlLedger},
        object::{Answer, Effect, Event, Expires, Moment, NoBody, Object, Said, Storage, Task},
    },
    edge::{isolate::Isolate, live::Conversations, pull::HEAD_TTL_S},
    error::ApiError,
    fronts::headwater::reply::Reply,
    ids::SpaceHash,
    limits,
    snapshot::head::HeadMetadata,
    time::Millis,
};
use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::{JsCast, prelude::*};
use wasm_bindgen_futures::JsFuture;
use worker::{DurableObject, Env, Error, Request, Result, State, durable_object};

use crate::{
    analytics,
    edge::call_object,
    http, isolate,
    live::Sockets,
    log, now,
    panic::{Events, UnderWay},
    sql::{ObjectSql, ObjectStorage, words_of},
};

#[wasm_bindgen(module = "/js/storage.js")]
extern "C" {
    type Group;
    #[wasm_bindgen(constructor)]
    fn new(storage: &ObjectStorage) -> Group;
    #[wasm_bindgen(method, catch, js_name = ready)]
    async fn ready(this: &Group, is_under_way: bool) -> std::result::Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    fn committed(this: &Group);
}

#[wasm_bindgen(module = "/js/kv.js")]
extern "C" {
    #[wasm_bindgen(js_name = pause)]
    async fn pause(ms: u32);
    #[wasm_bindgen(catch, js_name = readMetadata)]
    async fn read_metadata(env: &JsValue, key: &str, ttl_s: u32) -> std::result::Result<JsValue, JsValue>;
    #[wasm_bindgen(js_name = putValue)]
    fn put_value(env: &JsValue, key: &str, value: &str, options: &str, timeout_ms: u32) -> Promise;
    #[wasm_bindgen(catch, js_name = deleteValue)]
    async fn delete_value(env: &JsValue, key: &str, timeout_ms: u32)
    -> std::result::Result<JsValue, JsValue>;
}

impl Storage for ObjectSql {
    type Ledger = SqlLedger<Self>;

    fn is_used(&self) -> LedgerResult<bool> {
        SqlLedger::is_used(self)
    }

    fn has_tables(&self) -> LedgerResult<bool> {
        SqlLedger::has_tables(self)
    }

    fn open(&mut self) -> LedgerResult<Self::Ledger> {
        SqlLedger::open(self.clone())
    }

    fn take_rows(&mut self) -> Rows {
        self.rows.take()
    }
}

/// A task that is forgotten when nobody waits for it any more.
struct Running<'a> {
    object: &'a RefCell<Object<ObjectSql>>,
    task: Task,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.object.borrow_mut().forget(&mut self.task);
    }
}

/// One space: the only writer of its changes.
#[durable_object(alarm)]
struct Coordinator {
    instance: Rc<Instance>,
}

/// What an event needs, also one that ends after the call that has brought it about.
pub(crate) struct Instance {
    pub(crate) env: Env,
    pub(crate) state: JsValue,
    storage: ObjectStorage,
    pub(crate) object: RefCell<Object<ObjectSql>>,
    pub(crate) sockets: Sockets,
    pub(crate) conversations: RefCell<Conversations<Uint8Array>>,
    /// What pushes wait for.
    slices: Group,
    /// What whoever reads a long body waits for.
    reading: Group,
    pub(crate) events: Events,
}

/// Where the body of a call is.
pub(crate) enum Body<'a> {
    None,
    Request(&'a web_sys::Request),
    Bytes(Uint8Array),
    Text(String),
}

impl Body<'_> {
    /// How many bytes it is said to have.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Request(request) => http::call_length(request),
            Self::Bytes(bytes) => bytes.length() as usize,
            Self::Text(text) => text.len(),
        }
    }

    async fn read(&self, limit: usize) -> std::result::Result<Vec<u8>, NoBody> {
        match self {
            Self::None => Err(NoBody::BrokenOff),
            Self::Request(request) => http::call_bytes(request, limit).await,
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
            Self::Text(text) => Ok(text.clone().into_bytes()),
        }
    }
}

impl DurableObject for Coordinator {
    fn new(state: State, env: Env) -> Self {
        let storage: ObjectStorage = state.storage().as_raw().unchecked_ref::<ObjectStorage>().clone();
        let (config, common) = isolate::of_objects(&env);
        let id = state.id().to_string();
        let sockets = Sockets::new(state.as_raw());
        let mut object = Object::new(ObjectSql::new(storage.clone()), config, common, now());
        object.sockets_remain(remaining(&sockets.remaining()));
        let instance = Instance {
            object: RefCell::new(object),
            sockets,
            conversations: RefCell::new(isolate::with(&env, |isolate| Conversations::begin(isolate, &id))),
            slices: Group::new(&storage),
            reading: Group::new(&storage),
            events: Events::new(state.as_raw()),
            state: AsRef::<JsValue>::as_ref(state.as_raw()).clone(),
            env,
            storage,
        };
        Self { instance: Rc::new(instance) }
    }

    async fn fetch(&self, request: Request) -> Result<worker::Response> {
        let Self { instance } = self;
        let _event = UnderWay::begin(&instance.events, &instance.env);
        let request = request.inner();
        let (name, caller) = http::name_and_caller(request);
        let (answer, id, origin) = match Caller::parse(&caller) {
            None => (None, String::new(), String::new()),
            Some(caller) => {
                let (id, origin) = (caller.request.clone(), caller.origin.clone());
                let body = Body::Request(request);
                let task = Task::call(&name, caller, || body.length());
                (instance.run(task, body).await, id, origin)
            }
        };
        let answer = answer.unwrap_or_else(Answer::unreadable);
        let origin = Some(origin.as_str()).filter(|origin| !origin.is_empty());
        let Answer { result, at, aside, used } = answer;
        let result = match result {
            Ok(Said::Listening(applicant)) => match instance.accept(*applicant, aside.as_ref()) {
                Some(response) => return Ok(response.into()),
                None => Err(ApiError::Overloaded),
            },
            result => result,
        };
        let reply = Reply::of_object(result.map(Said::into_text), at.as_ref(), aside.as_ref(), &id);
        let response: web_sys::Response =
            http::respond_as_object(&reply, &name, (&id, origin), used)?.unchecked_into();
        Ok(response.into())
    }

    async fn alarm(&self) -> Result<worker::Response> {
        let Self { instance } = self;
        let _event = UnderWay::begin(&instance.events, &instance.env);
        match instance.run(Task::alarm(), Body::None).await {
            Some(_) => worker::Response::empty(),
            None => Err(Error::RustError("the publication will be tried again".to_owned())),
        }
    }
}

/// The platform's events of sockets. Not by the trait of `worker`, which copies a message into the module before anybody has looked
/// how long it is, and the module's memory never shrinks.
#[wasm_bindgen]
#[expect(unreachable_pub, reason = "what the platform calls is public, though no Rust code does")]
impl Coordinator {
    /// A message has come over a socket.
    #[wasm_bindgen(js_name = webSocketMessage)]
    pub async fn web_socket_message(&self, socket: JsValue, message: JsValue) {
        let Self { instance } = self;
        let _event = UnderWay::begin(&instance.events, &instance.env);
        instance.hear(&socket, &message).await;
    }

    /// A socket has ended.
    #[wasm_bindgen(js_name = webSocketClose)]
    pub fn web_socket_close(&self, socket: &JsValue) {
        self.instance.has_ended(socket);
    }

    /// A socket has broken.
    #[wasm_bindgen(js_name = webSocketError)]
    pub fn web_socket_error(&self, socket: &JsValue) {
        self.instance.has_ended(socket);
    }
}

/// The sockets that remain, a line each: a number, and a text.
fn remaining(lines: &str) -> impl Iterator<Item = (u32, &str)> {
    lines.lines().filter_map(|line| {
        let (number, note) = line.split_once(' ')?;
        Some((number.parse().ok()?, note))
    })
}

impl Instance {
    /// Brings a task to its end. None if the platform has to ring its alarm again.
    pub(crate) async fn run(self: &Rc<Self>, task: Task, body: Body<'_>) -> Option<Answer> {
        let mut running = Running { object: &self.object, task };
        let mut event = Event::Begun;
        loop {
            let effect = self.step(&mut running.task, event);
            event = match effect {
                Effect::Answer(answer) => return Some(answer),
                Effect::Rest => {
                    self.note_alarm(&running.task, "done");
                    return Some(Answer::nothing());
                }
                Effect::Fail => {
                    self.note_alarm(&running.task, "failed");
                    return None;
                }
                Effect::ReadBody { limit } => Event::Body(body.read(limit).await),
                effect => self.carry_out(effect).await,
            };
        }
    }

    /// What an alarm has used.
    fn note_alarm(&self, task: &Task, outcome: &str) {
        if !analytics::is_on() || !task.is_alarm() {
            return;
        }
        let object = self.object.borrow();
        let space = object.core().map(|core| core.scope().space());
        let space = space.as_ref().map_or("", SpaceHash::as_str);
        let ms = now().since(task.began_at());
        analytics::point(&self.env, space, ("alarm", "alarm", outcome), ms, task.used());
    }

    fn step(self: &Rc<Self>, task: &mut Task, event: Event) -> Effect {
        let (effect, log) = {
            let mut object = self.object.borrow_mut();
            (object.step(task, event, Moment { now: now(), random: random() }), object.take_log())
        };
        for (level, what, fields) in log {
            log::write(level, what, fields);
        }
        self.carry_out_live();
        effect
    }

    async fn carry_out(&self, effect: Effect) -> Event {
        match effect {
            Effect::ReadAlarm => {
                let alarm = self.storage.get_alarm().await;
                alarm.map_or_else(not_armed, |at| Event::Alarm(at.as_f64().map(|at| Millis(at as u64))))
            }
            Effect::SetAlarm(at) => {
                let set = match at {
                    Some(at) => self.storage.set_alarm(at.0 as f64).await,
                    None => self.storage.delete_alarm().await,
                };
                set.map_or_else(not_armed, |_| Event::AlarmSet(true))
            }
            Effect::LetOthers => resumed(self.reading.ready(true).await.is_ok()),
            Effect::AwaitSlice { is_under_way } => resumed(self.slices.ready(is_under_way).await.is_ok()),
            Effect::Committed => {
                self.slices.committed();
                Event::Resumed
            }
            Effect::Confirm => Event::Confirmed(self.storage.sync().await.is_ok()),
            Effect::Pause(ms) => {
                pause(u32::try_from(ms).unwrap_or(u32::MAX)).await;
                Event::Resumed
            }
            Effect::ReadHead { key } => {
                let read = read_metadata(&self.env, &key, HEAD_TTL_S).await.map_err(drop);
                Event::Head(read.map(|text| text.as_string().and_then(|text| HeadMetadata::parse(&text))))
            }
            Effect::Put { key, value, metadata, expires } => {
                Event::Put(self.put(&key, value, metadata, expires).await)
            }
            Effect::Delete { key } => {
                Event::Put(in_words(delete_value(&self.env, &key, limits::PUT_TIMEOUT_MS).await))
            }
            Effect::AskBudget(caller, call) => Event::Budget(self.ask_budget(&caller, call).await),
            Effect::Sign { user, scope, role } => {
                let sign = |isolate: &mut Isolate| isolate.sign_grant(&user, &scope, role, now());
                Event::Signed(isolate::with(&self.env, sign))
            }
            other => panic!("BUG: {} ends a task", other.as_ref()),
        }
    }

    async fn ask_budget(&self, caller: &Caller, call: BudgetCall) -> Option<BudgetAnswer> {
        let (budget, call) = (SpaceHash::budget(), Call::Budget(call));
        let (name, body) = (budget.as_str(), call.body());
        let asked = call_object(&self.env, name, call.name(), &caller.to_text(), &body, BUDGET_TIMEOUT_MS);
        let answer: Array = JsFuture::from(asked).await.ok()?.unchecked_into();
        let is_done = answer.get(0).as_f64() == Some(200.0);
        BudgetAnswer::parse(&answer.get(2).as_string().filter(|_| is_done)?)
    }

    async fn put(
        &self,
        key: &str,
        value: String,
        metadata: Option<String>,
        expires: Expires,
    ) -> std::result::Result<(), String> {
        let metadata = metadata.map_or_else(String::new, |metadata| format!(",\"metadata\":{metadata}"));
        let options = match expires {
            Expires::In(seconds) => format!("{{\"expirationTtl\":{seconds}{metadata}}}"),
            Expires::At(second) => format!("{{\"expiration\":{second}{metadata}}}"),
        };
        let put = put_value(&self.env, key, &value, &options, limits::PUT_TIMEOUT_MS);
        // JavaScript has a copy, and the module's memory never shrinks.
        drop(value);
        in_words(JsFuture::from(put).await)
    }
}

/// What KV has said, unless it has done what it was asked to.
fn in_words(answer: std::result::Result<JsValue, JsValue>) -> std::result::Result<(), String> {
    let words = answer.ok().and_then(|answer| answer.as_string()).unwrap_or_else(|| "error".to_owned());
    if words.is_empty() { Ok(()) } else { Err(words) }
}

fn not_armed(error: JsValue) -> Event {
    Event::no_alarm(&words_of(&error))
}

fn resumed(is_well: bool) -> Event {
    if is_well { Event::Resumed } else { Event::BrokenOff }
}

pub(crate) fn random() -> u64 {
    (js_sys::Math::random() * 9_007_199_254_740_992.0) as u64
}
