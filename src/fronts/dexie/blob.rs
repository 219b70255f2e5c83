//! Files: their names, their types, and what is said about them. The client takes whatever is no small plain value out of a row, puts it
//! under a name of its own making, and leaves `{"_bt":type,"ref":name,"size":bytes}` in its place.

use crate::{
    fronts::headwater::{
        pull::{percent_decoded, query_pairs},
        reply::Headers,
    },
    ids::is_in_blob_id,
    limits,
};

/// Characters of a name: 18 bytes, the last 12 of them random, in the client's own base64.
const ID_LENGTH: usize = 24;
/// The type of what has none that can be told.
const BYTES: &str = "application/octet-stream";

/// The name of a file in its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobId([u8; ID_LENGTH]);

impl BlobId {
    /// Out of the last piece of a path.
    #[must_use]
    pub fn parse(piece: &str) -> Option<Self> {
        let text = percent_decoded(piece, false)?;
        let id = text.as_bytes().try_into().ok()?;
        text.chars().all(is_in_blob_id).then_some(Self(id))
    }

    /// As text.
    ///
    /// # Panics
    /// Never: it is ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("BUG: a name is not ASCII")
    }
}

/// The type that a query says a file has.
#[must_use]
pub fn media_type_asked(query: &str) -> String {
    let pairs = query_pairs(query).unwrap_or_default();
    let asked = pairs.iter().find(|(name, _)| name == "ct").map_or("", |(_, asked)| asked.as_str());
    media_type(asked).to_owned()
}

/// A type that a header can say; what is none is plain bytes.
fn media_type(text: &str) -> &str {
    let (kind, rest) = text.split_once('/').unwrap_or_default();
    let subtype = rest.split(';').next().unwrap_or_default().trim();
    let is_name = |name: &str| {
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        !name.is_empty() && name.bytes().all(is_in_name)
    };
    let is_text = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let is_type = is_name(kind) && is_name(subtype) && is_text && text.len() <= limits::BLOB_TYPE_BYTES_MAX;
    if is_type { text } else { BYTES }
}

/// The answer to whoever has put one: what stands in the row from then on.
#[must_use]
pub fn put_answer(id: BlobId) -> String {
    format!(r#"{{"ref":"{}"}}"#, id.as_str())
}

/// The headers of one, by the type that it was put with. A page of somebody's that a browser is led to is saved and not shown, and runs
/// nothing if it is shown.
#[must_use]
pub fn headers(stored: &str) -> Headers {
    Headers::Named(format!(
        "Content-Type\n{}\nX-Content-Type-Options\nnosniff\nContent-Disposition\nattachment\n\
         Content-Security-Policy\nsandbox; default-src 'none'\n",
        media_type(stored)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_24_characters_of_the_clients_alphabet_however_a_browser_escapes_them() {
        for (piece, name) in [
            ("0PTRl3kXXXXXXXXXXXXXXX_z", "0PTRl3kXXXXXXXXXXXXXXX_z"),
            ("0PTRl3k|XXXXXXXXXXXXXX|z", "0PTRl3k|XXXXXXXXXXXXXX|z"),
            ("0PTRl3k%7CXXXXXXXXXXXXXX%7cz", "0PTRl3k|XXXXXXXXXXXXXX|z"),
        ] {
            assert_eq!(BlobId::parse(piece).expect("a name").as_str(), name);
        }
        for piece in [
            "",
            "x",
            "0PTRl3kXXXXXXXXXXXXXXX_",
            "0PTRl3kXXXXXXXXXXXXXXX_zz",
            "0PTRl3kXXXXXXXXXXXXXXX.z",
            "0PTRl3kXXXXXXXXXXXXXXX%2Fz",
            "..%2F..%2F..%2Fheadheadhea",
            "0PTRl3kXXXXXXXXXXXXXXX\n",
            "0PTRl3kXXXXXXXXXXXXXX%00z",
            "0PTRl3kXXXXXXXXXXXXXX%ffz",
            "1:0PTRl3kXXXXXXXXXXXXXXX_",
            "éPTRl3kXXXXXXXXXXXXXXX_",
        ] {
            assert_eq!(BlobId::parse(piece), None, "{piece}");
        }
    }

    #[test]
    fn a_type_is_kept_as_it_is_and_what_no_header_can_say_is_plain_bytes() {
        for (query, kept) in [
            ("ct=image%2Fpng", "image/png"),
            ("ct=text%2Fplain%3Bcharset%3Dutf-8", "text/plain;charset=utf-8"),
            ("ct=text%2Fhtml", "text/html"),
            ("ct=application%2Fsvg%2Bxml", "application/svg+xml"),
            ("", BYTES),
            ("ct=", BYTES),
            ("ct=png", BYTES),
            ("ct=%2Fpng", BYTES),
            ("ct=image%2Fpng%0ASet-Cookie%0Aa=b", BYTES),
            ("ct=image%2Fpng%3B%0D%0Aa", BYTES),
            ("ct=image%2Fp%C3%A4", BYTES),
            ("ct=%ff", BYTES),
            ("x=image%2Fpng", BYTES),
        ] {
            assert_eq!(media_type_asked(query), kept, "{query}");
        }
        assert_eq!(media_type(&format!("a/{}", "b".repeat(253))).len(), 255);
        assert_eq!(media_type(&format!("a/{}", "b".repeat(254))), BYTES);
    }

    #[test]
    fn what_somebody_has_put_into_the_bucket_by_hand_breaks_no_header() {
        for stored in ["", "text/html\nX-A\nb", "\u{e9}"] {
            let Headers::Named(headers) = headers(stored) else { panic!("not a pull") };
            assert!(headers.starts_with("Content-Type\napplication/octet-stream\nX-Content"), "{headers}");
        }
    }
}
