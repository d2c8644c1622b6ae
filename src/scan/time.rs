//! The time of a scan, in UTC. (RFC 3339)

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the present time, such as `2026-11-28T06:01:17Z`.
pub fn now() -> String {
    text(seconds())
}

/// Returns the present date, such as `2026-11-28`.
pub fn today() -> String {
    text(seconds())[..10].to_owned()
}

/// Returns the present time in seconds since the beginning of 1970.
pub(super) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the time so many seconds after the beginning of 1970, up to the year 9999.
fn text(seconds: u64) -> String {
    const DAY: u64 = 24 * 60 * 60;
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    let seconds = seconds.min(LAST);
    let (mut days, second) = (seconds / DAY, seconds % DAY);
    let mut year = 1970;
    while days >= days_of(year) {
        days -= days_of(year);
        year += 1;
    }
    let lengths = [31, days_of(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let [hour, minute, second] = [second / 3600, second / 60 % 60, second % 60];
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, days + 1)
}

/// Returns how many days a year has.
fn days_of(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if is_leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        #[rustfmt::skip]
        let rows = [
            (0,               "1970-01-01T00:00:00Z"),
            (951_782_399,     "2000-02-28T23:59:59Z"),
            (951_782_400,     "2000-02-29T00:00:00Z"),
            (951_868_800,     "2000-03-01T00:00:00Z"),
            (1_795_845_677,   "2026-11-28T06:01:17Z"),
            (4_107_542_400,   "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (u64::MAX,        "9999-12-31T23:59:59Z"),
        ];
        for (seconds, want) in rows {
            assert_eq!(text(seconds), want);
        }
    }
}
