//! The routes below `/spaces`: what they ask of a space's object, or of the caller's home.

use headwater::{
    edge::{
        answer::Usage,
        body::{Coding, is_json},
        space::{made_before, not_noted, order_of},
    },
    ids::{SpaceId, UserHash},
    limits,
    protocol::{act::Act, call::Call, error::ApiError, internal::Order, pull::query_pairs},
    snapshot::keys::Scope,
    version::Position,
};
use wasm_bindgen::JsValue;
use web_sys::Request;

use crate::{
    Space, check_again,
    coordinator::{call, note_written, pass},
    http::{self, Reply},
    pull::Asked,
};

/// `GET /spaces`.
pub(crate) async fn list(asked: &Asked<'_>) -> Result<Reply, ApiError> {
    let cursor = cursor(asked, |cursor| SpaceId::parse(cursor).is_ok())?;
    send(asked, Act::Spaces, Order { cursor, ..Order::default() }).await
}

/// Every other route below `/spaces`.
pub(crate) async fn administer(
    asked: &Asked<'_>,
    act: Act,
    about: &str,
    request: &Request,
) -> Result<Reply, (ApiError, Usage)> {
    let free = |error| (error, Usage::default());
    let space = asked.space;
    let body = match act {
        Act::SetMember | Act::SetPolicy => body(asked, request).await.map_err(free)?,
        _ => Vec::new(),
    };
    let mut order = order_of(&space.caller, space.id.as_ref(), act, about, &body).map_err(free)?;
    if let (Act::Create, Some(id)) = (act, &space.id) {
        order.space = id.as_str().to_owned();
        let mut usage = Usage::default();
        let made = create(asked, &order.into_text(), &mut usage).await;
        let (body, position) = made.map_err(|error| (error, usage))?;
        let mut reply = Reply::json(200, body);
        if let Some(position) = position {
            reply = reply.at(&position);
        }
        reply.usage = usage;
        return Ok(reply);
    }
    if act == Act::Members {
        order.cursor = cursor(asked, |cursor| UserHash::parse(cursor).is_ok()).map_err(free)?;
    }
    send(asked, act, order).await.map_err(free)
}

/// The body of an answer, and where the space stands if something was written.
type Written = (String, Option<Position>);

/// Makes a space unless it is there. The caller's home counts what its user makes, so it is asked before, but only of what is
/// not there: an id that is taken would be counted for ever.
async fn create(asked: &Asked<'_>, order: &str, usage: &mut Usage) -> Result<Written, ApiError> {
    match ask(asked, asked.space, Act::Show, order, usage).await {
        Err(ApiError::NotFound(_)) => {}
        there => return there.and_then(|(body, _)| Ok((made_before(body)?, None))),
    }
    let noted = ask(asked, &home_of(asked.space), Act::NoteMade, order, usage).await;
    noted.map_err(not_noted)?;
    ask(asked, asked.space, Act::Create, order, usage).await
}

async fn ask(
    asked: &Asked<'_>,
    space: &Space,
    act: Act,
    order: &str,
    usage: &mut Usage,
) -> Result<Written, ApiError> {
    let called = call(asked.env, space, Call::Administer(act), order, usage).await?;
    if let Some(position) = &called.position {
        note_written(asked, &space.hash, position.clone());
    }
    Ok((called.body, called.position))
}

/// Where a list goes on; empty if it begins.
fn cursor(asked: &Asked<'_>, is_right: fn(&str) -> bool) -> Result<String, ApiError> {
    let mut pairs = query_pairs(&asked.incoming.query)?.into_iter();
    let cursor = pairs.find_map(|(name, value)| (name == "cursor").then_some(value)).unwrap_or_default();
    if cursor.is_empty() || is_right(&cursor) {
        return Ok(cursor);
    }
    Err(ApiError::Malformed("cursor is not a cursor".to_owned()))
}

async fn body(asked: &Asked<'_>, request: &Request) -> Result<Vec<u8>, ApiError> {
    if !is_json(&asked.incoming.content_type) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let user = &asked.space.caller.user;
    let body = http::body_bytes(asked.incoming, request, user, limits::ORDER_BYTES_MAX).await;
    let body = body.map_err(|error| match error {
        ApiError::TooLarge(_) => ApiError::TooLarge("A body has at most 16 KiB here."),
        error => error,
    })?;
    check_again(asked, request)?;
    Ok(body)
}

/// The caller's private space.
fn home_of(space: &Space) -> Space {
    let hash = space.caller.private_space.clone();
    Space { scope: Some(Scope::private(&hash)), hash, id: None, ..space.clone() }
}

async fn send(asked: &Asked<'_>, act: Act, order: Order) -> Result<Reply, ApiError> {
    let body = JsValue::from_str(&order.into_text());
    pass(asked, Call::Administer(act), &body, Coding::Identity).await.map_err(|(error, _)| error)
}
