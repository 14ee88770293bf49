//! Numbers and times as Barman prints them.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Bytes: `512 B`, `33.3 MiB`; binary units, one decimal.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    // Rounding is part of the choice: 1023.96 KiB would print as 1024.0.
    while scaled >= 1023.95 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", units[unit])
}

/// A span: its units that are not zero, largest first, joined by commas
/// (`2 minutes, 32 seconds`); `less than one second` below one.
pub fn duration(span: Duration) -> String {
    let total = span.as_secs();
    let parts = [
        (total / 86_400, "day"),
        (total / 3_600 % 24, "hour"),
        (total / 60 % 60, "minute"),
        (total % 60, "second"),
    ];
    let mut text = String::new();
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
        let comma = if text.is_empty() { "" } else { ", " };
        let plural = if count == 1 { "" } else { "s" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{count} {unit}{plural}");
    }
    if text.is_empty() { "less than one second".to_owned() } else { text }
}

/// `Mon Nov 23 06:28:14 2026`, in the local zone; the day is padded with a blank.
pub fn ctime(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_binary_units_with_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (35_484_976, "33.8 MiB"),
            (68_523_161, "65.3 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_name_their_units() {
        for (milliseconds, text) in [
            (999, "less than one second"),
            (1_000, "1 second"),
            (152_400, "2 minutes, 32 seconds"),
            (90_000_000, "1 day, 1 hour"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }
}
