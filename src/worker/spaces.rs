//! The routes below `/spaces`: what they ask of a space's object, or of the caller's directory, and how what spaces say of
//! memberships gets into directories.

use headwater::{
    call::{Act, Aside, Call, DirectoryCall, Order},
    edge::{
        answer::Usage,
        body::{Coding, is_json},
        directory::{Delivery, Next},
        space::{directory_of, directory_of_invited, made_before, not_reserved, order_of},
    },
    ids::{SpaceHash, SpaceId, UserHash},
    limits,
    protocol::{error::ApiError, pull::query_pairs},
    version::Position,
};
use wasm_bindgen::JsValue;
use web_sys::Request;
use worker::Env;

use crate::{
    Space, check_again,
    coordinator::{Called, ask_again, call, call_directory, note_written, pass, take_aside},
    http::{self, Body, Reply},
    isolate,
    location::now,
    pull::Asked,
};

/// `GET /spaces`.
pub(crate) async fn list(asked: &Asked<'_>) -> Result<Reply, (ApiError, Usage)> {
    let mut usage = Usage::default();
    let listed = list_page(asked, &mut usage).await;
    listed.map(|body| Reply { usage, ..Reply::json(200, body) }).map_err(|error| (error, usage))
}

async fn list_page(asked: &Asked<'_>, usage: &mut Usage) -> Result<String, ApiError> {
    let cursor = cursor(asked, |cursor| SpaceId::parse(cursor).is_ok())?;
    let cursor = SpaceId::parse(&cursor).ok();
    let list = DirectoryCall::List { cursor }.to_text();
    let directory = directory(asked.space, directory_of(&asked.space.caller));
    Ok(call(asked.env, &directory, Call::Directory, &list, usage).await?.body)
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
        let mut usage = Usage::default();
        let made = create(asked, id, &order.into_text(), &mut usage).await;
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
    let body = JsValue::from_str(&order.into_text());
    let mut reply = pass(asked, Call::Administer(act), &body, Coding::Identity)
        .await
        .map_err(|(error, _)| free(error))?;
    if act.has_aside()
        && let Body::Whole(response) = &reply.body
    {
        let (aside, rest) = take_aside(response);
        reply.body = Body::Whole(rest);
        take_up(asked, aside, about);
    }
    Ok(reply)
}

/// The body of an answer, and where the space stands if something was written.
type Written = (String, Option<Position>);

/// Makes a space unless it is there. The caller's directory counts what its user makes, so it is asked before, but only of
/// what is not there: an id that is taken would be counted for a day.
async fn create(
    asked: &Asked<'_>,
    id: &SpaceId,
    order: &str,
    usage: &mut Usage,
) -> Result<Written, ApiError> {
    match ask(asked, Act::Show, order, usage).await {
        Err(ApiError::NotFound(_)) => {}
        there => return there.and_then(|called| Ok((made_before(called.body)?, None))),
    }
    let reserve = DirectoryCall::Reserve { space: id.clone() }.to_text();
    let directory = directory(asked.space, directory_of(&asked.space.caller));
    let reserved = call(asked.env, &directory, Call::Directory, &reserve, usage).await;
    reserved.map_err(not_reserved)?;
    let called = ask(asked, Act::Create, order, usage).await?;
    take_up(asked, called.aside, "");
    Ok((called.body, called.position))
}

async fn ask(asked: &Asked<'_>, act: Act, order: &str, usage: &mut Usage) -> Result<Called, ApiError> {
    let called = call(asked.env, asked.space, Call::Administer(act), order, usage).await?;
    if let Some(position) = &called.position {
        note_written(asked, &asked.space.hash, position.clone());
    }
    Ok(called)
}

/// What the space's object has said that is not for the client goes where it belongs, once the client has its answer.
fn take_up(asked: &Asked<'_>, aside: Option<Aside>, about: &str) {
    let (Some(aside), Some(id)) = (aside, &asked.space.id) else { return };
    let (env, space) = (asked.env.clone(), asked.space.clone());
    match aside {
        Aside::Membership(membership) => {
            let user = &space.caller.user;
            if let Some(delivery) = isolate::deliver(&env, user, id, membership, now()) {
                asked.context.wait_until(deliver(env, space, delivery));
            }
        }
        // Nobody hears whether it was kept: whoever invites can tell whom they have invited by other ways.
        Aside::Invited => {
            let directory = directory(&space, directory_of_invited(&space.caller, about));
            let hint = DirectoryCall::Hint { space: id.clone() };
            asked.context.wait_until(async move { drop(call_directory(&env, &directory, &hint).await) });
        }
    }
}

/// Brings what a space has said of its caller into the caller's directory.
async fn deliver(env: Env, space: Space, mut delivery: Delivery) {
    let directory = directory(&space, directory_of(&space.caller));
    loop {
        match delivery.next() {
            Next::Note(entry) => {
                let noted = call_directory(&env, &directory, &DirectoryCall::Note(entry)).await;
                delivery.learn_noted(noted);
            }
            Next::AskAgain(claim) => {
                let order = Order { claim: claim.to_string(), ..Order::default() };
                let membership = match ask_again(&env, &space, order).await {
                    Some(Aside::Membership(membership)) => Some(membership),
                    Some(Aside::Invited) | None => None,
                };
                delivery.learn_answer(membership);
            }
            Next::Done(delivered) => return isolate::learn_delivered(&env, delivered, now()),
            Next::GiveUp => return,
        }
    }
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

/// A directory, as the caller of `space` calls it.
fn directory(space: &Space, hash: SpaceHash) -> Space {
    Space { scope: None, hash, id: None, ..space.clone() }
}
