//! Which route a request is for.

#[cfg(feature = "dexie")]
use crate::fronts::dexie::route::{DexieRoute, is_below_dexie};
use crate::{
    error::ApiError,
    fronts::headwater::pull::{percent_decoded, query_pairs},
    ids::{Collection, ContentHash},
    json::Misfit,
    limits,
};

/// A route of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /health`
    Health,
    /// `OPTIONS *`
    Preflight,
    /// `POST /sync/push`
    Push,
    /// `GET|POST /sync/pull`; whether the fields are in the body.
    Pull {
        /// POST.
        in_body: bool,
    },
    /// `POST /sync/pulls`
    Pulls,
    /// `GET|POST /sync/conflict`; whether it resolves.
    Conflict {
        /// POST.
        resolves: bool,
    },
    /// `GET /sync/live`, a socket.
    Live,
    /// `GET /sync/head`
    Head,
    /// `GET /sync/objects/{sha256}`
    Object(ContentHash),
    /// `GET /spaces`
    Spaces,
    /// `/spaces/{id}` and what is below it.
    Space {
        /// The id in the path, decoded. It can be anything but empty.
        id: String,
        /// What is done about it.
        route: SpaceRoute,
    },
    /// `POST /invitations/{code}`
    Accept(String),
    /// `/dexie/…`, the other protocol's.
    #[cfg(feature = "dexie")]
    Dexie(DexieRoute),
}

/// What is done about a space, as far as method and path say it. Subjects and collections are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpaceRoute {
    /// `PUT /spaces/{id}`
    Create,
    /// `GET /spaces/{id}`
    Show,
    /// `DELETE /spaces/{id}`
    Delete,
    /// `GET /spaces/{id}/members`
    Members,
    /// `GET /spaces/{id}/members/{sub}`
    Member(String),
    /// `PUT /spaces/{id}/members/{sub}`
    SetMember(String),
    /// `DELETE /spaces/{id}/members/{sub}`
    RemoveMember(String),
    /// `GET /spaces/{id}/policies`
    Policies,
    /// `PUT /spaces/{id}/policies/{collection}`
    SetPolicy(Collection),
    /// `DELETE /spaces/{id}/policies/{collection}`
    RemovePolicy(Collection),
    /// `PUT /spaces/{id}/policies/$dexie`
    ShutDexie,
    /// `DELETE /spaces/{id}/policies/$dexie`
    AdmitDexie,
    /// `POST /spaces/{id}/grant`
    Grant,
    /// `GET /spaces/{id}/usage`
    Usage,
    /// `POST /spaces/{id}/reset-epoch`
    ResetEpoch,
    /// `POST /spaces/{id}/invitations`
    Invite,
    /// `GET /spaces/{id}/invitations`
    Invitations,
    /// `DELETE /spaces/{id}/invitations/{number}`
    Uninvite(u64),
}

impl SpaceRoute {
    /// Whether its request has a body.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        matches!(self, Self::SetMember(_) | Self::SetPolicy(_) | Self::ShutDexie | Self::Invite)
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Show => "show",
            Self::Delete => "delete",
            Self::Members => "members",
            Self::Member(_) => "member",
            Self::SetMember(_) => "set-member",
            Self::RemoveMember(_) => "remove-member",
            Self::Policies => "policies",
            Self::SetPolicy(_) => "set-policy",
            Self::RemovePolicy(_) => "remove-policy",
            Self::ShutDexie => "shut-dexie",
            Self::AdmitDexie => "admit-dexie",
            Self::Grant => "grant",
            Self::Usage => "usage",
            Self::ResetEpoch => "reset-epoch",
            Self::Invite => "invite",
            Self::Invitations => "invitations",
            Self::Uninvite(_) => "uninvite",
        }
    }
}

impl Route {
    /// The route of a method and a path. HEAD is a GET of which only the headers are sent, and a slash at the end of a path does
    /// not count.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] and [`ApiError::MethodNotAllowed`].
    pub fn of(method: &str, path: &str) -> Result<Self, ApiError> {
        if method == "OPTIONS" {
            return Ok(Self::Preflight);
        }
        #[cfg(feature = "dexie")]
        if is_below_dexie(path) {
            return DexieRoute::of(method, path).map(Self::Dexie);
        }
        let method = if method == "HEAD" { "GET" } else { method };
        let path = path.strip_suffix('/').unwrap_or(path);
        let read = |route: Self| {
            if method == "GET" { Ok(route) } else { Err(ApiError::MethodNotAllowed("GET, HEAD")) }
        };
        match path {
            "/health" => read(Self::Health),
            "/sync/push" if method == "POST" => Ok(Self::Push),
            "/sync/push" => Err(ApiError::MethodNotAllowed("POST")),
            "/sync/pull" => match method {
                "GET" => Ok(Self::Pull { in_body: false }),
                "POST" => Ok(Self::Pull { in_body: true }),
                _ => Err(ApiError::MethodNotAllowed("GET, HEAD, POST")),
            },
            "/sync/pulls" if method == "POST" => Ok(Self::Pulls),
            "/sync/pulls" => Err(ApiError::MethodNotAllowed("POST")),
            "/sync/conflict" => match method {
                "GET" => Ok(Self::Conflict { resolves: false }),
                "POST" => Ok(Self::Conflict { resolves: true }),
                _ => Err(ApiError::MethodNotAllowed("GET, HEAD, POST")),
            },
            "/sync/live" if method == "GET" => Ok(Self::Live),
            "/sync/live" => Err(ApiError::MethodNotAllowed("GET")),
            "/sync/head" => read(Self::Head),
            "/spaces" => read(Self::Spaces),
            _ => {
                if let Some(code) = path.strip_prefix("/invitations/") {
                    let code = decoded(Some(code))?;
                    return match method {
                        "POST" => Ok(Self::Accept(code)),
                        _ => Err(ApiError::MethodNotAllowed("POST")),
                    };
                }
                if let Some(hash) = path.strip_prefix("/sync/objects/") {
                    let hash = ContentHash::parse(hash).map_err(|rule| ApiError::NotFound(rule.0))?;
                    return read(Self::Object(hash));
                }
                Self::of_space(method, path)
            }
        }
    }

    /// A path is cut at its slashes and each piece then decoded once: an escaped slash is part of a name and parts nothing.
    fn of_space(method: &str, path: &str) -> Result<Self, ApiError> {
        let mut pieces = path.strip_prefix("/spaces/").ok_or(NO_ROUTE)?.split('/');
        let id = decoded(pieces.next())?;
        let (below, about) = (pieces.next(), pieces.next());
        let is_too_deep =
            pieces.next().is_some() || !matches!(below, Some("members" | "policies" | "invitations"));
        let about = match about {
            Some(_) if is_too_deep => return Err(NO_ROUTE),
            about => about.map(|about| decoded(Some(about))).transpose()?,
        };
        let route = match (below, about, method) {
            (None, _, "GET") => SpaceRoute::Show,
            (None, _, "PUT") => SpaceRoute::Create,
            (None, _, "DELETE") => SpaceRoute::Delete,
            (None, ..) => return Err(ApiError::MethodNotAllowed("GET, HEAD, PUT, DELETE")),
            (Some("members"), None, "GET") => SpaceRoute::Members,
            (Some("members"), Some(sub), "GET") => SpaceRoute::Member(subject(sub)?),
            (Some("members"), Some(sub), "PUT") => SpaceRoute::SetMember(subject(sub)?),
            (Some("members"), Some(sub), "DELETE") => SpaceRoute::RemoveMember(subject(sub)?),
            (Some("members"), Some(_), _) => {
                return Err(ApiError::MethodNotAllowed("GET, HEAD, PUT, DELETE"));
            }
            (Some("policies"), None, "GET") => SpaceRoute::Policies,
            (Some("policies"), Some(name), "PUT") if name == "$dexie" => SpaceRoute::ShutDexie,
            (Some("policies"), Some(name), "DELETE") if name == "$dexie" => SpaceRoute::AdmitDexie,
            (Some("policies"), Some(name), "PUT") => SpaceRoute::SetPolicy(collection(&name)?),
            (Some("policies"), Some(name), "DELETE") => SpaceRoute::RemovePolicy(collection(&name)?),
            (Some("policies"), Some(_), _) => return Err(ApiError::MethodNotAllowed("PUT, DELETE")),
            (Some("invitations"), None, "GET") => SpaceRoute::Invitations,
            (Some("invitations"), None, "POST") => SpaceRoute::Invite,
            (Some("invitations"), None, _) => return Err(ApiError::MethodNotAllowed("GET, HEAD, POST")),
            (Some("invitations"), Some(number), "DELETE") => {
                SpaceRoute::Uninvite(number.parse().map_err(|_| NO_INVITATION)?)
            }
            (Some("invitations"), Some(_), _) => return Err(ApiError::MethodNotAllowed("DELETE")),
            (Some("members" | "policies"), None, _) => return Err(ApiError::MethodNotAllowed("GET, HEAD")),
            (Some("grant"), _, "POST") => SpaceRoute::Grant,
            (Some("reset-epoch"), _, "POST") => SpaceRoute::ResetEpoch,
            (Some("grant" | "reset-epoch"), ..) => return Err(ApiError::MethodNotAllowed("POST")),
            (Some("usage"), _, "GET") => SpaceRoute::Usage,
            (Some("usage"), ..) => return Err(ApiError::MethodNotAllowed("GET, HEAD")),
            (Some(_), ..) => return Err(NO_ROUTE),
        };
        Ok(Self::Space { id, route })
    }

    /// The space that it or `query` names, decoded; none if neither does.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] for a parameter that the route does not have.
    pub fn space_named(&self, query: &str) -> Result<Option<String>, ApiError> {
        self.check_query(query)?;
        match self {
            Self::Space { id, .. } => Ok(Some(id.clone())),
            // Of a code that is none there is nothing to find out here: it names a space that there is not.
            Self::Accept(code) => Ok(code.split('.').next().map(str::to_owned)),
            // Decoded first, because `sp%61ce` is the same name. Most requests have nothing to decode.
            Self::Spaces | Self::Pulls => Ok(None),
            #[cfg(feature = "dexie")]
            Self::Dexie(route) => Ok(route.space.clone()),
            _ if may_name_space(query) => {
                let mut pairs = query_pairs(query)?.into_iter();
                Ok(pairs.find_map(|(name, value)| (name == "space").then_some(value)))
            }
            _ => Ok(None),
        }
    }

    /// Whether it reads what is published of a space.
    #[must_use]
    pub const fn reads_published(&self) -> bool {
        match self {
            Self::Pull { .. } | Self::Head | Self::Object(_) => true,
            Self::Health
            | Self::Preflight
            | Self::Push
            | Self::Pulls
            | Self::Conflict { .. }
            | Self::Live
            | Self::Spaces
            | Self::Space { .. }
            | Self::Accept(_) => false,
            #[cfg(feature = "dexie")]
            Self::Dexie(_) => false,
        }
    }

    /// The route's name in a log line: never the path, which may hold a person's id.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Preflight => "preflight",
            Self::Push => "push",
            Self::Pull { .. } => "pull",
            Self::Pulls => "pulls",
            Self::Conflict { resolves: false } => "conflicts",
            Self::Conflict { resolves: true } => "resolve",
            Self::Live => "live",
            Self::Head => "head",
            Self::Object(_) => "object",
            Self::Spaces => "spaces",
            Self::Space { route, .. } => route.name(),
            Self::Accept(_) => "accept",
            #[cfg(feature = "dexie")]
            Self::Dexie(route) => route.call.name(),
        }
    }
}

impl Route {
    /// That a query has no parameter but those that mean something here, and none twice: one that is misspelt would be
    /// ignored, and nobody would be told that what it says is not done.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] names the parameter.
    pub fn check_query(&self, query: &str) -> Result<(), ApiError> {
        let known: &[&str] = match self {
            Self::Health | Self::Preflight => return Ok(()),
            // Its clients send more than means something here.
            #[cfg(feature = "dexie")]
            Self::Dexie(_) => return Ok(()),
            Self::Pull { in_body: false } => &["space", "epoch", "since", "min", "consistency", "cursor"],
            Self::Conflict { resolves: false } => &["space", "cursor"],
            Self::Push | Self::Pull { .. } | Self::Conflict { .. } | Self::Head | Self::Object(_) => {
                &["space"]
            }
            Self::Live => &["space", "usage"],
            Self::Spaces | Self::Space { route: SpaceRoute::Members, .. } => &["cursor"],
            Self::Pulls | Self::Space { .. } | Self::Accept(_) => &[],
        };
        let mut seen = [false; 6];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or_default();
            let name = percent_decoded(name, true).unwrap_or_default();
            let at = known.iter().position(|known| *known == name);
            let at = at.ok_or_else(|| Misfit::unknown("this route", "parameter", &name))?;
            if std::mem::replace(&mut seen[at], true) {
                return Err(ApiError::Malformed(format!("{name} is given twice")));
            }
        }
        Ok(())
    }
}

/// Whether a query may name a space, as far as that can be told without decoding it.
#[must_use]
pub fn may_name_space(query: &str) -> bool {
    query.contains("space=") || query.contains('%')
}

const NO_INVITATION: ApiError = ApiError::NotFound("There is no such invitation.");
const NO_ROUTE: ApiError = ApiError::NotFound("There is no such route.");

/// A piece of a path; an empty one is none.
fn decoded(piece: Option<&str>) -> Result<String, ApiError> {
    let piece = piece.filter(|piece| !piece.is_empty()).ok_or(NO_ROUTE)?;
    let bad = || ApiError::Malformed("the path has an escape that is not UTF-8".to_owned());
    percent_decoded(piece, false).ok_or_else(bad)
}

fn subject(sub: String) -> Result<String, ApiError> {
    if sub.len() > limits::SUBJECT_BYTES_MAX {
        return Err(ApiError::Malformed("a subject has 1 to 1,024 bytes".to_owned()));
    }
    Ok(sub)
}

fn collection(name: &str) -> Result<Collection, ApiError> {
    Collection::parse(name).map_err(|rule| ApiError::Malformed(rule.0.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(method: &str, path: &str) -> (String, SpaceRoute) {
        match Route::of(method, path) {
            Ok(Route::Space { id, route }) => (id, route),
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    #[test]
    fn a_path_is_cut_first_and_decoded_once() {
        let told = |id: &str, route| (id.to_owned(), route);
        assert_eq!(space("GET", "/spaces/team"), told("team", SpaceRoute::Show));
        assert_eq!(space("POST", "/spaces/~/reset-epoch"), told("~", SpaceRoute::ResetEpoch));
        assert_eq!(space("GET", "/spaces/%7E"), told("~", SpaceRoute::Show));
        assert_eq!(space("GET", "/spaces/a%2Fmembers"), told("a/members", SpaceRoute::Show));
        assert_eq!(space("GET", "/spaces/a%252F"), told("a%2F", SpaceRoute::Show));
        let member = space("PUT", "/spaces/team/members/auth0%7Cx%2Fy+z");
        assert_eq!(member, told("team", SpaceRoute::SetMember("auth0|x/y+z".to_owned())));
        let policy = space("DELETE", "/spaces/team/policies/a.b");
        assert_eq!(policy, told("team", SpaceRoute::RemovePolicy(Collection::stored("a.b"))));
        assert_eq!(space("PUT", "/spaces/~/policies/$dexie"), told("~", SpaceRoute::ShutDexie));
        assert_eq!(space("DELETE", "/spaces/~/policies/%24dexie"), told("~", SpaceRoute::AdmitDexie));
    }

    #[test]
    fn what_is_no_route_is_404_and_another_method_405_with_those_there_are() {
        for path in [
            "/",
            "//",
            "/sync/pull//",
            "/sync//pull",
            "/spaces//",
            "/spaces//members",
            "/spaces/a//",
            "/spaces/a/members//",
            "/spaces/a/b",
            "/spaces/a/grant/x",
            "/spaces/a/members/b/c",
            "/spacesx",
        ] {
            assert!(matches!(Route::of("GET", path), Err(ApiError::NotFound(_))), "{path}");
        }
        for (method, path, allowed) in [
            ("POST", "/health", "GET, HEAD"),
            ("HEAD", "/sync/push", "POST"),
            ("PUT", "/sync/pull", "GET, HEAD, POST"),
            ("GET", "/sync/pulls", "POST"),
            ("POST", "/sync/live", "GET"),
            ("POST", "/spaces", "GET, HEAD"),
            ("POST", "/spaces/a", "GET, HEAD, PUT, DELETE"),
            ("PUT", "/spaces/a/members", "GET, HEAD"),
            ("DELETE", "/spaces/a/members/", "GET, HEAD"),
            ("POST", "/spaces/a/members/b", "GET, HEAD, PUT, DELETE"),
            ("GET", "/spaces/a/policies/b", "PUT, DELETE"),
            ("GET", "/spaces/a/grant", "POST"),
            ("GET", "/spaces/~/reset-epoch", "POST"),
            ("PATCH", "/spaces/a/policies", "GET, HEAD"),
            ("PUT", "/spaces/a/invitations", "GET, HEAD, POST"),
            ("GET", "/spaces/a/invitations/1", "DELETE"),
            ("GET", "/invitations/a.b.1.c", "POST"),
        ] {
            assert_eq!(Route::of(method, path), Err(ApiError::MethodNotAllowed(allowed)), "{method} {path}");
        }
    }

    #[test]
    fn a_parameter_that_a_route_does_not_have_is_refused_and_so_is_one_twice() {
        let route = |method, path: &str| Route::of(method, path).expect("a route");
        for (method, path, query) in [
            ("GET", "/sync/pull", ""),
            ("GET", "/sync/pull", "space=~&epoch=a&since=1&min=2&consistency=strong&cursor="),
            ("GET", "/sync/pull", "s%69nce=1&&"),
            ("POST", "/sync/pull", "space=team"),
            ("GET", "/sync/conflict", "space=team&cursor=1"),
            ("GET", "/spaces/team/members", "cursor=x"),
            ("GET", "/health", "whatever"),
        ] {
            assert_eq!(route(method, path).check_query(query), Ok(()), "{path}?{query}");
        }
        for (method, path, query, detail) in [
            ("GET", "/sync/pull", "sinse=1", "this route takes no parameter sinse"),
            ("GET", "/sync/pull", "since=1&since=2", "since is given twice"),
            ("POST", "/sync/pull", "since=1", "this route takes no parameter since"),
            ("POST", "/sync/pulls", "space=team", "this route takes no parameter space"),
            ("POST", "/sync/push", "spaces=team", "this route takes no parameter spaces"),
            ("GET", "/sync/head", "%00=1", "this route takes no parameter of such a name"),
            ("PUT", "/spaces/team", "space=team", "this route takes no parameter space"),
        ] {
            let refused = Err(ApiError::Malformed(detail.to_owned()));
            assert_eq!(route(method, path).check_query(query), refused, "{path}?{query}");
        }
    }

    #[test]
    fn head_is_get_and_a_slash_at_the_end_does_not_count() {
        for path in [
            "/health",
            "/sync/pull",
            "/sync/conflict",
            "/sync/head",
            "/sync/objects/0000000000000000000000000000000000000000000000000000000000000000",
            "/spaces",
            "/spaces/a",
            "/spaces/a/members",
            "/spaces/a/members/b",
            "/spaces/a/policies",
        ] {
            let route = Route::of("GET", path).expect("a route");
            assert_eq!(Route::of("HEAD", path), Ok(route.clone()), "{path}");
            assert_eq!(Route::of("GET", &format!("{path}/")), Ok(route), "{path}/");
        }
        assert_eq!(Route::of("POST", "/sync/push/"), Ok(Route::Push));
        assert_eq!(space("POST", "/spaces/a/grant/"), ("a".to_owned(), SpaceRoute::Grant));
        let member = space("GET", "/spaces/a/members/b%2F");
        assert_eq!(member, ("a".to_owned(), SpaceRoute::Member("b/".to_owned())));
    }

    #[test]
    fn names_in_a_path_are_bounded() {
        for (method, path) in [
            ("PUT", "/spaces/a/members/%ff".to_owned()),
            ("PUT", "/spaces/a/members/%2".to_owned()),
            ("PUT", format!("/spaces/a/members/{}", "x".repeat(1_025))),
            ("PUT", "/spaces/a/policies/$members".to_owned()),
            ("PUT", "/spaces/a/policies/%24members".to_owned()),
            ("DELETE", "/spaces/a/policies/a%2Fb".to_owned()),
        ] {
            assert!(matches!(Route::of(method, &path), Err(ApiError::Malformed(_))), "{path}");
        }
    }
}
