//! Sizes and durations as people write and read them.

use std::time::Duration;

/// Parses an amount of memory or disk in MiB: `512`, `512M`, `2G` (also `MiB`, `GiB`; all powers of 1024).
pub fn parse_mib(text: &str) -> Result<u64, String> {
    let hint = || format!("`{text}` is no size; write MiB as a number, like 512, or 512M or 2G");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| hint())?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1,
        "g" | "gb" | "gib" => 1024,
        "t" | "tb" | "tib" => 1024 * 1024,
        _ => return Err(hint()),
    };
    number.checked_mul(factor).ok_or_else(hint)
}

/// Parses a duration: `500ms`, `10s`, `2m`, or seconds as a number.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let hint = || format!("`{text}` is no duration; write 500ms, 10s or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| hint())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.checked_mul(60).ok_or_else(hint)?)),
        _ => Err(hint()),
    }
}

/// An amount in MiB, short: `512M`, `2G`.
pub fn mib(amount: u64) -> String {
    if amount >= 1024 && amount.is_multiple_of(1024) {
        format!("{}G", amount / 1024)
    } else {
        format!("{amount}M")
    }
}

/// An amount in bytes, short, at most one decimal: `0 B`, `4 KiB`, `1.2 MiB`.
pub fn bytes(amount: u64) -> String {
    let mut value = amount as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" || value.fract() < 0.05 {
                format!("{} {unit}", value.trunc())
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A duration in its two largest units: `7s`, `3m12s`, `5h2m`, `9d4h`.
pub fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}d{hours}h")
    } else if hours > 0 {
        format!("{hours}h{minutes}m")
    } else if minutes > 0 {
        format!("{minutes}m{}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// A count with its noun: `1 file`, `3 files`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Seconds since 1970, now.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_mib() {
        for (text, mib) in [("512", 512), ("512M", 512), ("2G", 2048), ("2gib", 2048), ("1T", 1 << 20)] {
            assert_eq!(parse_mib(text), Ok(mib), "{text}");
        }
        for text in ["", "G", "1.5G", "-1", "2 G", "2X", "99999999999999999999", "18446744073709551615G"] {
            assert!(parse_mib(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(mib(512), "512M");
        assert_eq!(mib(2048), "2G");
        assert_eq!(mib(1536), "1536M");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(1_258_291), "1.2 MiB");
        assert_eq!(uptime(7), "7s");
        assert_eq!(uptime(192), "3m12s");
        assert_eq!(uptime(18_120), "5h2m");
        assert_eq!(uptime(9 * 86_400 + 4 * 3600), "9d4h");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
    }
}
