//! How numbers are written for people: times in ms, rates in 10^6 bytes per second, comparisons in words.

/// `12345678` → `12.346`; three decimals below 100 ms, fewer above.
pub(crate) fn millis(ns: u64) -> String {
    let millis = ns as f64 / 1e6;
    match millis {
        0.0..100.0 => format!("{millis:.3}"),
        100.0..1000.0 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

/// Bytes per time as MB/s, 10^6 bytes each.
pub(crate) fn rate(bytes: u64, ns: u64) -> String {
    let rate = megabytes_per_second(bytes, ns);
    if rate < 100.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

/// Bytes per time in 10^6 bytes per second; 0 for no time.
pub(crate) fn megabytes_per_second(bytes: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { bytes as f64 * 1e3 / ns as f64 }
}

/// How `ns` compares with `baseline_ns`: `2.00x faster` means half the time, `2.00x slower` twice.
pub(crate) fn compared(ns: u64, baseline_ns: u64) -> String {
    if ns == 0 || baseline_ns == 0 {
        return String::new();
    }
    let ratio = ns as f64 / baseline_ns as f64;
    if ratio < 1.0 {
        format!("{:.2}x faster", 1.0 / ratio)
    } else {
        format!("{ratio:.2}x slower")
    }
}

/// A number of bytes with thousands apart: `10 240 B`.
pub(crate) fn bytes(bytes: u64) -> String {
    let digits = bytes.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text + " B"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_the_digits_that_mean_something() {
        assert_eq!(millis(1_234), "0.001");
        assert_eq!(millis(12_345_678), "12.346");
        assert_eq!(millis(123_456_789), "123.5");
        assert_eq!(millis(2_500_000_000), "2500");
    }

    #[test]
    fn rates_are_decimal_megabytes() {
        assert_eq!(rate(100_000_000, 100_000_000), "1000");
        assert_eq!(rate(10_240, 1_000_000), "10.2");
        assert_eq!(rate(1, 0), "0.0");
    }

    #[test]
    fn comparisons_say_which_way() {
        assert_eq!(compared(50, 100), "2.00x faster");
        assert_eq!(compared(300, 100), "3.00x slower");
        assert_eq!(compared(0, 100), "");
    }

    #[test]
    fn thousands_stand_apart() {
        let found = [1, 999, 10_240, 104_857_600].map(bytes);
        assert_eq!(found, ["1 B", "999 B", "10 240 B", "104 857 600 B"]);
    }
}
