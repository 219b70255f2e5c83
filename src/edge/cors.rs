//! Which pages of other origins may read answers.

/// What an answer may show a page, beside the headers that every page may read.
pub const EXPOSED: &str = "ETag, Retry-After, Server-Timing, Headwater-Version, Headwater-Source, Headwater-Age, \
                           Headwater-Request, Cache-Control, Vary";

/// Headers for a request that names `origin`, as `name\nvalue\n` pairs: none for an origin that is not allowed, whose page
/// the browser then keeps from reading the answer.
#[must_use]
pub fn headers(origin: Option<&str>, allowed: &[String]) -> String {
    match origin.filter(|origin| is_allowed(origin, allowed)) {
        Some(origin) => format!(
            "Access-Control-Allow-Origin\n{origin}\nAccess-Control-Expose-Headers\n{EXPOSED}\n\
             Timing-Allow-Origin\n{origin}\n"
        ),
        None => String::new(),
    }
}

/// Headers of the answer to a preflight. The browser may remember it for two hours, the longest that any browser does; it
/// remembers it per URL, so a pull by POST, whose URL stays the same, pays for one preflight and a GET for many.
#[must_use]
pub fn preflight(origin: Option<&str>, allowed: &[String]) -> String {
    match origin.filter(|origin| is_allowed(origin, allowed)) {
        Some(origin) => format!(
            "Access-Control-Allow-Origin\n{origin}\nAccess-Control-Allow-Methods\nGET, POST, PUT, DELETE\n\
             Access-Control-Allow-Headers\nAuthorization, Content-Type, If-None-Match, Headwater-Grant\n\
             Access-Control-Max-Age\n7200\nVary\nOrigin\n"
        ),
        None => "Vary\nOrigin\n".to_owned(),
    }
}

/// Whether pages of `origin` may read answers.
#[must_use]
pub fn is_allowed(origin: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|entry| entry == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_exactly() {
        let allowed = ["https://app.example".to_owned()];
        assert!(headers(Some("https://app.example"), &allowed).contains("https://app.example"));
        for origin in ["https://app.example.evil", "http://app.example", "null", "https://APP.example", "*"] {
            assert_eq!(headers(Some(origin), &allowed), "", "{origin}");
            assert!(!preflight(Some(origin), &allowed).contains("Allow"), "{origin}");
        }
        assert_eq!(headers(None, &allowed), "");
    }
}
