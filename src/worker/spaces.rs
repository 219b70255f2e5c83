//! The routes below `/spaces`: what they ask of a space's object, or of the caller's home.

use headwater::{
    edge::space::order_of,
    ids::SpaceId,
    limits,
    protocol::{act::Act, error::ApiError, internal::Order, pull::query_pairs},
    snapshot::keys::Scope,
};
use wasm_bindgen::JsValue;
use web_sys::Request;

use crate::{
    Space,
    coordinator::{call, pass},
    http::{self, Reply},
    pull::Asked,
};

/// `GET /spaces`.
pub(crate) async fn list(asked: &Asked<'_>) -> Result<Reply, ApiError> {
    let mut pairs = query_pairs(&asked.incoming.query)?.into_iter();
    let cursor = pairs.find_map(|(name, value)| (name == "cursor").then_some(value)).unwrap_or_default();
    if !cursor.is_empty() {
        SpaceId::parse(&cursor).map_err(|_| ApiError::Malformed("cursor is not a cursor".to_owned()))?;
    }
    send(asked, asked.space, Act::Spaces, Order { cursor, ..Order::default() }).await
}

/// Every other route below `/spaces`.
pub(crate) async fn administer(
    asked: &Asked<'_>,
    act: Act,
    about: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let space = asked.space;
    let body = match act {
        Act::SetMember | Act::SetPolicy => body(asked, request).await?,
        _ => Vec::new(),
    };
    let mut order = order_of(&space.caller, space.id.as_ref(), act, about, &body)?;
    if let (Act::Create, Some(id)) = (act, &space.id) {
        order.space = id.as_str().to_owned();
        let question = order.clone().into_text();
        call(asked.env, &home_of(space), &path_of(Act::MayOwn), &question).await?;
    }
    send(asked, space, act, order).await
}

async fn body(asked: &Asked<'_>, request: &Request) -> Result<Vec<u8>, ApiError> {
    if !http::is_json(&asked.incoming.content_type) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let body = http::body_bytes(request, limits::ORDER_BYTES_MAX).await;
    body.map_err(|error| match error {
        ApiError::TooLarge(_) => ApiError::TooLarge("A body has at most 16 KiB here."),
        error => error,
    })
}

/// The caller's private space.
fn home_of(space: &Space) -> Space {
    let hash = space.caller.private_space.clone();
    Space { scope: Some(Scope::private(&hash)), hash, id: None, ..space.clone() }
}

async fn send(asked: &Asked<'_>, space: &Space, act: Act, order: Order) -> Result<Reply, ApiError> {
    let body = JsValue::from_str(&order.into_text());
    pass(asked.env, space, &path_of(act), &body).await.map_err(|(error, _)| error)
}

fn path_of(act: Act) -> String {
    format!("/{}", act.as_str())
}
