//! The deployment's budget of a UTC day, kept by an object with a name of its own: how many values spaces may still put into KV,
//! and how many requests objects have had.
//!
//! A space *leases* what it is about to put, one row here for each lease. What it has leased is spent, whatever becomes of it, so
//! the leases of a day are never more than its budget. Requests of objects are *counted*: isolates at the edge say in portions how
//! many they have made. Both are told how much is left, and for how long to wait: whoever asks for more than the share of the day
//! that is left is spread over the rest of it.
//!
//! No chance and no alarm. All that it knows is one row, which is written before anything is answered.

use serde_json::json;

use crate::{
    call::{BudgetAnswer, BudgetCall, LeaseAsk, Left},
    coordinator::ledger::{Ledger, LedgerResult},
    ids::UserHash,
    json::{Texts, Written},
    log::{LogLevel, LogLine},
    time::{DAY_MS, HOUR_MS, Millis},
};

/// The kind of the private row that holds it. There is one, so its key is empty.
const KIND: &str = "budget";
/// The part of a day's KV writes that is kept for what cannot wait: one in so many.
const KV_RESERVE: u64 = 20;
/// The part of a day's object requests that is kept for pushes: one in so many.
const REQUESTS_RESERVE: u64 = 10;
/// Whoever has made more than one in so many of all requests may have to pause: of many who make few each, nobody has.
const SHARE: u64 = 4;
/// The longest pause, in seconds. Where few people use a deployment, whoever has made most requests may be all of them, so a pause
/// slows down and stops nobody: an edit that nobody takes is worse than a request too many.
const PAUSE_S_MAX: u64 = 60;
/// How many of those who have made the most requests on a day are remembered.
const CALLERS_COUNTED: usize = 16;
/// Over how long after 00:00 UTC those are spread who have waited for it, in ms.
const SPREAD_MS: u64 = 15 * 60_000;

/// What a day has. None is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetMax {
    /// Values that spaces may put into KV.
    pub kv_writes: Option<u32>,
    /// Requests that objects may have.
    pub object_requests: Option<u32>,
}

/// What was spent on a day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Spent {
    day: u64,
    /// Values that were leased.
    writes: u64,
    /// Spaces that have leased some.
    spaces: u64,
    /// Requests that objects have had, as far as is known.
    requests: u64,
    /// Who has made the most of them, at least so many.
    callers: Vec<(UserHash, u64)>,
    /// The hour, counted from the Unix epoch, in which the log was last told.
    told: u64,
}

/// The budget.
#[derive(Debug)]
pub struct Budget<L> {
    ledger: L,
    max: BudgetMax,
    spent: Spent,
}

impl<L: Ledger> Budget<L> {
    /// As storage has it.
    ///
    /// # Errors
    /// When storage cannot be read.
    pub fn open(ledger: L, max: BudgetMax) -> LedgerResult<Self> {
        let row = ledger.private(KIND, "")?;
        let spent = row.and_then(|row| Spent::parse(&row)).unwrap_or_default();
        Ok(Self { ledger, max, spent })
    }

    /// Its rows.
    pub fn ledger(&mut self) -> &mut L {
        &mut self.ledger
    }

    /// Answers a call, and says what the log is to be told.
    ///
    /// # Errors
    /// When storage cannot note it: then nothing was leased.
    pub fn answer(
        &mut self,
        caller: &UserHash,
        call: &BudgetCall,
        now: Millis,
    ) -> LedgerResult<(BudgetAnswer, Option<LogLine>)> {
        let mut spent = self.spent.on(now);
        // The call itself is a request of an object.
        spent.requests += 1;
        let mut answer = match call {
            BudgetCall::Lease(ask) => spent.lease(caller, ask, self.max, now),
            BudgetCall::Count { requests } => spent.count(caller, u64::from(*requests), self.max, now),
        };
        answer.day = spent.day;
        answer.kv_writes = spent.kv_writes_left(self.max, now);
        answer.object_requests = spent.requests_left(self.max, now);
        let news = spent.news(&answer, self.max, now);
        if !planted!(LeaseNotNoted) {
            self.ledger.put_private(KIND, "", &spent.text())?;
        }
        self.spent = spent;
        Ok((answer, news))
    }
}

/// What is left of `max` when `spent` is, but for one in so many that are kept back.
#[derive(Debug, Clone, Copy)]
struct Rest {
    max: u64,
    left: u64,
    reserve: u64,
    rest_ms: u64,
}

impl Rest {
    fn of(max: u32, spent: u64, kept: u64, now: Millis) -> Self {
        let max = u64::from(max);
        let (left, reserve) = (max.saturating_sub(spent), max.div_ceil(kept).min(max / 2));
        Self { max, left, reserve, rest_ms: now.next_day().since(now) }
    }

    /// What may be spent on what can wait.
    fn open(&self) -> u64 {
        self.left.saturating_sub(self.reserve)
    }

    /// Whether less is left than the share of the day that is.
    fn is_behind(&self) -> bool {
        self.open() * DAY_MS < (self.max - self.reserve) * self.rest_ms
    }

    /// Nobody is told that the first half runs low: mornings begin with first loads.
    fn said(self) -> Left {
        match self.left {
            0 => Left::Nothing,
            left if left <= self.reserve => Left::Reserve,
            left if left < self.max / 2 && self.is_behind() => Left::Low,
            _ => Left::Enough,
        }
    }
}

impl Spent {
    /// What was spent on the day of `now`. A clock that has gone back does not begin a day anew.
    fn on(&self, now: Millis) -> Self {
        // Nor does a row from some day far ahead, written by a clock that was wrong, hold until then.
        match now.day() > self.day || self.day > now.day() + 1 {
            true => Self { day: now.day(), ..Self::default() },
            false => self.clone(),
        }
    }

    fn lease(&mut self, space: &UserHash, ask: &LeaseAsk, max: BudgetMax, now: Millis) -> BudgetAnswer {
        self.requests += u64::from(ask.requests);
        let Some(max) = max.kv_writes else {
            return BudgetAnswer { writes: ask.writes, ..BudgetAnswer::default() };
        };
        self.spaces += u64::from(ask.is_first);
        let rest = Rest::of(max, self.writes, KV_RESERVE, now);
        let may = if ask.is_urgent { rest.left } else { rest.open() };
        let writes = match planted!(LeasedAboveTheBudget) {
            true => ask.writes,
            false => ask.writes.min(u32::try_from(may).unwrap_or(u32::MAX)),
        };
        self.writes += u64::from(writes);
        let rest = Rest::of(max, self.writes, KV_RESERVE, now);
        let next_day = rest.rest_ms + spread(space);
        let wait_ms = match writes {
            0 => next_day,
            _ if rest.is_behind() => {
                (rest.rest_ms * self.spaces.max(1) * u64::from(writes) / rest.open().max(1)).min(next_day)
            }
            _ => 0,
        };
        BudgetAnswer { writes, wait_ms, ..BudgetAnswer::default() }
    }

    /// Who has made more than a part of all requests makes no more than are left for all others, once the day runs short of them.
    fn count(&mut self, caller: &UserHash, requests: u64, max: BudgetMax, now: Millis) -> BudgetAnswer {
        self.requests += requests;
        let own = self.count_caller(caller, requests);
        let Some(max) = max.object_requests else { return BudgetAnswer::default() };
        let rest = Rest::of(max, self.requests, REQUESTS_RESERVE, now);
        let has_most = own * SHARE > self.requests && own > rest.left;
        if !has_most || !rest.is_behind() {
            return BudgetAnswer::default();
        }
        // As many again take so long that half of what is left is still there for others when the day ends.
        let rest_s = rest.rest_ms.div_ceil(1_000);
        let pause_s = (2 * rest_s * requests / rest.left.max(1)).clamp(1, PAUSE_S_MAX);
        BudgetAnswer { pause_s: u32::try_from(pause_s).unwrap_or(u32::MAX), ..BudgetAnswer::default() }
    }

    /// At least how many requests a caller has made. Whoever has made more than one in so many as are remembered of all is
    /// remembered; nobody for more than they have made.
    fn count_caller(&mut self, caller: &UserHash, requests: u64) -> u64 {
        if let Some((_, own)) = self.callers.iter_mut().find(|(known, _)| known == caller) {
            *own += requests;
            return *own;
        }
        let mut own = requests;
        if self.callers.len() == CALLERS_COUNTED {
            let least = self.callers.iter().map(|(_, count)| *count).min().unwrap_or(0).min(requests);
            self.callers.iter_mut().for_each(|(_, count)| *count -= least);
            self.callers.retain(|(_, count)| *count > 0);
            own -= least;
        }
        if own > 0 && self.callers.len() < CALLERS_COUNTED {
            self.callers.push((caller.clone(), own));
        }
        own
    }

    fn kv_writes_left(&self, max: BudgetMax, now: Millis) -> Left {
        let rest = max.kv_writes.map(|max| Rest::of(max, self.writes, KV_RESERVE, now));
        rest.map_or(Left::Enough, Rest::said)
    }

    fn requests_left(&self, max: BudgetMax, now: Millis) -> Left {
        let rest = max.object_requests.map(|max| Rest::of(max, self.requests, REQUESTS_RESERVE, now));
        rest.map_or(Left::Enough, Rest::said)
    }

    /// A line an hour while anything runs low.
    fn news(&mut self, answer: &BudgetAnswer, max: BudgetMax, now: Millis) -> Option<LogLine> {
        let hour = now.0 / HOUR_MS;
        if answer.kv_writes.max(answer.object_requests) == Left::Enough || self.told >= hour {
            return None;
        }
        self.told = hour;
        let of = |left: Left, spent: u64, max: Option<u32>| json!({ "left": left.as_str(), "spent": spent, "of": max });
        let fields = json!({
            "kvWrites": of(answer.kv_writes, self.writes, max.kv_writes),
            "objectRequests": of(answer.object_requests, self.requests, max.object_requests),
            "spaces": self.spaces, "endsInS": now.next_day().since(now).div_ceil(1_000),
        });
        Some((LogLevel::Error, "the day's budget runs low", fields))
    }

    fn text(&self) -> String {
        let Self { day, writes, spaces, requests, callers, told } = self;
        let callers: Vec<_> =
            callers.iter().map(|(user, count)| format!("{} {count}", user.as_str())).collect();
        Written::default()
            .and("day", &day.to_string())
            .and("writes", &writes.to_string())
            .and("spaces", &spaces.to_string())
            .and("requests", &requests.to_string())
            .and("callers", &callers.join(","))
            .and("told", &told.to_string())
            .end()
    }

    fn parse(text: &str) -> Option<Self> {
        let texts = Texts::parse(text)?;
        let number = |name| texts.get(name)?.parse().ok();
        let caller = |text: &str| {
            let (user, count) = text.split_once(' ')?;
            Some((UserHash::parse(user).ok()?, count.parse().ok()?))
        };
        Some(Self {
            day: number("day")?,
            writes: number("writes")?,
            spaces: number("spaces")?,
            requests: number("requests")?,
            callers: texts.get("callers")?.split(',').filter_map(caller).collect(),
            told: number("told")?,
        })
    }
}

/// By how much later than others a space begins a day, in ms.
fn spread(space: &UserHash) -> u64 {
    let number = u64::from_str_radix(&space.as_str()[..4], 16).unwrap_or(0);
    number * SPREAD_MS / 0x1_0000
}
