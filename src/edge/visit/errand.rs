//! What is done when nobody waits for it any more.

use std::rc::Rc;

#[cfg(feature = "dexie")]
use super::collect::Collecting;
use super::{
    Called, Effect, Event, Outgoing, Request, State, Visit,
    call::Then,
    pull::{cache_base, cached_writes},
};
#[cfg(feature = "dexie")]
use crate::call::Entry;
use crate::{
    call::{
        Administration, Aside, Ask, BudgetAnswer, BudgetCall, Call, DirectoryAnswer, DirectoryCall,
        OrderedCursor, PullReply, decode_reply,
    },
    edge::{
        blobs::{BlobEffect, BlobEvent},
        budget::COUNTED_AT_ONCE,
        directory::{Delivery, DeliveryStep},
        isolate::Isolate,
        known::{KnownHead, Overlay},
        pull::{LOCATION_MS, OVERLAY_KEPT_MS},
        writes::{WRITTEN_MS, to_tell},
    },
    fronts::{
        END_OF_CHANGES, further_changes,
        headwater::{answer, pull::Cursor, spaces::directory_of},
    },
    ids::SpaceHash,
    limits,
    snapshot::keys::Scope,
    time::Millis,
    version::Position,
};

/// An errand under way.
#[derive(Debug)]
pub(super) enum Errand {
    /// Hand what a pull has learnt to the others of its location.
    TellLocation { head: Option<Rc<KnownHead>>, overlay: Option<Rc<Overlay>> },
    /// Tell the others where the space stood after the last write, in so many ms.
    TellWritten { wait_ms: u64 },
    /// Bring what a space has said of its caller into the caller's directory.
    Deliver(Box<Delivery>),
    /// Leave a hint of the space in this directory.
    Hint(SpaceHash),
    /// The same in that of an address, whose user may not have come yet.
    #[cfg(feature = "dexie")]
    Invite(SpaceHash),
    /// Tell the directory of an address what its user is in the space: nothing, so that it drops a hint of it.
    #[cfg(feature = "dexie")]
    EndHint(SpaceHash, Box<Entry>),
    /// Tell the budget of requests that objects have had.
    CountRequests,
    /// Write the pages of a pull one after the other.
    WritePages(Paging),
    /// Wait until a stream of objects is over.
    AwaitStream(u64),
    /// Delete the files of a space that was deleted at this moment, in so many steps at most.
    DeleteBlobs { before: Millis, steps: usize },
    /// Delete the files that no record names any more.
    #[cfg(feature = "dexie")]
    Collect(Collecting),
}

/// The pages of a pull: the coordinator answers each at once and sleeps again, and the edge waits for the client. `Server-Timing`
/// tells of the first page only: headers leave before the others are asked for.
#[derive(Debug)]
pub(super) struct Paging {
    /// What is to be written next.
    pub(super) text: String,
    pub(super) position: Position,
    pub(super) next: Option<OrderedCursor>,
    /// As of [`Effect::StreamObjects`].
    pub(super) sub: Option<String>,
    /// What it holds of the isolate.
    pub(super) stream: u64,
}

impl Visit {
    /// An errand of this visit: about its target, in its name.
    pub(super) fn errand(&self, errand: Errand) -> Self {
        let Request { host, id, .. } = &self.request;
        let request = Request { host: host.clone(), id: id.clone(), ..Request::default() };
        let (target, state) = (self.target.clone(), State::Errand(Box::new(errand)));
        Self { target, state, ..Self::of(request, self.origin.clone()) }
    }
}

impl Isolate {
    /// What an errand does about what has happened.
    pub(super) fn run_errand(
        &mut self,
        visit: &mut Visit,
        errand: Errand,
        event: Event,
        now: Millis,
    ) -> Effect {
        match errand {
            Errand::TellLocation { head, overlay } => tell_location(visit, head, overlay),
            Errand::TellWritten { wait_ms } => self.tell_written(visit, wait_ms, event, now),
            Errand::Deliver(delivery) => self.deliver(visit, delivery, event, now),
            Errand::Hint(directory) => self.hint(visit, (directory, false), &event, now),
            #[cfg(feature = "dexie")]
            Errand::Invite(directory) => self.hint(visit, (directory, true), &event, now),
            #[cfg(feature = "dexie")]
            Errand::EndHint(directory, entry) => self.end_hint_of(visit, directory, entry, &event, now),
            Errand::DeleteBlobs { before, steps } => delete_blobs(visit, (before, steps), event),
            #[cfg(feature = "dexie")]
            Errand::Collect(collecting) => self.collect(visit, collecting, event, now),
            Errand::CountRequests => self.count_requests(visit, event, now),
            Errand::WritePages(paging) => self.write_pages(visit, paging, event, now),
            Errand::AwaitStream(stream) => match event {
                Event::Begun => waits(visit, Errand::AwaitStream(stream), Effect::AwaitStream),
                _ => {
                    self.streams.end(stream);
                    Effect::Rest
                }
            },
        }
    }

    fn tell_written(&mut self, visit: &mut Visit, wait_ms: u64, event: Event, now: Millis) -> Effect {
        let (then, ttl_s) = (Errand::TellWritten { wait_ms: 0 }, seconds(WRITTEN_MS));
        match event {
            Event::Begun if wait_ms > 0 => waits(visit, then, Effect::Pause(wait_ms)),
            Event::Begun | Event::Resumed => {
                let writes = cached_writes(visit);
                waits(visit, then, Effect::ReadCachedWrite { writes })
            }
            Event::CachedWrite(told) => {
                let Some(last) = self.writes.tell(&visit.target().hash, now) else { return Effect::Rest };
                // Also the same again: it has to be known for as long after this write.
                Effect::CacheWrite { writes: cached_writes(visit), position: to_tell(told, last), ttl_s }
            }
            _ => Effect::Rest,
        }
    }

    fn deliver(
        &mut self,
        visit: &mut Visit,
        mut delivery: Box<Delivery>,
        event: Event,
        now: Millis,
    ) -> Effect {
        if let Event::Called(Called { result, aside, .. }) = event {
            match delivery.next {
                DeliveryStep::AskAgain(_) => delivery.learn_answer(match aside {
                    Some(Aside::Membership(membership)) => Some(membership),
                    Some(Aside::Invited | Aside::OfSpace | Aside::Rejected(_)) | None => None,
                }),
                _ => delivery.learn_noted(result.ok().map(DirectoryAnswer::of)),
            }
        }
        match delivery.next.clone() {
            DeliveryStep::Note(entry) => {
                let directory = directory_of(&visit.target().caller);
                let call = visit.directory_call(directory, DirectoryCall::Note(entry));
                self.send_unless_refused(visit, call, Errand::Deliver(delivery), now)
            }
            DeliveryStep::AskAgain(claim) => {
                let grant = Administration::Grant { claim: Some(claim) };
                let call = visit.call(Call::Administer(grant));
                self.send_unless_refused(visit, call, Errand::Deliver(delivery), now)
            }
            DeliveryStep::Done => {
                self.directories.learn(*delivery, now);
                Effect::Rest
            }
            DeliveryStep::GiveUp => Effect::Rest,
        }
    }

    fn count_requests(&mut self, visit: &mut Visit, event: Event, now: Millis) -> Effect {
        let Event::Called(Called { result, .. }) = event else {
            let call = visit.budget_call(BudgetCall::Count { requests: COUNTED_AT_ONCE });
            return self.send(visit, call, Then::Errand(Box::new(Errand::CountRequests)), now);
        };
        // Where it was not reached, what it said last holds.
        if let Some(answer) = result.ok().and_then(|body| BudgetAnswer::parse(&body)) {
            self.object_requests.learn(&visit.target().caller.user, &answer, now);
        }
        Effect::Rest
    }

    fn write_pages(&mut self, visit: &mut Visit, mut paging: Paging, event: Event, now: Millis) -> Effect {
        // Access ends with the token, also in the middle of an answer.
        let is_over = now >= visit.target().caller.expires;
        self.streams.is_read(paging.stream, read_until(now));
        match event {
            Event::Begun => {}
            Event::Sent(true) => {
                let Some(cursor) = paging.next.clone().filter(|_| !is_over) else {
                    return waits(visit, Errand::WritePages(paging), Effect::Close);
                };
                let ask =
                    Ask { cursor: Some(cursor), page_bytes: limits::STREAM_PAGE_BYTES, ..Ask::default() };
                let call = visit.call(Call::Pull(Box::new(ask)));
                return self.make_call(visit, call, Then::Errand(Box::new(Errand::WritePages(paging))), now);
            }
            Event::Called(Called { result, .. }) => {
                // A page that starts over cannot be part of this stream: the client comes back with the last cursor.
                let page = result.as_deref().ok().filter(|_| !is_over).and_then(decode_reply);
                let Some((PullReply::Page { epoch, version, reset: false, next }, lines)) = page else {
                    return waits(visit, Errand::WritePages(paging), Effect::Close);
                };
                let position = Position { epoch, version };
                let text = match &paging.sub {
                    None => lines.to_owned(),
                    Some(sub) => further_changes(lines, sub),
                };
                paging = Paging { text, position, next, ..paging };
            }
            // It is closed, or nobody reads it.
            _ => {
                if !planted!(StreamKept) {
                    self.streams.end(paging.stream);
                }
                return Effect::Rest;
            }
        }
        let mut text = std::mem::take(&mut paging.text);
        match &paging.next {
            _ if paging.sub.is_some() => {
                if paging.next.is_none() {
                    text.push_str(END_OF_CHANGES);
                }
            }
            Some(cursor) => {
                let cursor = Cursor::Ordered(cursor.clone());
                text.push_str(&answer::stream_cursor(&cursor, &visit.target().hash));
            }
            None => text.push_str(&answer::stream_end(&paging.position)),
        }
        waits(visit, Errand::WritePages(paging), Effect::Write(text))
    }

    fn hint(
        &mut self,
        visit: &mut Visit,
        (directory, is_of_address): (SpaceHash, bool),
        event: &Event,
        now: Millis,
    ) -> Effect {
        let id = visit.target().id.clone();
        let (Event::Begun, Some(space)) = (event, id) else {
            #[cfg(feature = "dexie")]
            self.realms.forget(&directory);
            return Effect::Rest;
        };
        let call = match is_of_address {
            false => DirectoryCall::Hint { space },
            true => DirectoryCall::Invite { space },
        };
        let call = visit.directory_call(directory.clone(), call);
        self.send_unless_refused(visit, call, Errand::Hint(directory), now)
    }

    /// In the name of the address, which alone may do so.
    #[cfg(feature = "dexie")]
    fn end_hint_of(
        &mut self,
        visit: &mut Visit,
        directory: SpaceHash,
        entry: Box<Entry>,
        event: &Event,
        now: Millis,
    ) -> Effect {
        let Event::Begun = event else { return Effect::Rest };
        let mut call = visit.directory_call(directory.clone(), DirectoryCall::Note(*entry.clone()));
        call.caller.user = directory.clone().into();
        self.send_unless_refused(visit, call, Errand::EndHint(directory, entry), now)
    }

    /// Nobody waits for this call, so it is not made at all while its object has told the caller to come back later.
    pub(super) fn send_unless_refused(
        &mut self,
        visit: &mut Visit,
        mut call: Box<Outgoing>,
        errand: Errand,
        now: Millis,
    ) -> Effect {
        call.timeout_ms = limits::DIRECTORY_TIMEOUT_MS;
        match self.check_refusal(&call, now) {
            Ok(()) => self.send(visit, call, Then::Errand(Box::new(errand)), now),
            Err(_) => Effect::Rest,
        }
    }
}

/// Until when a stream of pages is not taken for over, if nobody hears of it.
pub(super) fn read_until(now: Millis) -> Millis {
    now.plus(u64::from(limits::STREAM_MS_MAX))
}

pub(super) fn waits(visit: &mut Visit, errand: Errand, effect: Effect) -> Effect {
    visit.state = State::Errand(Box::new(errand));
    effect
}

/// What has been put meanwhile belongs to records of a private space that is in use again.
fn delete_blobs(visit: &mut Visit, (before, steps): (Millis, usize), event: Event) -> Effect {
    let behind = match event {
        Event::Begun => String::new(),
        Event::Blob(BlobEvent::Deleted(Some(behind))) if steps > 0 => behind,
        _ => return Effect::Rest,
    };
    let target = visit.target();
    let prefix = Scope::blobs_of(&target.hash, target.id.is_some());
    let then = Errand::DeleteBlobs { before, steps: steps.saturating_sub(1) };
    waits(visit, then, Effect::Blob(BlobEffect::Delete { prefix, behind, before }))
}

/// A cache that fails costs a read of KV, nothing else.
fn tell_location(visit: &mut Visit, head: Option<Rc<KnownHead>>, overlay: Option<Rc<Overlay>>) -> Effect {
    let base = cache_base(visit);
    match (head, overlay) {
        (Some(head), overlay) => {
            let effect = Effect::CacheHead { base, head, ttl_s: seconds(LOCATION_MS) };
            waits(visit, Errand::TellLocation { head: None, overlay }, effect)
        }
        (None, Some(overlay)) => {
            let effect = Effect::CacheOverlay { base, overlay, ttl_s: seconds(OVERLAY_KEPT_MS) };
            waits(visit, Errand::TellLocation { head: None, overlay: None }, effect)
        }
        (None, None) => Effect::Rest,
    }
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}
