//! What clients send and are answered, one front for each protocol: pure translators between bytes and what the rest of the code
//! speaks of. No decision is taken here.

#[cfg(feature = "dexie")]
pub mod dexie;
pub mod headwater;

use crate::{
    call::{Call, Caller, PushRequest, ReadPush},
    error::ApiError,
};

/// Begins to read the body of a push, whichever front it is of.
///
/// # Errors
/// What is wrong with its envelope: [`ApiError::Malformed`] or [`ApiError::TooLarge`]. [`ApiError::NotFound`] for a front that was
/// left out of the build.
#[cfg_attr(not(feature = "dexie"), expect(unused_variables, reason = "only that front names its caller"))]
pub fn read_push(push: &Call, body: Vec<u8>, caller: &Caller) -> Result<Box<dyn ReadPush>, ApiError> {
    Ok(match push {
        #[cfg(feature = "dexie")]
        Call::Dexie => Box::new(dexie::push::SyncReading::of(body, caller)?),
        #[cfg(not(feature = "dexie"))]
        Call::Dexie => {
            return Err(ApiError::NotFound("this server was built without the front of that client"));
        }
        Call::Resolve => Box::new(PushRequest::read_resolutions(body)?),
        _ => Box::new(PushRequest::read(body)?),
    })
}
