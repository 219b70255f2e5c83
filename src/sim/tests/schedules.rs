//! Schedules that break simpler designs, by the names they have there.
