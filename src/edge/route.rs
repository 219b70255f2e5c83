//! Which route a request is for.

use crate::{ids::ContentHash, protocol::error::ApiError};

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
    /// `GET|POST /sync/conflict`; whether it resolves.
    Conflict {
        /// POST.
        resolves: bool,
    },
    /// `GET /sync/head`
    Head,
    /// `GET /sync/objects/{sha256}`
    Object(ContentHash),
    /// `POST /spaces/{id}/reset-epoch`
    ResetEpoch {
        /// The id in the path.
        space: String,
    },
}

impl Route {
    /// The route of a method and a path.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] and [`ApiError::MethodNotAllowed`].
    pub fn of(method: &str, path: &str) -> Result<Self, ApiError> {
        if method == "OPTIONS" {
            return Ok(Self::Preflight);
        }
        let only = |wanted: &'static str, route: Self| {
            if method == wanted { Ok(route) } else { Err(ApiError::MethodNotAllowed(wanted)) }
        };
        match path {
            "/health" => only("GET", Self::Health),
            "/sync/push" => only("POST", Self::Push),
            "/sync/pull" => match method {
                "GET" => Ok(Self::Pull { in_body: false }),
                "POST" => Ok(Self::Pull { in_body: true }),
                _ => Err(ApiError::MethodNotAllowed("GET, POST")),
            },
            "/sync/conflict" => match method {
                "GET" => Ok(Self::Conflict { resolves: false }),
                "POST" => Ok(Self::Conflict { resolves: true }),
                _ => Err(ApiError::MethodNotAllowed("GET, POST")),
            },
            "/sync/head" => only("GET", Self::Head),
            _ => {
                if let Some(hash) = path.strip_prefix("/sync/objects/") {
                    let hash = ContentHash::parse(hash).map_err(|rule| ApiError::NotFound(rule.0))?;
                    return only("GET", Self::Object(hash));
                }
                let space = path.strip_prefix("/spaces/").and_then(|rest| rest.strip_suffix("/reset-epoch"));
                match space {
                    Some(space) if !space.is_empty() && !space.contains('/') => {
                        only("POST", Self::ResetEpoch { space: space.to_owned() })
                    }
                    _ => Err(ApiError::NotFound("There is no such route.")),
                }
            }
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
            Self::Conflict { resolves: false } => "conflicts",
            Self::Conflict { resolves: true } => "resolve",
            Self::Head => "head",
            Self::Object(_) => "object",
            Self::ResetEpoch { .. } => "reset-epoch",
        }
    }
}
