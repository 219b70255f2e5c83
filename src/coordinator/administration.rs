//! What is done about a space beside pushing to it: who its members are, what its rules are, its end.
//!
//! Headwater takes these steps itself, as writer 0, and otherwise as a push does: checked against the members as they are in
//! the section that writes, one version for a step that changes a record, none for one that changes nothing, so that whoever
//! lost an answer can ask again.

use super::{
    Coordinator,
    ledger::{Clock, Ledger, LedgerResult, Meta, Record, deleted_line, live_line},
    members::{self, Member},
    plan::OWN_WRITER,
    publication::PublicationConfig,
};
use crate::{
    ids::{Collection, Key, RecordId, SpaceHash, SpaceId, UserHash},
    limits,
    protocol::{act::Act, error::ApiError, internal::Order, role::Role},
    snapshot::keys::Scope,
    time::Millis,
    value::{json_text, text_field},
    version::{Epoch, Position, Version},
};

/// Who makes a space: the one whose members' record is written with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// As members' records name them.
    pub user: UserHash,
    /// Their private space.
    pub home: SpaceHash,
    /// The subject of their tokens.
    pub sub: String,
}

/// How often a private space with a long list of shared ones is emptied at most, in ms.
const EMPTIED_MS_MIN: u64 = 60_000;

impl Person {
    /// The person that an order is about.
    ///
    /// # Errors
    /// [`ApiError::Internal`] for what no edge of ours sends.
    pub fn of(order: &Order) -> Result<Self, ApiError> {
        let user = UserHash::parse(&order.user).map_err(|_| ApiError::Internal)?;
        let home = SpaceHash::parse(&order.home).map_err(|_| ApiError::Internal)?;
        Ok(Self { user, home, sub: order.sub.clone() })
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
            ledger.put_record(&key, &record)?;
            ledger.put_member(&owner.user, &owner.home, version)?;
            // This home has noted that its user makes the space, so it has to hear of the end in any case.
            ledger.was_told(&owner.user, Version::ZERO, Millis(1))
        })?;
        Self::open(ledger, None, config, None, now, random)
    }

    /// Carries out what `caller` asks for and returns the body of the answer; none if there is nothing to say.
    ///
    /// # Errors
    /// [`ApiError::Gone`], [`ApiError::Forbidden`], [`ApiError::NotFound`], or storage failures.
    pub fn administer(
        &mut self,
        caller: &UserHash,
        act: Act,
        order: &Order,
        now: Millis,
        random: u64,
    ) -> Result<Option<String>, ApiError> {
        let needed = match act {
            // Everybody may leave.
            Act::RemoveMember if order.user == caller.as_str() => Role::Reader,
            // Where the space is there already: an owner asks again, whose answer was lost.
            Act::Create => Role::Owner,
            act if act.is_owners() => Role::Owner,
            _ => Role::Reader,
        };
        let role = self.admit(caller, needed)?;
        match act {
            Act::Create | Act::Show => return Ok(Some(self.shown(role))),
            Act::Members => return self.members(order).map(Some),
            Act::Member => return self.member(order).map(Some),
            Act::SetMember => return self.set_member(order, now).map(Some),
            Act::RemoveMember => self.remove_member(order, now)?,
            Act::Policies => return self.policies().map(Some),
            Act::SetPolicy => return self.set_policy(order, now).map(Some),
            Act::RemovePolicy => self.remove_policy(order, now)?,
            Act::Delete if self.meta.space.is_some() => self.end(now, random)?,
            Act::Delete => self.empty(now, random)?,
            Act::ResetEpoch => {
                let epoch = self.meta.epoch.clone();
                let begun = self.begin_epoch(&epoch, now, random);
                begun.map_err(|error| self.storage_failed(error))?;
                let Position { epoch, version } = self.position();
                return Ok(Some(format!(r#"{{"epoch":"{epoch}","version":{version}}}"#)));
            }
            Act::Spaces => return self.spaces(order).map(Some),
            Act::NoteMade => self.note_made(order, now)?,
            Act::Told => return self.told(order, now),
            // Signed by the shell, which has the key.
            Act::Grant => return Err(ApiError::Internal),
        }
        Ok(None)
    }

    fn shown(&self, role: Role) -> String {
        let Position { epoch, version } = self.position();
        let space = self.meta.space.as_ref().map_or("~", SpaceId::as_str);
        let role = role.as_str();
        format!(r#"{{"space":"{space}","role":"{role}","epoch":"{epoch}","version":{version}}}"#)
    }

    pub(super) fn shared_only(&self) -> Result<(), ApiError> {
        let only = ApiError::Forbidden("A private space has one user: make a shared space to have members.");
        self.meta.space.is_some().then_some(()).ok_or(only)
    }

    fn member(&mut self, order: &Order) -> Result<String, ApiError> {
        self.shared_only()?;
        let person = Person::of(order)?;
        let role = members::role_of(&self.ledger, &self.meta, &person.user);
        match role.map_err(|error| self.storage_failed(error))? {
            Some(role) => Ok(members::shown(&order.user, &order.sub, role)),
            None => Err(ApiError::NotFound("There is no such member.")),
        }
    }

    fn set_member(&mut self, order: &Order, now: Millis) -> Result<String, ApiError> {
        self.shared_only()?;
        let person = Person::of(order)?;
        let role = Role::parse(&order.role).ok_or(ApiError::Internal)?;
        let before = members::role_of(&self.ledger, &self.meta, &person.user);
        let before = before.map_err(|error| self.storage_failed(error))?;
        if before == Some(Role::Owner) && role != Role::Owner {
            self.keeps_an_owner()?;
        }
        if before.is_none() && self.count_of(&members::collection())? >= limits::MEMBERS_MAX {
            return Err(ApiError::Forbidden("A space has at most 10,000 members."));
        }
        if before != Some(role) {
            let change = (members::key_of(&person.user), Some(Member::value(&person.sub, role)));
            self.step(&change, now, &mut |ledger, version| {
                ledger.put_member(&person.user, &person.home, version)
            })?;
            self.notices.arise(now);
        }
        Ok(members::shown(&order.user, &order.sub, role))
    }

    fn remove_member(&mut self, order: &Order, now: Millis) -> Result<(), ApiError> {
        self.shared_only()?;
        let person = Person::of(order)?;
        let before = members::role_of(&self.ledger, &self.meta, &person.user);
        match before.map_err(|error| self.storage_failed(error))? {
            None => return Ok(()),
            Some(Role::Owner) => self.keeps_an_owner()?,
            Some(_) => {}
        }
        let change = (members::key_of(&person.user), None);
        self.step(&change, now, &mut |ledger, version| ledger.end_member(&person.user, version))?;
        self.notices.arise(now);
        Ok(())
    }

    fn policies(&mut self) -> Result<String, ApiError> {
        let records = self.ledger.records_of(&policies(), None, usize::MAX);
        let records = records.map_err(|error| self.storage_failed(error))?;
        let policy = |(collection, value): (RecordId, String)| {
            let policy = text_field(&value, "onConflict")?;
            Some(format!("{}:{}", json_text(collection.as_str()), json_text(&policy)))
        };
        let policies: Vec<_> = records.into_iter().filter_map(policy).collect();
        Ok(format!(r#"{{"policies":{{{}}}}}"#, policies.join(",")))
    }

    fn set_policy(&mut self, order: &Order, now: Millis) -> Result<String, ApiError> {
        let key = policy_key(order);
        let value = format!(r#"{{"onConflict":{}}}"#, json_text(&order.policy));
        let before = self.ledger.record(&key).map_err(|error| self.storage_failed(error))?;
        let before = before.as_ref().and_then(|record| record.value(&key));
        if before.is_none() && self.count_of(&policies())? >= limits::POLICIES_MAX {
            return Err(ApiError::Forbidden("A space has at most 200 policies."));
        }
        if before != Some(value.as_str()) {
            self.step(&(key, Some(value.clone())), now, &mut |_, _| Ok(()))?;
        }
        Ok(value)
    }

    fn remove_policy(&mut self, order: &Order, now: Millis) -> Result<(), ApiError> {
        let key = policy_key(order);
        let before = self.ledger.record(&key).map_err(|error| self.storage_failed(error))?;
        if before.is_some_and(|record| record.deleted_at.is_none()) {
            self.step(&(key, None), now, &mut |_, _| Ok(()))?;
        }
        Ok(())
    }

    /// Ends a shared space: nothing stays but the row that says so, and whom to tell. What KV holds of it can be read with a
    /// grant of this incarnation, so until the last of them ends, and expires by itself.
    ///
    /// It is a step in an epoch of its own: nothing may be newer for the homes, also where storage had gone back.
    fn end(&mut self, now: Millis, random: u64) -> Result<(), ApiError> {
        let version = self.version.next();
        let epoch = Epoch::begin(now, Some(&self.meta.epoch), random);
        let meta = Meta { epoch, gone_at: Some(now), floor: version, horizon: version, ..self.meta.clone() };
        let ended = self.ledger.atomically(&mut |ledger| {
            ledger.tell_all(version)?;
            ledger.erase_records()?;
            ledger.erase_clients()?;
            if !planted!(ParkedOutlivesSpace) {
                ledger.close_conflicts()?;
            }
            ledger.put_publication("{}")?;
            ledger.put_meta(&meta)
        });
        ended.map_err(|error| self.storage_failed(error))?;
        (self.meta, self.version) = (meta, version);
        self.forget_what_was_read();
        self.notices.arise(now);
        Ok(())
    }

    /// Removes all records and conflicts of a private space. A new epoch begins, and an empty head is published at once. Clients stay, so
    /// that each can be told which of its mutations the history contained. So does the list of shared spaces: it says where
    /// the user is a member, and that has not changed.
    fn empty(&mut self, now: Millis, random: u64) -> Result<(), ApiError> {
        let spaces = self.ledger.records_of(&super::home::spaces(), None, usize::MAX);
        let spaces = spaces.map_err(|error| self.storage_failed(error))?;
        // Each record of the list is written anew. When an epoch began that lies ahead of the clock nobody knows.
        let began = self.meta.epoch.began();
        let is_again = began <= now && now.since(began) < EMPTIED_MS_MIN;
        if is_again && spaces.len() > limits::SPACES_PAGE {
            return Err(ApiError::RateLimited { retry_after_s: 60 });
        }
        let horizon = self.version;
        let version = if spaces.is_empty() { horizon } else { horizon.next() };
        let kept = spaces.into_iter().map(|(id, value)| {
            let key = Key { collection: super::home::spaces(), id };
            let record = record_after(None, &key, Some(&value), version, now);
            (key, record)
        });
        let kept: Vec<_> = kept.collect();
        let epoch = Epoch::begin(now, Some(&self.meta.epoch), random);
        let meta = Meta { epoch, floor: version, horizon, ..self.meta.clone() };
        let row = self.publisher.row_of_nothing();
        let text = serde_json::to_string(&row).expect("BUG: the row is not JSON");
        let emptied = self.ledger.atomically(&mut |ledger| {
            ledger.erase_records()?;
            ledger.close_conflicts()?;
            for (key, record) in &kept {
                ledger.put_record(key, record)?;
            }
            ledger.put_publication(&text)?;
            ledger.put_meta(&meta)
        });
        emptied.map_err(|error| self.storage_failed(error))?;
        (self.meta, self.version) = (meta, version);
        self.forget_what_was_read();
        self.publisher.everything_was_removed(row, now);
        Ok(())
    }

    fn forget_what_was_read(&mut self) {
        self.fresh_tail = None;
        self.collections = None;
        self.open_conflicts = None;
        self.clients.clear();
    }

    pub(super) fn count_of(&mut self, collection: &Collection) -> Result<usize, ApiError> {
        self.ledger.count_of(collection).map_err(|error| self.storage_failed(error))
    }

    /// Changes one record at the next version; without a value it is deleted. `also` writes what belongs into the same section.
    pub(super) fn step(
        &mut self,
        change: &(Key, Option<String>),
        now: Millis,
        also: &mut dyn FnMut(&mut L, Version) -> LedgerResult<()>,
    ) -> Result<(), ApiError> {
        self.step_all(std::slice::from_ref(change), now, also)
    }

    /// As [`Self::step`], several records at one version.
    pub(super) fn step_all(
        &mut self,
        changes: &[(Key, Option<String>)],
        now: Millis,
        also: &mut dyn FnMut(&mut L, Version) -> LedgerResult<()>,
    ) -> Result<(), ApiError> {
        let (version, mut bytes) = (self.version.next(), 0);
        let written = self.ledger.atomically(&mut |ledger| {
            for (key, value) in changes {
                let record = record_after(ledger.record(key)?, key, value.as_deref(), version, now);
                bytes += record.published_line().len();
                ledger.put_record(key, &record)?;
            }
            also(ledger, version)
        });
        written.map_err(|error| self.storage_failed(error))?;
        self.version = version;
        self.fresh_tail = None;
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

fn policy_key(order: &Order) -> Key {
    Key { collection: policies(), id: RecordId::stored(&order.collection) }
}
