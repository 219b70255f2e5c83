//! Members' rights follow the rows of `members` in a realm's space: what a transaction makes of those rows, it makes of the
//! memberships too, in the same step. Only owners change them, but everybody may answer for themselves, and leave.

use std::collections::BTreeMap;

use super::derive::{Deriving, Stop};
use crate::{
    ids::{Collection, Key, RecordId, UserHash},
    limits,
    mutation::{
        RejectCode, Rejection,
        member_row::{MemberRow, differ_by_answer_alone, member_rows},
    },
    role::Role,
};

/// Why nothing is done of what a reader sends.
pub(super) fn only_reads() -> Stop {
    Rejection::new(RejectCode::Forbidden, "you may only read this space").into()
}

fn only_owners() -> Stop {
    let rule = "only owners change who the members of a realm are; others answer for themselves, or leave";
    Rejection::new(RejectCode::Forbidden, rule).into()
}

/// A row of a member, before the transaction and behind it.
struct Row {
    before: Option<String>,
    after: Option<String>,
}

impl Deriving<'_> {
    /// Says who becomes a member by what the operations have left, and who is none any more.
    pub(super) fn set_members(&mut self) -> Result<(), Stop> {
        let Some(realm) = self.push.governed.clone() else { return Ok(()) };
        let space = super::realm::space_of(&realm).expect("BUG: a realm of a space has none");
        let (mut rows, mut roles_changed) = (BTreeMap::new(), false);
        let governed: Vec<_> =
            self.left.keys().filter(|key| space.governs(&key.collection)).cloned().collect();
        for key in governed {
            let after = self.left.get(&key).cloned().flatten();
            let before = self.view.value(&key)?;
            if before == after {
                continue;
            }
            let row = Row { before, after };
            if self.view.role() < Role::Owner && !(key.collection == member_rows() && self.is_own(&row)) {
                return Err(only_owners());
            }
            roles_changed |= key.collection.as_str() == "roles";
            if key.collection == member_rows() {
                rows.insert(key, row);
            }
        }
        if roles_changed {
            self.add_all_rows(&mut rows)?;
        }
        for (sub, role) in self.memberships(&realm, &rows)? {
            self.view.set_member(UserHash::new(&self.push.iss, &sub), &sub, role);
        }
        Ok(())
    }

    /// Whether it is whoever pushes who answers by it, or leaves. An answer is not taken back: the invitation would stand again.
    fn is_own(&self, Row { before, after }: &Row) -> bool {
        let Some(before) = before else { return false };
        let is_own = MemberRow::of(before).user_id() == Some(&*self.push.sub);
        let answers =
            |after: &String| differ_by_answer_alone(before, after) && !MemberRow::of(after).is_open();
        is_own && after.as_ref().is_none_or(answers)
    }

    /// Roles have changed, so all rows may name one that has.
    fn add_all_rows(&mut self, rows: &mut BTreeMap<Key, Row>) -> Result<(), Stop> {
        let (of, mut after): (Collection, Option<RecordId>) = (member_rows(), None);
        loop {
            let page = self.view.records(&of, after.as_ref(), limits::DEXIE_SCANNED_AT_ONCE)?;
            for (id, value) in page.records {
                if !self.may_look_at(value.len()) {
                    let rule = "a realm whose roles are changed has at most 20,000 rows of members";
                    return Err(Rejection::new(RejectCode::TooLarge, rule).into());
                }
                let key = Key { collection: of.clone(), id };
                let is_as_it_was = !self.left.contains_key(&key);
                if is_as_it_was {
                    rows.entry(key).or_insert(Row { before: Some(value.clone()), after: Some(value) });
                }
            }
            match page.next {
                Some(next) if after.as_ref() < Some(&next) => after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    /// What becomes of whom these rows name, or have named. Who is named by several gets the most of them. Whoever is no owner gets
    /// something by an open invitation alone: an owner may have given less since.
    fn memberships(
        &mut self,
        realm: &str,
        rows: &BTreeMap<Key, Row>,
    ) -> Result<BTreeMap<String, Option<Role>>, Stop> {
        let mut memberships = BTreeMap::new();
        for Row { before, after } in rows.values() {
            let before = before.as_deref().map(MemberRow::of).unwrap_or_default();
            if let Some(was) = before.member() {
                memberships.entry(was.to_owned()).or_insert(None);
            }
            let after = after.as_deref().map(MemberRow::of).unwrap_or_default();
            let Some(sub) = after.member() else { continue };
            if self.view.role() < Role::Owner && !before.is_open() {
                memberships.remove(sub);
                continue;
            }
            let role = after.role(realm, &mut |key| self.value(key))?;
            let known = memberships.entry(sub.to_owned()).or_insert(None);
            *known = (*known).max(Some(role));
        }
        Ok(memberships)
    }
}
