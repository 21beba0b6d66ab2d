//! Times, sizes and shares as people write them.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// A time: seconds, or text such as `10m` or `1h30m`.
pub struct Time;

/// A size: bytes, or text such as `8GiB`.
pub struct Size;

/// A whole number that is not negative, however it is written: `3`, `3.0`, `1e6`.
pub fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|n| n.fract() == 0.0)?;
        // The largest float below 2^64 is a u64 as it is.
        (0.0..18_446_744_073_709_551_616.0)
            .contains(&number)
            .then_some(number as u64)
    })
}

impl Time {
    /// `90` (seconds), `500ms`, `30s`, `10m`, `1h30m`, `2d`.
    pub fn parse(value: &Value) -> Option<Duration> {
        if let Some(seconds) = value.as_f64() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let mut rest = value.as_str()?.trim();
        if rest.is_empty() {
            return None;
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..digits].parse().ok()?;
            let unit_end = rest[digits..]
                .find(|c: char| c.is_ascii_digit())
                .map_or(rest.len(), |at| digits + at);
            let seconds = match rest[digits..unit_end].trim() {
                "ms" => 0.001,
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
            total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
            rest = &rest[unit_end..];
        }
        Some(total)
    }
}

impl Size {
    /// `1073741824`, `8GiB`, `500 MB`, and `8G` as `ls -h`, `du` and containers mean it: 8 GiB.
    pub fn parse(value: &Value) -> Option<u64> {
        if let Some(bytes) = whole(value) {
            return Some(bytes);
        }
        let text = value.as_str()?.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = text[..digits].parse().ok()?;
        let unit = match text[digits..].trim() {
            "B" => 1.0,
            "KiB" | "K" | "k" => 1024.0,
            "MiB" | "M" => 1024.0 * 1024.0,
            "GiB" | "G" => 1024.0f64.powi(3),
            "TiB" | "T" => 1024.0f64.powi(4),
            "KB" | "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            _ => return None,
        };
        Some((number * unit) as u64)
    }
}

/// [`Size::parse`] of a text, of which a plain number is one of bytes.
pub fn bytes(text: &str) -> Option<u64> {
    match text.trim().parse::<u64>() {
        Ok(bytes) => Some(bytes),
        Err(_) => Size::parse(&Value::String(text.to_string())),
    }
}

/// A share, more than nothing and less than all: `20%`, or `0.2`.
pub struct Share;

impl Share {
    pub fn parse(value: &Value) -> Option<f64> {
        let share = match value.as_str() {
            Some(text) => text.trim().strip_suffix('%')?.trim().parse::<f64>().ok()? / 100.0,
            None => value.as_f64()?,
        };
        (share > 0.0 && share < 1.0).then_some(share)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share: `20%`, or `0.2`.",
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {
                    "type": "string",
                    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$",
                    "examples": ["20%"],
                },
            ],
        })
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time: seconds, or text such as `30s`, `10m` or `1h30m`.",
            "anyOf": [
                {"type": "number", "minimum": 0},
                {
                    "type": "string",
                    "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|min|m|h|d)\s*)+$",
                    "examples": ["30s", "10m", "1h30m"],
                },
            ],
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size: bytes, or text such as `500MB` or `8GiB`; `8G` is `8GiB`.",
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {
                    "type": "string",
                    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(B|KiB|MiB|GiB|TiB|KB|kB|MB|GB|TB|K|k|M|G|T)\s*$",
                    "examples": ["500MB", "8GiB"],
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_and_sizes() {
        assert_eq!(
            Time::parse(&json!("1h30m")),
            Some(Duration::from_secs(5400))
        );
        assert_eq!(
            Time::parse(&json!("500ms")),
            Some(Duration::from_millis(500))
        );
        assert_eq!(Time::parse(&json!(2)), Some(Duration::from_secs(2)));
        for wrong in [
            json!("soon"),
            json!("10"),
            json!(""),
            json!(-1),
            json!("1x"),
        ] {
            assert_eq!(Time::parse(&wrong), None, "{wrong}");
        }
        assert_eq!(Size::parse(&json!("8GiB")), Some(8 << 30));
        assert_eq!(Size::parse(&json!("1.5 MB")), Some(1_500_000));
        for (short, long) in [
            ("3K", "3KiB"),
            ("3k", "3KiB"),
            ("3M", "3MiB"),
            ("3 G", "3GiB"),
            ("3T", "3TiB"),
        ] {
            assert_eq!(
                Size::parse(&json!(short)),
                Size::parse(&json!(long)),
                "{short}"
            );
        }
        assert_eq!(Size::parse(&json!("7B")), Some(7));
        assert_eq!(Size::parse(&json!("8 gigs")), None);
        assert_eq!(Size::parse(&json!(1e9)), Some(1_000_000_000));
        assert_eq!(Share::parse(&json!("12.5 %")), Some(0.125));
        assert_eq!(Share::parse(&json!(0.5)), Some(0.5));
        for wrong in [
            json!(20),
            json!("0%"),
            json!("100%"),
            json!("0.2"),
            json!("NaN%"),
        ] {
            assert_eq!(Share::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn whole_numbers_however_written() {
        assert_eq!(whole(&json!(1e6)), Some(1_000_000));
        assert_eq!(whole(&json!(10.0)), Some(10));
        assert_eq!(whole(&json!(u64::MAX)), Some(u64::MAX));
        for wrong in [json!(0.5), json!(-1), json!(1e30), json!("3")] {
            assert_eq!(whole(&wrong), None, "{wrong}");
        }
    }
}
