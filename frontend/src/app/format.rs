//! Numbers as people read them: bytes, counts, durations, rates.

use super::i18n::Locale;

/// Decimal units, as disks and download pages count: `6.1 MB`.
pub fn bytes(count: u64) -> String {
    let (value, unit) = match count {
        0..1_000 => return format!("{count} B"),
        1_000..1_000_000 => (count as f64 / 1e3, "kB"),
        1_000_000..1_000_000_000 => (count as f64 / 1e6, "MB"),
        _ => (count as f64 / 1e9, "GB"),
    };
    format!("{} {unit}", three_digits(value))
}

/// `135 M`, `3.05 M`, `820`.
pub fn count(count: u64) -> String {
    match count {
        0..10_000 => group(count),
        10_000..1_000_000 => format!("{} k", three_digits(count as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} M", three_digits(count as f64 / 1e6)),
        _ => format!("{} B", three_digits(count as f64 / 1e9)),
    }
}

/// Thousands apart: `12 345`, with a thin space that does not break.
pub fn group(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `42 s`, `3 min 20 s`, `2 h 5 min`, in the language's own words.
pub fn duration(seconds: f64, locale: Locale) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (h, min, s) = match locale {
        Locale::en => (" h", " min", " s"),
        Locale::zh => (" 小时", " 分", " 秒"),
    };
    match seconds {
        0..60 => format!("{seconds}{s}"),
        60..3_600 => format!("{}{min} {}{s}", seconds / 60, seconds % 60),
        _ => format!("{}{h} {}{min}", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A planned time, from milliseconds to years: `14 ms`, `3.2 s`, `5 min 3 s`, `12 days`.
pub fn span(seconds: f64, locale: Locale) -> String {
    const DAY: f64 = 86_400.0;
    const YEAR: f64 = 365.0 * DAY;
    let [ms, s, days, years] = match locale {
        Locale::en => [" ms", " s", " days", " years"],
        Locale::zh => [" 毫秒", " 秒", " 天", " 年"],
    };
    if seconds < 1.0 {
        format!("{}{ms}", three_digits(seconds * 1e3))
    } else if seconds < 60.0 {
        format!("{}{s}", three_digits(seconds))
    } else if seconds < 2.0 * DAY {
        duration(seconds, locale)
    } else if seconds < 2.0 * YEAR {
        format!("{}{days}", three_digits(seconds / DAY))
    } else {
        format!("{}{years}", three_digits(seconds / YEAR))
    }
}

/// A learning rate or another small number: `3e-4`, `0.0021`, `0.125`.
pub fn small(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() >= 0.001 {
        let text = format!("{value:.4}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let text = format!("{value:.2e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}e{exponent}")
}

/// Tokens per second: whole above 100, one digit below.
pub fn rate(per_second: f64) -> String {
    if per_second >= 100.0 || per_second.fract() == 0.0 {
        group(per_second.round() as u64)
    } else {
        format!("{per_second:.1}")
    }
}

fn three_digits(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    if digits == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(6_123_456), "6.12 MB");
        assert_eq!(bytes(98_000_000), "98 MB");
        assert_eq!(count(134_515_008), "135 M");
        assert_eq!(count(9_999), "9\u{202f}999");
        assert_eq!(group(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(small(3e-4), "3e-4");
        assert_eq!(small(0.0021), "0.0021");
        assert_eq!(small(1.25e-5), "1.25e-5");
        assert_eq!(duration(200.4, Locale::en), "3 min 20 s");
        assert_eq!(duration(7_500.0, Locale::zh), "2 小时 5 分");
        assert_eq!(span(0.0142, Locale::en), "14.2 ms");
        assert_eq!(span(3.21, Locale::en), "3.21 s");
        assert_eq!(span(90.0 * 86_400.0, Locale::zh), "90 天");
        assert_eq!(span(1e9, Locale::en), "31.7 years");
    }
}
