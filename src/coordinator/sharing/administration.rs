//! What is done about a space beside pushing to it: who its members are, what its rules are, its end.
//!
//! Headwater takes these steps itself, as writer 0, and otherwise as a push does: checked against the members as they are in
//! the section that writes, one version for a step that changes a record, none for one that changes nothing, so that whoever
//! lost an answer can ask again.

use crate::{
    call::{Administration, OnConflict, Person},
    coordinator::{
        Coordinator,
        ledger::{Clock, Ledger, LedgerResult, Meta, Record, deleted_line, live_line},
        publication::{PublicationConfig, PublicationRow},
        push::plan::OWN_WRITER,
        sharing::members::{self, Member},
    },
    error::ApiError,
    ids::{Collection, Key, RecordId, SpaceHash, SpaceId, UserHash},
    json::{json_text, text_field},
    limits,
    role::Role,
    snapshot::keys::Scope,
    time::Millis,
    version::{Epoch, Position, Version},
};

/// The value of the record that shuts out the client of Dexie Cloud.
const DEXIE_SHUT: &str = r#"{"access":"none"}"#;
/// Why the client of Dexie Cloud is refused where an owner has shut it out.
pub(in crate::coordinator) const DEXIE_IS_SHUT: ApiError = ApiError::Forbidden(
    "This space is shut to dexie-cloud-addon. Its owner can admit it again: DELETE /spaces/{id}/policies/$dexie.",
);

/// What an administrative call has come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Administered {
    /// The body of the answer; none if there is nothing to say.
    pub body: Option<String>,
    /// Whether somebody has become a member who was none before.
    pub invites: bool,
    /// The role that the caller is to be given a grant for.
    pub grants: Option<Role>,
}

impl From<String> for Administered {
    fn from(body: String) -> Self {
        Self { body: Some(body), ..Self::default() }
    }
}

impl<L: Ledger> Coordinator<L> {
    /// Begins a shared space in a ledger that was never used, with `owner` as its one member.
    ///
    /// # Errors
    /// When storage fails; then the ledger is still unused.
    pub fn create(
        mut ledger: L,
        space: &SpaceId,
        owner: &Person,
        config: PublicationConfig,
        now: Millis,
        random: u64,
    ) -> LedgerResult<Self> {
        let epoch = Epoch::begin(now, None, random);
        let meta = Meta {
            scope: Scope::shared(&SpaceHash::shared(space), &epoch),
            incarnation: epoch.clone(),
            epoch,
            floor: Version::ZERO,
            horizon: Version::ZERO,
            writers: 0,
            claims_until: Millis(0),
            space: Some(space.clone()),
            gone_at: None,
        };
        let key = members::key_of(&owner.user);
        let version = Version::ZERO.next();
        let value = Member::value(&owner.sub, Role::Owner);
        let record = record_after(None, &key, Some(&value), version, now);
        ledger.atomically(&mut |ledger| {
            assert!(ledger.meta()?.is_none(), "BUG: a space is created where one is");
            ledger.put_meta(&meta)?;
            ledger.put_record(&key, &record)
        })?;
        Self::open(ledger, None, config, None, now, random)
    }

    /// Carries out what `caller` asks for.
    ///
    /// # Errors
    /// [`ApiError::Gone`], [`ApiError::Forbidden`], [`ApiError::NotFound`], or storage failures.
    pub fn administer(
        &mut self,
        caller: &UserHash,
        administration: &Administration,
        now: Millis,
        random: u64,
    ) -> Result<Administered, ApiError> {
        match administration {
            Administration::Accept { person, incarnation, number } => {
                return self.accept(person, incarnation, *number, now);
            }
            Administration::Invited(guest) => return self.invited(guest),
            Administration::Respond { guest, row, accepts, at } => {
                return self.respond(guest, (row, *accepts, at), now);
            }
            _ => {}
        }
        let needed = administration.needs(caller).expect("BUG: it says by itself why its caller may");
        let role = self.admit(caller, needed)?;
        let nothing = |()| Administered::default();
        match administration {
            Administration::Create { .. } | Administration::Show => Ok(self.shown(role).into()),
            Administration::Members { after } => self.members(after.as_ref()).map(Administered::from),
            Administration::Member(person) => self.member(person).map(Administered::from),
            Administration::SetMember { person, role } => self.set_member(person, *role, now),
            Administration::RemoveMember(person) => self.remove_member(person, now).map(nothing),
            Administration::Policies => self.policies().map(Administered::from),
            Administration::SetPolicy { collection, policy } => {
                self.set_policy(collection, *policy, now).map(Administered::from)
            }
            Administration::RemovePolicy(collection) => self.remove_policy(collection, now).map(nothing),
            Administration::ShutDexie => self.shut_dexie(true, now).map(|()| DEXIE_SHUT.to_owned().into()),
            Administration::AdmitDexie => self.shut_dexie(false, now).map(nothing),
            Administration::Delete if self.meta.space.is_some() => self.end(now, random).map(nothing),
            Administration::Delete => self.empty(now, random).map(nothing),
            Administration::Invite { role, uses, lasts_ms } => {
                self.invite((*role, *uses), *lasts_ms, now, random)
            }
            Administration::Invitations => self.invitations(now).map(Administered::from),
            Administration::Uninvite { number } => self.uninvite(*number).map(nothing),
            Administration::Upload { bytes } => self.upload(*bytes, role, now),
            Administration::Collection => self.collection(now).map(Administered::from),
            Administration::Collect { ids, after, behind } => {
                self.collect(ids, *after, behind, now).map(Administered::from)
            }
            Administration::Accept { .. } | Administration::Invited(_) | Administration::Respond { .. } => {
                unreachable!("BUG: it was done above")
            }
            // Signed by the shell, which has the key.
            Administration::Grant { .. } => {
                Ok(Administered { grants: Some(role), ..Administered::default() })
            }
            Administration::Usage => self.usage().map(Administered::from),
            Administration::ResetEpoch => {
                let epoch = self.meta.epoch.clone();
                let begun = self.begin_epoch(&epoch, now, random);
                begun.map_err(|error| self.storage_failed(error))?;
                let Position { epoch, version } = self.position();
                Ok(format!(r#"{{"epoch":"{epoch}","version":{version}}}"#).into())
            }
        }
    }

    pub(super) fn shown(&self, role: Role) -> String {
        let Position { epoch, version } = self.position();
        let space = self.meta.space.as_ref().map_or("~", SpaceId::as_str);
        let role = role.as_str();
        format!(r#"{{"space":"{space}","role":"{role}","epoch":"{epoch}","version":{version}}}"#)
    }

    pub(in crate::coordinator) fn shared_only(&self) -> Result<(), ApiError> {
        let only = ApiError::Forbidden("A private space has one user: make a shared space to have members.");
        self.meta.space.is_some().then_some(()).ok_or(only)
    }

    fn member(&mut self, person: &Person) -> Result<String, ApiError> {
        self.shared_only()?;
        let role = members::role_of(&self.ledger, &self.meta, &person.user);
        match role.map_err(|error| self.storage_failed(error))? {
            Some(role) => Ok(members::shown(person.user.as_str(), &person.sub, role)),
            None => Err(ApiError::NotFound("There is no such member.")),
        }
    }

    fn set_member(&mut self, person: &Person, role: Role, now: Millis) -> Result<Administered, ApiError> {
        self.shared_only()?;
        let before = members::role_of(&self.ledger, &self.meta, &person.user);
        let before = before.map_err(|error| self.storage_failed(error))?;
        if before == Some(Role::Owner) && role != Role::Owner {
            self.keeps_an_owner()?;
        }
        self.has_room_for(before)?;
        if before != Some(role) {
            self.set_by_hand(&person.user, Some(Member::value(&person.sub, role)), now)?;
        }
        let body = Some(members::shown(person.user.as_str(), &person.sub, role));
        Ok(Administered { body, invites: before.is_none(), grants: None })
    }

    /// For somebody who is this yet.
    pub(super) fn has_room_for(&mut self, before: Option<Role>) -> Result<(), ApiError> {
        if before.is_none() && self.count_of(&members::collection())? >= limits::MEMBERS_MAX {
            return Err(ApiError::Forbidden("A space has at most 10,000 members."));
        }
        Ok(())
    }

    fn remove_member(&mut self, person: &Person, now: Millis) -> Result<(), ApiError> {
        self.shared_only()?;
        let before = members::role_of(&self.ledger, &self.meta, &person.user);
        match before.map_err(|error| self.storage_failed(error))? {
            None => return Ok(()),
            Some(Role::Owner) => self.keeps_an_owner()?,
            Some(_) => {}
        }
        self.set_by_hand(&person.user, None, now)
    }

    fn policies(&mut self) -> Result<String, ApiError> {
        let records = self.ledger.records_of(&policies(), None, usize::MAX);
        let records = records.map_err(|error| self.storage_failed(error))?;
        let policy = |(collection, value): (RecordId, String)| {
            let policy = text_field(&value, "onConflict")?;
            Some(format!("{}:{}", json_text(collection.as_str()), json_text(&policy)))
        };
        let policies: Vec<_> = records.into_iter().filter_map(policy).collect();
        let access = if self.publisher.row().shuts_dexie { r#","access":{"$dexie":"none"}"# } else { "" };
        Ok(format!(r#"{{"policies":{{{}}}{access}}}"#, policies.join(",")))
    }

    /// Whether the client of Dexie Cloud may come in at all. Whoever may not read the space is told that first.
    ///
    /// # Errors
    /// [`ApiError::Gone`], [`ApiError::Forbidden`], or storage failures.
    pub fn admit_dexie(&mut self, user: &UserHash) -> Result<(), ApiError> {
        if self.publisher.row().shuts_dexie {
            self.admit(user, Role::Reader)?;
            return Err(DEXIE_IS_SHUT);
        }
        Ok(())
    }

    /// Shuts the client of Dexie Cloud out, or admits it again. It is noted in the publication row, which is in memory, so nobody else
    /// pays for it; and in a record, so that there is a version that says so, which is published at once.
    fn shut_dexie(&mut self, is_shut: bool, now: Millis) -> Result<(), ApiError> {
        let row = self.publisher.row();
        if row.shuts_dexie != is_shut {
            let row = PublicationRow { shuts_dexie: is_shut, renew: true, ..row.clone() };
            let change = (dexie_key(), is_shut.then(|| DEXIE_SHUT.to_owned()));
            self.step_with(&[change], now, &mut |ledger| row.write(ledger))?;
            self.publisher.dexie_is_shut(is_shut);
        }
        Ok(())
    }

    fn set_policy(
        &mut self,
        collection: &Collection,
        policy: OnConflict,
        now: Millis,
    ) -> Result<String, ApiError> {
        let key = policy_key(collection);
        let value = format!(r#"{{"onConflict":"{}"}}"#, policy.as_str());
        let before = self.ledger.record(&key).map_err(|error| self.storage_failed(error))?;
        let before = before.as_ref().and_then(|record| record.value(&key));
        if before.is_none() && self.count_of(&policies())? >= limits::POLICIES_MAX {
            return Err(ApiError::Forbidden("A space has at most 200 policies."));
        }
        if before != Some(value.as_str()) {
            self.step(&(key, Some(value.clone())), now)?;
        }
        Ok(value)
    }

    fn remove_policy(&mut self, collection: &Collection, now: Millis) -> Result<(), ApiError> {
        let key = policy_key(collection);
        let before = self.ledger.record(&key).map_err(|error| self.storage_failed(error))?;
        if before.is_some_and(|record| record.deleted_at.is_none()) {
            self.step(&(key, None), now)?;
        }
        Ok(())
    }

    /// Ends a shared space: nothing stays but the row that says so. What KV holds of it can be read with a grant of this
    /// incarnation, so until the last of them ends, and expires by itself.
    ///
    /// It is a step in an epoch of its own: nothing may be newer in directories, also where storage had gone back.
    fn end(&mut self, now: Millis, random: u64) -> Result<(), ApiError> {
        let version = self.version.next();
        let epoch = Epoch::begin(now, Some(&self.meta.epoch), random);
        let meta = Meta { epoch, gone_at: Some(now), floor: version, horizon: version, ..self.meta.clone() };
        let ended = self.ledger.atomically(&mut |ledger| {
            ledger.erase_records()?;
            ledger.erase_clients()?;
            if !planted!(ParkedOutlivesSpace) {
                ledger.close_conflicts()?;
            }
            PublicationRow::delete(ledger)?;
            Self::forget_invitations(ledger)?;
            Self::forget_uploads(ledger)?;
            ledger.put_meta(&meta)
        });
        ended.map_err(|error| self.storage_failed(error))?;
        (self.meta, self.version) = (meta, version);
        self.cache.take();
        Ok(())
    }

    /// Removes all records and conflicts of a private space. A new epoch begins, and an empty head is published at once. Clients
    /// stay, so that each can be told which of its mutations the history contained.
    fn empty(&mut self, now: Millis, random: u64) -> Result<(), ApiError> {
        let epoch = Epoch::begin(now, Some(&self.meta.epoch), random);
        let meta = Meta { epoch, floor: self.version, horizon: self.version, ..self.meta.clone() };
        self.write_down(now).map_err(|error| self.storage_failed(error))?;
        let row = self.publisher.row().without_records(self.publisher.sizes());
        let emptied = self.ledger.atomically(&mut |ledger| {
            ledger.erase_records()?;
            ledger.close_conflicts()?;
            row.write(ledger)?;
            ledger.put_meta(&meta)
        });
        emptied.map_err(|error| self.storage_failed(error))?;
        self.meta = meta;
        self.cache.take();
        self.publisher.everything_was_removed(row, now);
        Ok(())
    }

    fn count_of(&mut self, collection: &Collection) -> Result<usize, ApiError> {
        self.ledger.count_of(collection).map_err(|error| self.storage_failed(error))
    }

    /// Changes one record at the next version; without a value it is deleted.
    fn step(&mut self, change: &(Key, Option<String>), now: Millis) -> Result<(), ApiError> {
        self.step_with(std::slice::from_ref(change), now, &mut |_| Ok(()))
    }

    /// Changes records in one version, with what else is written in the same transaction.
    pub(super) fn step_with(
        &mut self,
        changes: &[(Key, Option<String>)],
        now: Millis,
        also: &mut dyn FnMut(&mut L) -> LedgerResult<()>,
    ) -> Result<(), ApiError> {
        let (version, mut bytes) = (self.version.next(), 0);
        let written = self.ledger.atomically(&mut |ledger| {
            bytes = 0;
            for (key, value) in changes {
                let record = record_after(ledger.record(key)?, key, value.as_deref(), version, now);
                bytes += record.published_line().len();
                ledger.put_record(key, &record)?;
            }
            also(ledger)
        });
        written.map_err(|error| self.storage_failed(error))?;
        self.version = version;
        self.forget_overlay();
        self.publisher.committed(bytes, now);
        Ok(())
    }
}

/// A record as Headwater leaves it.
fn record_after(
    before: Option<Record>,
    key: &Key,
    value: Option<&str>,
    version: Version,
    now: Millis,
) -> Record {
    let clock = Clock::tick(before.map(|record| record.clock), OWN_WRITER, version);
    match value {
        Some(value) => Record { clock, deleted_at: None, line: live_line(key, value), fields: None },
        None => Record { clock, deleted_at: Some(now), line: deleted_line(key), fields: None },
    }
}

fn policies() -> Collection {
    Collection::stored("$policies")
}

/// The record that says that the client of Dexie Cloud is shut out.
pub(in crate::coordinator) fn dexie_key() -> Key {
    Key { collection: policies(), id: RecordId::stored("$dexie") }
}

fn policy_key(collection: &Collection) -> Key {
    Key { collection: policies(), id: RecordId::stored(collection.as_str()) }
}
