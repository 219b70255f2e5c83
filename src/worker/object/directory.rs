//! The object as a user's directory, if that is what its name stands for. It never sets an alarm.

use headwater::{
    coordinator::{directory::Directory, ledger::SqlLedger},
    edge::{answer::Usage, config::LogLevel},
    ids::UserHash,
    limits::{CALL_BYTES_MAX, DirectoryMax},
    protocol::{
        directory::{DirectoryAnswer, DirectoryCall},
        error::ApiError,
    },
};
use serde_json::json;

use super::{Coordinator, Ledger, administration::nothing};
use crate::{
    http::{self, Reply},
    location::now,
    log,
};

impl Coordinator {
    /// Answers a call to a directory. Others' calls are paid for by those who make them alone, so that nobody keeps its user
    /// from it.
    pub(super) async fn answer_directory(
        &self,
        user: &UserHash,
        request: &web_sys::Request,
    ) -> Result<Reply, ApiError> {
        self.rate(|rate| rate.admit(user, now()))?;
        let body = http::call_bytes(request, CALL_BYTES_MAX).await?;
        let call = DirectoryCall::parse(&body).ok_or(ApiError::Upstream)?;
        self.sql.take_rows();
        let answer = self.ask_directory(user, &call);
        let rows = self.sql.take_rows();
        match call.is_users_own() && answer.is_ok() {
            true => self.charge(user, rows.units()),
            false => self.rate(|rate| rate.charge_refused(user, rows.units(), now())),
        }
        let mut reply = answer?.into_body().map_or_else(nothing, |body| Reply::json(200, body));
        reply.usage =
            Usage { object: 1, rows_read: rows.read, rows_written: rows.written, ..Usage::default() };
        Ok(reply)
    }

    fn ask_directory(&self, user: &UserHash, call: &DirectoryCall) -> Result<DirectoryAnswer, ApiError> {
        let mut directory = self.directory.borrow_mut();
        if directory.is_none() {
            let opened = self.open_directory(call).map_err(|error| {
                log::write(LogLevel::Error, "storage failed", json!({ "error": format!("{error:?}") }));
                ApiError::Internal
            })?;
            // Where there is nothing, nothing is left behind.
            let Some(opened) = opened else { return Ok(DirectoryAnswer::Done) };
            *directory = Some(opened);
        }
        let directory = directory.as_mut().ok_or(ApiError::Internal)?;
        let answer = directory.answer(user, call, now());
        if let Some(failure) = directory.take_failure() {
            log::write(LogLevel::Error, "storage failed", json!({ "error": failure }));
        }
        answer
    }

    /// The directory as storage has it. None where there is none and `call` is not one that begins one.
    fn open_directory(
        &self,
        call: &DirectoryCall,
    ) -> headwater::coordinator::ledger::LedgerResult<Option<Directory<Ledger>>> {
        if !call.begins() && !SqlLedger::has_tables(&self.sql)? {
            return Ok(None);
        }
        Directory::open(SqlLedger::open(self.sql.clone())?, DirectoryMax::DEPLOYED).map(Some)
    }
}
