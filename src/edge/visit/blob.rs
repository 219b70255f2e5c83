//! `PUT` and `GET …/blob/{id}`: files of the client of Dexie Cloud, which stand in R2 under the scope of their space. Their bytes pass
//! through neither wasm nor JavaScript, and never through an object.
//!
//! Whoever puts one asks the space's object, which knows who may write; whoever gets one from a shared space needs the grant that the
//! edge keeps for this client.

#[cfg(test)]
mod tests;

use super::{
    Effect, State, Visit,
    call::{Called, Then},
    collect::Collecting,
    errand::Errand,
};
use crate::{
    call::{Administration, Call},
    edge::{
        blobs::{BlobEffect, BlobEvent},
        isolate::Isolate,
    },
    error::ApiError,
    fronts::{
        dexie::{
            blob::{self, BlobId},
            route::DexieCall,
        },
        headwater::reply::{Body, Reply},
    },
    limits,
    time::Millis,
};

/// What an id ends in whose file has the edge ask whether files are to be collected: of 64 one.
const COLLECTS: char = '0';
const GONE: ApiError = ApiError::NotFound("There is no such file in this space.");

impl Isolate {
    pub(super) fn serve_blob(
        &mut self,
        visit: &mut Visit,
        call: DexieCall,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let DexieCall::PutBlob(_) = call else { return self.with_grant(visit, now) };
        let bytes = match (visit.length(), visit.request.content_encoding.as_str()) {
            (_, coding) if !coding.is_empty() => {
                Err(ApiError::Malformed("a file is sent as it is, without a Content-Encoding".to_owned()))
            }
            (None, _) => Err(ApiError::Malformed("a file is sent with its Content-Length".to_owned())),
            (Some(bytes), _) if bytes > limits::BLOB_BYTES_MAX => {
                Err(ApiError::TooLarge("A file has at most 32 MiB."))
            }
            (Some(bytes), _) => Ok(bytes),
        };
        match bytes {
            Ok(bytes) => {
                let call = visit.call(Call::Administer(Administration::Upload { bytes }));
                Ok(self.make_call(visit, call, Then::Upload, now))
            }
            Err(error) => Ok(drain(visit, error)),
        }
    }

    /// The object has said whether the file may be put.
    pub(super) fn may_upload(
        &mut self,
        visit: &mut Visit,
        called: Called,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        if visit.target().scope.is_some() {
            if let Err(error) = called.result {
                return Ok(drain(visit, error));
            }
        } else if let Err(error) = self.take_grant(visit, called, now) {
            return Ok(drain(visit, error));
        }
        visit.state = State::AskingForBlob;
        let media_type = blob::media_type_asked(&visit.request.query);
        Ok(Effect::Blob(BlobEffect::Put { key: key(visit), media_type }))
    }

    pub(super) fn get_blob(visit: &mut Visit) -> Effect {
        visit.state = State::AskingForBlob;
        Effect::Blob(BlobEffect::Open { key: key(visit) })
    }

    pub(super) fn blob_learns(
        &mut self,
        visit: &Visit,
        event: BlobEvent,
        now: Millis,
    ) -> Result<Effect, ApiError> {
        let reply = match event {
            BlobEvent::Put(Ok(())) => {
                // Ids end in chance.
                if id(visit).as_str().ends_with(COLLECTS) {
                    self.errands.push(visit.errand(Errand::Collect(Collecting::Asking)));
                }
                Reply::json(200, blob::put_answer(id(visit)))
            }
            BlobEvent::Opened(Ok(stored)) => {
                Reply { status: 200, headers: blob::headers(&stored.ok_or(GONE)?), body: Body::Stream }
            }
            BlobEvent::Put(Err(())) | BlobEvent::Opened(Err(())) => return Err(ApiError::Upstream),
            BlobEvent::Listed(_) | BlobEvent::Deleted(_) => panic!("BUG: no request deletes files"),
        };
        Ok(self.answer(visit, Ok(reply), now))
    }
}

/// A sender that is cut off while it writes does not see why.
fn drain(visit: &mut Visit, error: ApiError) -> Effect {
    visit.state = State::Draining(error);
    Effect::Drain
}

fn id(visit: &Visit) -> BlobId {
    match visit.dexie_call() {
        Some(DexieCall::PutBlob(id) | DexieCall::GetBlob(id)) => id,
        other => panic!("BUG: {other:?} is about no file"),
    }
}

fn key(visit: &Visit) -> String {
    visit.target().scope().blob_key(id(visit).as_str())
}
