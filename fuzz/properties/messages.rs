//! What is said over a socket, beside the same by HTTP.

use std::collections::BTreeMap;

use headwater::{
    call::{Call, Caller, Destination, PushAnswer, Usage, live::Closing},
    config::Config,
    edge::{
        identity::{TokenEffect, TokenEvent},
        isolate::Isolate,
        live::{Conversations, Effect, Event, Sender},
    },
    error::ApiError,
    ids::UserHash,
    role::Role,
    sim::{
        EAGER, Rng, START,
        host::{Host, edges},
    },
    snapshot::keys::Scope,
};
use serde_json::{Value, value::RawValue};

use super::space;

/// Messages of one socket that are tried, and how long they may be.
const MESSAGES: usize = 16;

/// Each line is a message of one socket. Each that does not end the socket has one answer, with its number; whatever is done is
/// a message of the protocol as a whole, and pushes end as they would by HTTP. Nothing is held afterwards.
pub(crate) fn messages(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut talk = Talk::new();
    for line in text.lines().take(MESSAGES) {
        if !talk.hear(line) {
            break;
        }
    }
    talk.conversations.ended(&mut talk.isolate, SOCKET);
    assert_eq!(talk.isolate.messages_held(), 0, "messages are held that nobody will answer");
}

const SOCKET: u32 = 1;

struct Talk {
    isolate: Isolate,
    conversations: Conversations<String>,
    host: Host,
    /// The same space, by HTTP.
    twin: Host,
    caller: Caller,
    scope: Scope,
}

impl Talk {
    fn new() -> Self {
        let secret =
            |name: &str| (name == "JWT_SECRET").then(|| "0123456789abcdef0123456789abcdef".to_owned());
        let mut isolate = Isolate::new(Config::read(secret).edge, &[], &[], false);
        let conversations = Conversations::begin(&mut isolate, "object");
        let (user, scope) = (UserHash::new("https://issuer.example", "alice"), Scope::private(&space()));
        let begin = || {
            let mut host = Host::new(Some(scope.clone()), None, EAGER, Rng::new(1));
            host.core(START);
            host
        };
        let (host, twin) = (begin(), begin());
        let destination = Destination::Private(scope.clone());
        let caller = Caller {
            user,
            destination,
            request: String::new(),
            origin: String::new(),
            sub: String::new(),
            iss: String::new(),
            spent: Usage::default(),
        };
        Self { isolate, conversations, host, twin, caller, scope }
    }

    /// Whether the socket stays open.
    fn hear(&mut self, line: &str) -> bool {
        let (from, whole) = ((SOCKET, &self.caller.user), Some((line.to_owned(), line.len())));
        match self.conversations.hear(&mut self.isolate, from, Some(&edges(line)), whole) {
            Ok(()) => {}
            Err(Closing::Violation(_)) => return false,
            Err(other) => panic!("a message ends the socket with {other:?}"),
        }
        let message = self.conversations.next(SOCKET, START).expect("its turn");
        let body = line.get(message.body_at..line.len() - 1).unwrap_or_default();
        let sender = Sender { caller: self.caller.clone(), role: Role::Owner, tells_usage: false };
        let (mut exchange, mut effect) = self.isolate.begin_exchange(&message, SOCKET, sender, START);
        let said = loop {
            let event = match effect {
                Effect::Say(said) => break said,
                effect => self.carry_out(effect, body),
            };
            effect = self.isolate.step_exchange(&mut exchange, event, START);
        };
        let from = (SOCKET, &self.caller.user);
        let served = self.conversations.served(&mut self.isolate, from, &message, Some(&exchange));
        served.expect("nobody is refused for the rate");
        check(line, message.n, &said);
        true
    }

    fn carry_out(&mut self, effect: Effect, body: &str) -> Event {
        match effect {
            Effect::Admit => Event::Admitted(Ok(())),
            Effect::ReadBody { limit } => Event::Body((body.len() <= limit).then(|| body.to_owned())),
            Effect::Token(TokenEffect::Verify { .. }) => Event::Token(TokenEvent::Verified(Some(false))),
            Effect::Token(TokenEffect::FetchKeys { .. }) => {
                Event::Token(TokenEvent::Keys(None, String::new()))
            }
            Effect::Renew(expires) => Event::Renewed(expires.since(START)),
            Effect::Call(Call::Pull(ask)) => {
                let pull = |host: &mut Host| host.pull(&self.caller.user, &self.scope, &ask, START);
                let _ = pull(&mut self.twin);
                Event::Called(pull(&mut self.host).map(Some), Usage::default())
            }
            Effect::Call(call) => {
                let told = push(&mut self.host, &call, &self.caller, body);
                let by_http = push(&mut self.twin, &call, &self.caller, body);
                assert_eq!(brief(&told), brief(&by_http), "a socket and HTTP disagree");
                Event::Called(told.map(|answer| Some(answer.to_json())), Usage::default())
            }
            Effect::Say(_) => unreachable!("the message is answered"),
        }
    }
}

fn push(host: &mut Host, call: &Call, caller: &Caller, body: &str) -> Result<PushAnswer, ApiError> {
    let begun = host.begin_push(call, caller, body.len(), START)?;
    let ticket = host.body_comes(begun, body, START)?;
    loop {
        if let Some(told) = host.settle(START).told.into_iter().find(|told| told.ticket == ticket) {
            return told.answer;
        }
    }
}

/// What does not depend on the epoch, of which either host may have begun one of its own.
fn brief(told: &Result<PushAnswer, ApiError>) -> String {
    match told {
        Ok(answer) => {
            let results = answer.results.iter().map(|result| (result.id, result.duplicate));
            format!("{} {:?}", answer.position.version, results.collect::<Vec<_>>())
        }
        Err(error) => error.code().to_owned(),
    }
}

fn check(line: &str, n: u64, said: &str) {
    let said: Value = serde_json::from_str(said).expect("an answer is JSON");
    assert_eq!(said["n"], n, "an answer has the number of its message");
    match said["status"].as_u64() {
        None => assert_eq!(said["type"], "use_http"),
        Some(200 | 304) => {
            // What a body says is the business of whoever reads it: half a surrogate pair may stand in a mutation that is rejected.
            let whole: BTreeMap<String, &RawValue> =
                serde_json::from_str(line).expect("what is done is JSON");
            let fields: Vec<_> = whole.keys().map(String::as_str).collect();
            assert!(matches!(fields[..], ["body" | "n", "n" | "token", "type"]), "{fields:?}: {line}");
            assert_eq!(whole["n"].get(), n.to_string(), "{line}");
        }
        Some(status) => {
            assert!((400..500).contains(&status) || status == 503, "{status}: {line}");
            assert_eq!(said["body"]["status"], status);
        }
    }
}
