//! What a call used.

/// What an answer cost, counted by the shell: clocks stand still between I/O on the platform, but operations are what is
/// billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Looks into the location's cache. Free.
    pub cache: u32,
    /// KV keys read.
    pub kv: u32,
    /// Requests to the coordinator.
    pub object: u32,
    /// SQL rows read by it.
    pub rows_read: u32,
    /// SQL rows written by it.
    pub rows_written: u32,
}

impl Usage {
    /// The header's value.
    #[must_use]
    pub fn server_timing(&self) -> String {
        let Self { cache, kv, object, rows_read, rows_written } = self;
        format!(
            "cache;desc=\"{cache}\", kv;desc=\"{kv}\", object;desc=\"{object}\", \
             rows_read;desc=\"{rows_read}\", rows_written;desc=\"{rows_written}\""
        )
    }

    /// Takes in what a part of the same request has used.
    pub fn add(&mut self, part: Self) {
        let Self { cache, kv, object, rows_read, rows_written } = part;
        self.cache += cache;
        self.kv += kv;
        self.object += object;
        self.rows_read += rows_read;
        self.rows_written += rows_written;
    }

    /// Takes in what the coordinator says of its own part.
    pub fn add_rows(&mut self, server_timing: &str) {
        let count = |name: &str| {
            let entry = server_timing
                .split(", ")
                .find_map(|entry| entry.strip_prefix(name)?.strip_prefix(";desc=\""));
            entry.and_then(|rest| rest.trim_end_matches('"').parse::<u32>().ok()).unwrap_or(0)
        };
        self.rows_read += count("rows_read");
        self.rows_written += count("rows_written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coordinators_rows_are_part_of_the_bill() {
        let object = Usage { rows_read: 12, rows_written: 3, ..Usage::default() };
        let mut usage = Usage { object: 1, ..Usage::default() };
        usage.add_rows(&object.server_timing());
        assert_eq!(usage, Usage { object: 1, rows_read: 12, rows_written: 3, ..Usage::default() });
    }
}
