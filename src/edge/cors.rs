//! Which pages of other origins may read answers.

/// What an answer may show a page, beside the headers that every page may read.
pub const EXPOSED: &str = "ETag, Retry-After, Server-Timing, Headwater-Version, Headwater-Source, Headwater-Age, \
                           Headwater-Request, Cache-Control, Vary";

/// The origin of a request, if its pages may read answers. Origins are compared whole.
#[must_use]
pub fn allowed<'a>(origin: Option<&'a str>, allowed: &[String]) -> Option<&'a str> {
    origin.filter(|origin| allowed.iter().any(|entry| entry == origin))
}

/// Headers for an allowed origin, as `name\nvalue\n` pairs; none for any other, whose pages the browser then keeps from
/// reading the answer.
#[must_use]
pub fn headers(origin: Option<&str>) -> String {
    match origin {
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
pub fn preflight(origin: Option<&str>) -> String {
    match origin {
        Some(_) => "Access-Control-Allow-Methods\nGET, POST, PUT, DELETE\n\
                    Access-Control-Allow-Headers\nAuthorization, Content-Type, If-None-Match, Headwater-Grant\n\
                    Access-Control-Max-Age\n7200\nVary\nOrigin\n"
            .to_owned(),
        None => "Vary\nOrigin\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_exactly() {
        let list = ["https://app.example".to_owned()];
        assert_eq!(allowed(Some("https://app.example"), &list), Some("https://app.example"));
        for origin in ["https://app.example.evil", "http://app.example", "null", "https://APP.example", "*"] {
            assert_eq!(allowed(Some(origin), &list), None, "{origin}");
        }
        assert_eq!(headers(None), "");
        assert!(!preflight(None).contains("Allow"));
    }
}
