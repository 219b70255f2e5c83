//! The object as a user's directory, if that is what its name stands for. It never sets an alarm.

use super::{Answer, Effect, Moment, Object, Said, Storage, Task};
use crate::{
    call::{DirectoryAnswer, DirectoryCall},
    coordinator::{ledger::LedgerResult, rate, sharing::directory::Directory},
    error::ApiError,
};

impl<S: Storage> Object<S> {
    /// Answers a call to a directory. Others' calls are paid for by those who make them alone, so that nobody keeps its user
    /// from it.
    pub(super) fn ask_directory(
        &mut self,
        task: &Task,
        call: &DirectoryCall,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        self.take_rows();
        let answer = self.directory_answer(task, call, at);
        let rows = self.take_rows();
        let units = rate::cost_of_rows(rows);
        match call.is_users_own() && answer.is_ok() {
            true => self.rate.charge(task.user(), units, at.now),
            false => self.rate.charge_refused(task.user(), units, at.now),
        }
        let said = answer?.into_body().map_or(Said::Nothing, Said::Text);
        Ok(Effect::Answer(Answer::said(said, rows)))
    }

    fn directory_answer(
        &mut self,
        task: &Task,
        call: &DirectoryCall,
        at: Moment,
    ) -> Result<DirectoryAnswer, ApiError> {
        if self.directory.is_none() {
            let opened = self.open_directory(call).map_err(|error| self.storage_failed(&error, at.now))?;
            self.directory = opened;
        }
        // Where there is nothing, nothing is left behind.
        let Some(directory) = &mut self.directory else { return Ok(DirectoryAnswer::Done) };
        let answer = directory.answer(task.user(), call, at.now);
        answer.unwrap_or_else(|error| Err(self.storage_failed(&error, at.now)))
    }

    /// The directory as storage has it. None where there is none and `call` is not one that begins one.
    fn open_directory(&mut self, call: &DirectoryCall) -> LedgerResult<Option<Directory<S::Ledger>>> {
        if !call.begins() && !self.storage.has_tables()? {
            return Ok(None);
        }
        Directory::open(self.storage.open()?, self.config.directory).map(Some)
    }
}
