//! Configuration: what the environment says, read once per isolate.

use super::cors;
use crate::{
    coordinator::{publication::PublicationConfig, rate::RateConfig},
    limits,
    limits::Sizes,
};

const DAY_MS: f64 = 86_400_000.0;

/// The deployment's settings. The names are part of the contract with whoever deploys; `wrangler.toml` documents them.
#[derive(Debug, Clone)]
pub struct Config {
    /// The HS256 key.
    pub jwt_secret: Option<String>,
    /// What signs grants.
    pub grant_secret: Option<String>,
    /// Keys of several algorithms by their ids: a JWKS document.
    pub jwt_keys: Option<String>,
    /// Where the issuer publishes its keys.
    pub jwks_url: Option<String>,
    /// Enforced when set.
    pub jwt_issuer: Option<String>,
    /// Enforced when set.
    pub jwt_audience: Option<String>,
    /// Origins that may read answers in a browser.
    pub allowed_origins: Vec<cors::Allowed>,
    /// Headers that requests of their pages may have beside the protocol's own; absent: any.
    pub allowed_headers: Option<Vec<String>>,
    /// When to publish.
    pub publication: PublicationConfig,
    /// How much of an object its users may take.
    pub rate: RateConfig,
    /// What is logged.
    pub log_level: LogLevel,
    /// The deployment's name in log lines.
    pub environment: String,
    /// What is wrong with the settings, and what to do about it, for the log.
    pub problems: Vec<String>,
}

/// What is logged. A log line costs $0.60 per million, twice the price of the pull it would tell of, so single requests
/// are for debugging only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Faults that somebody has to look at.
    Error,
    /// And changes of state: publications, epochs.
    Info,
    /// And every request.
    Debug,
}

impl LogLevel {
    /// The level's name in a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl Config {
    /// Reads the settings with `var`; what is absent or nonsense has its default.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Self {
        let var =
            |name: &str| var(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let number =
            |name: &str, default: u64| var(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let days = var("RETAIN_TOMBSTONES_DAYS").and_then(|text| text.parse::<f64>().ok());
        let days = days.filter(|days| days.is_finite() && *days >= 0.0).unwrap_or(30.0);
        let mut problems = Vec::new();
        let origins = var("ALLOWED_ORIGINS").unwrap_or_default();
        let origins = entries(&origins).map(cors::Allowed::parse);
        let allowed_origins = usable(origins, &mut problems);
        let headers = var("ALLOWED_HEADERS").filter(|list| list != "*");
        let allowed_headers =
            headers.map(|list| usable(entries(&list).map(cors::header_name), &mut problems));
        Self {
            jwt_secret: var("JWT_SECRET").filter(|secret| secret.len() >= limits::SECRET_BYTES_MIN),
            grant_secret: var("GRANT_SECRET").filter(|secret| secret.len() >= limits::SECRET_BYTES_MIN),
            jwt_keys: var("JWT_KEYS"),
            jwks_url: var("JWKS_URL"),
            jwt_issuer: var("JWT_ISSUER"),
            jwt_audience: var("JWT_AUDIENCE"),
            allowed_origins,
            allowed_headers,
            publication: PublicationConfig {
                after_pulls: u32::try_from(number("PUBLISH_AFTER_PULLS", 50)).unwrap_or(u32::MAX),
                max_delay_ms: number("PUBLISH_MAX_DELAY_MS", 15 * 60_000),
                // KV takes one write per second to a key.
                interval_ms: number("PUBLISH_INTERVAL_MS", 30_000).max(1_000),
                retain_ms: (days * DAY_MS) as u64,
                sizes: Sizes::DEPLOYED,
            },
            rate: RateConfig {
                user_per_s: per_second(number("RATE_USER_PER_S", 100)),
                space_per_s: per_second(number("RATE_SPACE_PER_S", 500)),
            },
            environment: var("ENVIRONMENT").unwrap_or_default(),
            log_level: match var("LOG_LEVEL").as_deref() {
                Some("debug") => LogLevel::Debug,
                Some("error") => LogLevel::Error,
                _ => LogLevel::Info,
            },
            problems,
        }
    }

    /// Whether publication keeps KV current by itself, without waiting for readers.
    #[must_use]
    pub fn publishes_eagerly(&self) -> bool {
        self.publication.after_pulls == 0
    }
}

/// The entries of a list with commas.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Those that can be used; what is wrong with the others is noted.
fn usable<T>(entries: impl Iterator<Item = Result<T, String>>, problems: &mut Vec<String>) -> Vec<T> {
    entries.filter_map(|entry| entry.map_err(|problem| problems.push(problem)).ok()).collect()
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
        assert_eq!(config.jwt_secret, None);
        assert!(config.allowed_origins.is_empty());
        let publication = config.publication;
        assert_eq!(
            (publication.after_pulls, publication.max_delay_ms, publication.interval_ms),
            (50, 900_000, 30_000)
        );
        assert_eq!(publication.retain_ms, 30 * 86_400_000);
        assert_eq!(config.rate, RateConfig { user_per_s: 100, space_per_s: 500 });
    }

    #[test]
    fn a_secret_shorter_than_32_bytes_is_no_key() {
        let config = Config::read(|name| (name == "JWT_SECRET").then(|| "x".repeat(31)));
        assert_eq!(config.jwt_secret, None);
    }

    #[test]
    fn an_entry_that_can_match_nothing_is_told_and_the_others_count() {
        let config = Config::read(|name| match name {
            "ALLOWED_ORIGINS" => Some(" https://a.example/ ,app.example,, https://*.b.example,*".to_owned()),
            "ALLOWED_HEADERS" => Some("traceparent, x y".to_owned()),
            _ => None,
        });
        assert_eq!(config.allowed_origins.len(), 2);
        assert_eq!(config.allowed_headers, Some(vec!["traceparent".to_owned()]));
        let told = ["\"app.example\"", "\"*\"", "\"x y\""];
        assert_eq!(config.problems.len(), told.len(), "{:?}", config.problems);
        for (problem, entry) in config.problems.iter().zip(told) {
            assert!(problem.contains(entry), "{problem}");
        }
        let any = Config::read(|name| (name == "ALLOWED_HEADERS").then(|| "*".to_owned()));
        assert_eq!((any.allowed_headers, any.problems.len()), (None, 0));
    }
}
