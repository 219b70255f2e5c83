//! A user's directory: the list of the shared spaces that the user is in, kept by an object with a name of its own.
//!
//! It is a cache of what the spaces themselves have said to their user: an *entry* is replaced by one from further on in its
//! space and by nothing else, so it does not matter in which order they come. Who may do what is said by the space alone.
//! Somebody else can leave nothing here but *hints*: that a space might be worth a look. A *reservation* counts a space that
//! the user makes, from before it is made until it is known to be gone.
//!
//! No clock, no chance and no alarm: what has become old is dropped by a later call.

use crate::{
    call::{DirectoryAnswer, DirectoryCall, Entry, Standing},
    coordinator::ledger::{Ledger, LedgerError, LedgerResult},
    error::{ApiError, TOO_MANY_SPACES},
    ids::{SpaceId, UserHash},
    json::{json_text, text_field},
    limits::{DirectoryMax, HINTS_PER_MINUTE, RESERVED_MS},
    time::Millis,
    version::{Epoch, Position},
};

/// Whose directory this is: one row, written with the first entry, list or reservation.
const OWNER: &str = "owner";
/// An entry by the id of its space.
const ENTRY: &str = "entry";
/// A hint by the id of its space.
const HINT: &str = "hint";
/// When a space was reserved, by its id.
const MADE: &str = "made";
/// Entries forgotten at once, because finding them reads the whole list.
const FORGOTTEN_AT_ONCE: usize = 100;
const MINUTE_MS: u64 = 60_000;

/// A user's directory.
#[derive(Debug)]
pub struct Directory<L> {
    ledger: L,
    max: DirectoryMax,
    /// When the present minute began, and how many hints have come in it.
    hints: Option<(Millis, usize)>,
}

/// An entry with when it was noted, which says which ended one is the oldest.
struct Row {
    entry: Entry,
    noted_at: Millis,
}

impl Row {
    fn parse((space, text): (String, String)) -> Option<Self> {
        let field = |name| text_field(&text, name);
        let entry = Entry {
            space: SpaceId::stored(&space),
            incarnation: Epoch::parse(&field("incarnation")?)?,
            standing: Standing::parse(&field("standing")?)?,
            at: Position::parse(&field("at")?)?,
        };
        Some(Self { entry, noted_at: Millis(field("noted")?.parse().ok()?) })
    }

    fn text(&self) -> String {
        let Entry { incarnation, standing, at, .. } = &self.entry;
        let (standing, noted_at) = (standing.as_str(), self.noted_at.0);
        format!(
            r#"{{"incarnation":"{incarnation}","standing":"{standing}","at":"{at}","noted":"{noted_at}"}}"#
        )
    }

    const fn is_live(&self) -> bool {
        self.entry.standing.role().is_some()
    }
}

/// A hint, and who gave it when.
struct Hint {
    space: String,
    from: String,
    at: Millis,
}

impl Hint {
    fn parse((space, text): (String, String)) -> Option<Self> {
        let at = text_field(&text, "at")?.parse().ok()?;
        Some(Self { space, from: text_field(&text, "from")?, at: Millis(at) })
    }
}

impl<L: Ledger> Directory<L> {
    /// The directory in `ledger`.
    ///
    /// # Errors
    /// When storage fails, or holds a space.
    pub fn open(ledger: L, max: DirectoryMax) -> LedgerResult<Self> {
        if ledger.meta()?.is_some() {
            return Err(LedgerError::Failed("BUG: a space was asked for a directory".to_owned()));
        }
        Ok(Self { ledger, max, hints: None })
    }

    /// The storage, for tests.
    pub fn ledger(&mut self) -> &mut L {
        &mut self.ledger
    }

    /// Answers `call` of `caller`, with [`ApiError::Forbidden`] for one space too many.
    ///
    /// # Errors
    /// When storage fails.
    pub fn answer(
        &mut self,
        caller: &UserHash,
        call: &DirectoryCall,
        now: Millis,
    ) -> LedgerResult<Result<DirectoryAnswer, ApiError>> {
        match self.ledger.private(OWNER, "")? {
            None if matches!(call, DirectoryCall::Invite { .. }) => {}
            None if !call.begins() => return Ok(Ok(DirectoryAnswer::Done)),
            // The edge makes both out of one token.
            Some(owner) if call.is_users_own() && owner != caller.as_str() => {
                return Ok(Err(ApiError::Internal));
            }
            Some(_) => {}
            None => self.ledger.put_private(OWNER, "", caller.as_str())?,
        }
        Ok(match call {
            DirectoryCall::List { cursor } => Ok(DirectoryAnswer::Page(self.page(cursor.as_ref())?)),
            DirectoryCall::Note(entry) => Ok(self.note(entry, now)?),
            DirectoryCall::Hint { space } | DirectoryCall::Invite { space } => {
                self.hint(space, caller, now)?;
                Ok(DirectoryAnswer::Done)
            }
            DirectoryCall::Reserve { space } if self.reserve(space, now)? => Ok(DirectoryAnswer::Done),
            DirectoryCall::Reserve { .. } => Err(TOO_MANY_SPACES),
        })
    }

    /// A page of the spaces that the user is in; the first one also has those that somebody has given a hint of.
    fn page(&self, cursor: Option<&SpaceId>) -> LedgerResult<String> {
        let after = cursor.map_or("", SpaceId::as_str);
        let rows = self.rows(after, self.max.page)?;
        let last = rows.last().filter(|_| rows.len() >= self.max.page);
        let next = last.map_or_else(|| "null".to_owned(), |last| json_text(last.entry.space.as_str()));
        let shown = |row: &Row| {
            let (space, role) = (json_text(row.entry.space.as_str()), row.entry.standing.role()?.as_str());
            Some(format!(r#"{{"space":{space},"role":"{role}"}}"#))
        };
        let mut spaces: Vec<_> = rows.iter().filter_map(shown).collect();
        if cursor.is_some() {
            return Ok(format!(r#"{{"spaces":[{}],"cursor":{next}}}"#, spaces.join(",")));
        }
        let hints: Vec<_> = self.hints()?.into_iter().map(|hint| json_text(&hint.space)).collect();
        if planted!(HintTakenForEntry) {
            spaces.extend(hints.iter().map(|space| format!(r#"{{"space":{space},"role":"reader"}}"#)));
        }
        let invitations: Vec<_> = hints.iter().map(|space| format!(r#"{{"space":{space}}}"#)).collect();
        let (spaces, invitations) = (spaces.join(","), invitations.join(","));
        Ok(format!(r#"{{"spaces":[{spaces}],"invitations":[{invitations}],"cursor":{next}}}"#))
    }

    /// Notes what a space has said, unless something from further on is known: then that position is answered, because the
    /// storage of the space may have gone back, or this is a later space of its id, whose clock is behind.
    ///
    /// That somebody is not a member of a space which is not known is noted by there being nothing. An end stays known, so
    /// that what was said before it changes nothing when it comes behind it.
    fn note(&mut self, entry: &Entry, now: Millis) -> LedgerResult<DirectoryAnswer> {
        let id = entry.space.as_str();
        let known = self.entry(id)?;
        let is_live = entry.standing.role().is_some();
        match &known {
            Some(known) if entry.at < known.entry.at && !planted!(OldEntryTaken) => {
                return Ok(DirectoryAnswer::Later(known.entry.at.clone()));
            }
            Some(known) if entry.at == known.entry.at => return Ok(DirectoryAnswer::Done),
            Some(_) if !is_live && planted!(EndNotNoted) => return Ok(DirectoryAnswer::Done),
            _ => {}
        }
        let is_made = self.ledger.private(MADE, id)?.is_some();
        let forgotten = if known.is_none() && is_live && !is_made { self.room()? } else { Some(Vec::new()) };
        let Some(forgotten) = forgotten else { return Ok(DirectoryAnswer::Full) };
        let has_hint = self.ledger.private(HINT, id)?.is_some();
        let is_kept = is_live || (known.is_some() && !planted!(TombstoneForgotten));
        let row = Row { entry: entry.clone(), noted_at: now };
        self.ledger.atomically(&mut |ledger| {
            forgotten.iter().try_for_each(|ended| ledger.delete_private(ENTRY, ended))?;
            if has_hint {
                ledger.delete_private(HINT, id)?;
            }
            match is_kept {
                true => ledger.put_private(ENTRY, id, &row.text()),
                false if known.is_some() => ledger.delete_private(ENTRY, id),
                false => Ok(()),
            }
        })?;
        Ok(DirectoryAnswer::Done)
    }

    /// The entries that have to go so that there is room for another one: of memberships that ended, the oldest. None if there
    /// is no room. The spaces that the user makes have their places in any case.
    fn room(&self) -> LedgerResult<Option<Vec<String>>> {
        let rows = self.rows("", usize::MAX)?;
        if rows.len() < self.max.listed {
            return Ok(Some(Vec::new()));
        }
        let mut ended = Vec::new();
        for row in rows.into_iter().filter(|row| !row.is_live()) {
            let is_gone = row.entry.standing == Standing::Gone;
            if is_gone || self.ledger.private(MADE, row.entry.space.as_str())?.is_none() {
                ended.push((row.noted_at, row.entry.space.as_str().to_owned()));
            }
        }
        ended.sort();
        ended.truncate(FORGOTTEN_AT_ONCE);
        Ok((!ended.is_empty()).then(|| ended.into_iter().map(|(_, space)| space).collect()))
    }

    /// Keeps a hint that `from` has made the user a member of `space`. Nobody hears whether it was kept.
    fn hint(&mut self, space: &SpaceId, from: &UserHash, now: Millis) -> LedgerResult<()> {
        let (began, count) = self
            .hints
            .filter(|(began, _)| now.since(*began) < MINUTE_MS && now >= *began)
            .unwrap_or((now, 0));
        self.hints = Some((began, count + 1));
        let id = space.as_str();
        let known = self.entry(id)?;
        let is_known = known.is_some_and(|known| known.is_live() || known.entry.standing == Standing::Gone);
        if count >= HINTS_PER_MINUTE || is_known || self.ledger.private(HINT, id)?.is_some() {
            return Ok(());
        }
        let goes = self.hint_that_goes(from)?;
        let text = format!(r#"{{"from":"{}","at":"{}"}}"#, from.as_str(), now.0);
        self.ledger.atomically(&mut |ledger| {
            goes.iter().try_for_each(|hint| ledger.delete_private(HINT, hint))?;
            ledger.put_private(HINT, id, &text)
        })
    }

    /// The hint that has to go so that there is room for one of `from`: the sender's own oldest, or the oldest of the sender
    /// with the most.
    fn hint_that_goes(&self, from: &UserHash) -> LedgerResult<Option<String>> {
        let hints = self.hints()?;
        let count = |from: &str| hints.iter().filter(|hint| hint.from == from).count();
        let whose = if count(from.as_str()) >= self.max.hints_of_sender {
            Some(from.as_str().to_owned())
        } else if hints.len() >= self.max.hints {
            hints.iter().max_by_key(|hint| (count(&hint.from), &hint.from)).map(|hint| hint.from.clone())
        } else {
            None
        };
        let of_sender = hints.iter().filter(|hint| Some(&hint.from) == whose.as_ref());
        Ok(of_sender.min_by_key(|hint| hint.at).map(|hint| hint.space.clone()))
    }

    /// Counts a space that the user is about to make, or says that it would be one too many. Counted before it is made, and
    /// here, where one thing happens after the other: so that whoever makes several at once makes no more than that.
    ///
    /// A reservation of which no entry has come in a day has come to nothing: somewhere between the two something broke off. That of
    /// a space which was deleted counts for as long, so that nobody makes objects without end by deleting them again.
    fn reserve(&mut self, space: &SpaceId, now: Millis) -> LedgerResult<bool> {
        let id = space.as_str();
        let (mut dropped, mut count, mut is_there) = (Vec::new(), 0, false);
        for (made, at) in self.ledger.private_rows(MADE, "", usize::MAX)? {
            let at = at.parse().map_or(now, Millis);
            if made == id {
                is_there = true;
            } else if now.since(at) <= RESERVED_MS
                || self.entry(&made)?.is_some_and(|known| known.entry.standing != Standing::Gone)
                || planted!(ReservationNeverDropped)
            {
                count += 1;
            } else {
                dropped.push(made);
            }
        }
        let has_room = is_there || count < self.max.made;
        self.ledger.atomically(&mut |ledger| {
            dropped.iter().try_for_each(|made| ledger.delete_private(MADE, made))?;
            if has_room { ledger.put_private(MADE, id, &now.0.to_string()) } else { Ok(()) }
        })?;
        Ok(has_room)
    }

    fn entry(&self, id: &str) -> LedgerResult<Option<Row>> {
        Ok(self.ledger.private(ENTRY, id)?.and_then(|text| Row::parse((id.to_owned(), text))))
    }

    fn rows(&self, after: &str, count: usize) -> LedgerResult<Vec<Row>> {
        let rows = self.ledger.private_rows(ENTRY, after, count)?;
        Ok(rows.into_iter().filter_map(Row::parse).collect())
    }

    fn hints(&self) -> LedgerResult<Vec<Hint>> {
        let rows = self.ledger.private_rows(HINT, "", usize::MAX)?;
        Ok(rows.into_iter().filter_map(Hint::parse).collect())
    }
}
