//! Places in memory. All objects of an isolate have one memory, which never shrinks, so a body is read only when it has its place
//! there. Until then it waits where it is whole, at the edge that has received it: so who sends slowly takes none, and a push that
//! is inside waits for none that is not. Turns of publication have places of their own.

use std::collections::BTreeMap;

use crate::{ids::UserHash, limits, time::Millis};

/// The places of an isolate. Short bodies have some of their own, so that they do not wait behind long ones.
#[derive(Debug)]
pub(super) struct Places {
    short: Pool,
    long: Pool,
    turns: Pool,
}

/// Where a push or a turn stands, from the line to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    line: Line,
    number: u64,
}

#[derive(Debug, Clone, Copy)]
enum Line {
    Short,
    Long,
    Turns,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It is inside from now on, until it leaves.
    Inside,
    /// It looks again in so many ms.
    Again(u64),
    /// It has waited too long, and stands in the line no more.
    InVain,
}

#[derive(Debug, Default)]
struct Pool {
    max: usize,
    /// What one user has at most: others could come at any moment.
    share: usize,
    /// How long one waits, in ms.
    waits_ms: u64,
    /// How many have come.
    count: u64,
    /// The latest turn in which one got in.
    turn: u64,
    pushes: BTreeMap<u64, Standing>,
}

/// A push that waits, or is inside.
#[derive(Debug)]
struct Standing {
    user: UserHash,
    weight: usize,
    /// Of each user one gets in, then of each the second, and so on. So who comes waits for one of every other user at most, however
    /// many of those wait.
    turn: u64,
    is_inside: bool,
    came: Millis,
    /// When it last gave a sign of life. An object that the platform ends says nothing.
    seen: Millis,
}

impl Default for Places {
    fn default() -> Self {
        let pool = |max| Pool { max, share: max / 2, waits_ms: limits::PLACE_WAITS_MS, ..Pool::default() };
        let turns = Pool { share: limits::TURNS_MAX, waits_ms: u64::MAX, ..pool(limits::TURNS_MAX) };
        Self { short: pool(limits::PLACES_SHORT_MAX), long: pool(limits::PLACES_LONG_MAX), turns }
    }
}

impl Places {
    /// A push of so many bytes stands in line, of which nothing may be read before it [looks](Self::look) and is inside.
    pub(super) fn line_up(&mut self, user: &UserHash, length: usize, now: Millis) -> Place {
        let line = if length <= limits::BODY_SHORT_MAX { Line::Short } else { Line::Long };
        let weight = limits::push_weight(length.min(limits::BODY_BYTES_MAX));
        Place { line, number: self.pool(line).line_up(user, weight, now) }
    }

    /// A turn of publication stands in line, as long as it takes: a publication has time, and its watchdog is set anew before its
    /// head. An object does not know whose spaces it is one of, so turns get in as they come.
    pub(super) fn line_up_turn(&mut self, now: Millis) -> Place {
        let nobody = UserHash::new("", "");
        Place { line: Line::Turns, number: self.turns.line_up(&nobody, 1, now) }
    }

    /// Whoever waits looks again and again, rather than be called: whoever leaves is another object, and whoever has waited may be
    /// gone.
    pub(super) fn look(&mut self, place: Place, now: Millis) -> Look {
        self.pool(place.line).look(place.number, now)
    }

    /// It is still there.
    pub(super) fn is_seen(&mut self, place: Place, now: Millis) {
        if let Some(push) = self.pool(place.line).pushes.get_mut(&place.number) {
            push.seen = now;
        }
    }

    /// It has been read, and weighs less than it might have.
    pub(super) fn weighs(&mut self, place: Place, weight: usize) {
        if let Some(push) = self.pool(place.line).pushes.get_mut(&place.number) {
            push.weight = push.weight.min(weight);
        }
    }

    /// It waits no more, and is inside no more.
    pub(super) fn leave(&mut self, place: Place) {
        self.pool(place.line).pushes.remove(&place.number);
    }

    fn pool(&mut self, line: Line) -> &mut Pool {
        match line {
            Line::Short => &mut self.short,
            Line::Long => &mut self.long,
            Line::Turns => &mut self.turns,
        }
    }
}

impl Pool {
    fn line_up(&mut self, user: &UserHash, weight: usize, now: Millis) -> u64 {
        let latest = self.pushes.values().filter(|push| push.user == *user).map(|push| push.turn).max();
        let turn = latest.map_or(0, |latest| latest + 1).max(self.turn);
        let push = Standing { user: user.clone(), weight, turn, is_inside: false, came: now, seen: now };
        self.count += 1;
        self.pushes.insert(self.count, push);
        self.count
    }

    fn look(&mut self, number: u64, now: Millis) -> Look {
        self.pushes.retain(|_, push| !push.is_lost(now));
        let Some(mut push) = self.pushes.remove(&number) else { return Look::InVain };
        let waits = |(_, other): &(&u64, &Standing)| !other.is_inside && !other.is_away(now);
        let mut ahead =
            self.pushes.iter().filter(waits).filter(|(at, other)| (other.turn, **at) < (push.turn, number));
        let inside = self.inside();
        let leaves_share =
            |one: &Standing| inside.get(&one.user).copied().unwrap_or(0) + one.weight <= self.share;
        // None is overtaken by one that would fit, unless its user has a full share inside.
        let is_next = leaves_share(&push) && !ahead.clone().any(|(_, other)| leaves_share(other));
        if is_next && inside.values().sum::<usize>() + push.weight <= self.max {
            self.turn = self.turn.max(push.turn);
            self.pushes.insert(number, Standing { is_inside: true, seen: now, ..push });
            return Look::Inside;
        }
        if now.since(push.came) >= self.waits_ms {
            return Look::InVain;
        }
        let far = ahead.by_ref().count() as u64 + 1;
        push.seen = now;
        self.pushes.insert(number, push);
        Look::Again((far * limits::PLACE_LOOKS_MS).min(limits::PLACE_LOOKS_MS_MAX))
    }

    /// What those weigh that are inside, of each user.
    fn inside(&self) -> BTreeMap<UserHash, usize> {
        let mut inside = BTreeMap::new();
        for push in self.pushes.values().filter(|push| push.is_inside) {
            *inside.entry(push.user.clone()).or_default() += push.weight;
        }
        inside
    }
}

impl Standing {
    /// Whether it stands in nobody's way, though it may come back.
    fn is_away(&self, now: Millis) -> bool {
        now.since(self.seen) > limits::PLACE_UNSEEN_MS
    }

    fn is_lost(&self, now: Millis) -> bool {
        match self.is_inside {
            true => now.since(self.seen) > limits::PLACE_INSIDE_MS,
            false => self.is_away(now) && now.since(self.came) > limits::PLACE_WAITS_MS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: usize = limits::BODY_BYTES_MAX;
    const SHORT: usize = limits::BODY_SHORT_MAX;

    /// An isolate, time, and pushes that look as often as they are told to.
    #[derive(Default)]
    struct Isolate {
        places: Places,
        now: u64,
        pushes: Vec<Push>,
        /// Those that have got in, in order.
        entered: Vec<usize>,
    }

    struct Push {
        user: &'static str,
        place: Place,
        is: Look,
        looks_at: u64,
    }

    impl Isolate {
        fn ask(&mut self, user: &'static str, length: usize) -> usize {
            let place = self.places.line_up(&UserHash::new("i", user), length, Millis(self.now));
            self.pushes.push(Push { user, place, is: Look::Again(0), looks_at: self.now });
            self.look();
            self.pushes.len() - 1
        }

        fn look(&mut self) {
            for (at, push) in self.pushes.iter_mut().enumerate() {
                if push.looks_at > self.now || !matches!(push.is, Look::Again(_)) {
                    continue;
                }
                push.is = self.places.look(push.place, Millis(self.now));
                match push.is {
                    Look::Again(ms) => push.looks_at = self.now + ms,
                    Look::Inside => self.entered.push(at),
                    Look::InVain => {}
                }
            }
        }

        fn pass(&mut self, ms: u64) {
            for _ in 0..ms / 10 {
                self.now += 10;
                self.look();
            }
        }

        fn leave(&mut self, at: usize) {
            self.places.leave(self.pushes[at].place);
        }

        /// The users of those that are inside, or were.
        fn entered(&self) -> Vec<&'static str> {
            self.entered.iter().map(|at| self.pushes[*at].user).collect()
        }
    }

    #[test]
    fn two_full_pushes_are_inside_at_once_and_the_next_gets_in_when_one_has_left() {
        let mut isolate = Isolate::default();
        let all = ["a", "b", "c", "d"].map(|user| isolate.ask(user, FULL));
        isolate.pass(100);
        assert_eq!(isolate.entered(), ["a", "b"]);
        isolate.leave(all[1]);
        isolate.leave(all[1]);
        isolate.pass(100);
        assert_eq!(isolate.entered(), ["a", "b", "c"]);
    }

    #[test]
    fn of_full_pushes_that_turn_out_to_be_ordinary_a_third_gets_in() {
        let mut isolate = Isolate::default();
        let all = ["a", "b", "c", "d"].map(|user| isolate.ask(user, FULL));
        for at in [0, 1] {
            isolate.places.weighs(isolate.pushes[all[at]].place, 2 * FULL);
        }
        isolate.places.weighs(isolate.pushes[all[1]].place, usize::MAX);
        isolate.pass(100);
        assert_eq!(isolate.entered(), ["a", "b"], "what another one weighs is not known");
        isolate.leave(all[0]);
        isolate.places.weighs(isolate.pushes[all[1]].place, FULL);
        isolate.pass(100);
        assert_eq!(isolate.entered(), ["a", "b", "c"]);
    }

    #[test]
    fn hundreds_of_small_pushes_are_inside_at_once() {
        let mut isolate = Isolate::default();
        for _ in 0..150 {
            isolate.ask("a", 1_000);
            isolate.ask("b", 1_000);
        }
        assert_eq!(isolate.entered.len(), 300);
    }

    #[test]
    fn one_user_has_half_of_the_places_at_most_and_holds_nobody_up_by_waiting_for_more() {
        for (length, half) in [(FULL, 1), (SHORT, 2)] {
            let mut isolate = Isolate::default();
            let many: Vec<_> = (0..10).map(|_| isolate.ask("many", length)).collect();
            isolate.pass(100);
            assert_eq!(isolate.entered.len(), half, "{length}");
            isolate.ask("one", length);
            assert_eq!(isolate.entered().last(), Some(&"one"));
            isolate.leave(many[0]);
            isolate.pass(100);
            assert_eq!((isolate.entered.len(), isolate.entered().last()), (half + 2, Some(&"many")));
        }
    }

    #[test]
    fn short_pushes_do_not_wait_behind_long_ones_nor_long_ones_behind_short_ones() {
        let mut isolate = Isolate::default();
        for user in ["a", "b", "c", "d", "e", "f", "g"] {
            isolate.ask(user, FULL);
        }
        assert_eq!(isolate.entered(), ["a", "b"]);
        for user in ["a", "b", "c", "d", "e", "f", "g"] {
            isolate.ask(user, SHORT);
        }
        assert_eq!(isolate.entered()[2..], ["a", "b", "c", "d"]);
        isolate.leave(0);
        isolate.pass(100);
        assert_eq!(isolate.entered()[6..], ["c"]);
    }

    #[test]
    fn a_long_push_is_not_overtaken_by_those_that_would_fit_into_what_is_left() {
        let mut isolate = Isolate::default();
        isolate.ask("a", FULL);
        let second = isolate.ask("b", FULL / 2);
        isolate.ask("c", FULL);
        isolate.ask("d", SHORT + 1);
        isolate.pass(100);
        assert_eq!(isolate.entered(), ["a", "b"]);
        isolate.leave(second);
        isolate.pass(100);
        assert_eq!(isolate.entered(), ["a", "b", "c"]);
    }

    #[test]
    fn who_comes_waits_for_no_more_than_one_push_of_every_other_user_however_many_of_those_wait() {
        let mut isolate = Isolate::default();
        for at in 0..40 {
            isolate.ask(if at < 20 { "many" } else { "more" }, FULL);
        }
        isolate.ask("one", FULL);
        isolate.ask("two", FULL);
        for at in 0..8 {
            isolate.leave(isolate.entered[at]);
            isolate.pass(100);
        }
        assert_eq!(isolate.entered()[..8], ["many", "more", "one", "two", "many", "more", "many", "more"]);
    }

    #[test]
    fn who_has_waited_for_ten_seconds_is_refused_and_stands_in_nobodys_way() {
        let mut isolate = Isolate::default();
        let all = ["a", "b", "c"].map(|user| isolate.ask(user, FULL));
        isolate.pass(5_000);
        isolate.ask("d", FULL);
        isolate.pass(6_000);
        assert_eq!(isolate.pushes[all[2]].is, Look::InVain);
        isolate.leave(all[0]);
        isolate.pass(100);
        assert_eq!(isolate.entered(), ["a", "b", "d"]);
    }

    #[test]
    fn who_says_nothing_any_more_is_in_the_way_for_two_seconds_in_the_line_and_for_a_minute_inside() {
        let mut isolate = Isolate::default();
        isolate.ask("a", FULL);
        isolate.ask("b", FULL);
        let lost = isolate.ask("lost", FULL);
        isolate.pushes[lost].looks_at = u64::MAX;
        isolate.ask("next", FULL);
        isolate.leave(0);
        isolate.pass(1_500);
        assert_eq!(isolate.entered(), ["a", "b"]);
        isolate.pass(1_000);
        assert_eq!(isolate.entered(), ["a", "b", "next"]);
        isolate.pass(57_000);
        isolate.ask("last", FULL);
        isolate.pass(5_000);
        assert_eq!(isolate.entered(), ["a", "b", "next", "last"]);
        assert_eq!(isolate.places.long.pushes.len(), 2, "nobody is remembered for ever");
    }

    #[test]
    fn who_was_busy_for_too_long_gets_in_all_the_same() {
        let mut isolate = Isolate::default();
        isolate.ask("a", FULL);
        isolate.ask("b", FULL);
        let busy = isolate.ask("busy", FULL);
        isolate.pushes[busy].looks_at = 5_000;
        isolate.leave(0);
        isolate.pass(5_000);
        assert_eq!(isolate.entered(), ["a", "b", "busy"]);
    }
}
