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
    if name == Call::Dexie.name() { Credentials::Included } else { Credentials::Omitted }
}

/// Begins to read the body of a push, whichever front it is of.
///
/// # Errors
/// What is wrong with its envelope: [`ApiError::Malformed`] or [`ApiError::TooLarge`].
pub fn read_push(push: &Call, body: Vec<u8>, _caller: &Caller) -> Result<Box<dyn ReadPush>, ApiError> {
    Ok(match push {
        Call::Resolve => Box::new(PushRequest::read_resolutions(body)?),
        _ => Box::new(PushRequest::read(body)?),
    })
}
