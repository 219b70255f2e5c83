//! Which space a request is for. Everything is keyed by hashes of what was verified, nothing by a parameter (I9).

use super::{authorize::Caller, grant::Granter, route::Route};
use crate::{
    ids::{SpaceHash, SpaceId, UserHash},
    protocol::{act::Act, error::ApiError, internal::Order, pull::query_pairs, role::Role},
    snapshot::keys::Scope,
    time::Millis,
};

/// The space that a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// Under what its object is called.
    pub hash: SpaceHash,
    /// The id of a shared space; none for the caller's private one.
    pub id: Option<SpaceId>,
    /// Under what its keys stand, as far as the edge may read them: those of a shared space only after [`Self::open`].
    pub scope: Option<Scope>,
}

impl Meant {
    /// The space that `route` and `query` mean when `caller` asks.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] for what is no id.
    pub fn of(caller: &Caller, route: &Route, query: &str) -> Result<Self, ApiError> {
        let named = match route {
            Route::Space { id, .. } => Some(id.clone()),
            Route::Spaces => None,
            // Decoded first, because `sp%61ce` is the same name. Most requests have nothing to decode.
            _ if query.contains("space=") || query.contains('%') => {
                let mut pairs = query_pairs(query)?.into_iter();
                pairs.find_map(|(name, value)| (name == "space").then_some(value))
            }
            _ => None,
        };
        match named.as_deref() {
            None | Some("" | "~") => {
                let hash = caller.private_space.clone();
                Ok(Self { scope: Some(Scope::private(&hash)), hash, id: None })
            }
            Some(id) => {
                let id = SpaceId::parse(id).map_err(|rule| ApiError::Malformed(rule.0.to_owned()))?;
                Ok(Self { hash: SpaceHash::shared(&id), id: Some(id), scope: None })
            }
        }
    }

    /// Whether its published records can only be read with a grant, and `route` reads them.
    #[must_use]
    pub fn needs_grant(&self, route: &Route) -> bool {
        self.id.is_some() && matches!(route, Route::Pull { .. } | Route::Head | Route::Object(_))
    }

    /// Opens a shared space to `user` with a grant.
    ///
    /// # Errors
    /// As [`Granter::open`].
    pub fn open(
        &mut self,
        granter: &mut Granter,
        grant: &str,
        user: &UserHash,
        now: Millis,
    ) -> Result<(), ApiError> {
        self.scope = Some(granter.open(grant, user, &self.hash, now)?);
        Ok(())
    }
}

/// What the space's object is to be told with an act, out of the route and the body of the request.
///
/// # Errors
/// [`ApiError::Malformed`] for a body without a role or a policy that there is, [`ApiError::Forbidden`] for what a private
/// space does not have.
pub fn order_of(
    caller: &Caller,
    space: Option<&SpaceId>,
    act: Act,
    about: &str,
    body: &[u8],
) -> Result<Order, ApiError> {
    let of_shared =
        matches!(act, Act::Members | Act::Member | Act::SetMember | Act::RemoveMember | Act::Grant);
    if of_shared && space.is_none() {
        return Err(ApiError::Forbidden("A private space has one user, who needs no grant."));
    }
    let mut order = Order::default();
    let iss = caller.person.iss.as_str();
    let sub = match act {
        Act::Member | Act::SetMember | Act::RemoveMember => about,
        _ => caller.person.sub.as_str(),
    };
    if matches!(act, Act::Create | Act::Member | Act::SetMember | Act::RemoveMember) {
        order.user = UserHash::new(iss, sub).as_str().to_owned();
        order.home = SpaceHash::private(iss, sub).as_str().to_owned();
        order.sub = sub.to_owned();
    }
    match act {
        Act::SetMember => {
            let role = field(body, "role").as_deref().and_then(Role::parse);
            let role = role.ok_or_else(|| malformed("role is reader, writer or owner"))?;
            order.role = role.as_str().to_owned();
        }
        Act::SetPolicy => {
            let policy = field(body, "onConflict");
            let policy = policy.filter(|policy| matches!(policy.as_str(), "reject" | "merge" | "overwrite"));
            order.policy = policy.ok_or_else(|| malformed("onConflict is reject, merge or overwrite"))?;
            order.collection = about.to_owned();
        }
        Act::RemovePolicy => order.collection = about.to_owned(),
        _ => {}
    }
    Ok(order)
}

/// A text among the fields of an object. What else is in it is for later versions.
fn field(body: &[u8], name: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body.get(name)?.as_str().map(str::to_owned)
}

fn malformed(detail: &str) -> ApiError {
    ApiError::Malformed(detail.to_owned())
}
