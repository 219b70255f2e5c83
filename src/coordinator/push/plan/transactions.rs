//! Pushes of other fronts: transactions, of which each becomes mutations when its turn comes.

use std::collections::BTreeSet;

use crate::{
    coordinator::{
        ledger::{Client, Ledger, LedgerError, LedgerResult},
        metering::DailyUsage,
        push::{
            plan::{
                Clients, Plan,
                draft::too_many_collections,
                part::{Author, GOVERNED, Part},
            },
            queue::{self, Progress, Waiting},
            tokens::Tokens,
        },
        sharing::members::{self, Member},
    },
    ids::{Collection, Key, RecordId, UserHash},
    limits::{self, SliceMax},
    mutation::{
        Change, Intent, Mutation, MutationResult, Op, RejectCode, Rejection, Scanned, Settled, Submitted,
        Token, Transaction, Unread, View,
    },
    role::Role,
    time::Millis,
};

const READS_ONLY: &str = "you may only read this space";

/// A plan as a front sees it.
struct Planned<'a, L> {
    plan: &'a mut Plan,
    ledger: &'a L,
    failed: Option<LedgerError>,
    /// How much the plan may have read, or written, when the push goes through no more records.
    scans_until: usize,
    /// What whoever pushes may do.
    role: Role,
    /// Who becomes a member, or is none any more.
    members: Vec<(UserHash, Option<Member>)>,
}

impl<L> Planned<'_, L> {
    fn unread(&mut self, error: LedgerError) -> Unread {
        self.failed = Some(error);
        Unread
    }
}

impl<L: Ledger> View for Planned<'_, L> {
    fn value(&mut self, key: &Key) -> Result<Option<String>, Unread> {
        match self.plan.record(self.ledger, key) {
            Ok(record) => Ok(record.and_then(|record| record.value(key)).map(str::to_owned)),
            Err(error) => Err(self.unread(error)),
        }
    }

    fn role(&self) -> Role {
        self.role
    }

    fn set_member(&mut self, user: UserHash, sub: &str, role: Option<Role>) {
        self.members.push((user, role.map(|role| Member { sub: sub.to_owned(), role })));
    }

    fn may_scan(&self) -> bool {
        self.plan.work() <= self.scans_until
    }

    fn has_gone_through(&mut self, bytes: usize) {
        self.plan.work.read += bytes;
    }

    fn records(
        &mut self,
        of: &Collection,
        after: Option<&RecordId>,
        count: usize,
    ) -> Result<Scanned, Unread> {
        let rows = self.ledger.rows().read;
        let stored = self.ledger.records_of(of, after, count).map_err(|error| self.unread(error))?;
        // Also deletions that are remembered are read.
        let rows = self.ledger.rows().read.saturating_sub(rows).max(stored.len() as u32);
        self.plan.work.read += rows as usize * limits::ROW_BYTES;
        let next = stored.last().map(|(id, _)| id.clone()).filter(|_| stored.len() >= count);
        self.plan.work.read += stored.iter().map(|(_, value)| value.len()).sum::<usize>();
        // What is planned takes the place of what is stored, as far as that reaches.
        let Plan { changed, records: planned, .. } = &*self.plan;
        let is_as_stored = |id: &RecordId| !changed.contains(&Key { collection: of.clone(), id: id.clone() });
        let mut records: Vec<_> = stored.into_iter().filter(|(id, _)| is_as_stored(id)).collect();
        for key in changed.iter().filter(|key| key.collection == *of) {
            let is_behind = after.is_none_or(|after| key.id > *after);
            if !is_behind || planted!(ScanUnplanned) || next.as_ref().is_some_and(|next| key.id > *next) {
                continue;
            }
            let record = planned.get(key).and_then(Option::as_ref);
            if let Some(value) = record.and_then(|record| record.value(key)) {
                records.push((key.id.clone(), value.to_owned()));
            }
        }
        Ok(Scanned { records, next })
    }
}

impl Part {
    /// Of somebody who may not write any more, and cannot be told so but by how the records stand. What was settled before is.
    pub(super) fn of_reader(waiting: &Waiting) -> Self {
        let rejected = Settled::Rejected(Rejection::new(RejectCode::Forbidden, READS_ONLY));
        let result = |submitted: &Submitted| MutationResult {
            id: submitted.id,
            settled: rejected.clone(),
            duplicate: false,
        };
        let mut progress = waiting.progress.clone().unwrap_or_else(|| Progress::begin(0));
        let begin = progress.results.len();
        progress.results.extend(waiting.push.mutations[begin..].iter().map(result));
        Self { progress, is_whole: true }
    }
}

impl Plan {
    /// Plans as many transactions of a push as one slice takes, behind what was planned before. None is done twice.
    pub(super) fn part_of_transactions<L: Ledger>(
        &mut self,
        ledger: &L,
        remembered: &Clients,
        (waiting, role): (&Waiting, Role),
        max: SliceMax,
        now: Millis,
    ) -> LedgerResult<Part> {
        let (push, user, work_before) = (&waiting.push, &waiting.user, self.work());
        let name = (user.clone(), push.client.clone());
        let known = self.client(ledger, remembered, &name)?;
        let mut tokens = Tokens::of(known.as_ref());
        if let Some(since) = push.since.filter(|_| push.epoch.as_ref() == Some(&self.meta.epoch)) {
            let sent = push.mutations.iter().filter_map(|submitted| match &submitted.intent {
                Intent::Transaction(transaction) => transaction.token(),
                Intent::Mutation(_) | Intent::Rejected(_) => None,
            });
            let sent: Vec<_> = sent.collect();
            let (since, sent) = match planted!(ForgottenTooEarly) {
                true => (self.version, BTreeSet::new()),
                false => (since, sent.iter().map(Token::as_str).collect()),
            };
            tokens.forget(since, &sent);
        }
        let mut progress = waiting.progress.clone().unwrap_or_else(|| Progress::begin(0));
        let begin = progress.results.len();
        let rest = &push.mutations[begin..];
        if rest.is_empty() {
            return Ok(Part { progress, is_whole: true });
        }
        let writer = known.as_ref().map_or_else(|| self.newcomer(user), |client| client.writer);
        let (client, unacknowledged) = (&push.client, Vec::new());
        let by = Author { user, client, role, writer, on_conflict: None, unacknowledged, now };
        for (at, submitted) in rest[..queue::fitting(rest, max)].iter().enumerate() {
            if self.work() > limits::GROUP_WORK_MAX && at > 0 {
                break;
            }
            let Intent::Transaction(transaction) = &submitted.intent else {
                panic!("BUG: a push that has a wording has a mutation that is no transaction")
            };
            let scans_until = work_before + limits::SCANNED_BYTES_MAX.saturating_sub(progress.work);
            let transaction = (transaction.as_ref(), scans_until);
            let result = self.once(ledger, submitted, transaction, &mut tokens, &by)?;
            progress.results.push(result);
        }
        // What was all done before leaves the row as it is.
        if progress.results[begin..].iter().any(|result| !result.duplicate) {
            let usage = known.map_or_else(DailyUsage::default, |client| client.usage);
            let client = Client { writer, last: 0, acked: 0, used_at: now, history: tokens.text(), usage };
            self.clients.insert(name, client);
        }
        progress.work += self.work() - work_before;
        let is_whole = progress.results.len() == push.mutations.len();
        Ok(Part { progress, is_whole })
    }

    /// Does a transaction, unless that was done before.
    fn once<L: Ledger>(
        &mut self,
        ledger: &L,
        submitted: &Submitted,
        (transaction, scans_until): (&dyn Transaction, usize),
        tokens: &mut Tokens,
        by: &Author<'_>,
    ) -> LedgerResult<MutationResult> {
        let (id, token) = (submitted.id, transaction.token());
        if let Some(version) = token.and_then(|token| tokens.get(token)) {
            return Ok(MutationResult { id, settled: Settled::Applied(version), duplicate: true });
        }
        let settled = self.transaction(ledger, submitted, (transaction, scans_until), by)?;
        if let Some(token) = token {
            tokens.note(token, self.version);
        }
        Ok(MutationResult { id, settled, duplicate: false })
    }

    /// Makes mutations of a transaction, each within the limits of one, and applies them: all, or none.
    fn transaction<L: Ledger>(
        &mut self,
        ledger: &L,
        submitted: &Submitted,
        (transaction, scans_until): (&dyn Transaction, usize),
        by: &Author<'_>,
    ) -> LedgerResult<Settled> {
        let (role, members) = (by.role, Vec::new());
        let mut view = Planned { plan: self, ledger, failed: None, scans_until, role, members };
        let derived = transaction.derive(&mut view);
        let Planned { failed, members, .. } = view;
        let derived = derived.map_err(|Unread| failed.expect("BUG: a front could not read what was read"))?;
        let changes = match derived {
            Ok(changes) => self.with_members(ledger, (changes, members), by)?,
            Err(rejection) => Err(rejection),
        };
        let changes = match changes {
            Ok(changes) => changes,
            Err(rejection) => return Ok(Settled::Rejected(rejection)),
        };
        if !self.has_room_for_all(ledger, &changes)? {
            return Ok(Settled::Rejected(too_many_collections()));
        }
        let Some(steps) = self.steps(ledger, changes)? else {
            let rule = "the records that a transaction replaces or removes have at most 32 MiB";
            return Ok(Settled::Rejected(Rejection::new(RejectCode::TooLarge, rule)));
        };
        let mut settled = Settled::Applied(self.version);
        for changes in steps {
            let mutation =
                Mutation { epoch: None, after: Vec::new(), changes, resolutions: Vec::new(), named: 0 };
            settled = self.mutation(ledger, submitted, &mutation, by)?;
            assert!(
                matches!(settled, Settled::Applied(_) | Settled::Missing(_)),
                "BUG: a step of a transaction is not applied: {settled:?}"
            );
        }
        Ok(settled)
    }

    /// The changes of a transaction, with those of members. Whoever is no owner changes no membership but their own, and a reader
    /// nothing but that it ends; what an owner is stays.
    fn with_members<L: Ledger>(
        &mut self,
        ledger: &L,
        (mut changes, members): (Vec<Change>, Vec<(UserHash, Option<Member>)>),
        by: &Author<'_>,
    ) -> LedgerResult<Result<Vec<Change>, Rejection>> {
        let forbidden = |rule| Ok(Err(Rejection::new(RejectCode::Forbidden, rule)));
        let ends = members.iter().any(|(user, member)| user == by.user && member.is_none());
        if by.role < Role::Writer && !ends && !changes.is_empty() {
            return forbidden(READS_ONLY);
        }
        if changes.iter().any(|change| change.key.collection.as_str().starts_with('$')) {
            return forbidden(GOVERNED);
        }
        if by.role < Role::Owner && members.iter().any(|(user, _)| user != by.user) {
            return forbidden(GOVERNED);
        }
        let mut newcomers = 0;
        for (user, member) in members {
            let key = members::key_of(&user);
            let before = self.record(ledger, &key)?.and_then(|record| Member::parse(record.value(&key)?));
            match (before, member) {
                (Some(Member { role: Role::Owner, .. }), _) if !planted!(LastOwnerLeaves) => {}
                (before, Some(member)) if before.as_ref() != Some(&member) => {
                    newcomers += usize::from(before.is_none());
                    let value = Member::value(&member.sub, member.role);
                    changes.push(Change { key, base: None, op: Op::Put(value) });
                }
                (Some(_), None) => changes.push(Change { key, base: None, op: Op::Delete }),
                _ => {}
            }
        }
        let of = members::collection();
        // Those that are planned are counted too, also where they were members before.
        let planned = || self.changed.iter().filter(|key| key.collection == of).count();
        if newcomers > 0 && ledger.count_of(&of)? + planned() + newcomers > limits::MEMBERS_MAX {
            let rule = "a space has at most 10,000 members";
            return Ok(Err(Rejection::new(RejectCode::QuotaExceeded, rule)));
        }
        Ok(Ok(changes))
    }

    /// The changes, cut where they are as many as one mutation may have, or read and write as much. None where what stands there is
    /// more than fits into memory beside everything else.
    fn steps<L: Ledger>(
        &mut self,
        ledger: &L,
        changes: Vec<Change>,
    ) -> LedgerResult<Option<Vec<Vec<Change>>>> {
        let (mut steps, mut bytes, mut all) = (Vec::<Vec<Change>>::new(), 0, 0);
        for change in changes {
            let before = self.record(ledger, &change.key)?.map_or(0, |record| record.line.len());
            let after = if let Op::Put(value) = &change.op { value.len() } else { 0 };
            bytes += before + after;
            all += before;
            if all > limits::REPLACED_BYTES_MAX {
                return Ok(None);
            }
            match steps.last_mut() {
                Some(step)
                    if step.len() < limits::MUTATION_CHANGES_MAX && bytes <= limits::MUTATION_VALUES_MAX =>
                {
                    step.push(change);
                }
                _ => {
                    bytes = before + after;
                    steps.push(vec![change]);
                }
            }
        }
        Ok(Some(steps))
    }

    fn has_room_for_all<L: Ledger>(&mut self, ledger: &L, changes: &[Change]) -> LedgerResult<bool> {
        let written = changes.iter().filter(|change| matches!(change.op, Op::Put(_)));
        let mut names = BTreeSet::new();
        names.extend(written.map(|change| change.key.collection.as_str()));
        self.has_room_for_collections(ledger, names)
    }
}
