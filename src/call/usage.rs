//! What is used of what the platform bills.

use serde_json::{Map, Value};

/// What an answer, a message, an alarm, or a day has used. Operations are counted by whoever carries them out: clocks stand still
/// between I/O on the platform, and nobody in the Worker is told of CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Worker requests.
    pub worker: u64,
    /// Looks into a location's cache. Free.
    pub cache: u64,
    /// KV keys read.
    pub kv: u64,
    /// KV keys written.
    pub kv_written: u64,
    /// KV keys deleted.
    pub kv_deleted: u64,
    /// Requests to objects, alarms that rang included.
    pub object: u64,
    /// Messages that came over sockets; twenty are billed as one request to an object.
    pub messages: u64,
    /// SQL rows read by objects.
    pub rows_read: u64,
    /// SQL rows written by objects.
    pub rows_written: u64,
    /// Alarms set; each is billed as a row written, beside those.
    pub alarms_set: u64,
    /// Milliseconds for which an object had something to do, as far as its clock shows.
    pub active_ms: u64,
    /// Mutations that pushes have brought and that were rejected. They are not billed: somebody has lost an edit.
    pub rejected: u64,
}

/// How many meters there are.
const METERS: usize = 12;

impl Usage {
    /// The meters in the order in which rows hold them: one may be added at the end, and none may be moved. `Server-Timing` has them
    /// by the first name, logs and answers by the second.
    const fn meters(&self) -> [(&'static str, &'static str, u64); METERS] {
        [
            ("worker", "workerRequests", self.worker),
            ("cache", "cacheLookups", self.cache),
            ("kv", "kvReads", self.kv),
            ("kv_written", "kvWrites", self.kv_written),
            ("kv_deleted", "kvDeletes", self.kv_deleted),
            ("object", "objectRequests", self.object),
            ("messages", "messages", self.messages),
            ("rows_read", "rowsRead", self.rows_read),
            ("rows_written", "rowsWritten", self.rows_written),
            ("alarms_set", "alarmsSet", self.alarms_set),
            ("active", "activeMs", self.active_ms),
            ("rejected", "rejectedMutations", self.rejected),
        ]
    }

    /// The numbers of the meters, in the order of rows.
    #[must_use]
    #[inline(never)]
    pub fn numbers(&self) -> [u64; METERS] {
        self.meters().map(|(_, _, number)| number)
    }

    /// The numbers of a point in Analytics Engine, with the milliseconds to the answer. Meters that came later stand behind those, so that
    /// queries go on to mean what they meant.
    #[must_use]
    pub fn point(&self, ms: u64) -> [u64; METERS + 1] {
        let [
            worker,
            cache,
            kv,
            kv_written,
            kv_deleted,
            object,
            messages,
            read,
            written,
            alarms,
            active,
            later,
        ] = self.numbers();
        [
            worker, cache, kv, kv_written, kv_deleted, object, messages, read, written, alarms, active, ms,
            later,
        ]
    }

    /// Out of [`Self::numbers`], of which the last may be missing; what a newer build has added behind them is left out.
    #[must_use]
    #[inline(never)]
    pub fn of_numbers(numbers: &[u64]) -> Self {
        let mut numbers = numbers.iter().copied();
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            worker: next(),
            cache: next(),
            kv: next(),
            kv_written: next(),
            kv_deleted: next(),
            object: next(),
            messages: next(),
            rows_read: next(),
            rows_written: next(),
            alarms_set: next(),
            active_ms: next(),
            rejected: next(),
        }
    }

    /// How many operations of it are billed, without rows read, of which a thousand cost what one written does.
    #[must_use]
    pub const fn billed(&self) -> u64 {
        let Self { worker, kv, kv_written, kv_deleted, object, messages, rows_written, alarms_set, .. } =
            self;
        let objects = object.saturating_add(*messages / 20).saturating_add(*rows_written);
        let keys = kv.saturating_add(*kv_written).saturating_add(*kv_deleted);
        worker.saturating_add(keys).saturating_add(objects).saturating_add(*alarms_set)
    }

    /// Whether nothing was used.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// And this.
    pub fn add(&mut self, more: &Self) {
        self.each(more, u64::saturating_add);
    }

    /// Without this, of which there is no more than that.
    pub fn take_off(&mut self, less: &Self) {
        self.each(less, u64::saturating_sub);
    }

    #[inline(never)]
    fn each(&mut self, other: &Self, of: fn(u64, u64) -> u64) {
        let mut numbers = self.numbers();
        for (own, other) in numbers.iter_mut().zip(other.numbers()) {
            *own = of(*own, other);
        }
        *self = Self::of_numbers(&numbers);
    }

    /// The header's value. An HTTP answer is one Worker request, which it does not say. What came after the first five is there only
    /// where it was used.
    #[must_use]
    pub fn server_timing(&self) -> String {
        let Self { cache, kv, object, rows_read, rows_written, .. } = self;
        let mut text = format!(
            "cache;desc=\"{cache}\", kv;desc=\"{kv}\", object;desc=\"{object}\", \
             rows_read;desc=\"{rows_read}\", rows_written;desc=\"{rows_written}\""
        );
        if self.alarms_set > 0 {
            text.push_str(&format!(", alarms_set;desc=\"{}\"", self.alarms_set));
        }
        if self.active_ms > 0 {
            text.push_str(&format!(", active;dur={}", self.active_ms));
        }
        if self.rejected > 0 {
            text.push_str(&format!(", rejected;desc=\"{}\"", self.rejected));
        }
        text
    }

    /// Takes in what an object says of its own part.
    pub fn add_object(&mut self, server_timing: &str) {
        for entry in server_timing.split(", ") {
            let Some((name, number)) = entry.split_once(';') else { continue };
            let meter = match name {
                "rows_read" => &mut self.rows_read,
                "rows_written" => &mut self.rows_written,
                "alarms_set" => &mut self.alarms_set,
                "active" => &mut self.active_ms,
                "rejected" => &mut self.rejected,
                _ => continue,
            };
            let digits = number.trim_start_matches(|one: char| !one.is_ascii_digit()).trim_end_matches('"');
            *meter = meter.saturating_add(digits.parse::<u32>().unwrap_or(0).into());
        }
    }

    /// What was used, by the names that logs have.
    #[must_use]
    #[inline(never)]
    pub fn to_log(&self) -> Map<String, Value> {
        let used = self.meters().into_iter().filter(|(_, _, number)| *number > 0);
        let mut log = Map::new();
        log.extend(used.map(|(_, name, number)| (name.to_owned(), number.into())));
        log
    }

    /// What was used as a JSON object: all meters, or those that are not 0.
    #[must_use]
    #[inline(never)]
    pub fn to_json(&self, with_zeros: bool) -> String {
        let used = self.meters().into_iter().filter(|(_, _, number)| with_zeros || *number > 0);
        let fields: Vec<_> = used.map(|(_, name, number)| format!("\"{name}\":{number}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Usage {
        Usage::of_numbers(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    }

    #[test]
    fn the_objects_part_is_part_of_the_bill() {
        let object =
            Usage { rows_read: 12, rows_written: 3, alarms_set: 1, active_ms: 7, ..Usage::default() };
        let object = Usage { rejected: 2, ..object };
        let mut usage = Usage { object: 1, ..Usage::default() };
        usage.add_object(&object.server_timing());
        assert_eq!(usage, Usage { object: 1, ..object });
    }

    #[test]
    fn the_header_says_what_it_always_said_and_the_rest_only_where_it_was_used() {
        let five =
            r#"cache;desc="0", kv;desc="1", object;desc="2", rows_read;desc="3", rows_written;desc="4""#;
        let usage = Usage { kv: 1, object: 2, rows_read: 3, rows_written: 4, ..Usage::default() };
        assert_eq!(usage.server_timing(), five, "apps and benches read it");
        let usage = Usage { alarms_set: 5, active_ms: 6, rejected: 7, ..usage };
        let rest = r#"alarms_set;desc="5", active;dur=6, rejected;desc="7""#;
        assert_eq!(usage.server_timing(), format!("{five}, {rest}"));
    }

    #[test]
    fn what_is_no_header_of_ours_adds_nothing() {
        for text in
            ["", ";", "rows_read", "rows_read;", "rows_read;desc=\"x\"", "rows_read;desc=\"99999999999\""]
        {
            let mut usage = Usage::default();
            usage.add_object(text);
            assert!(usage.is_nothing(), "{text}");
        }
    }

    #[test]
    fn the_order_of_the_meters_is_that_of_the_rows_in_the_field() {
        let names = all().meters().map(|(name, ..)| name).join(" ");
        let order = "worker cache kv kv_written kv_deleted object messages rows_read rows_written alarms_set active \
                     rejected";
        assert_eq!(
            names, order,
            "days that were counted would be taken for something else: add at the end only"
        );
        assert_eq!(Usage::of_numbers(&all().numbers()), all());
        assert_eq!(
            all().point(99),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99, 12],
            "queries would mean something else"
        );
        assert_eq!(Usage::of_numbers(&[1, 2]), Usage { worker: 1, cache: 2, ..Usage::default() });
    }

    #[test]
    fn what_is_taken_off_is_what_was_added() {
        let mut usage = all();
        usage.add(&all());
        assert_eq!(usage.rows_written, 18);
        usage.take_off(&all());
        assert_eq!(usage, all());
        usage.take_off(&Usage { worker: 9, ..all() });
        assert!(usage.is_nothing());
    }

    #[test]
    fn logs_and_answers_leave_out_what_was_not_used() {
        let usage = Usage { object: 1, rows_written: 3, ..Usage::default() };
        assert_eq!(usage.to_json(false), r#"{"objectRequests":1,"rowsWritten":3}"#);
        assert_eq!(Value::Object(usage.to_log()).to_string(), usage.to_json(false));
        assert_eq!(usage.to_json(true).matches(':').count(), METERS);
    }
}
