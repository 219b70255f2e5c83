//! Configuration: what the environment says, read once per isolate.

use std::{cell::RefCell, fmt::Display};

use crate::{
    access::{
        cors,
        token::{DEMO_ISSUER, TokenConfig},
    },
    coordinator::{
        budget::BudgetMax, object::ObjectConfig, publication::PublicationConfig, rate::RateConfig,
    },
    edge::config::{DexieConfig, EdgeConfig},
    fronts::read_push,
    limits::{self, DirectoryMax, Sizes},
    log::LogLevel,
};

const DAY_MS: f64 = 86_400_000.0;
/// More days than any client will ask for sessions with one sign-in.
const REFRESH_DAYS_MAX: u32 = 3_650;

/// Where the platform keeps objects if it is told to (durable-objects/reference/data-location).
const JURISDICTIONS: [&str; 4] = ["eu", "us", "fedramp", "fedramp-high"];

/// Every name that [`Config::read`] asks for. The names are part of the contract with whoever deploys; `wrangler.toml` documents
/// them.
const NAMES: [&str; 22] = [
    "ALLOWED_HEADERS",
    "ALLOWED_ORIGINS",
    "BUDGET_KV_WRITES_PER_DAY",
    "BUDGET_OBJECT_REQUESTS_PER_DAY",
    "DEXIE_DEMO_USERS",
    "DEXIE_REFRESH_DAYS",
    "ENVIRONMENT",
    "GRANT_SECRET",
    "GRANT_SECRET_OTHER",
    "JURISDICTION",
    "JWKS_URL",
    "JWT_AUDIENCE",
    "JWT_ISSUER",
    "JWT_KEYS",
    "JWT_SECRET",
    "LOG_LEVEL",
    "PUBLISH_AFTER_PULLS",
    "PUBLISH_INTERVAL_MS",
    "PUBLISH_MAX_DELAY_MS",
    "RATE_SPACE_PER_S",
    "RATE_USER_PER_S",
    "RETAIN_TOMBSTONES_DAYS",
];

/// The deployment's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Of isolates.
    pub edge: EdgeConfig,
    /// Of objects.
    pub object: ObjectConfig,
    /// The deployment's name in log lines.
    pub environment: String,
    /// What is wrong with the settings, and what counts instead or what to do about it, for the log. No secret stands in it.
    pub problems: Vec<String>,
}

impl Config {
    /// Reads the settings with `var`; what is absent or nonsense has its default, and nonsense is a problem.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Self {
        let settings = Settings { var, problems: RefCell::default() };
        let after_pulls = settings.number("PUBLISH_AFTER_PULLS", 50);
        let delay_ms = settings.text("PUBLISH_MAX_DELAY_MS");
        let delay_ms = delay_ms.map(|_| settings.number("PUBLISH_MAX_DELAY_MS", 15 * 60_000));
        let days = |text: &str| text.parse::<f64>().ok().filter(|days| days.is_finite() && *days >= 0.0);
        let days = settings.parsed("RETAIN_TOMBSTONES_DAYS", 30.0, "a number of days", days);
        let refresh_days = |text: &str| text.parse().ok().filter(|days| *days <= REFRESH_DAYS_MAX);
        let form = "a whole number of days up to 3650";
        let refresh_days = settings.parsed("DEXIE_REFRESH_DAYS", 30, form, refresh_days);
        let level = settings.parsed("LOG_LEVEL", LogLevel::Info, "error, info or debug", LogLevel::named);
        let budget = BudgetMax {
            kv_writes: settings.budget("BUDGET_KV_WRITES_PER_DAY"),
            object_requests: settings.budget("BUDGET_OBJECT_REQUESTS_PER_DAY"),
        };
        let origins = settings.entries("ALLOWED_ORIGINS", cors::Allowed::parse);
        let has_headers = settings.text("ALLOWED_HEADERS").is_some_and(|list| list != "*");
        let headers = has_headers.then(|| settings.entries("ALLOWED_HEADERS", cors::header_name));
        Self {
            edge: EdgeConfig {
                token: TokenConfig {
                    secret: settings.secret("JWT_SECRET"),
                    keys: settings.text("JWT_KEYS"),
                    keys_url: settings.text("JWKS_URL"),
                    issuers: settings.issuers(),
                    audiences: settings.list("JWT_AUDIENCE"),
                },
                grant_secret: settings.secret("GRANT_SECRET"),
                other_grant_secret: settings.secret("GRANT_SECRET_OTHER"),
                allowed_origins: origins,
                allowed_headers: headers,
                dexie: DexieConfig {
                    demo_users: settings.list("DEXIE_DEMO_USERS").unwrap_or_default(),
                    refresh_days,
                },
                publishes_eagerly: after_pulls == 0,
                jurisdiction: settings.jurisdiction(),
                counts_object_requests: budget.object_requests.is_some(),
                log_level: level,
            },
            object: ObjectConfig {
                publication: PublicationConfig {
                    after_pulls: u32::try_from(after_pulls).unwrap_or(u32::MAX),
                    max_delay_ms: delay_ms.unwrap_or(15 * 60_000),
                    private_max_delay_ms: delay_ms.unwrap_or(6 * 60 * 60_000),
                    // KV takes one write per second to a key.
                    interval_ms: settings.at_least(1_000, "PUBLISH_INTERVAL_MS", 30_000),
                    retain_ms: (days * DAY_MS) as u64,
                    sizes: Sizes::DEPLOYED,
                },
                rate: RateConfig {
                    user_per_s: per_second(settings.number("RATE_USER_PER_S", 100)),
                    space_per_s: per_second(settings.number("RATE_SPACE_PER_S", 500)),
                },
                directory: DirectoryMax::DEPLOYED,
                budget,
                read_push,
            },
            environment: settings.text("ENVIRONMENT").unwrap_or_default(),
            problems: settings.problems.into_inner(),
        }
    }

    /// Those of the names in an environment that no setting has: one of them may be a setting with a slip in its name.
    #[must_use]
    pub fn unknown<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        names.filter(|name| !NAMES.contains(name)).collect()
    }
}

/// Settings as text, and what was wrong with those that have been read.
struct Settings<V> {
    var: V,
    problems: RefCell<Vec<String>>,
}

impl<V: Fn(&str) -> Option<String>> Settings<V> {
    fn text(&self, name: &str) -> Option<String> {
        (self.var)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn list(&self, name: &str) -> Option<Vec<String>> {
        let entries = |text: String| {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            entries.map(str::to_owned).collect::<Vec<_>>()
        };
        let list = self.text(name).map(entries);
        if list.as_ref().is_some_and(Vec::is_empty) {
            self.problem(format!("{name} has no entries: nothing matches it"));
        }
        list
    }

    /// Issuers, without the one that is nobody's.
    fn issuers(&self) -> Option<Vec<String>> {
        let mut issuers = self.list("JWT_ISSUER")?;
        if issuers.iter().any(|issuer| issuer == DEMO_ISSUER) {
            self.problem(format!("JWT_ISSUER names {DEMO_ISSUER}, of which no token is good"));
            issuers.retain(|issuer| issuer != DEMO_ISSUER);
        }
        Some(issuers)
    }

    /// The entries of a list that can be used.
    fn entries<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let list = self.list(name).unwrap_or_default();
        let entries = list.iter().map(|entry| parse(entry).map_err(|problem| self.problem(problem)));
        entries.filter_map(Result::ok).collect()
    }

    fn jurisdiction(&self) -> Option<String> {
        let named = self.text("JURISDICTION").unwrap_or_default();
        if named.is_empty() || JURISDICTIONS.contains(&named.as_str()) {
            return Some(named);
        }
        self.problem(format!("JURISDICTION is none of {}: no space is reached", JURISDICTIONS.join(", ")));
        None
    }

    /// A bound for a day; none if it is not set, or not understood.
    fn budget(&self, name: &str) -> Option<u32> {
        let text = self.text(name)?;
        let budget = text.parse().ok().filter(|budget| *budget > 0);
        if budget.is_none() {
            self.problem(format!("{name} is not a whole number from 1 on: there is no budget"));
        }
        budget
    }

    fn secret(&self, name: &str) -> Option<String> {
        let secret = self.text(name)?;
        if secret.len() < limits::SECRET_BYTES_MIN {
            self.problem(format!("{name} has less than 32 bytes and does not count: openssl rand -hex 32"));
            return None;
        }
        Some(secret)
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.parsed(name, default, "a whole number", |text| text.parse().ok())
    }

    fn at_least(&self, least: u64, name: &str, default: u64) -> u64 {
        let number = self.number(name, default);
        if number < least {
            self.problem(format!("{name} is less than {least}: {least} counts"));
        }
        number.max(least)
    }

    fn parsed<T: Display>(&self, name: &str, default: T, form: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let Some(text) = self.text(name) else { return default };
        parse(&text).unwrap_or_else(|| {
            self.problem(format!("{name} is not {form}: {default} counts"));
            default
        })
    }

    fn problem(&self, problem: String) {
        self.problems.borrow_mut().push(problem);
    }
}

/// A rate above this is no bound that anything could reach.
fn per_second(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_environment_gives_no_access_and_the_documented_defaults() {
        let config = Config::read(|_| None);
        assert_eq!(config.edge.token.secret, None);
        assert!(config.edge.allowed_origins.is_empty());
        let publication = config.object.publication;
        assert_eq!(
            (publication.after_pulls, publication.max_delay_ms, publication.interval_ms),
            (50, 900_000, 30_000)
        );
        assert_eq!(publication.private_max_delay_ms, 21_600_000);
        assert_eq!(publication, crate::sim::BY_DEMAND, "worlds are published as deployments are");
        assert_eq!(publication.retain_ms, 30 * 86_400_000);
        assert_eq!(config.object.rate, RateConfig { user_per_s: 100, space_per_s: 500 });
    }

    #[test]
    fn a_delay_that_is_set_counts_for_private_spaces_too() {
        let config = Config::read(|name| (name == "PUBLISH_MAX_DELAY_MS").then(|| "1000".to_owned()));
        let publication = config.object.publication;
        assert_eq!((publication.max_delay_ms, publication.private_max_delay_ms), (1_000, 1_000));
    }

    #[test]
    fn objects_live_anywhere_or_where_they_are_told_and_nowhere_if_that_is_not_understood() {
        for (text, jurisdiction) in
            [("", Some("")), (" eu ", Some("eu")), ("us", Some("us")), ("europe", None)]
        {
            let config = Config::read(|name| (name == "JURISDICTION").then(|| text.to_owned()));
            assert_eq!(config.edge.jurisdiction.as_deref(), jurisdiction, "{text}");
        }
    }

    #[test]
    fn a_secret_shorter_than_32_bytes_is_no_key() {
        let config = Config::read(|name| (name == "JWT_SECRET").then(|| "x".repeat(31)));
        assert_eq!(config.edge.token.secret, None);
    }

    #[test]
    fn an_entry_that_can_match_nothing_is_told_and_the_others_count() {
        let config = Config::read(|name| match name {
            "ALLOWED_ORIGINS" => Some(" https://a.example/ ,app.example,, https://*.b.example,*".to_owned()),
            "ALLOWED_HEADERS" => Some("traceparent, x y".to_owned()),
            _ => None,
        });
        assert_eq!(config.edge.allowed_origins.len(), 2);
        assert_eq!(config.edge.allowed_headers, Some(vec!["traceparent".to_owned()]));
        let told = ["\"app.example\"", "\"*\"", "\"x y\""];
        assert_eq!(config.problems.len(), told.len(), "{:?}", config.problems);
        for (problem, entry) in config.problems.iter().zip(told) {
            assert!(problem.contains(entry), "{problem}");
        }
        let any = Config::read(|name| (name == "ALLOWED_HEADERS").then(|| "*".to_owned()));
        assert_eq!((any.edge.allowed_headers, any.problems.len()), (None, 0));
    }

    #[test]
    fn every_setting_of_the_wrong_form_is_a_problem_that_says_what_counts_and_shows_no_value() {
        for (name, text, says) in [
            ("PUBLISH_AFTER_PULLS", "many", "a whole number: 50 counts"),
            ("PUBLISH_MAX_DELAY_MS", "15m", "a whole number: 900000 counts"),
            ("PUBLISH_INTERVAL_MS", "30.5", "a whole number: 30000 counts"),
            ("PUBLISH_INTERVAL_MS", "10", "is less than 1000: 1000 counts"),
            ("BUDGET_KV_WRITES_PER_DAY", "0", "not a whole number from 1 on: there is no budget"),
            ("BUDGET_OBJECT_REQUESTS_PER_DAY", "100k", "not a whole number from 1 on: there is no budget"),
            ("RATE_USER_PER_S", "-1", "a whole number: 100 counts"),
            ("RATE_SPACE_PER_S", "1e3", "a whole number: 500 counts"),
            ("RETAIN_TOMBSTONES_DAYS", "-1", "a number of days: 30 counts"),
            ("RETAIN_TOMBSTONES_DAYS", "inf", "a number of days: 30 counts"),
            ("LOG_LEVEL", "verbose", "error, info or debug: info counts"),
            ("JURISDICTION", "EU", "none of eu, us, fedramp, fedramp-high: no space is reached"),
            ("JWT_SECRET", "not-so-secret", "less than 32 bytes"),
            ("GRANT_SECRET", "not-so-secret", "less than 32 bytes"),
            ("JWT_ISSUER", " , ", "no entries"),
            ("JWT_AUDIENCE", ",", "no entries"),
            ("JWT_ISSUER", "headwater-demo", "of which no token is good"),
            ("DEXIE_DEMO_USERS", ",", "no entries"),
            ("DEXIE_REFRESH_DAYS", "month", "a whole number of days up to 3650: 30 counts"),
            ("DEXIE_REFRESH_DAYS", "3651", "a whole number of days up to 3650: 30 counts"),
        ] {
            let config = Config::read(|asked| (asked == name).then(|| text.to_owned()));
            let [problem] = &config.problems[..] else { panic!("{name}: {:?}", config.problems) };
            assert!(problem.starts_with(name) && problem.contains(says), "{problem}");
            let is_shown = text.len() >= 4 && problem.contains(text) && text != DEMO_ISSUER;
            assert!(!is_shown, "{problem}");
        }
        assert_eq!(Config::read(|_| None).problems, [""; 0]);
    }

    #[test]
    fn a_list_has_its_entries_between_commas_and_one_without_entries_matches_nothing() {
        let read = |text: &str| {
            Config::read(|name| (name == "JWT_ISSUER").then(|| text.to_owned())).edge.token.issuers
        };
        assert_eq!(read("a"), Some(vec!["a".to_owned()]));
        assert_eq!(read(" a , https://b/ ,,"), Some(vec!["a".to_owned(), "https://b/".to_owned()]));
        assert_eq!(read(","), Some(Vec::new()), "not as if it were not set: then every issuer would do");
        assert_eq!(read("  "), None);
    }

    #[test]
    fn a_name_is_unknown_if_no_setting_has_it() {
        let asked = RefCell::new(Vec::new());
        Config::read(|name| {
            asked.borrow_mut().push(name.to_owned());
            None
        });
        let mut asked = asked.into_inner();
        asked.sort();
        asked.dedup();
        assert_eq!(asked, NAMES, "what is read has to be known");
        let names = ["JWT_AUDIENCE", "JWT_AUDIENCES", "jwt_issuer"];
        assert_eq!(Config::unknown(names.into_iter()), ["JWT_AUDIENCES", "jwt_issuer"]);
    }
}
