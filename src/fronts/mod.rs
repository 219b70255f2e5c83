//! What clients send and are answered, one front for each protocol: pure translators between bytes and what the rest of the code
//! speaks of. No decision is taken here.

pub mod headwater;

use crate::{
    call::{Call, Caller, PushRequest, ReadPush},
    error::ApiError,
};

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
