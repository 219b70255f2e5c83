//! Errors of the protocol, and the one table that maps them to HTTP.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{json::Misfit, mutation::MutationResult, time::Millis, version::Position};

/// The one thing that a coordinator forbids to whoever may ask at all.
const FORBIDDEN: &str = "You are not a member of this space.";

/// Why a space is not made.
pub(crate) const TOO_MANY_SPACES: ApiError = ApiError::Forbidden(
    "You have made 1,000 spaces that are not deleted, or within a day: delete one, or wait.",
);

/// Whether the platform says in these words that what the free plan gives for a day is used up: rows read, rows written, requests or
/// duration. Its documentation says that such operations fail and not how (durable-objects/platform/pricing); those who met it
/// quote "Exceeded allowed duration in Durable Objects free tier." (lyc8503/UptimeFlare#109), and the like for the others.
#[must_use]
pub fn is_used_up(words: &str) -> bool {
    words.contains("Exceeded allowed") && words.contains("in Durable Objects free tier")
}

/// Why a request as a whole was not answered with what it asked for.
///
/// A detail names the rule that was broken and what to do. It never holds a token, another user's data or internal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    /// The request does not have the form that the protocol asks for.
    Malformed(String),
    /// No token, or one that is not good for anything here.
    Unauthenticated,
    /// A token that was good.
    TokenExpired,
    /// The caller may not do this.
    Forbidden(&'static str),
    /// A shared space, and no grant that is good for it came with the request.
    GrantRequired,
    /// No such route, space or object.
    NotFound(&'static str),
    /// The route exists, with other methods.
    MethodNotAllowed(&'static str),
    /// The first mutation of a push leaves a gap behind the last settled one.
    OutOfOrder {
        /// The number that comes next.
        expected: u64,
    },
    /// A pull claims a position that this history has not reached, and none may begin that lies above it.
    PositionUnknown {
        /// Where the present history stands.
        position: Position,
    },
    /// A push belongs to another history of the space.
    EpochMismatch {
        /// Where the present history stands.
        position: Position,
        /// Up to it the present history contains this client's mutations, as far as the request names them.
        last: u64,
        /// How those of this push up to `last` ended.
        settled: Vec<MutationResult>,
        /// Whether it may contain more of them, which the request does not name.
        more: bool,
    },
    /// A settled number came again with other changes, or is too old to be compared.
    ClientForked {
        /// The mutation before it.
        last: u64,
        /// How those of this push up to `last` ended.
        settled: Vec<MutationResult>,
    },
    /// The space was deleted.
    Gone,
    /// The cursor belongs to another space or epoch, or its state is gone.
    CursorExpired,
    /// Above a limit of a request.
    TooLarge(&'static str),
    /// The body was not there in time.
    Timeout,
    /// The body is not JSON by its own declaration.
    UnsupportedMediaType,
    /// The body has a coding that is not known here.
    UnsupportedCoding,
    /// The caller, or all callers of the space together, have asked for more than their share.
    RateLimited {
        /// Seconds after which the same request will be taken, if nothing else is asked for meanwhile.
        retry_after_s: u32,
        /// Whether it is all callers together: then the space's owners may still do what only they may.
        of_space: bool,
    },
    /// A fault of ours or of the configuration; the log says which.
    Internal,
    /// The day's budget of object requests has nothing left for this one.
    OverBudget {
        /// Seconds after which it has, or the day is over.
        retry_after_s: u32,
    },
    /// The coordinator has more to do than it can.
    Overloaded,
    /// A layer behind this one did not answer.
    Upstream,
    /// The platform does nothing more before 00:00 UTC, because what the free plan gives for a day is used up.
    UsedUp {
        /// Seconds until then; none until somebody with a clock has said so.
        retry_after_s: Option<u32>,
    },
    /// The space's storage is full.
    StorageFull,
}

impl ApiError {
    /// Status, stable code, and title.
    const fn row(&self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Malformed(_) => (400, "malformed", "Bad request"),
            Self::Unauthenticated => (401, "unauthenticated", "Not authenticated"),
            Self::TokenExpired => (401, "token_expired", "Token expired"),
            Self::Forbidden(_) => (403, "forbidden", "Forbidden"),
            Self::GrantRequired => (403, "grant_required", "Grant required"),
            Self::NotFound(_) => (404, "not_found", "Not found"),
            Self::MethodNotAllowed(_) => (405, "method_not_allowed", "Method not allowed"),
            Self::OutOfOrder { .. } => (409, "out_of_order", "Out of order"),
            Self::PositionUnknown { .. } => (409, "epoch_mismatch", "Another epoch"),
            Self::EpochMismatch { .. } => (409, "epoch_mismatch", "Another epoch"),
            Self::ClientForked { .. } => (409, "client_forked", "Client forked"),
            Self::Gone => (410, "gone", "Gone"),
            Self::CursorExpired => (410, "cursor_expired", "Cursor expired"),
            Self::TooLarge(_) => (413, "too_large", "Too large"),
            Self::Timeout => (408, "timeout", "Timeout"),
            Self::UnsupportedMediaType => (415, "unsupported_media_type", "Unsupported media type"),
            Self::UnsupportedCoding => (415, "unsupported_media_type", "Unsupported content coding"),
            Self::RateLimited { .. } => (429, "rate_limited", "Too many requests"),
            Self::Internal => (500, "internal", "Internal error"),
            Self::OverBudget { .. } => (503, "overloaded", "Over budget"),
            Self::Overloaded => (503, "overloaded", "Overloaded"),
            Self::Upstream => (503, "upstream", "Upstream failed"),
            Self::UsedUp { .. } => (503, "upstream", "Used up for today"),
            Self::StorageFull => (507, "storage_full", "Storage full"),
        }
    }

    /// What to tell the caller.
    fn detail(&self) -> &str {
        match self {
            Self::Malformed(detail) => detail,
            Self::Unauthenticated => "Send `Authorization: Bearer <JWT>` with a valid token.",
            Self::TokenExpired => "Get a new token and repeat the request.",
            Self::Forbidden(detail) => detail,
            Self::GrantRequired => "Ask POST /spaces/{id}/grant and send it in Headwater-Grant.",
            Self::NotFound(detail) => detail,
            Self::MethodNotAllowed(_) => "The Allow header names the methods of this route.",
            Self::OutOfOrder { .. } => "Nothing was applied. Send the mutations from `expected` on.",
            Self::PositionUnknown { .. } => {
                "The space has never been there. Pull without `epoch` and `since`, with min=`position`."
            }
            Self::EpochMismatch { .. } => {
                "Nothing beyond `results` was applied. Drop the mutations of this request up to `last`. With `more`, push the next ones in the same way; then pull with min=`position` and take a new client id."
            }
            Self::ClientForked { .. } => {
                "Nothing beyond `results` was applied. Drop the mutations of this request up to `last`, take a new client id, number the rest from 1, and push them."
            }
            Self::Gone => "The space was deleted. Its id is never used again.",
            Self::CursorExpired => "Pull again without a cursor, with consistency=strong.",
            Self::TooLarge(detail) => detail,
            Self::Timeout => {
                "Nothing was done. Repeat the same request; if that ends so too, send less at once, or with Content-Encoding: gzip."
            }
            Self::UnsupportedMediaType => "Send Content-Type: application/json.",
            Self::UnsupportedCoding => "Send the body as it is, or with Content-Encoding: gzip.",
            Self::RateLimited { .. } => "Nothing was done. Repeat the request after Retry-After seconds.",
            Self::Internal => "Repeat the request; report its id if it fails again.",
            Self::OverBudget { .. } => {
                "Nothing was done: the day's budget of object requests runs low, until 00:00 UTC. Repeat the request after Retry-After seconds."
            }
            Self::Overloaded => "Repeat the request after Retry-After seconds.",
            Self::Upstream => "Repeat the request after Retry-After seconds.",
            Self::UsedUp { .. } => {
                "It may be done, in whole or in part. Repeat the same request after 00:00 UTC."
            }
            Self::StorageFull => "Keep the outbox, stop sending, and delete something or make room.",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.row().0
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().1
    }

    /// Seconds after which the same request may succeed, where waiting helps.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Overloaded | Self::Upstream => Some(2),
            Self::RateLimited { retry_after_s, .. } | Self::OverBudget { retry_after_s } => {
                Some(*retry_after_s)
            }
            Self::UsedUp { retry_after_s } => *retry_after_s,
            _ => None,
        }
    }

    /// What the day's share of the free plan was used up comes to now.
    #[must_use]
    pub fn used_up(now: Millis) -> Self {
        let left_s = now.next_day().since(now).div_ceil(1000);
        Self::UsedUp { retry_after_s: Some(u32::try_from(left_s).unwrap_or(u32::MAX)) }
    }

    /// What may be sent instead, as a header: the methods of the route (RFC 9110, 15.5.6), or the codings of a body (15.5.16).
    #[must_use]
    pub fn instead(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::MethodNotAllowed(methods) => Some(("Allow", methods)),
            Self::UnsupportedCoding => Some(("Accept-Encoding", "gzip")),
            _ => None,
        }
    }

    /// The challenge that 401 and 403 carry (RFC 6750, section 3), by the `Authorization` of the request: one that brings no
    /// bearer token has made no error yet.
    #[must_use]
    pub fn challenge(&self, authorization: &str) -> Option<String> {
        let bears = authorization.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        let error = match self {
            Self::Unauthenticated if !bears => "",
            Self::Unauthenticated => r#", error="invalid_token""#,
            Self::TokenExpired => r#", error="invalid_token", error_description="the token has expired""#,
            Self::Forbidden(_) | Self::GrantRequired => r#", error="insufficient_scope""#,
            _ => return None,
        };
        Some(format!(r#"Bearer realm="headwater"{error}"#))
    }

    /// The body: a problem document (RFC 9457).
    #[must_use]
    pub fn body(&self, request: &str) -> String {
        let ((status, code, title), detail) = (self.row(), self.detail());
        let mut body = Map::new();
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), title.into());
        body.insert("status".into(), status.into());
        body.insert("code".into(), code.into());
        body.insert("detail".into(), detail.into());
        body.insert("request".into(), request.into());
        let fields = match self {
            Self::OutOfOrder { expected } => json!({ "expected": expected }),
            Self::PositionUnknown { position } => json!({ "position": position.to_string() }),
            Self::EpochMismatch { position, last, settled, more } => {
                json!({ "position": position.to_string(), "last": last, "results": results(settled), "more": more })
            }
            Self::RateLimited { retry_after_s, .. } => json!({ "retryAfter": retry_after_s }),
            Self::UsedUp { retry_after_s } => json!({ "retryAfter": retry_after_s }),
            Self::OverBudget { retry_after_s } => {
                json!({ "retryAfter": retry_after_s, "budget": "object_requests" })
            }
            Self::ClientForked { last, settled } => json!({ "last": last, "results": results(settled) }),
            _ => Value::Null,
        };
        if let Value::Object(fields) = fields {
            body.extend(fields);
        }
        Value::Object(body).to_string()
    }

    /// The error that the problem document of an object states, which the edge asked for somebody. What nobody may be told
    /// as it is, such as a call that an object of another version does not know, is a fault between the two.
    #[must_use]
    pub fn of_object(status: u16, body: &str) -> Self {
        let problem: Problem = serde_json::from_str(body).unwrap_or_default();
        match problem.code.as_str() {
            "cursor_expired" => Self::CursorExpired,
            "gone" => Self::Gone,
            "grant_required" => Self::GrantRequired,
            "forbidden" => Self::Forbidden(FORBIDDEN),
            "not_found" => Self::NotFound("There is no such space."),
            "overloaded" => Self::Overloaded,
            "storage_full" => Self::StorageFull,
            "rate_limited" => {
                Self::RateLimited { retry_after_s: problem.retry_after_s.unwrap_or(1), of_space: false }
            }
            "epoch_mismatch" => match problem.position.as_deref().and_then(Position::parse) {
                Some(position) => Self::PositionUnknown { position },
                None => Self::Internal,
            },
            "upstream" if problem.retry_after_s.is_some() => {
                Self::UsedUp { retry_after_s: problem.retry_after_s }
            }
            _ if status == 503 => Self::Upstream,
            _ => Self::Internal,
        }
    }
}

impl From<Misfit> for ApiError {
    fn from(misfit: Misfit) -> Self {
        Self::Malformed(misfit.0)
    }
}

/// What is read of an object's problem document.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    position: Option<String>,
    #[serde(rename = "retryAfter")]
    retry_after_s: Option<u32>,
}

fn results(settled: &[MutationResult]) -> Vec<Value> {
    settled.iter().map(MutationResult::brief).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_fields_its_code_names() {
        let position = Position::parse("0mwrnsa6yk3v9q2.7").expect("a position");
        let body = ApiError::EpochMismatch { position, last: 3, settled: Vec::new(), more: true }.body("r1");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["code"], "epoch_mismatch");
        assert_eq!(body["status"], 409);
        assert_eq!(body["position"], "0mwrnsa6yk3v9q2.7");
        assert_eq!(body["last"], 3);
        assert_eq!(body["more"], true);
        assert_eq!(body["request"], "r1");
    }

    #[test]
    fn a_challenge_names_the_error_that_a_token_has_and_none_where_there_is_no_token() {
        let challenge = |error: ApiError, authorization| error.challenge(authorization);
        for none in ["", "Bearer", "Basic dTpw", "bearerx y", "\u{e4}\u{e4}\u{e4}\u{e4}"] {
            assert_eq!(
                challenge(ApiError::Unauthenticated, none).as_deref(),
                Some("Bearer realm=\"headwater\""),
                "{none}"
            );
        }
        for (error, code) in [
            (ApiError::Unauthenticated, "invalid_token"),
            (ApiError::TokenExpired, "invalid_token"),
            (ApiError::Forbidden(FORBIDDEN), "insufficient_scope"),
            (ApiError::GrantRequired, "insufficient_scope"),
        ] {
            let challenge = challenge(error, "bearer x").expect("a challenge");
            assert!(
                challenge.starts_with("Bearer realm=\"headwater\", error=\"") && challenge.contains(code),
                "{challenge}"
            );
        }
        assert_eq!(challenge(ApiError::Gone, "Bearer x"), None);
    }

    #[test]
    fn what_an_object_answers_stays_what_it_is_on_its_way_through_the_edge() {
        let position = Position::parse("0mwrnsa6yk3v9q2.7").expect("a position");
        for error in [
            ApiError::CursorExpired,
            ApiError::Gone,
            ApiError::GrantRequired,
            ApiError::Forbidden(FORBIDDEN),
            ApiError::NotFound("There is no such space."),
            ApiError::Overloaded,
            ApiError::StorageFull,
            ApiError::Upstream,
            ApiError::Internal,
            ApiError::RateLimited { retry_after_s: 7, of_space: false },
            ApiError::used_up(Millis(1)),
            ApiError::PositionUnknown { position },
        ] {
            assert_eq!(ApiError::of_object(error.status(), &error.body("r1")), error);
        }
        for (status, body) in [(500, ""), (404, "<html>"), (400, "{}"), (409, r#"{"code":"epoch_mismatch"}"#)]
        {
            assert_eq!(ApiError::of_object(status, body), ApiError::Internal, "{status} {body}");
        }
        assert_eq!(ApiError::of_object(503, "no object"), ApiError::Upstream);
    }

    #[test]
    fn what_is_used_up_for_a_day_comes_back_at_midnight_and_a_client_may_ask_again_then() {
        for (now, seconds) in [(0, 86_400), (86_399_001, 1), (86_400_000, 86_400)] {
            let error = ApiError::used_up(Millis(now));
            assert_eq!((error.status(), error.code()), (503, "upstream"));
            assert_eq!(error.retry_after_s(), Some(seconds), "{now}");
            assert!(error.body("r1").contains(&format!("\"retryAfter\":{seconds}")), "{now}");
        }
    }

    #[test]
    fn the_platform_s_words_about_a_used_up_day_are_known_and_no_others_are_taken_for_them() {
        for what in ["rows read", "rows written", "duration", "volume of requests"] {
            assert!(is_used_up(&format!("Exceeded allowed {what} in Durable Objects free tier.")), "{what}");
        }
        for other in ["", "Durable Object is overloaded.", "database or disk is full: SQLITE_FULL"] {
            assert!(!is_used_up(other), "{other}");
        }
    }
}
