//! What a request says of its body: of which type it is, and how it is coded.

use crate::{error::ApiError, fronts::headwater::JSON};

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// The coding that `Content-Encoding` names. It is a list, and `identity` in it says nothing.
    ///
    /// # Errors
    /// [`ApiError::UnsupportedCoding`] for any other, and for several.
    pub fn of(content_encoding: &str) -> Result<Self, ApiError> {
        let mut coding = Self::Identity;
        for name in content_encoding.split(',').map(str::trim) {
            if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                continue;
            }
            // The second is an old name of the first (RFC 9110, 8.4.1.3).
            let is_gzip = name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip");
            if !is_gzip || coding == Self::Gzip {
                return Err(ApiError::UnsupportedCoding);
            }
            coding = Self::Gzip;
        }
        Ok(coding)
    }
}

/// What a word means that the platform's side says instead of a body, of bytes that a user sends or that are passed on.
#[must_use]
pub fn refusal_of(word: &str) -> ApiError {
    match word {
        "too long" => ApiError::TooLarge(
            "The body is too long. A push has at most 4 MiB, unpacked: split it between mutations.",
        ),
        "late" => ApiError::Timeout,
        "overloaded" => ApiError::Overloaded,
        "broken" => ApiError::Malformed("the body is not gzip, or not all of it".to_owned()),
        "expired" => ApiError::TokenExpired,
        _ => ApiError::Internal,
    }
}

/// Whether a content type says JSON.
#[must_use]
pub fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(JSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_once_and_every_other_coding_is_refused() {
        for (header, coding) in [
            ("", Ok(Coding::Identity)),
            ("identity", Ok(Coding::Identity)),
            ("gzip", Ok(Coding::Gzip)),
            ("GZip", Ok(Coding::Gzip)),
            ("x-gzip", Ok(Coding::Gzip)),
            (" identity , gzip,", Ok(Coding::Gzip)),
            ("gzip, gzip", Err(ApiError::UnsupportedCoding)),
            ("gzip, x-gzip", Err(ApiError::UnsupportedCoding)),
            ("deflate", Err(ApiError::UnsupportedCoding)),
            ("br", Err(ApiError::UnsupportedCoding)),
            ("zstd, gzip", Err(ApiError::UnsupportedCoding)),
            ("gzip;q=1", Err(ApiError::UnsupportedCoding)),
            ("*", Err(ApiError::UnsupportedCoding)),
        ] {
            assert_eq!(Coding::of(header), coding, "{header}");
        }
    }

    #[test]
    fn json_is_json_with_any_parameters() {
        for (header, is) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json-patch+json", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_json(header), is, "{header}");
        }
    }
}
