//! Which call of `dexie-cloud-addon` a request is. The app gives the addon `https://host/dexie` for the user's private space, or
//! `https://host/dexie/{space}` for a shared one, and the addon adds the name of a call.

use super::blob::BlobId;
use crate::{error::ApiError, fronts::headwater::pull::percent_decoded};

/// A request below `/dexie`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DexieRoute {
    /// The space in the path, decoded: none for the caller's private one. It can be anything but empty.
    pub space: Option<String>,
    /// The call.
    pub call: DexieCall,
}

/// What the addon calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DexieCall {
    /// `POST …/sync`: changes to push, or a pull.
    Sync,
    /// `GET …/changes`, a socket.
    Changes,
    /// `POST …/token`
    Token,
    /// `PUT …/blob/{id}`, a file.
    PutBlob(BlobId),
    /// `GET …/blob/{id}`
    GetBlob(BlobId),
    /// Whatever else it may ask for. It goes on without what is answered 404.
    Missing,
}

impl DexieCall {
    /// Its name in a log line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "dexie-sync",
            Self::Changes => "dexie-changes",
            Self::Token => "dexie-token",
            Self::PutBlob(_) => "dexie-put-blob",
            Self::GetBlob(_) => "dexie-get-blob",
            Self::Missing => "dexie-missing",
        }
    }
}

/// Whether a path is this protocol's.
#[must_use]
pub fn is_below_dexie(path: &str) -> bool {
    pieces(path).next() == Some("dexie")
}

/// The pieces of a path. The addon adds a slash of its own behind one that the app has written, so several count as one.
fn pieces(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|piece| !piece.is_empty())
}

impl DexieRoute {
    /// The route of a method and a path below `/dexie`.
    ///
    /// # Errors
    /// [`ApiError::MethodNotAllowed`]; [`ApiError::Malformed`] for a space that is not UTF-8.
    pub fn of(method: &str, path: &str) -> Result<Self, ApiError> {
        let pieces: Vec<_> = pieces(path).skip(1).collect();
        let missing = Ok(Self { space: None, call: DexieCall::Missing });
        let (before, call, allowed) = match &pieces[..] {
            [before @ .., "sync"] => (before, DexieCall::Sync, "POST"),
            [before @ .., "changes"] => (before, DexieCall::Changes, "GET"),
            [before @ .., "token"] => (before, DexieCall::Token, "POST"),
            [before @ .., "blob", id] => match (BlobId::parse(id), method) {
                (Some(id), "PUT") => (before, DexieCall::PutBlob(id), "PUT"),
                (Some(id), _) => (before, DexieCall::GetBlob(id), "GET, PUT"),
                (None, _) => return missing,
            },
            _ => return missing,
        };
        let space = match before {
            [] => None,
            [space] => Some(*space),
            _ => return missing,
        };
        if !allowed.split(", ").any(|allowed| allowed == method) {
            return Err(ApiError::MethodNotAllowed(allowed));
        }
        let bad = || ApiError::Malformed("the path has an escape that is not UTF-8".to_owned());
        let space = space.map(|space| percent_decoded(space, false).ok_or_else(bad)).transpose()?;
        Ok(Self { space, call })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::Usage,
        fronts::{
            credentials_of, credentials_of_call,
            headwater::reply::{AllHeaders, Reply},
        },
    };

    fn route(space: Option<&str>, call: DexieCall) -> Result<DexieRoute, ApiError> {
        Ok(DexieRoute { space: space.map(str::to_owned), call })
    }

    #[test]
    fn the_last_piece_is_the_call_and_one_before_it_the_space() {
        let blob = BlobId::parse("0PTRl3kXXXXXXXX|XXXXXXXz").expect("a name");
        for (method, path, space, call) in [
            ("POST", "/dexie/sync", None, DexieCall::Sync),
            ("POST", "/dexie/team/sync", Some("team"), DexieCall::Sync),
            ("POST", "/dexie/sync/sync", Some("sync"), DexieCall::Sync),
            ("POST", "/dexie/~/token", Some("~"), DexieCall::Token),
            ("POST", "/dexie/a%2Fb/token", Some("a/b"), DexieCall::Token),
            ("GET", "/dexie/te%61m/changes", Some("team"), DexieCall::Changes),
            ("PUT", "/dexie/blob/0PTRl3kXXXXXXXX%7CXXXXXXXz", None, DexieCall::PutBlob(blob)),
            ("GET", "/dexie/blob/0PTRl3kXXXXXXXX|XXXXXXXz", None, DexieCall::GetBlob(blob)),
            ("GET", "/dexie/team/blob/0PTRl3kXXXXXXXX|XXXXXXXz", Some("team"), DexieCall::GetBlob(blob)),
            ("PUT", "/dexie/blob/blob/0PTRl3kXXXXXXXX|XXXXXXXz", Some("blob"), DexieCall::PutBlob(blob)),
            ("POST", "/dexie/blob/sync", Some("blob"), DexieCall::Sync),
        ] {
            assert_eq!(DexieRoute::of(method, path), route(space, call), "{path}");
        }
    }

    #[test]
    fn several_slashes_are_one() {
        for path in ["/dexie//changes", "//dexie/changes", "/dexie/changes/", "///dexie///changes//"] {
            assert!(is_below_dexie(path));
            assert_eq!(DexieRoute::of("GET", path), route(None, DexieCall::Changes), "{path}");
        }
        assert_eq!(DexieRoute::of("POST", "/dexie/team//sync"), route(Some("team"), DexieCall::Sync));
    }

    #[test]
    fn what_the_addon_can_do_without_is_missing_whatever_the_method() {
        for method in ["GET", "PUT", "POST"] {
            for path in
                ["/dexie", "/dexie/auth-providers", "/dexie/blob/x", "/dexie/y/download", "/dexie/a/b/sync"]
            {
                assert_eq!(DexieRoute::of(method, path), route(None, DexieCall::Missing), "{path}");
            }
        }
    }

    #[test]
    fn another_method_is_refused_and_an_escape_that_is_none() {
        for (method, path, allowed) in [
            ("GET", "/dexie/sync", "POST"),
            ("POST", "/dexie/changes", "GET"),
            ("PUT", "/dexie/team/token", "POST"),
            ("DELETE", "/dexie/blob/0PTRl3kXXXXXXXX|XXXXXXXz", "GET, PUT"),
        ] {
            assert_eq!(
                DexieRoute::of(method, path),
                Err(ApiError::MethodNotAllowed(allowed)),
                "{method} {path}"
            );
        }
        assert!(matches!(DexieRoute::of("POST", "/dexie/%ff/sync"), Err(ApiError::Malformed(_))));
    }

    #[test]
    fn only_paths_below_it_are_its_own() {
        for path in ["/", "/sync/push", "/dexies/sync", "/DEXIE/sync", "/spaces/dexie", "/%64exie/sync"] {
            assert!(!is_below_dexie(path), "{path}");
        }
    }

    #[test]
    fn an_object_answers_pages_that_send_credentials_as_the_edge_does() {
        let told = |credentials| {
            let reply = Reply::of_object(Err(ApiError::Overloaded), None, None, "r");
            let origin = (Some("https://app.example"), credentials);
            let AllHeaders::Named(headers) = reply.all_headers("r", origin, Usage::default()) else {
                panic!("not a pull")
            };
            headers.contains("Access-Control-Allow-Credentials\ntrue\n")
        };
        assert!(told(credentials_of_call("dexie")) && told(credentials_of("//dexie/sync")));
        for name in ["push", "resolve", "pull", "listen"] {
            assert!(!told(credentials_of_call(name)), "{name}");
        }
        assert!(!told(credentials_of("/sync/push")));
    }
}
