//! Numbers and times as people read them.

pub use climb_cache::count;

/// `740 ms`, `12.3 s`, `4 min 05 s`, `3 h 07 min`.
pub fn seconds(s: f64) -> String {
    let s = plus_zero(s);
    if s < 0.95 {
        return format!("{:.0} ms", s * 1000.0);
    }
    if s < 59.95 {
        return format!("{s:.1} s");
    }
    let whole = s.round() as u64;
    const DAY: u64 = 86_400;
    const YEAR: u64 = 365 * DAY;
    match whole {
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ if whole < 2 * DAY => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ if whole < 2 * YEAR => format!("{} days", (s / DAY as f64).round()),
        _ => format!("{} years", short(s / YEAR as f64)),
    }
}

/// An estimate that may be off by this factor: `about 41.2 s`, `2 min 10 s to 3 h 07 min`.
pub fn about(seconds: f64, within: f64) -> String {
    match is_wide(within) {
        true => range(seconds, within),
        false => format!("about {}", self::seconds(seconds)),
    }
}

/// [`about`] without the word.
pub fn range(seconds: f64, within: f64) -> String {
    match is_wide(within) {
        true => format!(
            "{} to {}",
            self::seconds(seconds / within),
            self::seconds(seconds * within)
        ),
        false => self::seconds(seconds),
    }
}

fn is_wide(within: f64) -> bool {
    within > 1.7
}

/// `512`, `41.2k`, `3.1M`, `2.0G`, `1.5P`.
pub fn short(n: f64) -> String {
    match plus_zero(n) {
        n if n < 1e3 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.1}k", n / 1e3),
        n if n < 1e9 => format!("{:.1}M", n / 1e6),
        n if n < 1e12 => format!("{:.1}G", n / 1e9),
        n if n < 1e15 => format!("{:.1}T", n / 1e12),
        n if n < 1e18 => format!("{:.1}P", n / 1e15),
        n if n < 1e21 => format!("{:.1}E", n / 1e18),
        n => format!("{:.1}Z", n / 1e21),
    }
}

/// The sum of nothing is -0.0, and would be shown so.
fn plus_zero(n: f64) -> f64 {
    n + 0.0
}

/// `+0.1230`, `-0.1230`; what is no difference to four places has no sign.
pub fn difference(n: f64) -> String {
    match format!("{n:+.4}").as_str() {
        "-0.0000" | "+0.0000" => "0.0000".into(),
        text => text.into(),
    }
}

/// `±0.0123`; `±?` where nothing tells it.
pub fn spread(spread: Option<f64>) -> String {
    spread.map_or("±?".into(), |s| format!("±{s:.4}"))
}

/// `312 B`, `4.1 KiB`, `20.0 GiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut size = n as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// `2026-11-24 20:51`, UTC.
pub fn minute(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// At most `width` characters, the last one `…` when cut.
pub fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Lines of at most `width` characters, broken at spaces. Longer words stay whole.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(seconds(0.0041), "4 ms");
        assert_eq!(seconds(59.94), "59.9 s");
        assert_eq!(seconds(59.96), "1 min 00 s");
        assert_eq!(seconds(3725.0), "1 h 02 min");
        assert_eq!(seconds(3.0 * 86_400.0), "3 days");
        assert_eq!(seconds(3.5 * 365.0 * 86_400.0), "4 years");
        assert_eq!(about(60.0, 1.2), "about 1 min 00 s");
        assert_eq!(about(60.0, 4.0), "15.0 s to 4 min 00 s");
        assert_eq!(short(41_200.0), "41.2k");
        assert_eq!(seconds(-0.0), "0 ms");
        assert_eq!(short(-0.0), "0");
        assert_eq!(difference(-0.00001), "0.0000");
        assert_eq!(difference(-0.25), "-0.2500");
        assert_eq!(spread(Some(0.0)), "±0.0000");
        assert_eq!(spread(None), "±?");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(wrap("one two  three", 8), ["one two", "three"]);
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(4096), "4.0 KiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
    }
}
