//! Which transactions of a client were done before: what its row remembers of those whose answer it may not have heard.

use std::collections::BTreeSet;

use crate::{coordinator::ledger::Client, limits, mutation::Token, version::Version};

/// Tokens that a row has at most, some 20 bytes each: far more than one request has transactions.
const KEPT: usize = 20_000;

/// The transactions that a client's row remembers, oldest first.
///
/// As text, words joined by spaces: a token and behind it the version at which the space stood when the transaction was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::coordinator) struct Tokens(Vec<(String, Version)>);

impl Tokens {
    /// What the row remembers; nothing for a client that has none.
    #[must_use]
    pub(in crate::coordinator) fn of(client: Option<&Client>) -> Self {
        let words = client.map_or("", |client| client.history.as_str()).split_terminator(' ');
        let tokens = words.filter_map(|word| {
            let (token, version) = word.split_at_checked(Token::LEN)?;
            Some((token.to_owned(), Version::parse(version)?))
        });
        Self(tokens.collect())
    }

    /// Forgets what was done at or below the version up to which the client has what there is, unless the client has `sent` it again:
    /// it has heard of the changes, perhaps over a socket, and not that they were its own. What has changed nothing has no
    /// version of its own, and nobody hears of it. The latest are kept in any case: a request may arrive behind a later one that
    /// was answered.
    pub(in crate::coordinator) fn forget(&mut self, up_to: Version, sent: &BTreeSet<&str>) {
        let kept = if planted!(ForgottenTooEarly) { 0 } else { limits::DIGESTS_KEPT };
        let mut left = self.0.len();
        self.0.retain(|(token, version)| {
            left -= 1;
            left < kept || *version > up_to || sent.contains(&**token)
        });
    }

    /// At which version a transaction was done.
    #[must_use]
    pub(in crate::coordinator) fn get(&self, token: Token) -> Option<Version> {
        let found =
            self.0.iter().find(|(known, _)| known == token.as_str() && !planted!(TransactionsRepeated));
        found.map(|(_, version)| *version)
    }

    /// Notes a transaction that is done.
    pub(in crate::coordinator) fn note(&mut self, token: Token, at: Version) {
        self.0.push((token.as_str().to_owned(), at));
    }

    /// The text of the row.
    #[must_use]
    pub(in crate::coordinator) fn text(&self) -> String {
        let kept = self.0.iter().skip(self.0.len().saturating_sub(KEPT));
        let words: Vec<_> = kept.map(|(token, version)| format!("{token}{version}")).collect();
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{coordinator::metering::DailyUsage, time::Millis};

    fn version(number: u64) -> Version {
        Version::new(number).expect("a version")
    }

    fn row(history: &str) -> Client {
        let usage = DailyUsage::default();
        Client { writer: 1, last: 0, acked: 0, used_at: Millis(0), history: history.to_owned(), usage }
    }

    #[test]
    fn the_row_is_pinned_because_clients_in_the_field_repeat_what_they_have_sent() {
        let mut tokens = Tokens::default();
        tokens.note(Token::of("7Hiv"), version(7));
        tokens.note(Token::of("8Hiv"), version(12));
        let text = tokens.text();
        let consequence = "what a client repeats after an update would be done twice";
        assert_eq!(text, "CC2Mo2nacItD7 G7gcmt5sXNsx12", "{consequence}");
        assert_eq!(Tokens::of(Some(&row(&text))), tokens, "{consequence}");
    }

    #[test]
    fn what_a_client_has_the_answer_of_is_forgotten_and_what_it_sends_again_or_cannot_have_heard_is_known() {
        let mut tokens = Tokens::default();
        let count = limits::DIGESTS_KEPT as u64 + 4;
        for number in 1..=count {
            tokens.note(Token::of(&number.to_string()), version(number));
        }
        tokens.forget(version(3), &[Token::of("2").as_str()].into());
        let known: Vec<_> = (1..=5).map(|number| tokens.get(Token::of(&number.to_string()))).collect();
        assert_eq!(known, [None, Some(version(2)), None, Some(version(4)), Some(version(5))]);
        tokens.forget(version(count), &BTreeSet::new());
        let known: Vec<_> =
            (4..=count).filter(|number| tokens.get(Token::of(&number.to_string())).is_some()).collect();
        assert_eq!(known, (5..=count).collect::<Vec<_>>(), "a request may come late");
    }
}
