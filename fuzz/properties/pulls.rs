//! Pulls as a query and as a body, cursors, and routes.

use headwater::{
    call::OrderedCursor,
    error::ApiError,
    fronts::headwater::{
        pull::{Consistency, Cursor, Min, PullRequest, query_pairs},
        pulls::{OnePull, PULLS_MAX, pulls_of},
        route::{Route, SpaceRoute},
    },
    ids::SpaceHash,
    version::{Epoch, Position, Version},
};

use super::space;

/// A query is a pull or is refused with 400 or 410, and what was read can be written and read again, as a query and as a
/// body: both mean the same.
pub(crate) fn pull_query(bytes: &[u8]) {
    let Ok(query) = std::str::from_utf8(bytes) else { return };
    let Ok(pairs) = query_pairs(query) else { return };
    let escaped = |text: &String| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let written: Vec<_> = pairs.iter().map(|(name, value)| escaped(name) + "=" + &escaped(value)).collect();
    // A pair without name and value stays a pair once it is written with its sign.
    assert_eq!(query_pairs(&written.join("&")), Ok(pairs.clone()), "escapes");
    checked(PullRequest::from_query(&pairs, &space()));
}

/// The same of a body.
pub(crate) fn pull_body(bytes: &[u8]) {
    checked(PullRequest::from_body(bytes, &space()));
    let pulls = match pulls_of(bytes) {
        Ok(pulls) => pulls,
        Err(ApiError::Malformed(_) | ApiError::TooLarge(_)) => return,
        Err(other) => panic!("pulls are refused with {other:?}"),
    };
    assert!(pulls.len() <= PULLS_MAX, "a request has too many pulls");
    for json in pulls {
        match OnePull::read(json) {
            Ok(pull) => checked(pull.request(&space())),
            Err(ApiError::Malformed(_)) => {}
            Err(other) => panic!("one of several pulls is refused with {other:?}"),
        }
    }
}

fn checked(read: Result<PullRequest, ApiError>) {
    let request = match read {
        Ok(request) => request,
        Err(ApiError::Malformed(_) | ApiError::CursorExpired) => return,
        Err(other) => panic!("a pull is refused with {other:?}"),
    };
    assert!(request.since == Version::ZERO || request.epoch.is_some(), "since belongs to an epoch");
    let fields = fields(&request);
    let query: Vec<_> = fields.iter().map(|(name, value, _)| format!("{name}={value}")).collect();
    let pairs = query_pairs(&query.join("&")).expect("a query");
    assert_eq!(PullRequest::from_query(&pairs, &space()).as_ref(), Ok(&request), "as a query");
    let quoted =
        |text: &str, is_number: bool| if is_number { text.to_owned() } else { format!("\"{text}\"") };
    let body: Vec<_> = fields
        .iter()
        .map(|(name, value, is_number)| format!("\"{name}\": {}", quoted(value, *is_number)))
        .collect();
    let body = format!(" {{{}}}", body.join(",\n"));
    assert_eq!(PullRequest::from_body(body.as_bytes(), &space()).as_ref(), Ok(&request), "as a body");
}

/// Name, text, and whether a body has it as a number.
fn fields(request: &PullRequest) -> Vec<(&'static str, String, bool)> {
    let consistency = match request.consistency {
        Consistency::Session => "session",
        Consistency::Strong => "strong",
        Consistency::Eventual => "eventual",
    };
    let mut fields =
        vec![("since", request.since.to_string(), true), ("consistency", consistency.to_owned(), false)];
    if let Some(epoch) = &request.epoch {
        fields.push(("epoch", epoch.to_string(), false));
    }
    match &request.min {
        None => {}
        Some(Min::Position(position)) => fields.push(("min", position.to_string(), false)),
        Some(Min::Version(version)) => fields.push(("min", version.to_string(), true)),
    }
    if let Some(cursor) = &request.cursor {
        fields.push(("cursor", cursor.text(&space()), false));
    }
    fields
}

/// A cursor, a position, a version and an epoch have one text each: what is accepted is written back as it came. A cursor
/// of another space has expired and is never used.
pub(crate) fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let other = SpaceHash::private("https://issuer.example", "bob");
    for owner in [space(), other.clone()] {
        // The same cursor as each of two users would have got it.
        let rest = text.split_once('.').map_or(text, |(_, rest)| rest);
        let own = format!("{}.{rest}", &owner.as_str()[..16]);
        match Cursor::parse(&own, &owner) {
            Ok(cursor) => {
                assert_eq!(cursor.text(&owner), own, "one text");
                let (Cursor::Ordered(OrderedCursor { epoch, .. }) | Cursor::Parts { epoch, .. }) = &cursor;
                assert!(Epoch::parse(epoch.as_str()).is_some());
                let stranger = if owner == other { space() } else { other.clone() };
                assert_eq!(Cursor::parse(&own, &stranger), Err(ApiError::CursorExpired));
            }
            Err(error) => assert!(matches!(error, ApiError::Malformed(_)), "{error:?}"),
        }
    }
    match Cursor::parse(text, &space()) {
        Ok(cursor) => assert_eq!(cursor.text(&space()), text, "one text"),
        Err(error) => assert!(matches!(error, ApiError::Malformed(_) | ApiError::CursorExpired)),
    }
    if let Some(position) = Position::parse(text) {
        assert_eq!(position.to_string(), text);
    }
    if let Some(version) = Version::parse(text) {
        assert_eq!(version.to_string(), text);
        assert!(version <= Version::MAX);
    }
    if let Some(epoch) = Epoch::parse(text) {
        assert_eq!(epoch.as_str(), text);
        // Nine digits of base 36 end with the year 5188, and nothing follows it.
        if text.starts_with("zzzzzzzzz") {
            return;
        }
        let next = Epoch::begin(headwater::time::Millis(1), Some(&epoch), 1);
        assert!(next > epoch, "{next} follows {epoch}");
        assert!(Epoch::parse(next.as_str()).is_some());
    }
}

/// A line of a method and a path is a route or refused as one, a route that names an object names a hash, and what names a
/// space stands below `/spaces/`, with names within their bounds.
pub(crate) fn route(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (method, path) = text.split_once(' ').unwrap_or(("GET", text));
    let route = Route::of(method, path);
    // A slash at the end does not count.
    let path = path.strip_suffix('/').unwrap_or(path);
    match route {
        Ok(Route::Object(hash)) => assert_eq!(path, format!("/sync/objects/{}", hash.as_str())),
        Ok(Route::Space { id, route }) => {
            assert!(path.starts_with("/spaces/") && !id.is_empty());
            if let SpaceRoute::Member(sub) | SpaceRoute::SetMember(sub) | SpaceRoute::RemoveMember(sub) =
                route
            {
                assert!((1..=headwater::limits::SUBJECT_BYTES_MAX).contains(&sub.len()));
            }
        }
        Ok(Route::Preflight) => assert_eq!(method, "OPTIONS"),
        Ok(_) => {
            let plain = ["/health", "/spaces", "/sync/push", "/sync/pull", "/sync/conflict", "/sync/head"];
            assert!(plain.contains(&path));
        }
        Err(error) => assert!(matches!(error.status(), 400 | 404 | 405), "{error:?}"),
    }
}
