//! Plain scalars as YAML 1.1 has them, which Spring reads: `on` is `true`, `1.10` is `1.1`, `010` is 8.

/// Returns what Spring makes of a scalar without quotes.
pub(super) fn plain(text: &str) -> String {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "True" | "TRUE" => return "true".to_owned(),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" | "False" | "FALSE" => return "false".to_owned(),
        _ => {}
    }
    number(text).unwrap_or_else(|| text.to_owned())
}

/// Writes a number as Java does; those with an exponent, a colon or another base than 8 and 10 stay as they are.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let digits: String =
        Some(digits).filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))?.replace('_', "");
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let octal = digits.len() > 1 && digits.starts_with('0');
        let number = if octal { u64::from_str_radix(&digits, 8).ok()?.to_string() } else { digits };
        return Some(format!("{sign}{number}"));
    }
    let (whole, fraction) = digits.split_once('.')?;
    let is_decimal = whole.len() <= 7
        && fraction.len() <= 8
        && (whole.to_owned() + fraction).bytes().all(|byte| byte.is_ascii_digit());
    let number: f64 = digits.parse().ok().filter(|number| is_decimal && (*number == 0.0 || *number >= 1e-3))?;
    Some(format!("{sign}{number:?}"))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn numbers_and_truths_are_what_spring_reads() {
        for (text, read) in [
            ("on", "true"),
            ("Off", "false"),
            ("1.10", "1.1"),
            ("2.", "2.0"),
            ("-0.50", "-0.5"),
            ("010", "8"),
            ("2024_01", "202401"),
            ("+5", "5"),
            ("-0", "-0"),
            ("0", "0"),
        ] {
            assert_eq!(plain(text), read, "{text}");
        }
        for text in ["orders", "1.10.2", "10s", "08", "1e3", "1:30", "0x1f", "oN", "", "-", "mq:5672", "127.0.0.1"] {
            assert_eq!(plain(text), text);
        }
    }
}
