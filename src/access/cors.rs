//! Which pages of other origins may read answers.

/// What an answer may show a page, beside the headers that every page may read.
pub const EXPOSED: &str = "ETag, Date, WWW-Authenticate, Retry-After, Server-Timing, Headwater-Version, \
                           Headwater-Position, Headwater-Source, Headwater-Age, Headwater-Budget, Headwater-Request, Cache-Control, Vary";

/// The same, where pages send credentials along: the addon for Dexie reads these of a server that limits it.
const EXPOSED_MORE: &str = ", Ratelimit-Limit, Ratelimit-Remaining, Ratelimit-Reset";

/// The headers of a request to which the protocol gives a meaning.
const OWN_HEADERS: &str = "Authorization, Content-Type, Content-Encoding, If-None-Match, Headwater-Grant";

/// Origins of which the log is told, of those that an isolate refuses, and their greatest length: anybody can send any text as
/// an origin, and a line costs money.
const REFUSED_TOLD: usize = 10;
const REFUSED_BYTES_MAX: usize = 300;

/// What an entry of `ALLOWED_ORIGINS` allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// One origin.
    Origin(String),
    /// Those of all hosts below a domain.
    Below {
        /// How they begin: `https://`
        scheme: String,
        /// How they end: `.preview.example:8443`
        domain: String,
    },
}

impl Allowed {
    /// An entry as people write it: a slash at the end, upper case and the port that belongs to the scheme do not count.
    ///
    /// # Errors
    /// What to do about an entry that no origin can match.
    pub fn parse(entry: &str) -> Result<Self, String> {
        // What browsers send for frames in sandboxes, anybody's, and for files, but for some shells of apps.
        if entry == "null" {
            return Err(
                "ALLOWED_ORIGINS: \"null\" is the origin of every page in a sandbox, so it is not allowed"
                    .to_owned(),
            );
        }
        if entry == "file://" {
            return Ok(Self::Origin(entry.to_owned()));
        }
        Self::parse_url(&entry.to_ascii_lowercase()).ok_or_else(|| {
            format!(
                "ALLOWED_ORIGINS: no page has the origin \"{entry}\". Write it as browsers send it, such as https://app.example or \
                 http://localhost:5173, or https://*.preview.example for all hosts below a domain"
            )
        })
    }

    fn parse_url(entry: &str) -> Option<Self> {
        let (scheme, rest) = entry.split_once("://")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // Colons may also stand in an address, between brackets.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().ok()?)),
            _ => (rest, None),
        };
        let port = match (scheme, port) {
            (_, None) | ("http", Some(80)) | ("https", Some(443)) => String::new(),
            (_, Some(port)) => format!(":{port}"),
        };
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.bytes().all(is_scheme) || matches!(scheme, "" | "ws" | "wss") {
            return None;
        }
        if let Some(domain) = host.strip_prefix("*.") {
            // The hosts below a domain of one name are everybody's.
            let is_own = are_names(domain) && (domain.contains('.') || domain == "localhost");
            let (scheme, domain) = (format!("{scheme}://"), format!(".{domain}{port}"));
            return is_own.then_some(Self::Below { scheme, domain });
        }
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_address =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
        let is_host = address.map_or_else(|| are_names(host), is_address);
        is_host.then(|| Self::Origin(format!("{scheme}://{host}{port}")))
    }

    fn includes(&self, origin: &str) -> bool {
        match self {
            Self::Origin(own) => own == origin,
            Self::Below { scheme, domain } => {
                let host = origin.strip_prefix(scheme.as_str());
                host.and_then(|host| host.strip_suffix(domain.as_str())).is_some_and(are_names)
            }
        }
    }
}

/// Whether this is a name of a host, or several with a dot between each two.
fn are_names(text: &str) -> bool {
    let is_in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    text.split('.').all(|name| !name.is_empty() && name.bytes().all(is_in_name))
}

/// Whether the pages of an origin may read answers.
#[must_use]
pub fn is_allowed(origin: &str, allowed: &[Allowed]) -> bool {
    allowed.iter().any(|entry| entry.includes(origin))
}

/// Origins that were refused.
#[derive(Debug, Default)]
pub struct RefusedOrigins(Vec<String>);

impl RefusedOrigins {
    /// Whether the log should be told of a refused origin: once of each, and not of more than a few.
    pub fn is_news(&mut self, origin: &str) -> bool {
        let is_news = self.0.len() < REFUSED_TOLD
            && origin.len() <= REFUSED_BYTES_MAX
            && self.0.iter().all(|known| known != origin);
        if is_news {
            self.0.push(origin.to_owned());
        }
        is_news
    }
}

/// Whether pages send credentials along with their requests. Then a browser wants to be told that they may, and takes no `*` for a
/// list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// No: the protocol has none but `Authorization`.
    Omitted,
    /// Yes. Nothing here reads them.
    Included,
}

/// Headers for an allowed origin, as `name\nvalue\n` pairs; none for any other, whose pages the browser then keeps from
/// reading the answer.
#[must_use]
pub fn headers(origin: Option<&str>, credentials: Credentials) -> String {
    let (more, allowed) = match credentials {
        Credentials::Omitted => ("", ""),
        Credentials::Included => (EXPOSED_MORE, "Access-Control-Allow-Credentials\ntrue\n"),
    };
    match origin {
        Some(origin) => format!(
            "Access-Control-Allow-Origin\n{origin}\nAccess-Control-Expose-Headers\n{EXPOSED}{more}\n\
             Timing-Allow-Origin\n{origin}\n{allowed}"
        ),
        None => String::new(),
    }
}

/// Headers of the answer to a preflight that asks for the headers `asked`, which are all allowed unless the configuration has
/// a list. The browser may remember the answer for two hours, the longest that any browser does; it remembers it per URL, so a
/// pull by POST, whose URL stays the same, pays for one preflight and a GET for many.
#[must_use]
pub fn preflight(origin: Option<&str>, asked: &str, listed: Option<&[String]>) -> String {
    if origin.is_none() {
        return String::new();
    }
    let asked = asked.split(',').map(str::trim_ascii).filter(|name| is_token(name));
    let more: Vec<&str> =
        listed.map_or_else(|| asked.collect(), |list| list.iter().map(String::as_str).collect());
    let is_own = |name: &str| OWN_HEADERS.split(", ").any(|own| own.eq_ignore_ascii_case(name));
    let names = more
        .into_iter()
        .filter(|name| !is_own(name))
        .fold(OWN_HEADERS.to_owned(), |names, name| names + ", " + name);
    format!(
        "Access-Control-Allow-Methods\nGET, HEAD, POST, PUT, DELETE\nAccess-Control-Allow-Headers\n{names}\n\
         Access-Control-Max-Age\n7200\n"
    )
}

/// The same where pages send credentials along: what that protocol has, by name, whatever is asked for. `mode` is an option of `fetch`
/// that its client sent as a header until 4.3.5, when a demo user signed in.
#[must_use]
pub fn preflight_with_credentials(origin: Option<&str>) -> String {
    let allowed = "Access-Control-Allow-Methods\nGET, POST, PUT, OPTIONS\nAccess-Control-Allow-Headers\n\
                   authorization, content-type, mode\nAccess-Control-Max-Age\n7200\n";
    origin.map_or("", |_| allowed).to_owned()
}

/// An entry of `ALLOWED_HEADERS`.
///
/// # Errors
/// What to do about one that is not a header's name.
pub fn header_name(entry: &str) -> Result<String, String> {
    let is_name = is_token(entry).then(|| entry.to_owned());
    is_name.ok_or_else(|| {
        format!(
            "ALLOWED_HEADERS: no header has the name \"{entry}\". Write names with commas between, or * for any"
        )
    })
}

/// Whether this is a name that a header can have (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<Allowed> {
        entries.iter().map(|entry| Allowed::parse(entry).expect("an entry")).collect()
    }

    #[test]
    fn origins_are_matched_exactly() {
        let list = list(&["https://app.example"]);
        assert!(is_allowed("https://app.example", &list));
        for origin in ["https://app.example.evil", "http://app.example", "null", "https://APP.example", "*"] {
            assert!(!is_allowed(origin, &list), "{origin}");
        }
        for credentials in [Credentials::Omitted, Credentials::Included] {
            assert_eq!(headers(None, credentials), "");
        }
        assert_eq!(preflight_with_credentials(None), "");
        assert_eq!(preflight(None, "x-a", None), "");
    }

    #[test]
    fn a_pattern_allows_the_hosts_below_its_domain_and_no_other() {
        let list = list(&["https://*.preview.example", "http://*.localhost:5173"]);
        for origin in [
            "https://pr-12.preview.example",
            "https://a.b.preview.example",
            "https://x_1.preview.example",
            "http://app.localhost:5173",
        ] {
            assert!(is_allowed(origin, &list), "{origin}");
        }
        for origin in [
            "https://preview.example",
            "https://.preview.example",
            "https://a..preview.example",
            "https://evil-preview.example",
            "https://evilpreview.example",
            "https://pr.preview.example.evil.example",
            "https://evil.example/.preview.example",
            "https://evil.example#.preview.example",
            "https://evil.example:80.preview.example",
            "https://user@x.preview.example",
            "https://*.preview.example",
            "https://PR.preview.example",
            "https://pr.preview.example:8443",
            "https://pr.preview.example.",
            "http://pr.preview.example",
            "https://\u{e4}.preview.example",
            "https://app.localhost:5173",
            "http://app.localhost",
            "null",
        ] {
            assert!(!is_allowed(origin, &list), "{origin}");
        }
    }

    #[test]
    fn an_entry_is_mended_or_it_is_said_that_it_matches_nothing() {
        for (entry, origin) in [
            ("https://app.example/", "https://app.example"),
            ("HTTPS://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://app.example:80/", "http://app.example"),
            ("https://app.example:80", "https://app.example:80"),
            ("http://localhost:05173", "http://localhost:5173"),
            ("http://127.0.0.1:5173", "http://127.0.0.1:5173"),
            ("http://[::1]:5173", "http://[::1]:5173"),
            ("http://[::1]", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ] {
            assert!(is_allowed(origin, &list(&[entry])), "{entry}");
        }
        assert!(Allowed::parse("null").is_err(), "every page can be put into a sandbox");
        for entry in [
            "*",
            "app.example",
            "//app.example",
            "://app.example",
            "https:/app.example",
            "https://",
            "https:///",
            "https://app.example/app",
            "https://app.example//",
            "https://app.example?x",
            "https://user@app.example",
            "https://app.example:",
            "https://app.example:99999",
            "https://app.example:*",
            "https://app.example https://other.example",
            "\"https://app.example\"",
            "https://m\u{fc}nchen.example",
            "https://app..example",
            "https://*",
            "https://*.example",
            "https://*.",
            "https://pr-*.preview.example",
            "https://*.*.preview.example",
            "https://a.*.preview.example",
            "*.preview.example",
            "*://app.example",
            "wss://app.example",
            "http://[::1",
            "http://[x]",
        ] {
            let told = Allowed::parse(entry).expect_err(entry);
            assert!(told.contains(&format!("\"{entry}\"")) && told.contains("Write it as"), "{told}");
        }
    }

    #[test]
    fn a_preflight_allows_what_it_asks_for_or_what_is_listed() {
        let origin = Some("https://app.example");
        let allowed = |asked, listed| {
            let headers = preflight(origin, asked, listed);
            let mut lines = headers.lines().skip_while(|line| *line != "Access-Control-Allow-Headers");
            lines.nth(1).expect("a value").strip_prefix(OWN_HEADERS).expect("our own first").to_owned()
        };
        assert_eq!(allowed("", None), "");
        assert_eq!(
            allowed("authorization,baggage,content-type,sentry-trace", None),
            ", baggage, sentry-trace"
        );
        assert_eq!(
            allowed("x-b3-traceid, a b, x:y, \u{e4}, ,x-datadog-origin", None),
            ", x-b3-traceid, x-datadog-origin"
        );
        let listed = ["traceparent".to_owned(), "If-None-Match".to_owned()];
        assert_eq!(allowed("baggage", Some(&listed)), ", traceparent");
        assert_eq!(allowed("baggage", Some(&[])), "");
    }

    #[test]
    fn pages_that_send_credentials_are_told_that_they_may_and_everything_by_name() {
        let origin = Some("https://app.example");
        let told = headers(origin, Credentials::Included) + &preflight_with_credentials(origin);
        assert!(told.contains("Access-Control-Allow-Credentials\ntrue\n"));
        assert!(told.contains("Access-Control-Allow-Headers\nauthorization, content-type, mode\n"));
        assert!(told.contains("Access-Control-Allow-Methods\nGET, POST, PUT, OPTIONS\n"));
        assert!(told.contains("Vary, Ratelimit-Limit, Ratelimit-Remaining, Ratelimit-Reset\n"));
        assert!(!told.contains('*'), "which means a header of this name to them");
        assert!(!headers(origin, Credentials::Omitted).contains("Credentials"));
    }

    #[test]
    fn of_refused_origins_a_few_are_told_and_each_once() {
        let mut refused = RefusedOrigins::default();
        assert!(refused.is_news("https://a.example"));
        assert!(!refused.is_news("https://a.example"));
        let told = (0..100).filter(|at| refused.is_news(&format!("https://{at}.example"))).count();
        assert_eq!(told + 1, REFUSED_TOLD);
        assert!(!RefusedOrigins::default().is_news(&"x".repeat(REFUSED_BYTES_MAX + 1)));
    }
}
