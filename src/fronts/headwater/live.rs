//! `GET /sync/live`: the texts of messages, in and out. Each is one JSON object.

use crate::{
    call::{
        Usage,
        live::{Closing, Granted, Greeting, News},
    },
    error::ApiError,
    fronts::headwater::pull::query_pairs,
    ids::SpaceId,
    json::text_of,
    mutation::joined_lines,
    version::Position,
};

/// The protocol of the sockets, as the answer to the upgrade names it.
pub const PROTOCOL: &str = "headwater.v1";
/// What a client asks to hear whether the space has got further. The platform answers it itself, if the text is exactly this.
pub const PING: &str = r#"{"type":"ping"}"#;
/// Numbers of messages end there: all whole numbers up to it have a double of their own.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The token in a `Sec-WebSocket-Protocol` header, `headwater.v1, bearer.<JWT>`, as an `Authorization` header has it. A browser cannot
/// send that one with a socket.
#[must_use]
pub fn authorization(protocols: &str) -> Option<String> {
    let (protocol, bearer) = protocols.split_once(',')?;
    let token = bearer.trim().strip_prefix("bearer.").filter(|_| protocol.trim() == PROTOCOL)?;
    Some(format!("Bearer {token}"))
}

/// Whether an `Upgrade` header asks for a socket.
#[must_use]
pub fn is_upgrade(upgrade: &str) -> bool {
    upgrade.trim().eq_ignore_ascii_case("websocket")
}

/// Whether the query of a request for a socket asks that answers say what they have used.
///
/// # Errors
/// [`ApiError::Malformed`] for a query that is none.
pub fn tells_usage(query: &str) -> Result<bool, ApiError> {
    Ok(query_pairs(query)?.iter().any(|(name, value)| name == "usage" && value == "1"))
}

/// An answer with what it has used, for whoever has asked for that.
#[must_use]
pub fn with_usage(answer: &str, used: &Usage) -> String {
    let answer = answer.strip_suffix('}').unwrap_or(answer);
    format!(r#"{answer},"used":{}}}"#, used.to_json(false))
}

/// What a numbered message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// That a new token takes the place of the socket's.
    Token,
    /// What `POST /sync/push` does.
    Push,
    /// What `POST /sync/pull` does.
    Pull,
    /// What `POST /sync/conflict` does.
    Conflict,
}

/// How a message begins. Its type and its number stand first, so that the rest need not be looked at before its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heading {
    /// None of a type that is not known here.
    pub about: Option<About>,
    /// The client's own number.
    pub n: u64,
    /// Where its body begins, which ends before the last byte of the message.
    pub body_at: usize,
}

impl Heading {
    /// Out of the first [`crate::limits::MESSAGE_HEAD`] characters of a message and, behind them, its last one, or of all of a shorter
    /// one. None if that is not how a numbered message begins, or ends.
    #[must_use]
    pub fn read(edges: &str) -> Option<Self> {
        let rest = edges.strip_prefix(r#"{"type":""#).filter(|rest| rest.ends_with('}'))?;
        let (kind, rest) = rest.split_once(r#"","n":"#)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = rest.split_at(digits);
        let n = number.parse().ok().filter(|n| (1..=NUMBER_MAX).contains(n) && !number.starts_with('0'))?;
        let (about, field) = match kind {
            "token" => (About::Token, r#","token":"#),
            "push" => (About::Push, r#","body":"#),
            "pull" => (About::Pull, r#","body":"#),
            "conflict" => (About::Conflict, r#","body":"#),
            _ => return Some(Self { about: None, n, body_at: edges.len() }),
        };
        let body = rest.strip_prefix(field);
        let body_at = edges.len() - body.map_or(0, str::len);
        Some(Self { about: body.map(|_| about), n, body_at })
    }
}

/// What stands in a message whose `about` is not known, or has no body.
pub const NO_SUCH_MESSAGE: &str = "a message is {\"type\":\"push\",\"n\":1,\"body\":{}}, with push, pull or conflict, or has type, n and token";

/// The token of a message as an `Authorization` header has it; `json` is what stands in the place of the body.
///
/// # Errors
/// [`ApiError::Malformed`] if that is no text, or there is more behind it.
pub fn authorization_of(json: &str) -> Result<String, ApiError> {
    let token = text_of(json.trim()).filter(|token| !token.contains('"'));
    let token =
        token.ok_or_else(|| ApiError::Malformed("token is not a text, or not the last".to_owned()))?;
    Ok(format!("Bearer {token}"))
}

/// A text of a space at a position, of a type: without its end.
fn begun(kind: &str, space: Option<&SpaceId>, at: &Position, before_version: &str) -> String {
    let space = space.map_or("~", SpaceId::as_str);
    let Position { epoch, version } = at;
    format!(r#"{{"type":"{kind}","space":"{space}","epoch":"{epoch}",{before_version}"version":{version}"#)
}

/// What a socket is told first.
#[must_use]
pub fn greeting(space: Option<&SpaceId>, greeting: &Greeting) -> String {
    let Greeting { at, token_expires_in_ms, reconnect_within_ms, membership } = greeting;
    let mut text = begun("version", space, at, "");
    text += &format!(r#","tokenExpiresIn":{token_expires_in_ms},"reconnectWithin":{reconnect_within_ms}"#);
    if let Some(Granted { role, grant, expires_in_ms }) = membership {
        let role = role.as_str();
        text += &format!(r#","role":"{role}","grant":"{grant}","grantExpiresIn":{expires_in_ms}"#);
    }
    text + "}"
}

/// What sockets are told of commits.
#[must_use]
pub fn news(space: Option<&SpaceId>, news: &News) -> String {
    match news {
        News::Version(at) => begun("version", space, at, "") + "}",
        News::Changes { from, at, lines } => {
            let begun = begun("changes", space, at, &format!(r#""from":{from},"#));
            format!(r#"{begun},"changes":[{}]}}"#, joined_lines(lines))
        }
    }
}

/// The answer to [`PING`].
#[must_use]
pub fn pong(space: Option<&SpaceId>, at: &Position) -> String {
    begun("pong", space, at, "") + "}"
}

/// The answer to a message that is done: with the body of the HTTP answer. A pull without one has brought nothing new.
#[must_use]
pub fn answer(n: u64, body: Option<&str>) -> String {
    match body {
        Some(body) => format!(r#"{{"type":"answer","n":{n},"status":200,"body":{body}}}"#),
        None => format!(r#"{{"type":"answer","n":{n},"status":304}}"#),
    }
}

/// The answer to a message that is refused: with the problem document of the HTTP answer, in which `request` names it.
#[must_use]
pub fn refusal(n: u64, error: &ApiError, request: &str) -> String {
    let (status, body) = (error.status(), problem(error, request));
    format!(r#"{{"type":"answer","n":{n},"status":{status},"body":{body}}}"#)
}

/// The problem document of an answer that has no headers of its own: what HTTP says in `Retry-After` stands in it.
pub(super) fn problem(error: &ApiError, request: &str) -> String {
    let mut body = error.body(request);
    let said = matches!(error, ApiError::RateLimited { .. } | ApiError::UsedUp { .. });
    if let Some(seconds) = error.retry_after_s().filter(|_| !said) {
        body.pop();
        body += &format!(r#","retryAfter":{seconds}}}"#);
    }
    body
}

/// The answer to a message that is too long, or whose answer would be. Nothing of it was done.
#[must_use]
pub fn use_http(n: u64) -> String {
    format!(r#"{{"type":"use_http","n":{n}}}"#)
}

/// What a socket that is closed is told before, and the code of its end and why (RFC 6455, 7.4).
#[must_use]
pub fn closing(why: &Closing) -> (Option<String>, u16, &'static str) {
    let closed = |code: &str| Some(format!(r#"{{"type":"closed","code":"{code}"}}"#));
    match why {
        Closing::Expired => (Some(r#"{"type":"expired"}"#.to_owned()), 4001, ""),
        Closing::Lost(error) => (closed(error.code()), 4003, ""),
        Closing::Full => (closed("too_many_sockets"), 1013, ""),
        Closing::Restart => (None, 1012, ""),
        Closing::Violation(why) => (None, 1008, why),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{call::PushAnswer, role::Role, sim::host::edges, version::Version};

    fn at() -> Position {
        Position::parse("0mwrnsa6yk3v9q2.57").expect("a position")
    }

    /// Messages that the tests of the client and the fuzz target read too.
    #[derive(Deserialize)]
    struct Fixtures {
        sent: Vec<Sent>,
        refused: Vec<Refused>,
        told: Vec<Told>,
    }

    #[derive(Deserialize)]
    struct Sent {
        text: String,
        #[serde(rename = "type")]
        kind: String,
        n: u64,
        body: String,
    }

    #[derive(Deserialize)]
    struct Refused {
        name: String,
        text: String,
        with: u16,
    }

    #[derive(Deserialize)]
    struct Told {
        name: String,
        text: String,
    }

    fn fixtures() -> Fixtures {
        serde_json::from_str(include_str!("../../../fixtures/messages.json")).expect("JSON")
    }

    /// What the server says, by the names of the fixtures.
    fn said(name: &str) -> Option<String> {
        let team = SpaceId::stored("team");
        let private = Greeting {
            at: at(),
            token_expires_in_ms: 3_600_000,
            reconnect_within_ms: 5_000,
            membership: None,
        };
        let granted = Granted { role: Role::Writer, grant: "a.b.c".to_owned(), expires_in_ms: 600_000 };
        let line = r#"{"version":57,"collection":"todos","id":"t1","value":{"title":"milk"}}"#;
        let changes =
            News::Changes { from: Version::new(56).expect("one"), at: at(), lines: format!("{line}\n") };
        let refused = ApiError::RateLimited { retry_after_s: 3, of_space: false };
        Some(match name {
            "greeting" => greeting(None, &private),
            "greeting of a shared space" => {
                greeting(Some(&team), &Greeting { membership: Some(granted), ..private })
            }
            "changes" => news(None, &changes),
            "version" => news(Some(&team), &News::Version(at())),
            "pong" => pong(None, &at()),
            "answer" => answer(7, Some(r#"{"version":57}"#)),
            "answer with what it used" => with_usage(
                &answer(7, Some(r#"{"version":57}"#)),
                &Usage { messages: 1, rows_read: 4, rows_written: 3, ..Usage::default() },
            ),
            "answer to a push that brings a grant" => {
                let (position, results) = (at(), Vec::new());
                let grant = Some(("a.b.c".to_owned(), 600_000));
                let pushed = PushAnswer {
                    rejected: (0, None),
                    position,
                    results,
                    more: false,
                    changes: String::new(),
                    grant,
                    worded: None,
                };
                answer(7, Some(&pushed.to_json()))
            }
            "nothing new" => answer(7, None),
            "refusal" => refusal(7, &refused, "live-1-7"),
            "use HTTP" => use_http(7),
            "expired" => closing(&Closing::Expired).0?,
            "closed" => closing(&Closing::Lost(ApiError::Forbidden(""))).0?,
            _ => return None,
        })
    }

    #[test]
    fn what_the_server_says_are_the_texts_of_the_fixtures() {
        let told = fixtures().told;
        assert_eq!(told.len(), 13);
        for Told { name, text } in told {
            assert_eq!(said(&name).as_deref(), Some(text.as_str()), "{name}");
        }
    }

    #[test]
    fn a_refusal_is_a_problem_document_that_says_when_to_come_back() {
        for (error, retry_after) in [
            (ApiError::Overloaded, Some(2)),
            (ApiError::RateLimited { retry_after_s: 3, of_space: false }, Some(3)),
            (ApiError::UsedUp { retry_after_s: Some(5) }, Some(5)),
            (ApiError::Gone, None),
        ] {
            let text = refusal(7, &error, "live-1-7");
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["status"], error.status());
            assert_eq!(value["body"]["code"], error.code());
            assert_eq!(value["body"]["retryAfter"].as_u64(), retry_after, "{text}");
            assert_eq!(text.matches("retryAfter").count(), usize::from(retry_after.is_some()));
        }
    }

    #[test]
    fn what_clients_send_is_read_by_its_edges() {
        for Sent { text, kind, n, body } in fixtures().sent {
            let heading = Heading::read(&edges(&text)).expect("a message");
            let about = heading.about.map(|about| format!("{about:?}").to_lowercase());
            assert_eq!((about, heading.n), (Some(kind), n), "{text}");
            assert_eq!(text[heading.body_at..text.len() - 1], body);
        }
    }

    #[test]
    fn what_is_refused_has_a_number_to_answer_to_or_ends_the_socket() {
        for Refused { name, text, with } in fixtures().refused {
            let heading = Heading::read(&edges(&text));
            assert_eq!(heading.is_none(), with == closing(&Closing::Violation("")).1, "{name}: {heading:?}");
        }
        assert_eq!(Heading::read(PING), None, "the platform answers it");
    }

    #[test]
    fn a_token_comes_in_the_second_protocol_and_nowhere_else() {
        for (protocols, is) in [
            ("headwater.v1, bearer.a.b.c", Some("Bearer a.b.c")),
            ("headwater.v1,bearer.a.b.c", Some("Bearer a.b.c")),
            ("headwater.v1, bearer.", Some("Bearer ")),
            ("bearer.a.b.c, headwater.v1", None),
            ("headwater.v2, bearer.a.b.c", None),
            ("headwater.v1", None),
            ("", None),
        ] {
            assert_eq!(authorization(protocols).as_deref(), is, "{protocols}");
        }
        assert_eq!(authorization_of(r#""a.b.c""#), Ok("Bearer a.b.c".to_owned()));
        for json in ["", "1", r#""a","x":"b""#, r#"{"a":"b"}"#] {
            assert!(authorization_of(json).is_err(), "{json}");
        }
    }
}
