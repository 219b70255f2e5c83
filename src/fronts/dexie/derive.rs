//! What a transaction comes to, when its turn comes.

use std::{collections::BTreeMap, mem};

use super::{
    op::{Condition, OpFields, Operation},
    realm::{Realm, realm_named},
    request::Push,
    spec::{changed, too_much},
    tson::given,
};
use crate::{
    ids::{Collection, Key, RecordId},
    json::{Members, elements, json_text, text_of},
    limits,
    mutation::{self, Change, RejectCode, Rejection, Unread, View, storable},
};

/// Why nothing of a transaction is done now.
pub(super) enum Stop {
    Unread,
    Rejected(Rejection),
}

impl From<Unread> for Stop {
    fn from(Unread: Unread) -> Self {
        Self::Unread
    }
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// A transaction that is being derived.
pub(super) struct Deriving<'a> {
    pub(super) push: &'a Push,
    pub(super) view: &'a mut dyn View,
    /// What its operations have left so far: values, and none of what they have removed.
    pub(super) left: BTreeMap<Key, Option<String>>,
    /// Bytes of those values.
    bytes: usize,
    /// Bytes that it may still go through.
    work: usize,
    /// Records that it may still compare with conditions, …
    records: usize,
    /// … and their bytes.
    record_bytes: usize,
    /// Whether those were too many: from then on the keys count that the client has found.
    falls_back: bool,
}

impl<'a> Deriving<'a> {
    pub(super) fn new(push: &'a Push, view: &'a mut dyn View) -> Self {
        Self {
            push,
            view,
            left: BTreeMap::new(),
            bytes: 0,
            work: limits::DEXIE_WORK_MAX,
            records: limits::DEXIE_SCANNED_MAX,
            record_bytes: limits::DEXIE_SCANNED_BYTES_MAX,
            falls_back: false,
        }
    }

    /// Does an operation on a collection behind those before it.
    pub(super) fn op(&mut self, of: &Collection, table: &str, text: &str) -> Result<(), Stop> {
        let fields = OpFields::of(text);
        let Some(op) = fields.op() else { return Ok(()) };
        let keys = || elements(fields.keys.unwrap_or_default()).map(|key| key_of(of, key));
        match op {
            Operation::Insert { values } => {
                for (key, value) in keys().zip(elements(values)) {
                    self.put(key, value, false)?;
                }
            }
            Operation::Upsert { values, specs } => {
                let mut specs = elements(specs.unwrap_or_default());
                for (key, value) in keys().zip(elements(values)) {
                    match specs.next().and_then(given) {
                        Some(spec) => self.change_or_put(key, table, spec, value)?,
                        None => self.put(key, value, fields.is_moved)?,
                    }
                }
            }
            Operation::Update { specs } => {
                let first = elements(specs).next();
                let mut specs = elements(specs);
                for key in keys() {
                    if let (Some(key), Some(spec)) = (
                        key,
                        specs.next().and_then(given).or(first.filter(|_| !planted!(OneSpecForFirstKeyOnly))),
                    ) {
                        self.change(&key, table, spec)?;
                    }
                }
            }
            Operation::Modify { spec, criteria } => match self.meant(of, criteria)? {
                Some(ids) => {
                    for id in ids {
                        self.change(&Key { collection: of.clone(), id }, table, spec)?;
                    }
                }
                None => {
                    for key in keys().flatten() {
                        self.change(&key, table, spec)?;
                    }
                }
            },
            Operation::Delete { criteria } => {
                let meant = self.meant(of, criteria)?.unwrap_or_default();
                let meant = meant.into_iter().map(|id| Key { collection: of.clone(), id });
                for key in keys().flatten().chain(meant) {
                    if self.is_removed(&key, fields.moved_to)? {
                        self.leave(key, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells whoever has given the view how much was gone through.
    pub(super) fn end(&mut self) {
        self.view.has_gone_through(limits::DEXIE_WORK_MAX - self.work);
    }

    /// Nothing of it is done.
    pub(super) fn stopped(&mut self, stop: Stop) -> Result<Result<Vec<Change>, Rejection>, Unread> {
        self.end();
        match stop {
            Stop::Rejected(rejection) => Ok(Err(rejection)),
            Stop::Unread => Err(Unread),
        }
    }

    /// The changes.
    pub(super) fn changes(self) -> Vec<Change> {
        let op = |value: Option<String>| value.map_or(mutation::Op::Delete, mutation::Op::Put);
        self.left.into_iter().map(|(key, value)| Change { key, base: None, op: op(value) }).collect()
    }

    /// Of several spaces each takes what is its own: values of its realm, and what becomes of its records. What is moved here takes the
    /// place of nothing.
    fn put(&mut self, key: Option<Key>, value: &str, is_moved: bool) -> Result<(), Stop> {
        let Some(key) = key else { return Ok(()) };
        if self.push.is_part && !self.push.realm.takes(value) {
            return self.send_on(&key, value);
        }
        if self.push.is_part && is_moved && self.value(&key)?.is_some() {
            return Ok(());
        }
        let value = stored(value, &self.push.realm)?;
        self.leave(key, Some(value))
    }

    /// A record that stands here is put into another realm: here it names that, and nothing of its new value is kept, which is not for
    /// those who have this realm.
    fn send_on(&mut self, key: &Key, value: &str) -> Result<(), Stop> {
        let realm = realm_named(value).unwrap_or_else(|| self.push.sub.clone());
        self.change(key, "", &format!(r#"{{"realmId":{}}}"#, json_text(&realm)))?;
        Ok(())
    }

    /// Whether a deletion means a record. What has moved is removed here only if it has not moved on, or come back.
    fn is_removed(&mut self, key: &Key, moved_to: Option<&str>) -> Result<bool, Stop> {
        let Some(to) = moved_to else { return Ok(true) };
        let value = self.value(key)?;
        Ok(value.is_some_and(|value| realm_named(&value).zip(text_of(to)).is_some_and(|(is, to)| is == to)))
    }

    fn change_or_put(&mut self, key: Option<Key>, table: &str, spec: &str, value: &str) -> Result<(), Stop> {
        let Some(key) = key else { return Ok(()) };
        if self.change(&key, table, spec)? { Ok(()) } else { self.put(Some(key), value, false) }
    }

    /// Changes a record, if it is there. Whether it is.
    fn change(&mut self, key: &Key, table: &str, spec: &str) -> Result<bool, Stop> {
        let before = self.value(key)?.or_else(|| planted!(UpdateMakesRecord).then(|| "{}".to_owned()));
        let Some(before) = before else { return Ok(false) };
        let primary = self.push.primary_key_of(table);
        let after = changed(&before, spec, primary, &mut self.work)?;
        let after = stored(&after, &self.push.realm)?;
        if after != before {
            self.leave(key.clone(), Some(after))?;
        }
        Ok(true)
    }

    pub(super) fn value(&mut self, key: &Key) -> Result<Option<String>, Stop> {
        let value = match self.left.get(key) {
            Some(left) => left.clone(),
            None => self.view.value(key)?,
        };
        let bytes = value.as_ref().map_or(0, String::len);
        self.work = self.work.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(value)
    }

    fn leave(&mut self, key: Key, value: Option<String>) -> Result<(), Stop> {
        if self.push.is_part {
            let is_stray = value.as_ref().is_some_and(|value| !self.push.realm.has(value));
            let mut strays = self.push.strays.borrow_mut();
            _ = if is_stray { strays.insert(key.clone()) } else { strays.remove(&key) };
        }
        self.bytes += value.as_ref().map_or(0, String::len);
        if let Some(Some(before)) = self.left.insert(key, value) {
            self.bytes -= before.len();
        }
        if self.left.len() > limits::DEXIE_CHANGES_MAX || self.bytes > limits::DEXIE_VALUES_MAX {
            let rule = "a transaction changes at most 50,000 records, and leaves values of at most 16 MiB";
            return Err(Rejection::new(RejectCode::TooLarge, rule).into());
        }
        Ok(())
    }

    /// The records that a condition means now, with what the operations before have left. None where there is no condition, or where
    /// it would be too much work: then the keys count that the client has found.
    fn meant(
        &mut self,
        of: &Collection,
        condition: Option<Condition<'_>>,
    ) -> Result<Option<Vec<RecordId>>, Stop> {
        let Some((condition, criteria)) = condition.and_then(|it| Some((it, it.read()?))) else {
            return Ok(None);
        };
        if self.falls_back || !self.view.may_scan() {
            return Ok(None);
        }
        let mut meant = Vec::new();
        if (condition.is_repeated && !planted!(ChunkMetAgain)) || criteria.is_never() {
            return Ok(Some(meant));
        }
        let whose = (&self.push.realm, &*self.push.sub);
        let mut after: Option<RecordId> = None;
        loop {
            if !self.view.may_scan() {
                return Ok(None);
            }
            let page = self.view.records(of, after.as_ref(), limits::DEXIE_SCANNED_AT_ONCE)?;
            for (id, value) in page.records {
                if !self.may_look_at(value.len()) {
                    return Ok(None);
                }
                let key = Key { collection: of.clone(), id };
                if !self.left.contains_key(&key) && criteria.means(key.id.as_str(), &value, whose) {
                    meant.push(key.id);
                }
            }
            match page.next {
                // A page may be empty, but is never the same again.
                Some(next) if after.as_ref() < Some(&next) => after = Some(next),
                _ => break,
            }
        }
        let first = Key { collection: of.clone(), id: RecordId::stored("") };
        let left = mem::take(&mut self.left);
        let mut is_whole = true;
        for (key, value) in left.range(first..).take_while(|(key, _)| key.collection == *of) {
            is_whole = self.may_look_at(value.as_ref().map_or(0, String::len));
            if !is_whole {
                break;
            }
            if value.as_ref().is_some_and(|value| criteria.means(key.id.as_str(), value, whose)) {
                meant.push(key.id.clone());
            }
        }
        self.left = left;
        Ok(is_whole.then_some(meant))
    }

    /// Whether one more record of so many bytes may be compared with a condition.
    pub(super) fn may_look_at(&mut self, bytes: usize) -> bool {
        match self.records.checked_sub(1).zip(self.record_bytes.checked_sub(bytes)) {
            Some((records, bytes)) => (self.records, self.record_bytes) = (records, bytes),
            None => self.falls_back = true,
        }
        !self.falls_back
    }
}

/// The record of a key that is given as a JSON string; none of what names none.
pub(super) fn key_of(of: &Collection, key: &str) -> Option<Key> {
    let id = RecordId::parse(&text_of(key)?).ok()?;
    Some(Key { collection: of.clone(), id })
}

/// A value as it is stored: without what says that it belongs to its user, which is so of whatever says nothing else, and without
/// the mark that the client puts on it again.
fn stored(value: &str, realm: &Realm) -> Result<String, Rejection> {
    let value = storable(value)?;
    let is_left_out = |name: &str, value: &str| match name {
        r#""realmId""# | r#""owner""# if planted!(OwnRealmKeptInValue) => false,
        r#""owner""# if planted!(ForeignOwnerStripped) => true,
        r#""realmId""# | r#""owner""# => realm.implies(value),
        r#""_hasBlobRefs""# => true,
        _ => false,
    };
    if !Members::of(&value).any(|member| is_left_out(member.name, member.value)) {
        return Ok(value.into_owned());
    }
    let kept = Members::of(&value).filter(|member| !is_left_out(member.name, member.value));
    let kept: Vec<_> = kept.map(|member| format!("{}:{}", member.name, member.value)).collect();
    Ok(format!("{{{}}}", kept.join(",")))
}
