//! The deployment of a day: isolates, objects, KV, the budget, and the devices of people.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use serde_json::Value;

use super::super::super::{
    BY_DEMAND, DAY_MS, ISSUER, Rng, START,
    host::Host,
    kv::Kv,
    location::{Location, granter},
    visits::{called, passed},
};
use crate::{
    access::grant::Granter,
    call::{Administration, Call, Caller, Destination, Person, Usage, live::News},
    config::Config,
    coordinator::budget::BudgetMax,
    edge::{
        isolate::Isolate,
        known::KnownHead,
        visit::{Called, Effect, Event, Outgoing, Passed, PassedBody, Request, Visit},
    },
    error::ApiError,
    fronts::headwater::reply::{Body, Headers, Reply},
    ids::{SpaceHash, SpaceId, UserHash},
    role::Role,
    snapshot::keys::Scope,
    time::{HOUR_MS, Millis},
    version::{Epoch, Position, Version},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const MINUTE_MS: u64 = 60_000;
const MIDNIGHT: Millis = START.next_day();
/// Lists that ten people share, and how many those are.
const LISTS: usize = 2;
const SHARING: usize = 10;
/// Notes that a space has when the day begins.
const NOTES: u64 = 100;
/// How long people work, in minutes of the day.
const WORK: std::ops::Range<u64> = 8 * 60..16 * 60;
/// How long a grant is used, in ms.
const GRANT_MS: u64 = 9 * MINUTE_MS;

/// What a day is like.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) people: usize,
    pub(super) budget: BudgetMax,
    pub(super) has_sockets: bool,
    pub(super) seed: u64,
}

#[derive(Debug)]
struct Space {
    id: Option<SpaceId>,
    scope: Scope,
    host: Host,
}

/// The copy of one space on one device.
#[derive(Debug)]
struct Copy {
    person: usize,
    space: usize,
    client: String,
    at: Option<Position>,
    notes: BTreeMap<String, String>,
    /// The number of the next mutation, and those that no push has brought yet.
    next: u64,
    outbox: Vec<String>,
    grant: Option<(String, Millis)>,
    is_open: bool,
}

/// What the free plan counts.
#[derive(Debug, Clone, Copy, Default)]
struct Meters {
    worker: u64,
    kv_reads: u64,
    /// Of objects, but for those that their hosts count themselves.
    objects: u64,
    rows: u64,
}

/// A deployment.
#[derive(Debug)]
pub(super) struct Deployment {
    now: Millis,
    rng: Rng,
    kv: Kv,
    location: Location,
    isolate: Isolate,
    granter: Granter,
    spaces: Vec<Space>,
    budget: Rc<RefCell<Host>>,
    copies: Vec<Copy>,
    tokens: Vec<String>,
    meters: Meters,
    before: [u64; 6],
    /// What an object has said to the last call whose answer was passed on.
    said: Result<Option<String>, ApiError>,
    refused: BTreeMap<String, u64>,
    /// Pulls whose answer said that requests of objects run low.
    pub(super) warned: u64,
    told: Vec<String>,
    known: BTreeSet<String>,
    has_sockets: bool,
}

fn sub(person: usize) -> String {
    format!("person-{person}")
}

fn user(person: usize) -> UserHash {
    UserHash::new(ISSUER, &sub(person))
}

fn token(person: usize) -> String {
    use jwt_compact::{
        AlgorithmExt, Claims, Header,
        alg::{Hs256, Hs256Key},
    };
    let claims = serde_json::json!({ "iss": ISSUER, "sub": sub(person), "exp": u32::MAX });
    let key = Hs256Key::new(SECRET.as_bytes());
    let token = Hs256.token(&Header::empty(), &Claims::new(claims), &key).expect("a token");
    format!("Bearer {token}")
}

fn isolate(budget: BudgetMax) -> Isolate {
    let config = Config::read(|name| match name {
        "GRANT_SECRET" | "JWT_SECRET" => Some(SECRET.to_owned()),
        "LOG_LEVEL" => Some("error".to_owned()),
        "BUDGET_OBJECT_REQUESTS_PER_DAY" => budget.object_requests.map(|max| max.to_string()),
        _ => None,
    });
    Isolate::new(config.edge, &config.problems, &[], false)
}

impl Deployment {
    /// Spaces with some notes, published on the day before, and devices that have nothing yet.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let mut budget = Host::new(None, None, BY_DEMAND, Rng::new(rng.any()));
        budget.set_budget(plan.budget, None);
        let mut day = Self {
            now: Millis(MIDNIGHT.0 - HOUR_MS),
            kv: Kv::new(2, Rng::new(rng.any())),
            location: Location::new(false),
            isolate: isolate(plan.budget),
            granter: granter(),
            spaces: Vec::new(),
            budget: Rc::new(RefCell::new(budget)),
            copies: Vec::new(),
            tokens: (0..plan.people).map(token).collect(),
            meters: Meters::default(),
            before: [0; 6],
            said: Ok(None),
            refused: BTreeMap::new(),
            warned: 0,
            told: Vec::new(),
            known: BTreeSet::new(),
            has_sockets: plan.has_sockets,
            rng,
        };
        for person in 0..plan.people {
            let scope = Scope::private(&SpaceHash::private(ISSUER, &sub(person)));
            day.add_space(None, scope, plan);
        }
        for list in 0..plan.people.div_ceil(SHARING) * LISTS {
            let id = SpaceId::stored(&format!("list-{list}"));
            day.add_space(Some(id), Scope::private(&SpaceHash::budget()), plan);
        }
        for person in 0..plan.people {
            for device in 0..2 {
                let first = plan.people + person / SHARING * LISTS;
                for space in std::iter::once(person).chain(first..first + LISTS) {
                    day.copies.push(Copy {
                        person,
                        space,
                        client: format!("device-{person}-{device}-{space}"),
                        at: None,
                        notes: BTreeMap::new(),
                        next: 1,
                        outbox: Vec::new(),
                        grant: None,
                        is_open: false,
                    });
                }
            }
        }
        while day.now < MIDNIGHT {
            day.minute_ends();
        }
        day.before = day.used();
        day
    }

    fn add_space(&mut self, id: Option<SpaceId>, scope: Scope, plan: &Plan) {
        let private = Some(scope.clone()).filter(|_| id.is_none());
        let mut host = Host::new(private, id.clone(), BY_DEMAND, Rng::new(self.rng.any()));
        host.set_budget(plan.budget, Some(Rc::clone(&self.budget)));
        let mut space = Space { id, scope, host };
        let (place, people) = (self.spaces.len(), plan.people);
        let owner = if place < people { place } else { (place - people) / LISTS * SHARING };
        if let Some(id) = &space.id {
            space.host.create(&Person { user: user(owner), sub: sub(owner) }, self.now);
            space.scope = space.host.core(self.now).scope().clone();
            for person in owner + 1..people.min(owner + SHARING) {
                let person = Person { user: user(person), sub: sub(person) };
                let call = Call::Administer(Administration::SetMember { person, role: Role::Writer });
                let destination = Destination::Shared { id: id.clone(), scope: None };
                let (request, origin) = (String::new(), String::new());
                let caller = Caller {
                    user: user(owner),
                    destination,
                    request,
                    origin,
                    sub: String::new(),
                    iss: String::new(),
                    spent: Usage::default(),
                };
                let call =
                    Outgoing { object: SpaceHash::shared(id), call, caller, timeout_ms: 1_000, body: None };
                let ended = space.host.call_by_edge(&call, &mut self.kv, &self.granter, self.now);
                assert!(ended.told.is_ok(), "a member: {:?}", ended.told);
            }
        }
        let notes: Vec<_> =
            (1..=NOTES).map(|number| mutation(number, &format!("old-{number}"), number)).collect();
        let body = format!(r#"{{"client":"the-day-before","mutations":[{}]}}"#, notes.join(","));
        let pushed = space.host.push(&[(user(owner), &body)], self.now);
        assert!(pushed[0].is_ok(), "notes: {pushed:?}");
        self.spaces.push(space);
    }

    /// The whole day passes.
    pub(super) fn passes(&mut self) {
        for minute in 0..DAY_MS / MINUTE_MS {
            if WORK.contains(&minute) {
                self.people_work(minute);
            }
            if minute == WORK.end + 5 {
                // Whoever goes home looks once more at what the others have done.
                (0..self.copies.len()).for_each(|copy| self.pull(copy, None));
            }
            self.minute_ends();
        }
    }

    /// In most tens of minutes people write, an edit after the other, and in the others they read.
    fn people_work(&mut self, minute: u64) {
        for copy in 0..self.copies.len() {
            // They come within half an hour.
            let comes = WORK.start + (self.copies[copy].person as u64 * 7) % 30;
            if minute < comes {
                continue;
            }
            if minute == comes {
                self.pull(copy, None);
                self.listen(copy);
            } else if !self.copies[copy].is_open {
                self.pull(copy, None);
            }
            let Copy { person, space, .. } = self.copies[copy];
            let is_shared = space >= self.tokens.len();
            let burst = Rng::new(minute / 10 * 1_000 + person as u64).chance(60);
            // Two devices with three copies each: an edit a minute, of which two thirds are private.
            let percent = if is_shared { 14 } else { 56 };
            if burst && self.rng.chance(percent) {
                self.edit(copy);
            }
            self.push(copy);
        }
    }

    fn minute_ends(&mut self) {
        self.now = Millis((self.now.0 / MINUTE_MS + 1) * MINUTE_MS);
        for space in 0..self.spaces.len() {
            let Space { host, .. } = &mut self.spaces[space];
            if host.alarm_is_due(self.now) {
                self.meters.objects += 1;
                host.begin_turn(self.now);
                while host.step(&mut self.kv, self.now) {}
            }
            host.gather(self.now);
            self.hear(space);
            self.spaces[space].host.sleep();
        }
        self.budget.borrow_mut().sleep();
        self.note_state();
    }

    /// What the deployment says of its budget, once for each word.
    fn note_state(&mut self) {
        let request =
            Request { method: "GET".into(), path: "/health".into(), now: self.now, ..Request::default() };
        let (_, effect) = self.isolate.begin(request, &|_| String::new());
        let Effect::Answer(answer) = effect else { panic!("health is answered at once") };
        let Ok(Reply { body: Body::Text(text), .. }) = *answer else { panic!("a text") };
        let budget = serde_json::from_str::<Value>(&text).expect("JSON")["budget"].clone();
        for (what, left) in budget.as_object().into_iter().flatten() {
            let word = format!("{what} {}", left.as_str().expect("a word"));
            if left != "enough" && self.known.insert(word.clone()) {
                let minutes = self.now.since(MIDNIGHT) / MINUTE_MS;
                self.told.push(format!("{:02}:{:02} {word}", minutes / 60, minutes % 60));
            }
        }
    }

    fn edit(&mut self, copy: usize) {
        let length = 50 + self.rng.below(300);
        let copy = &mut self.copies[copy];
        let id = format!("{}-{}", copy.client, copy.next % 20);
        copy.outbox.push(mutation(copy.next, &id, length + copy.next));
        copy.next += 1;
    }

    fn push(&mut self, copy: usize) {
        if self.copies[copy].outbox.is_empty() {
            return;
        }
        let Copy { client, at, outbox, .. } = &self.copies[copy];
        let since = at
            .as_ref()
            .map_or_else(String::new, |at| format!(r#","epoch":"{}","since":{}"#, at.epoch, at.version));
        let body = format!(r#"{{"client":"{client}","mutations":[{}]{since}}}"#, outbox.join(","));
        let path = self.path(copy, "/sync/push", "");
        if self.request(copy, ("POST", &path), &body).is_err() {
            return;
        }
        let said = std::mem::replace(&mut self.said, Ok(None)).expect("it is done").expect("an answer");
        self.copies[copy].outbox.clear();
        let is_all = self.take(copy, &said);
        self.hear(self.copies[copy].space);
        if !is_all {
            self.pull(copy, None);
        }
    }

    /// Takes an answer in; whether there is no more.
    fn take(&mut self, copy: usize, text: &str) -> bool {
        let page: Value = serde_json::from_str(text).expect("JSON");
        let copy = &mut self.copies[copy];
        if page["more"] == true && page["cursor"].is_null() {
            return false;
        }
        for change in page["changes"].as_array().expect("changes") {
            copy.notes.insert(change["id"].to_string(), change["value"].to_string());
        }
        let epoch = Epoch::parse(page["epoch"].as_str().expect("an epoch")).expect("an epoch");
        let version = Version::new(page["version"].as_u64().expect("a version")).expect("a version");
        if page["more"] != true {
            copy.at = copy.at.take().max(Some(Position { epoch, version }));
        }
        page["more"] != true
    }

    fn pull(&mut self, copy: usize, min: Option<&Position>) {
        if self.spaces[self.copies[copy].space].id.is_some() {
            self.renew_grant(copy);
            // Without one there is nothing to ask for.
            if self.copies[copy].grant.as_ref().is_none_or(|(_, until)| *until <= self.now) {
                return;
            }
        }
        let mut cursor = String::new();
        loop {
            let at = self.copies[copy].at.as_ref();
            let mut query =
                at.map_or_else(String::new, |at| format!("epoch={}&since={}", at.epoch, at.version));
            query.push_str(&min.map_or_else(String::new, |min| format!("&min={min}")));
            if !cursor.is_empty() {
                query = format!("cursor={cursor}");
            }
            let path = self.path(copy, "/sync/pull", &query);
            let Ok(Reply { status: 200, body: Body::Text(text), .. }) =
                self.request(copy, ("GET", &path), "")
            else {
                return;
            };
            if self.take(copy, &text) {
                return;
            }
            let page: Value = serde_json::from_str(&text).expect("JSON");
            cursor = page["cursor"].as_str().expect("a cursor").to_owned();
        }
    }

    fn renew_grant(&mut self, copy: usize) {
        if self.copies[copy].grant.as_ref().is_some_and(|(_, until)| *until > self.now) {
            return;
        }
        let id = self.spaces[self.copies[copy].space].id.clone().expect("a list");
        if self.request(copy, ("POST", &format!("/spaces/{id}/grant")), "").is_ok()
            && let Ok(Some(said)) = std::mem::replace(&mut self.said, Ok(None))
        {
            let granted: Value = serde_json::from_str(&said).expect("JSON");
            let grant = granted["grant"].as_str().expect("a grant").to_owned();
            self.copies[copy].grant = Some((grant, self.now.plus(GRANT_MS)));
        }
    }

    fn listen(&mut self, copy: usize) {
        if !self.has_sockets {
            return;
        }
        self.meters.worker += 1;
        let Copy { person, space, .. } = self.copies[copy];
        let (user, host) = (user(person), &mut self.spaces[space].host);
        let expires = self.now.plus(DAY_MS);
        let opened = host.open_socket((copy, copy as u64), &user, expires, self.now);
        let (_, at) = opened.expect("a socket");
        self.copies[copy].is_open = true;
        if self.copies[copy].at.as_ref() != Some(&at) {
            self.pull(copy, Some(&at));
        }
    }

    /// Devices hear what a space tells them.
    fn hear(&mut self, space: usize) {
        for (copy, news) in self.spaces[space].host.take_told() {
            let at = self.copies[copy].at.clone();
            match news {
                News::Changes { from, at: to, lines }
                    if at.as_ref().is_some_and(|at| at.epoch == to.epoch && at.version >= from) =>
                {
                    let lines: Vec<_> = lines.lines().collect();
                    let page = format!(
                        r#"{{"epoch":"{}","version":{},"more":false,"changes":[{}]}}"#,
                        to.epoch,
                        to.version,
                        lines.join(",")
                    );
                    self.take(copy, &page);
                }
                News::Changes { at: to, .. } | News::Version(to) if at.as_ref() < Some(&to) => {
                    self.pull(copy, Some(&to));
                }
                News::Changes { .. } | News::Version(_) => {}
            }
        }
    }

    fn path(&self, copy: usize, path: &str, query: &str) -> String {
        match &self.spaces[self.copies[copy].space].id {
            Some(id) => format!("{path}?space={id}&{query}"),
            None => format!("{path}?{query}"),
        }
    }

    /// A request of a device. What it is refused with is counted.
    fn request(&mut self, copy: usize, (method, path): (&str, &str), body: &str) -> Result<Reply, ApiError> {
        self.meters.worker += 1;
        self.now = self.now.plus(7);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let Copy { person, space, ref at, ref grant, .. } = self.copies[copy];
        let tag = at.as_ref().map_or_else(String::new, |at| format!("\"{at}\""));
        let request = Request {
            method: method.to_owned(),
            host: "https://edge.example".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            authorization: self.tokens[person].clone(),
            if_none_match: if method == "GET" { tag } else { String::new() },
            content_type: "application/json".to_owned(),
            now: self.now,
            ..Request::default()
        };
        let grant = grant.as_ref().map_or_else(String::new, |(grant, _)| grant.clone());
        let header = |name: &str| if name == "headwater-grant" { grant.clone() } else { String::new() };
        let (mut visit, effect) = self.isolate.begin(request, &header);
        let answer = self.drive(&mut visit, effect, space, body);
        if let Ok(Reply { headers: Headers::Pull(headers), .. }) = &answer {
            self.warned += u64::from(headers.budget.is_some());
        }
        if let Err(error) = &answer {
            let said = Reply::problem(error, "", "");
            let Body::Text(text) = said.body else { panic!("a problem is a text") };
            let problem: Value = serde_json::from_str(&text).expect("JSON");
            assert!(
                error.retry_after_s().is_some() && problem["budget"] == "object_requests",
                "a refusal that names no budget: {error:?}"
            );
            let minutes = self.now.since(MIDNIGHT) / MINUTE_MS;
            if self.refused.is_empty() {
                self.told.push(format!("{:02}:{:02} first refusal, of {path}", minutes / 60, minutes % 60));
            }
            *self.refused.entry(path.to_owned()).or_default() += 1;
        }
        answer
    }

    fn drive(
        &mut self,
        visit: &mut Visit,
        mut effect: Effect,
        space: usize,
        body: &str,
    ) -> Result<Reply, ApiError> {
        loop {
            for mut errand in self.isolate.take_errands() {
                let effect = self.isolate.step(&mut errand, Event::Begun, self.now);
                self.meters.kv_reads += errand.usage().kv;
                drop(self.drive(&mut errand, effect, space, ""));
            }
            let event = match effect {
                Effect::Answer(answer) => {
                    self.meters.kv_reads += visit.usage().kv;
                    return *answer;
                }
                Effect::Rest => return Err(ApiError::Internal),
                effect => self.carry_out(effect, space, body),
            };
            effect = self.isolate.step(visit, event, self.now);
        }
    }

    fn carry_out(&mut self, effect: Effect, space: usize, body: &str) -> Event {
        match effect {
            Effect::ReadBody { .. } => Event::Body(Ok(body.as_bytes().to_vec())),
            Effect::Drain | Effect::Pause(_) => Event::Resumed,
            Effect::ReadHead { scope, wanted, ttl_s } => {
                let read = self.kv.read(0, &scope.head_key(), u64::from(ttl_s) * 1_000, self.now);
                let entry = read.expect("nothing fails");
                let metadata = entry.as_ref().map(|entry| entry.metadata.clone());
                let value =
                    entry.filter(|entry| wanted.wants_of(&entry.metadata)).map(|entry| entry.value.clone());
                Event::Head(KnownHead::of_kv(metadata.as_deref(), value, &scope, self.now).map_err(drop))
            }
            Effect::Call(call) => Event::Called(self.call(&call, space)),
            Effect::Pass(call, PassedBody::Request { .. }) => {
                let Space { host, .. } = &mut self.spaces[space];
                let pushed = host.push(&[(call.caller.user.clone(), body)], self.now).remove(0);
                let pushed = pushed.expect("a push");
                let (position, said) = (Some(pushed.position.clone()), Ok(Some(pushed.to_json())));
                self.said = said;
                Event::Passed(Ok(Passed {
                    status: 200,
                    retry_after_s: None,
                    position,
                    aside: None,
                    timing: String::new(),
                }))
            }
            Effect::Pass(call, _) => {
                let Space { host, .. } = &mut self.spaces[space];
                host.bill(&call.caller.spent);
                let ended = host.call_by_edge(&call, &mut self.kv, &self.granter, self.now);
                let event = passed(&ended.told, ended.at.as_ref(), ended.aside.as_ref());
                self.said = ended.told;
                Event::Passed(Ok(event))
            }
            effect => match self.location.carry_out(effect, self.now) {
                Ok(event) => event,
                Err(effect) => panic!("BUG: nobody carries out {effect:?} here"),
            },
        }
    }

    fn call(&mut self, call: &Outgoing, space: usize) -> Called {
        let said =
            |text: String| Called { result: Ok(text), position: None, aside: None, timing: String::new() };
        match call.call {
            Call::Budget(asked) => {
                let answer = self.budget.borrow_mut().answer_as_budget(&call.caller, asked, self.now);
                said(answer.expect("it is reached").to_text())
            }
            // A directory notes what it hears.
            Call::Directory(_) => {
                (self.meters.objects, self.meters.rows) = (self.meters.objects + 1, self.meters.rows + 1);
                said(String::new())
            }
            _ => {
                let Space { host, .. } = &mut self.spaces[space];
                // What edges use is counted here for all spaces together.
                host.bill(&call.caller.spent);
                called(&host.call_by_edge(call, &mut self.kv, &self.granter, self.now))
            }
        }
    }

    /// What was used so far: Worker requests, KV reads, writes and deletions, requests of objects, rows written.
    fn used(&mut self) -> [u64; 6] {
        let Meters { worker, kv_reads, objects, rows } = self.meters;
        let mut budget = self.budget.borrow_mut();
        let requests: u64 = self.spaces.iter().map(|space| space.host.requests).sum();
        let written: u64 = self.spaces.iter_mut().map(|space| space.host.rows_written()).sum();
        let (kv_writes, deletions) = (self.kv.puts.len() as u64, self.kv.deletions.len() as u64);
        [
            worker,
            kv_reads,
            kv_writes,
            deletions,
            objects + requests + budget.requests,
            rows + written + budget.rows_written(),
        ]
    }

    fn meters(&mut self) -> Vec<(&'static str, u64, u64)> {
        let names =
            ["Worker requests", "KV reads", "KV writes", "KV deletions", "object requests", "rows written"];
        let free = [100_000, 100_000, 1_000, 1_000, 100_000, 100_000];
        let (used, before) = (self.used(), self.before);
        let used = used.iter().zip(before).map(|(used, before)| used - before);
        names.into_iter().zip(used).zip(free).map(|((name, used), free)| (name, used, free)).collect()
    }

    /// Meters that are above the free plan's day.
    pub(super) fn above(&mut self) -> Vec<String> {
        let meters = self.meters();
        let above = meters.iter().filter(|(_, used, free)| used > free);
        above.map(|(name, ..)| (*name).to_owned()).collect()
    }

    pub(super) fn table(&mut self) -> String {
        let line = |(name, used, free): (&str, u64, u64)| {
            format!("{name:<16} {used:>8} of {free:>8} {:>4} %\n", used * 100 / free)
        };
        let lines: String = self.meters().into_iter().map(line).collect();
        let (told, out) = (self.told.join("; "), self.out_of_sync());
        format!("{lines}told: {told}\nrefused: {:?}\nout of sync: {out}\n", self.refused)
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// What the deployment has said of its budget, when for the first time.
    pub(super) fn told(&self) -> &[String] {
        &self.told
    }

    pub(super) fn refused_pushes(&self) -> u64 {
        self.refused.get("/sync/push").copied().unwrap_or(0)
    }

    /// Everybody looks, on the next day.
    pub(super) fn next_morning(&mut self) {
        (0..self.copies.len()).for_each(|copy| self.push(copy));
        (0..self.copies.len()).for_each(|copy| self.pull(copy, None));
    }

    /// Copies that do not hold what their space does.
    pub(super) fn out_of_sync(&mut self) -> usize {
        let mut states = BTreeMap::new();
        let mut out = 0;
        for copy in &self.copies {
            let at = self.spaces[copy.space].host.core(self.now).position();
            let state = states.entry(copy.space).or_insert_with(|| copy.notes.clone());
            out += usize::from(copy.at != Some(at) || copy.notes != *state || !copy.outbox.is_empty());
        }
        out
    }
}

fn mutation(number: u64, id: &str, length: u64) -> String {
    let text = "x".repeat(usize::try_from(length % 400).expect("it is short"));
    let value = format!(r#"{{"title":"{id}","text":"{text}{number}"}}"#);
    format!(
        r#"{{"id":{number},"changes":[{{"op":"put","collection":"notes","id":"{id}","value":{value}}}]}}"#
    )
}
