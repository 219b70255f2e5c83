//! Where the lines of a run are cut into objects.
//!
//! A cut is chosen by the content: between the least and the largest size of a part it falls behind the record whose key
//! has the smallest hash. A change in one place moves the window a little, and the same record is still the smallest in
//! it, so the parts behind it stay what they are and are not put again.

use crate::limits::Sizes;

/// The length of the first part of `lines`, which come in the order of their run; `more` says whether others follow them.
///
/// None if more lines are needed to tell. Every part but the last of a run has at least 1 MiB, so that a new client
/// reads at most one key per MiB.
#[must_use]
pub fn first_part(lines: &str, more: bool, sizes: &Sizes) -> Option<usize> {
    if lines.len() < sizes.part_max {
        return (!more).then_some(lines.len());
    }
    let mut best: Option<(u64, usize)> = None;
    let mut end = 0;
    while end < lines.len() {
        let line = &lines[end..];
        let length = line.find('\n').map_or(line.len(), |length| length + 1);
        end += length;
        if end < sizes.part_min {
            continue;
        }
        if end > sizes.part_max && best.is_some() {
            break;
        }
        let hash = key_hash(&line[..length]);
        if best.is_none_or(|(smallest, _)| hash < smallest) {
            best = Some((hash, end));
        }
    }
    best.map(|(_, end)| end)
}

/// FNV-1a over the key's text, mixed once more, as neighbouring keys differ in few bits. Not secret and not collision-free;
/// it only has to be spread and to stay the same for ever.
fn key_hash(line: &str) -> u64 {
    let start = line.find(',').unwrap_or(0);
    // The key's text ends where the value or the deletion begins: behind the first `,"value":` or `,"deleted":`. An id
    // holds neither unescaped quotes nor these words with them, so the first hit is the right one.
    let key = &line[start..];
    let end = key.find(",\"value\":").or_else(|| key.find(",\"deleted\":")).unwrap_or(key.len());
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key[..end].bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes::DEPLOYED;

    fn line(index: usize, version: usize) -> String {
        let filler = "x".repeat(150 + (index * 7919) % 100);
        format!(
            "{{\"version\":{version},\"collection\":\"c\",\"id\":\"r{index:06}\",\"value\":{{\"a\":\"{filler}\"}}}}\n"
        )
    }

    fn cut(lines: &[String]) -> Vec<String> {
        let text = lines.concat();
        let mut rest = text.as_str();
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let end = first_part(rest, false, &SIZES).expect("the end is known");
            parts.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        parts
    }

    #[test]
    fn parts_have_a_mebibyte_and_end_behind_a_line() {
        let parts = cut(&(0..60_000).map(|index| line(index, 1)).collect::<Vec<_>>());
        assert!(parts.len() > 8);
        for part in &parts[..parts.len() - 1] {
            assert!(part.ends_with('\n'));
            assert!((SIZES.part_min..=SIZES.part_max).contains(&part.len()), "{}", part.len());
        }
    }

    #[test]
    fn a_clustered_change_leaves_the_other_parts_as_they_are() {
        let before: Vec<_> = (0..60_000).map(|index| line(index, 1)).collect();
        let mut after = before.clone();
        for (index, changed) in after.iter_mut().enumerate().skip(30_000).take(600) {
            *changed = line(index, 60_001).replace("\"a\":\"", "\"a\":\"longer than before ");
        }
        let (before, after) = (cut(&before), cut(&after));
        let new = after.iter().filter(|part| !before.contains(part)).count();
        assert!(new <= 3, "{new} of {} parts are new", after.len());
    }

    #[test]
    fn more_lines_are_asked_for_until_a_cut_is_sure() {
        let lines: String = (0..1_000).map(|index| line(index, 1)).collect();
        assert_eq!(first_part(&lines, true, &SIZES), None);
        assert_eq!(first_part(&lines, false, &SIZES), Some(lines.len()));
    }

    #[test]
    fn one_line_above_the_limit_is_a_part() {
        let lines = format!(
            "{{\"version\":1,\"collection\":\"c\",\"id\":\"r\",\"value\":{{\"a\":\"{}\"}}}}\n",
            "x".repeat(SIZES.part_max + 5)
        );
        assert_eq!(first_part(&lines, true, &SIZES), Some(lines.len()));
    }
}
