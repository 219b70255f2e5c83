//! Who calls an object.

use super::Usage;
use crate::{
    ids::{SpaceId, UserHash},
    json::{Texts, Written},
    snapshot::keys::Scope,
};

/// Who is asking, and for which space, as the edge has verified it. Travels in the header `headwater-caller`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// A hash of issuer and subject.
    pub user: UserHash,
    /// What the call is for, because the object cannot know under which name it was asked for.
    pub destination: Destination,
    /// The id of the request, for errors and log lines.
    pub request: String,
    /// The origin whose pages may read the answer, or empty.
    pub origin: String,
    /// The subject of whoever calls through another front than our own, whose answers name it; or empty.
    pub sub: String,
    /// The issuer of that subject; empty where its tokens name none, or where `sub` is empty.
    pub iss: String,
    /// What the edge has used for the space since it called its object last: Worker requests, looks into the cache, reads of KV.
    pub spent: Usage,
}

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The user's private space, whose keys stand under this scope. It begins when it is first used.
    Private(Scope),
    /// A shared space.
    Shared {
        /// Its id.
        id: SpaceId,
        /// Under what its keys stand, if a grant has named it: only the object knows it by itself.
        scope: Option<Scope>,
    },
    /// A user's directory.
    Directory,
    /// The deployment's budget. Whoever calls it on behalf of a space is that space.
    Budget,
}

impl Destination {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Private(_) => "private",
            Self::Shared { .. } => "shared",
            Self::Directory => "directory",
            Self::Budget => "budget",
        }
    }

    /// None where a kind lacks what it needs, or has what it has not.
    fn read(kind: &str, id: Option<SpaceId>, scope: Option<Scope>) -> Option<Self> {
        match (kind, id, scope) {
            ("private", None, Some(scope)) => Some(Self::Private(scope)),
            ("shared", Some(id), scope) => Some(Self::Shared { id, scope }),
            ("directory", None, None) => Some(Self::Directory),
            ("budget", None, None) => Some(Self::Budget),
            _ => None,
        }
    }

    /// Under what the edge serves the space; none where it does not know that.
    #[must_use]
    pub const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Private(scope) | Self::Shared { scope: Some(scope), .. } => Some(scope),
            Self::Shared { scope: None, .. } | Self::Directory | Self::Budget => None,
        }
    }

    const fn id(&self) -> Option<&SpaceId> {
        match self {
            Self::Shared { id, .. } => Some(id),
            Self::Private(_) | Self::Directory | Self::Budget => None,
        }
    }
}

impl Caller {
    /// Whether it calls through another front than our own.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        !self.sub.is_empty()
    }

    /// As it travels.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { user, destination, request, origin, sub, iss, spent } = self;
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Written::default()
            .and("user", user.as_str())
            .and("for", destination.kind())
            .and_some("scope", destination.scope().map(Scope::to_string))
            .and_some("space", destination.id().map(SpaceId::to_string))
            .and_some("request", some(request))
            .and_some("origin", some(origin))
            .and_some("sub", some(sub))
            .and_some("iss", some(iss))
            .and_some("spent", spent_text(spent))
            .end()
    }

    /// Out of [`Self::to_text`]. A field that a newer edge has added is left out, because every call has a caller.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let texts = Texts::parse(text)?;
        let scope = match texts.get("scope") {
            Some(scope) => Some(Scope::parse(scope)?),
            None => None,
        };
        let id = texts.get("space").map(SpaceId::parse).transpose().ok()?;
        let text = |name| texts.get(name).unwrap_or_default().to_owned();
        Some(Self {
            user: UserHash::parse(texts.get("user")?).ok()?,
            destination: Destination::read(texts.get("for")?, id, scope)?,
            request: text("request"),
            origin: text("origin"),
            sub: text("sub"),
            iss: text("iss"),
            spent: texts.get("spent").map_or_else(Usage::default, spent_of),
        })
    }
}

/// More than an edge can have used between two calls is believed up to here.
const SPENT_MAX: u64 = 1_000_000;

/// Worker requests, looks into the cache and reads of KV, with dots between them; none where nothing was used.
fn spent_text(spent: &Usage) -> Option<String> {
    let Usage { worker, cache, kv, .. } = spent;
    (worker + cache + kv > 0).then(|| format!("{worker}.{cache}.{kv}"))
}

fn spent_of(text: &str) -> Usage {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0).min(SPENT_MAX));
    let mut next = || numbers.next().unwrap_or(0);
    Usage { worker: next(), cache: next(), kv: next(), ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_pinned_because_worker_and_object_are_deployed_apart() {
        let user = UserHash::parse(&"ab".repeat(32)).expect("a hash");
        let caller = |destination| Caller {
            user: user.clone(),
            destination,
            request: "r1".to_owned(),
            origin: "https://a.example".to_owned(),
            sub: "alice".to_owned(),
            iss: "https://i.example".to_owned(),
            spent: Usage { worker: 2, cache: 3, kv: 1, ..Usage::default() },
        };
        let (hash, epoch) = ("cd".repeat(32), "0mwrnsa6yk3v9q2");
        let scope = |text: &str| Scope::parse(text).expect("a scope");
        let id = || SpaceId::stored("team");
        for (destination, fields) in [
            (Destination::Private(scope(&hash)), format!(r#","for":"private","scope":"{hash}""#)),
            (Destination::Shared { id: id(), scope: None }, r#","for":"shared","space":"team""#.to_owned()),
            (
                Destination::Shared { id: id(), scope: Some(scope(&format!("{hash}.{epoch}"))) },
                format!(r#","for":"shared","scope":"{hash}.{epoch}","space":"team""#),
            ),
            (Destination::Directory, r#","for":"directory""#.to_owned()),
            (Destination::Budget, r#","for":"budget""#.to_owned()),
        ] {
            let rest = r#""request":"r1","origin":"https://a.example","sub":"alice","iss":"https://i.example","spent":"2.3.1"}"#;
            let text = format!(r#"{{"user":"{}"{fields},{rest}"#, user.as_str());
            let consequence = "every request would fail while a deployment is under way";
            assert_eq!(caller(destination.clone()).to_text(), text, "{consequence}");
            assert_eq!(Caller::parse(&text), Some(caller(destination.clone())), "{consequence}");
            let later = text.replace("{\"user", "{\"later\":[1],\"user");
            assert_eq!(Caller::parse(&later), Some(caller(destination)), "{consequence}");
        }
    }

    #[test]
    fn what_an_edge_says_it_has_spent_has_bounds_and_may_be_absent() {
        let user = "ab".repeat(32);
        for (spent, used) in [
            ("", [0, 0, 0]),
            (r#","spent":"1.0.0""#, [1, 0, 0]),
            (r#","spent":"x.2""#, [0, 2, 0]),
            (r#","spent":"1.2.9999999999.7""#, [1, 2, 1_000_000]),
            (r#","spent":7"#, [0, 0, 0]),
        ] {
            let text = format!(r#"{{"user":"{user}","for":"directory"{spent}}}"#);
            let [worker, cache, kv] = used;
            let caller = Caller::parse(&text).expect("a caller");
            assert_eq!(caller.spent, Usage { worker, cache, kv, ..Usage::default() }, "{spent}");
        }
    }

    #[test]
    fn a_caller_with_a_name_that_cannot_be_is_none() {
        let user = "ab".repeat(32);
        for fields in [
            r#""user":"alice","for":"directory""#.to_owned(),
            r#""for":"shared","space":"team""#.to_owned(),
            format!(r#""user":"{user}""#),
            format!(r#""user":"{user}","for":"later""#),
            format!(r#""user":"{user}","for":"private""#),
            format!(r#""user":"{user}","for":"private","scope":5"#),
            format!(r#""user":"{user}","for":"shared""#),
            format!(r#""user":"{user}","for":"directory","space":"team""#),
            format!(r#""user":"{user}","for":"shared","space":"../x""#),
            format!(r#""user":"{user}","for":"shared","space":"""#),
            format!(r#""user":"{user}","for":"private","scope":"""#),
            format!(r#""user":"{user}","for":"shared","scope":"team","space":"team""#),
        ] {
            assert_eq!(Caller::parse(&format!("{{{fields}}}")), None, "{fields}");
        }
        for text in ["", "[]", "null"] {
            assert_eq!(Caller::parse(text), None, "{text}");
        }
    }
}
