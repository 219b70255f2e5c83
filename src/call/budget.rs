//! What is asked of the deployment's budget, and what it answers: how much a space may put into KV before the day is over, and
//! how many requests objects have had.

use crate::json::{Texts, Written};

/// For how long whoever asks the budget waits for its answer, in ms.
pub const BUDGET_TIMEOUT_MS: u32 = 5_000;

/// What a space, or an isolate, asks of the budget, on behalf of a [`super::Caller`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetCall {
    /// A space is about to put something into KV. The caller's user is the space.
    Lease(LeaseAsk),
    /// An isolate has made so many requests of objects since it last said so. The last of them was the caller's.
    Count {
        /// How many.
        requests: u32,
    },
}

/// What a space that is about to publish says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaseAsk {
    /// How many values it has to put, at least.
    pub writes: u32,
    /// Whether it has had none on this day, as far as it knows: then it is one space more among those that share the day.
    pub is_first: bool,
    /// Whether readers have to be told of another history.
    pub is_urgent: bool,
    /// Requests that its object has had since it last said so, of which no isolate at the edge knows: alarms, and a twentieth of
    /// the messages over sockets.
    pub requests: u32,
}

/// How much is left of what a day has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Left {
    /// As much as the rest of the day needs, or nobody has set a budget.
    #[default]
    Enough,
    /// Less than the share of the day that is left, so it is spread over the rest of the day.
    Low,
    /// No more than the reserve, which is for what cannot wait.
    Reserve,
    /// Nothing.
    Nothing,
}

impl Left {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enough => "enough",
            Self::Low => "low",
            Self::Reserve => "reserve",
            Self::Nothing => "nothing",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Enough, Self::Low, Self::Reserve, Self::Nothing].into_iter().find(|left| left.as_str() == word)
    }
}

/// What the budget answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetAnswer {
    /// The day of which it speaks, counted from the Unix epoch: a lease is good on that day alone.
    pub day: u64,
    /// How many values the space may put.
    pub writes: u32,
    /// For how long from now on the space then puts nothing that can wait, in ms.
    pub wait_ms: u64,
    /// For how long the caller is to make no more requests of objects, in seconds.
    pub pause_s: u32,
    /// How much is left of the day's KV writes.
    pub kv_writes: Left,
    /// How much is left of the day's requests of objects.
    pub object_requests: Left,
}

impl BudgetCall {
    /// As it travels.
    pub(super) fn written(&self) -> Written {
        let call = |name| Written::default().and("call", name);
        match self {
            Self::Count { requests } => call("count").and_some("requests", number(u64::from(*requests))),
            Self::Lease(LeaseAsk { writes, is_first, is_urgent, requests }) => call("lease")
                .and_some("writes", number(u64::from(*writes)))
                .and_some("first", yes(*is_first))
                .and_some("urgent", yes(*is_urgent))
                .and_some("requests", number(u64::from(*requests))),
        }
    }

    /// Out of what [`Self::written`] wrote. Of anything else it may be none, or say less.
    pub(super) fn read(texts: &Texts<'_>) -> Option<Self> {
        let requests = read_number(texts, "requests")?;
        let is = |name| texts.get(name) == Some("yes");
        Some(match texts.get("call")? {
            "count" => Self::Count { requests },
            "lease" => Self::Lease(LeaseAsk {
                writes: read_number(texts, "writes")?,
                is_first: is("first"),
                is_urgent: is("urgent"),
                requests,
            }),
            _ => return None,
        })
    }
}

impl BudgetAnswer {
    /// As it travels.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { day, writes, wait_ms, pause_s, kv_writes, object_requests } = *self;
        let left = |left: Left| (left != Left::Enough).then(|| left.as_str().to_owned());
        Written::default()
            .and_some("day", number(day))
            .and_some("writes", number(u64::from(writes)))
            .and_some("wait", number(wait_ms))
            .and_some("pause", number(u64::from(pause_s)))
            .and_some("kv_writes", left(kv_writes))
            .and_some("object_requests", left(object_requests))
            .end()
    }

    /// Out of [`Self::to_text`]. A field that a newer budget has added is left out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let texts = Texts::parse(text)?;
        let left = |name| texts.get(name).map_or(Some(Left::Enough), Left::parse);
        Some(Self {
            day: read_number(&texts, "day")?,
            writes: read_number(&texts, "writes")?,
            wait_ms: read_number(&texts, "wait")?,
            pause_s: read_number(&texts, "pause")?,
            kv_writes: left("kv_writes")?,
            object_requests: left("object_requests")?,
        })
    }
}

fn number(number: u64) -> Option<String> {
    (number > 0).then(|| number.to_string())
}

fn yes(is_so: bool) -> Option<String> {
    is_so.then(|| "yes".to_owned())
}

/// A number that is left out is 0. None for what is no number.
fn read_number<T: std::str::FromStr + Default>(texts: &Texts<'_>, name: &str) -> Option<T> {
    texts.get(name).map_or_else(|| Some(T::default()), |text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_pinned_because_the_objects_are_deployed_one_after_the_other() {
        let full = BudgetAnswer {
            day: 20_787,
            writes: 3,
            wait_ms: 60_000,
            pause_s: 9,
            kv_writes: Left::Low,
            object_requests: Left::Reserve,
        };
        let text = r#"{"day":"20787","writes":"3","wait":"60000","pause":"9","kv_writes":"low","object_requests":"reserve"}"#;
        let consequence = "spaces would publish as if there were no budget while a deployment is under way";
        assert_eq!(full.to_text(), text, "{consequence}");
        assert_eq!(BudgetAnswer::parse(text), Some(full), "{consequence}");
        assert_eq!(BudgetAnswer::parse(&text.replace("{\"day", "{\"later\":\"1\",\"day")), Some(full));
        assert_eq!(BudgetAnswer::parse("{}"), Some(BudgetAnswer::default()));
        assert_eq!(BudgetAnswer::default().to_text(), "{}");
        for text in ["", r#"{"writes":"-1"}"#, r#"{"kv_writes":"later"}"#] {
            assert_eq!(BudgetAnswer::parse(text), None, "{text}");
        }
    }
}
