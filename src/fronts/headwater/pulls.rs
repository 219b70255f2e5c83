//! `POST /sync/pulls`: several pulls in one request, each with the answer that it would have alone.

use std::borrow::Cow;

use super::{
    live,
    pull::{FIELDS, PullRequest},
    reply::{Body, Reply},
};
use crate::{error::ApiError, ids::SpaceHash, json::Fields, limits};

/// Pulls in one request. Each looks into the location's cache three times, reads one key, may ask an object twice, and tells the
/// cache what it has learnt, which is three operations more; and the free plan gives a request 50 of them
/// (workers/platform/limits).
pub const PULLS_MAX: usize = 5;
/// Bytes of their answers, of which those above are to be asked for alone.
const ANSWERS_BYTES_MAX: usize = 2 * limits::JSON_PAGE_BYTES;

/// The fields of one of the pulls.
const PULL_FIELDS: &[&str] = &["space", "grant", FIELDS[0], FIELDS[1], FIELDS[2], FIELDS[3], FIELDS[4]];

/// The pulls of a body, each as the JSON text that it is.
///
/// # Errors
/// [`ApiError::Malformed`] for a body that is no list of pulls, [`ApiError::TooLarge`] for one of too many.
pub fn pulls_of(body: &[u8]) -> Result<Vec<&str>, ApiError> {
    let fields = Fields::of_body(body, "this route", &["pulls"])?;
    let pulls = fields.list("pulls", PULLS_MAX)?;
    let pulls = pulls.ok_or_else(|| ApiError::Malformed("pulls is missing".to_owned()))?;
    if pulls.len() > PULLS_MAX {
        return Err(ApiError::TooLarge("A request has at most 5 pulls."));
    }
    Ok(pulls)
}

/// One of the pulls, as far as it says which space it is for.
pub struct OnePull<'a> {
    /// The space that it names; none: the caller's own.
    pub space: Option<Cow<'a, str>>,
    /// What `Headwater-Grant` is to a pull alone.
    pub grant: Cow<'a, str>,
    fields: Fields<'a>,
}

impl<'a> OnePull<'a> {
    /// Out of the text of one.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] names the field.
    pub fn read(json: &'a str) -> Result<Self, ApiError> {
        let fields = Fields::of_body_text(json, "a pull", PULL_FIELDS)?;
        Ok(Self { space: fields.text("space")?, grant: fields.text("grant")?.unwrap_or_default(), fields })
    }

    /// What it asks of that space.
    ///
    /// # Errors
    /// As of a pull alone.
    pub fn request(&self, space: &SpaceHash) -> Result<PullRequest, ApiError> {
        PullRequest::from_fields(&self.fields, space)
    }
}

/// The body of the answer, by those of its pulls in their order. What does not fit beside those before it is said to be asked for
/// alone.
#[must_use]
pub fn answers(replies: &[Result<Reply, ApiError>], request: &str) -> String {
    let mut text = "{\"pulls\":[".to_owned();
    let mut room = ANSWERS_BYTES_MAX;
    for (index, reply) in replies.iter().enumerate() {
        let answer = answer(reply, request);
        let fits = answer.len() <= room;
        room -= if fits { answer.len() } else { 0 };
        text.push_str(if index == 0 { "" } else { "," });
        text.push_str(if fits { &answer } else { r#"{"alone":true}"# });
    }
    text + "]}"
}

/// One answer, as a socket has it too: without a body where there is nothing new.
fn answer(reply: &Result<Reply, ApiError>, request: &str) -> String {
    match reply {
        Ok(Reply { status, body: Body::Text(body), .. }) => {
            format!(r#"{{"status":{status},"body":{body}}}"#)
        }
        Ok(Reply { status, .. }) => format!(r#"{{"status":{status}}}"#),
        Err(error) => {
            format!(r#"{{"status":{},"body":{}}}"#, error.status(), live::problem(error, request))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fronts::headwater::reply::Headers;

    #[test]
    fn a_pull_among_others_is_read_as_one_alone() {
        let space = SpaceHash::private("i", "alice");
        let fields = r#""epoch":"0mwrnsa6yk3v9q2","since":41,"min":57,"consistency":"strong""#;
        let alone = PullRequest::from_body(format!("{{{fields}}}").as_bytes(), &space);
        let json = format!(r#"{{"space":"team","grant":"a.b.c",{fields}}}"#);
        let one = OnePull::read(&json).expect("a pull");
        assert_eq!((one.space.as_deref(), &*one.grant), (Some("team"), "a.b.c"));
        assert_eq!(one.request(&space), alone);
        let all = OnePull::read("{}").expect("a pull");
        assert_eq!((all.space.as_deref(), &*all.grant), (None, ""));
        assert_eq!(all.request(&space), PullRequest::from_body(b"", &space));
    }

    #[test]
    fn a_body_holds_a_bounded_list_of_pulls_and_nothing_else() {
        let of = |count| format!(r#"{{"pulls":[{}]}}"#, vec!["{}"; count].join(","));
        for count in 0..=PULLS_MAX {
            assert_eq!(pulls_of(of(count).as_bytes()).map(|pulls| pulls.len()), Ok(count));
        }
        assert!(matches!(pulls_of(of(PULLS_MAX + 1).as_bytes()), Err(ApiError::TooLarge(_))));
        for body in ["", "[]", "{}", r#"{"pulls":{}}"#, r#"{"pulls":null}"#, r#"{"pulls":[],"space":"~"}"#] {
            assert!(matches!(pulls_of(body.as_bytes()), Err(ApiError::Malformed(_))), "{body}");
        }
        for one in ["1", "null", "[]", r#"{"sinse":1}"#, r#"{"space":1}"#, r#"{"grant":{}}"#] {
            assert!(matches!(OnePull::read(one), Err(ApiError::Malformed(_))), "{one}");
        }
        let twice = OnePull::read(r#"{"space":"a","space":"b"}"#);
        assert!(matches!(twice, Err(ApiError::Malformed(detail)) if detail == "space is given twice"));
    }

    #[test]
    fn what_does_not_fit_beside_those_before_it_is_asked_for_alone() {
        let page = |bytes: usize| Ok(Reply::json(200, format!("\"{}\"", "x".repeat(bytes))));
        let nothing = || Ok(Reply::empty(304, Headers::Named(String::new())));
        let half = ANSWERS_BYTES_MAX / 2;
        let text = answers(&[page(half), page(half), nothing(), page(10), Err(ApiError::Overloaded)], "r");
        let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let pulls = &told["pulls"];
        assert_eq!(pulls[0]["status"], 200);
        assert_eq!(pulls[1], serde_json::json!({ "alone": true }));
        assert_eq!(pulls[2], serde_json::json!({ "status": 304 }));
        assert_eq!(pulls[3]["body"], "x".repeat(10));
        assert_eq!((&pulls[4]["status"], &pulls[4]["body"]["retryAfter"]), (&503.into(), &2.into()));
        assert_eq!(answers(&[], "r"), r#"{"pulls":[]}"#);
    }
}
