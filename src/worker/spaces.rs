//! The routes below `/spaces`: what they ask of a space's object, or of the caller's directory, and how what spaces say of
//! memberships gets into directories.

use headwater::{
    call::{Administration, Aside, Call, DirectoryCall},
    edge::{
        answer::Usage,
        body::{Coding, is_json},
        directory::{Delivery, Next},
        route::SpaceRoute,
        space::{
            administration_of, cursor_of, directory_of, directory_of_invited, made_before, not_reserved,
        },
    },
    ids::{SpaceHash, SpaceId},
    limits,
    protocol::error::ApiError,
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
    let cursor = cursor_of(&asked.incoming.query, |cursor| SpaceId::parse(cursor).ok())?;
    let list = Call::Directory(DirectoryCall::List { cursor });
    let directory = directory(asked.space, directory_of(&asked.space.caller));
    Ok(call(asked.env, &directory, &list, usage).await?.body)
}

/// Every other route below `/spaces`.
pub(crate) async fn administer(
    asked: &Asked<'_>,
    route: SpaceRoute,
    request: &Request,
) -> Result<Reply, (ApiError, Usage)> {
    let free = |error| (error, Usage::default());
    let space = asked.space;
    let body = if route.has_body() { body(asked, request).await.map_err(free)? } else { Vec::new() };
    let query = &asked.incoming.query;
    let administration = administration_of(&space.caller, space.id.as_ref(), route, query, &body);
    let administration = administration.map_err(free)?;
    if let (Administration::Create { .. }, Some(id)) = (&administration, &space.id) {
        let mut usage = Usage::default();
        let made = create(asked, id, administration, &mut usage).await;
        let (body, position) = made.map_err(|error| (error, usage))?;
        let mut reply = Reply::json(200, body);
        if let Some(position) = position {
            reply = reply.at(&position);
        }
        reply.usage = usage;
        return Ok(reply);
    }
    let invited = match &administration {
        Administration::SetMember { person, .. } => person.sub.clone(),
        _ => String::new(),
    };
    let has_aside = administration.has_aside();
    let call = Call::Administer(administration);
    let body = JsValue::from_str(&call.body());
    let mut reply = pass(asked, &call, &body, Coding::Identity).await.map_err(|(error, _)| free(error))?;
    if has_aside && let Body::Whole(response) = &reply.body {
        let (aside, rest) = take_aside(response);
        reply.body = Body::Whole(rest);
        take_up(asked, aside, &invited);
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
    creation: Administration,
    usage: &mut Usage,
) -> Result<Written, ApiError> {
    match ask(asked, Administration::Show, usage).await {
        Err(ApiError::NotFound(_)) => {}
        there => return there.and_then(|called| Ok((made_before(called.body)?, None))),
    }
    let reserve = Call::Directory(DirectoryCall::Reserve { space: id.clone() });
    let directory = directory(asked.space, directory_of(&asked.space.caller));
    let reserved = call(asked.env, &directory, &reserve, usage).await;
    reserved.map_err(not_reserved)?;
    let called = ask(asked, creation, usage).await?;
    take_up(asked, called.aside, "");
    Ok((called.body, called.position))
}

async fn ask(
    asked: &Asked<'_>,
    administration: Administration,
    usage: &mut Usage,
) -> Result<Called, ApiError> {
    let called = call(asked.env, asked.space, &Call::Administer(administration), usage).await?;
    if let Some(position) = &called.position {
        note_written(asked, &asked.space.hash, position.clone());
    }
    Ok(called)
}

/// What the space's object has said that is not for the client goes where it belongs, once the client has its answer.
fn take_up(asked: &Asked<'_>, aside: Option<Aside>, invited: &str) {
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
            let directory = directory(&space, directory_of_invited(&space.caller, invited));
            let hint = DirectoryCall::Hint { space: id.clone() };
            asked.context.wait_until(async move { drop(call_directory(&env, &directory, hint).await) });
        }
    }
}

/// Brings what a space has said of its caller into the caller's directory.
async fn deliver(env: Env, space: Space, mut delivery: Delivery) {
    let directory = directory(&space, directory_of(&space.caller));
    loop {
        match delivery.next() {
            Next::Note(entry) => {
                let noted = call_directory(&env, &directory, DirectoryCall::Note(entry)).await;
                delivery.learn_noted(noted);
            }
            Next::AskAgain(claim) => {
                let membership = match ask_again(&env, &space, claim).await {
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
