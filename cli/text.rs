//! Numbers and times as people read them.

/// `740 ms`, `12.3 s`, `4 min 05 s`, `3 h 07 min`.
pub fn seconds(s: f64) -> String {
    if s < 0.95 {
        return format!("{:.0} ms", s * 1000.0);
    }
    if s < 59.95 {
        return format!("{s:.1} s");
    }
    let whole = s.round() as u64;
    match whole {
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `512`, `41.2k`, `3.1M`, `2.0G`, `1.5P`.
pub fn short(n: f64) -> String {
    match n {
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

/// At most `width` characters, the last one `…` when cut.
pub fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
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
        assert_eq!(short(41_200.0), "41.2k");
        assert_eq!(clip("abcdef", 4), "abc…");
    }
}
