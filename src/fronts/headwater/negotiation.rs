//! What the headers of a request ask of an answer: its media type, its coding, and whether its content is sent at all.

use std::cmp::Reverse;

use crate::fronts::headwater::{JSON, NDJSON, answer::Format};

/// Bytes of a body that fit into one packet: coding them saves nothing.
const PACKET_BYTES: usize = 1_400;

/// The form of a pull's answer that `Accept` prefers: the one of greater weight, of the same weight the one that is named
/// rather than matched by `*`, then the one that is named first. JSON where that does not say, and where neither is taken: a
/// client that asks for something else can do more with it than with a refusal.
#[must_use]
pub fn format(accept: &str) -> Format {
    let ndjson = preference(accept, NDJSON);
    let is_taken = ndjson.is_some_and(|(weight, ..)| weight > 0);
    if is_taken && ndjson > preference(accept, JSON) { Format::Ndjson } else { Format::Json }
}

/// What a list says of a media type: its weight, how closely it is named, and where. The closest range counts
/// (RFC 9110, 12.5.1).
fn preference(accept: &str, media_type: &str) -> Option<(u16, u8, Reverse<usize>)> {
    let closeness = |range: &str| match range {
        "*/*" => Some(0),
        _ if range.eq_ignore_ascii_case("application/*") => Some(1),
        _ if range.eq_ignore_ascii_case(media_type) => Some(2),
        _ => None,
    };
    let ranges = weighted(accept).into_iter().enumerate();
    let matching = ranges.filter_map(|(at, (range, weight))| {
        closeness(range).map(|closeness| (closeness, weight, Reverse(at)))
    });
    matching.max().map(|(closeness, weight, at)| (weight, closeness, at))
}

/// Whether a body of so many bytes is coded with gzip for a client that sent this `Accept-Encoding`. A short one only if the
/// client does not take it plain.
#[must_use]
pub fn takes_gzip(accept_encoding: &str, bytes: usize) -> bool {
    let codings = weighted(accept_encoding);
    let named = |wanted: &str| codings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let weight = |wanted| named(wanted).or_else(|| named("*")).map(|(_, weight)| *weight);
    // Plain is taken unless the list says otherwise, but whoever names another coding prefers that (RFC 9110, 12.5.3).
    let (gzip, plain) = (weight("gzip").unwrap_or(0), weight("identity").unwrap_or(1));
    gzip > 0 && gzip >= plain && (bytes > PACKET_BYTES || plain == 0)
}

/// Whether `If-None-Match` holds a tag, compared weakly (RFC 9110, 13.1.2). What is not a list of tags holds none from there
/// on: an answer too many harms nobody.
#[must_use]
pub fn holds_tag(if_none_match: &str, tag: &str) -> bool {
    let strong = |tag| str::strip_prefix(tag, "W/").unwrap_or(tag);
    let mut rest = if_none_match.trim_ascii();
    if rest == "*" {
        return true;
    }
    loop {
        rest = strong(rest.trim_start_matches([' ', '\t', ',']));
        let Some(length) = rest.strip_prefix('"').and_then(|quoted| quoted.find('"')) else { return false };
        let (one, others) = rest.split_at(length + 2);
        if one == strong(tag) {
            return true;
        }
        rest = others;
    }
}

/// The entries of a list, without their parameters but for the weight (RFC 9110, 12.4.2), which is in thousandths. An entry
/// whose weight is not a weight is left out.
#[inline(never)]
fn weighted(list: &str) -> Vec<(&str, u16)> {
    let entries = list.split(',').filter_map(|entry| {
        let mut pieces = entry.split(';').map(str::trim_ascii);
        let name = pieces.next()?;
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q=")));
        let weight = weight.map_or(Ok(1.0), str::parse::<f64>).ok()?;
        (0.0..=1.0).contains(&weight).then_some((name, (weight * 1000.0) as u16))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn the_form_of_greater_weight_is_sent_and_json_where_nothing_says_so() {
        for ndjson in [
            "application/x-ndjson",
            "Application/X-NDJSON; charset=utf-8",
            "application/x-ndjson, */*",
            "application/x-ndjson, application/json",
            "application/json;q=0.9, application/x-ndjson",
            "application/json ; q=0.5 , application/x-ndjson;q=0.501",
            "text/html, application/x-ndjson;q=0.1",
            "application/json;q=0, */*",
            "application/*;q=0.2, application/json;q=0.1",
            "application/json;q=2, application/x-ndjson;q=0.1",
        ] {
            assert_eq!(format(ndjson), Format::Ndjson, "{ndjson}");
        }
        for json in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "application/json, text/plain, */*",
            "application/json, application/x-ndjson",
            "application/x-ndjson;q=0",
            "application/x-ndjson;q=0.000, */*;q=0.1",
            "application/x-ndjson;q=0.4, application/json;q=0.5",
            "application/x-ndjson;q=0.4, */*;q=0.5",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html",
            "application/x-ndjsonx, not-application/x-ndjson",
            "application/x-ndjson;q=often",
            "application/json;q=0",
            ",;q=,;;",
        ] {
            assert_eq!(format(json), Format::Json, "{json}");
        }
    }

    #[test]
    fn gzip_is_sent_to_whom_it_is_at_least_as_welcome_as_plain() {
        for taken in [
            "gzip",
            "GZIP;q=0.1",
            "br, gzip",
            "*",
            "gzip;q=0.5, *;q=0",
            "identity;q=0.5, gzip",
            "identity, gzip",
        ] {
            assert!(takes_gzip(taken, usize::MAX), "{taken}");
        }
        for refused in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "gzip; q=0.0, *",
            "*;q=0",
            "identity, gzip;q=0.9",
            "xgzip",
            "gzip;q=x",
        ] {
            assert!(!takes_gzip(refused, usize::MAX), "{refused}");
        }
        assert!(!takes_gzip("gzip", PACKET_BYTES));
        assert!(takes_gzip("gzip, identity;q=0", 1), "who does not take it plain does not get it plain");
        assert!(takes_gzip("gzip, *;q=0", 1));
    }

    #[test]
    fn a_list_of_tags_holds_a_tag_whether_either_is_weak_and_nothing_but_a_tag() {
        for tag in ["\"e.57\"", "W/\"e.57\""] {
            for held in [
                "\"e.57\"",
                "W/\"e.57\"",
                "  \"e.57\"\t",
                "\"a\", W/\"b,c\" ,\"e.57\"",
                ",\"e.57\",",
                "*",
                " * ",
            ] {
                assert!(holds_tag(held, tag), "{held}");
            }
            for other in [
                "",
                "\"\"",
                "\"e.5\"",
                "\"e.577\"",
                "\"E.57\"",
                "e.57",
                "w/\"e.57\"",
                "\"e.57",
                "e.57\"",
                "\"a, e.57\"",
                "\"a\", e.57",
                "W/",
                "W/W/\"e.57\"",
                "\"W/\"e.57",
                "**",
                "*, \"x\"",
                "'e.57'",
            ] {
                assert!(!holds_tag(other, tag), "{other}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_list_holds_the_tags_that_it_was_made_of_and_no_others(
            tags in vec(("(W/)?", "[!#-~]{0,3}", "[ \t]{0,2},[ ,\t]{0,2}"), 0..5),
            tag in "[!#-~]{0,3}",
        ) {
            let list: String = tags.iter().map(|(weak, tag, comma)| format!("{weak}\"{tag}\"{comma}")).collect();
            prop_assert_eq!(holds_tag(&list, &format!("\"{tag}\"")), tags.iter().any(|(_, one, _)| *one == tag));
            for (_, one, _) in &tags {
                let weak = format!("W/\"{one}\"");
                prop_assert!(holds_tag(&list, &weak));
            }
        }

        #[test]
        fn no_header_stops_an_answer(header in "[ -~\u{e4}\u{1f4a9}]{0,40}|([*/,;=q.01W\" ]|application/json|gzip){0,20}") {
            let _ = (format(&header), takes_gzip(&header, 2_000), holds_tag(&header, "\"x\""));
        }
    }
}
