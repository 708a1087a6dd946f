//! Floating-point numbers as Go's `strconv.FormatFloat` writes them.

/// Bits of the mantissa after its point.
const MANTISSA_BITS: u32 = 52;
/// Where `%g` takes an exponent: below 10^-4, and from 10^this up when no precision is asked for.
const SHORTEST_EXPONENT: i32 = 6;

/// `precision` `None`: as many digits as are needed to read the same number again. A sign only if negative.
pub(super) fn format(number: f64, format: u8, precision: Option<usize>) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    match format {
        b'e' | b'E' => scientific(number, precision, format),
        b'f' => match precision {
            Some(precision) => format!("{number:.precision$}"),
            None => format!("{number}"),
        },
        b'b' => binary(number),
        b'x' | b'X' => hexadecimal(number, precision, format == b'X'),
        upper_or_lower => general(number, precision, upper_or_lower),
    }
}

/// Digits and the exponent of the first one.
fn parts(number: f64, precision: Option<usize>) -> (String, i32) {
    let text = match precision {
        Some(precision) => format!("{number:.precision$e}"),
        None => format!("{number:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

fn scientific(number: f64, precision: Option<usize>, format: u8) -> String {
    let (mantissa, exponent) = parts(number, precision);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{}{sign}{:02}", char::from(format), exponent.unsigned_abs())
}

/// `%e` for very small and large numbers, `%f` for others, without zeros at the end.
fn general(number: f64, precision: Option<usize>, format: u8) -> String {
    let wanted = precision.map(|precision| precision.max(1));
    let (mantissa, exponent) = parts(number, wanted.map(|digits| digits - 1));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_end_matches('0').len();
    let before_point = if number == 0.0 { 0 } else { exponent + 1 };
    let most = match wanted {
        None => i64::from(SHORTEST_EXPONENT),
        Some(wanted) => {
            let (wanted, significant) = (length(wanted), length(significant));
            if wanted > significant && significant >= i64::from(before_point) {
                significant
            } else {
                wanted
            }
        }
    };
    let power = before_point - 1;
    if power < -4 || i64::from(power) >= most {
        let format = if format == b'G' { b'E' } else { b'e' };
        return scientific(number, Some(significant.saturating_sub(1)), format);
    }
    let after_point = (length(significant) - i64::from(before_point)).max(0);
    let after_point = usize::try_from(after_point).unwrap_or(0);
    format!("{number:.after_point$}")
}

fn length(digits: usize) -> i64 {
    i64::try_from(digits).unwrap_or(i64::MAX)
}

/// The mantissa as an integer and the exponent to base 2.
fn mantissa(number: f64) -> (u64, i32) {
    let bits = number.to_bits();
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    let exponent = i32::try_from((bits >> MANTISSA_BITS) & 0x7ff).unwrap_or(0);
    if exponent == 0 {
        (fraction, -1074)
    } else {
        (fraction | 1 << MANTISSA_BITS, exponent - 1075)
    }
}

fn minus(number: f64) -> &'static str {
    if number.is_sign_negative() { "-" } else { "" }
}

fn binary(number: f64) -> String {
    let (mantissa, exponent) = mantissa(number);
    format!("{}{mantissa}p{exponent:+}", minus(number))
}

/// `0x1.8p+01`
fn hexadecimal(number: f64, precision: Option<usize>, upper: bool) -> String {
    let (mut mantissa, mut exponent) = mantissa(number);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // One digit, which is 1, before the point; 60 bits after it.
        let shift = mantissa.leading_zeros().saturating_sub(3);
        mantissa <<= shift;
        exponent += 60 - i32::try_from(shift).unwrap_or(0);
    }
    if let Some(digits) = precision.filter(|digits| *digits < 15) {
        // Round half to even at that digit.
        let cut = u32::try_from(60 - digits * 4).unwrap_or(0);
        let (rest, half) = (mantissa & ((1 << cut) - 1), 1 << (cut - 1));
        mantissa >>= cut;
        if rest > half || (rest == half && mantissa & 1 == 1) {
            mantissa += 1;
        }
        mantissa <<= cut;
        if mantissa >> 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let all = format!("{:015x}", mantissa & ((1 << 60) - 1));
    let fraction = match precision {
        None => all.trim_end_matches('0').to_owned(),
        Some(digits) => format!("{all:0<digits$}")[..digits].to_owned(),
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    let text = format!(
        "{}0x{}{point}{fraction}p{sign}{:02}",
        minus(number),
        mantissa >> 60,
        exponent.unsigned_abs()
    );
    if upper { text.to_uppercase() } else { text }
}

/// What `#` makes of a number: it has a point, and under `%g` all of its digits.
pub(super) fn with_point(text: &str, format: u8, precision: Option<usize>) -> String {
    let exponent_mark: &[char] = if matches!(format, b'x' | b'X') {
        &['p', 'P']
    } else {
        &['e', 'E']
    };
    let (number, exponent) = text.split_at(text.find(exponent_mark).unwrap_or(text.len()));
    let mut number = number.to_owned();
    let mut wanted = match format {
        b'g' | b'G' | b'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let mut significant = false;
    for c in number.chars().filter(|c| *c != '.') {
        significant |= c != '0';
        if significant {
            wanted = wanted.saturating_sub(1);
        }
    }
    if !number.contains('.') {
        if number == "0" {
            wanted = wanted.saturating_sub(1);
        }
        number.push('.');
    }
    number.extend(std::iter::repeat_n('0', wanted));
    number + exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_go_writes_them() {
        for (number, verb, precision, expected) in [
            (0.0, b'g', None, "0"),
            (1.0, b'g', None, "1"),
            (-1.5, b'g', None, "-1.5"),
            (0.001_287_266, b'g', None, "0.001287266"),
            (0.0001, b'g', None, "0.0001"),
            (0.000_045_5, b'g', None, "4.55e-05"),
            (100_000.0, b'g', None, "100000"),
            (123_456.789, b'g', None, "123456.789"),
            (1e21, b'g', None, "1e+21"),
            (1_234_567.0, b'g', None, "1.234567e+06"),
            (999_999.5, b'g', None, "999999.5"),
            (1e-7, b'g', None, "1e-07"),
            (1e100, b'G', None, "1E+100"),
            (100.0, b'g', Some(3), "100"),
            (1000.0, b'g', Some(3), "1e+03"),
            (2.34567, b'g', Some(3), "2.35"),
            (0.0, b'g', Some(3), "0"),
            (1.0, b'e', Some(6), "1.000000e+00"),
            (12345.678, b'e', Some(2), "1.23e+04"),
            (2.5, b'f', Some(0), "2"),
            (3.5, b'f', Some(0), "4"),
            (1.005, b'f', Some(2), "1.00"),
            (1.0, b'f', None, "1"),
            (1.0, b'b', None, "4503599627370496p-52"),
            (1.0, b'x', None, "0x1p+00"),
            (1.5, b'x', None, "0x1.8p+00"),
            (-0.1, b'x', None, "-0x1.999999999999ap-04"),
            (1.999, b'x', Some(0), "0x1p+01"),
            (1.0, b'x', Some(3), "0x1.000p+00"),
            (0.0, b'x', None, "0x0p+00"),
            (5e-324, b'x', None, "0x1p-1074"),
        ] {
            let text = format(number, verb, precision);
            assert_eq!(text, expected, "{number} {}", char::from(verb));
        }
    }
}
