//! Record lines as text: what can be read off them without parsing their values.

use crate::version::Version;

const START: &str = "{\"version\":";

/// The version of a record line.
///
/// # Panics
/// When the text is not a line of ours: lines come from the ledger, or from bytes whose hash was checked.
#[must_use]
pub fn version_of(line: &str) -> Version {
    let digits = line.strip_prefix(START).and_then(|rest| rest.split(',').next());
    digits.and_then(Version::parse).unwrap_or_else(|| panic!("BUG: a record line without a version"))
}

/// The part of `lines`, newest first, that is newer than `since`: a prefix.
#[must_use]
pub fn newer_than(lines: &str, since: Version) -> &str {
    if since == Version::ZERO {
        return lines;
    }
    let mut end = 0;
    while end < lines.len() {
        let line = &lines[end..];
        if version_of(line) <= since {
            break;
        }
        end += line.find('\n').map_or(line.len(), |length| length + 1);
    }
    &lines[..end]
}

/// Lines that stand oldest first, newest first; those of one version stay in their order.
#[must_use]
pub fn newest_first(lines: &str) -> String {
    let version = |line: &str| line.find(',').unwrap_or(line.len());
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    let of_versions = lines.chunk_by(|line, next| line[..version(line)] == next[..version(next)]);
    of_versions.rev().flatten().copied().collect()
}

/// Whether `text` could be record lines as the grammar has them. For bytes that somebody else may have written.
#[must_use]
pub fn are_lines(text: &str) -> bool {
    (text.is_empty() || text.ends_with('\n'))
        && text.split_terminator('\n').all(|line| {
            line.strip_prefix(START)
                .and_then(|rest| rest.split_once(','))
                .is_some_and(|(digits, rest)| Version::parse(digits).is_some() && rest.ends_with('}'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_increment_is_a_prefix_of_lines_newest_first() {
        let lines = "{\"version\":9,\"x\":1}\n{\"version\":7,\"x\":1}\n{\"version\":7,\"x\":2}\n{\"version\":2,\"x\":1}\n";
        let newer = |since| newer_than(lines, Version::new(since).expect("a version")).lines().count();
        assert_eq!([newer(9), newer(8), newer(7), newer(6), newer(0)], [0, 1, 1, 3, 4]);
    }

    #[test]
    fn newest_first_turns_versions_round_and_leaves_them_whole() {
        let line = |version: u64, x: u64| format!("{{\"version\":{version},\"x\":{x}}}\n");
        let lines = line(2, 1) + &line(7, 1) + &line(7, 2) + &line(70, 1);
        assert_eq!(newest_first(&lines), line(70, 1) + &line(7, 1) + &line(7, 2) + &line(2, 1));
        assert_eq!(newest_first(""), "");
    }

    #[test]
    fn foreign_bytes_are_not_taken_for_lines() {
        assert!(are_lines(""));
        assert!(are_lines("{\"version\":9,\"collection\":\"c\",\"id\":\"r\",\"deleted\":true}\n"));
        for text in ["x", "{}\n", "{\"version\":9,\"x\":1}", "{\"version\":-9,\"x\":1}\n"] {
            assert!(!are_lines(text), "{text}");
        }
    }
}
