//! What clients send and are answered, one front for each protocol: pure translators between bytes and what the rest of the code
//! speaks of. No decision is taken here.

#[cfg(feature = "dexie")]
pub mod dexie;
pub mod headwater;

use crate::{
    access::cors::Credentials,
    call::{Call, Caller, PushRequest, ReadPush},
    error::ApiError,
};

/// Whether pages send credentials along with requests for a path.
#[must_use]
pub fn credentials_of(path: &str) -> Credentials {
    #[cfg(feature = "dexie")]
    if dexie::route::is_below_dexie(path) {
        return Credentials::Included;
    }
    let _ = path;
    Credentials::Omitted
}

/// The same of requests that are passed on to an object as the call of this name.
#[must_use]
pub fn credentials_of_call(name: &str) -> Credentials {
    if name == (Call::Dexie { is_part: false }).name() { Credentials::Included } else { Credentials::Omitted }
}

/// Begins to read the body of a push, whichever front it is of.
///
/// # Errors
/// What is wrong with its envelope: [`ApiError::Malformed`] or [`ApiError::TooLarge`]. [`ApiError::NotFound`] for a front that was
/// left out of the build.
#[cfg_attr(not(feature = "dexie"), expect(unused_variables, reason = "only that front names its caller"))]
pub fn read_push(push: &Call, body: Vec<u8>, caller: &Caller) -> Result<Box<dyn ReadPush>, ApiError> {
    Ok(match push {
        #[cfg(feature = "dexie")]
        Call::Dexie { is_part } => Box::new(dexie::push::SyncReading::of(body, caller, *is_part)?),
        #[cfg(not(feature = "dexie"))]
        Call::Dexie { .. } => {
            return Err(ApiError::NotFound("this server was built without the front of that client"));
        }
        Call::Resolve => Box::new(PushRequest::read_resolutions(body)?),
        _ => Box::new(PushRequest::read(body)?),
    })
}

/// The end of an answer of Dexie Cloud that is written in pieces.
pub const END_OF_CHANGES: &str = "]}";

/// Record lines of a user's, as a further piece of such an answer.
#[must_use]
pub fn further_changes(lines: &str, sub: &str) -> String {
    #[cfg(feature = "dexie")]
    return dexie::answer::further(lines, &dexie::realm::Realm::own(sub));
    #[cfg(not(feature = "dexie"))]
    panic!("BUG: nobody has asked for an answer to {sub} with {} bytes", lines.len());
}
