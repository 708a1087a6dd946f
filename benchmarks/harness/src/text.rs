//! How numbers and tables are written for people: times in ms, rates in 10^6 bytes per second, comparisons in words.

use comfy_table::{LineStyle, TableStyle};

/// A line under the header and nothing else.
pub(crate) const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// How `time` compares with that of a baseline: `2.00x faster` means half the time, `2.00x slower` twice.
pub(crate) fn compared(time: f64, baseline: f64) -> String {
    if time <= 0.0 || baseline <= 0.0 {
        return String::new();
    }
    let ratio = time / baseline;
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
    fn comparisons_say_which_way() {
        assert_eq!(compared(50.0, 100.0), "2.00x faster");
        assert_eq!(compared(300.0, 100.0), "3.00x slower");
        assert_eq!(compared(0.0, 100.0), "");
    }

    #[test]
    fn thousands_stand_apart() {
        let found = [1, 999, 10_240, 104_857_600].map(bytes);
        assert_eq!(found, ["1 B", "999 B", "10 240 B", "104 857 600 B"]);
    }
}
