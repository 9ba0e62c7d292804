//! Values: what Spring accepts, as our schema spells it.

use std::time::Duration;

use super::source::{Entry, Value, split, text};
use crate::config::tree::{Data, Node, Style};

/// How a value becomes ours.
#[derive(Clone, Copy, Debug)]
pub(super) enum Convert {
    /// A text as it is.
    Text,
    /// A number, which the schema checks.
    Number,
    /// `true` or `false`, and what Spring takes for it.
    Flag,
    /// A duration; a number without unit is milliseconds.
    Millis,
    /// A duration; a number without unit is seconds.
    Seconds,
    /// Names: a list, or one text with commas.
    Names,
    /// One of these, each with our word for it.
    OneOf(&'static [(&'static str, &'static str)]),
}

impl Convert {
    /// Converts a value; `None` if it is empty, which says nothing.
    pub(super) fn apply(self, entry: &Entry) -> Result<Option<Node>, String> {
        let given = text(&entry.value);
        if given.is_empty() {
            return Ok(None);
        }
        let scalar = |text: String, style| Ok(Some(Node::scalar(text, style, Some(entry.place.clone()))));
        match self {
            Self::Names => Ok(Some(names(entry))),
            Self::Text => scalar(given, Style::Text),
            Self::Number => scalar(given, Style::Plain),
            Self::Flag => scalar(flag(&given)?.to_string(), Style::Plain),
            Self::Millis => scalar(shown(duration(&given, Duration::from_millis(1))?), Style::Text),
            Self::Seconds => scalar(shown(duration(&given, Duration::from_secs(1))?), Style::Text),
            Self::OneOf(words) => {
                let found = words.iter().find(|(theirs, _)| same(theirs, &given));
                let (_, ours) = found.ok_or_else(|| one_of(words.iter().map(|(theirs, _)| *theirs), &given))?;
                scalar((*ours).to_owned(), Style::Plain)
            }
        }
    }

    /// A value that it takes, for tests and the guide.
    #[cfg(test)]
    pub(super) fn sample(self) -> &'static str {
        match self {
            Self::Text | Self::Names => "some",
            Self::Number => "3",
            Self::Flag => "true",
            Self::Millis | Self::Seconds => "1500",
            Self::OneOf(words) => words.first().map_or("", |(theirs, _)| theirs),
        }
    }

    /// What happens to a value, for the guide; nothing if it stays as it is.
    pub(super) fn words(self) -> String {
        match self {
            Self::Text | Self::Number | Self::Flag | Self::Names => String::new(),
            Self::Millis => "a bare number is milliseconds".to_owned(),
            Self::Seconds => "a bare number is seconds".to_owned(),
            Self::OneOf(words) => {
                let words = words.iter().map(|(theirs, ours)| match same(theirs, ours) {
                    true => format!("`{ours}`"),
                    false => format!("`{theirs}` → `{ours}`"),
                });
                words.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// Says which values there are.
pub(super) fn one_of<'a>(known: impl Iterator<Item = &'a str>, given: &str) -> String {
    let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
    format!("expected {}, found `{given}`", known.join(" or "))
}

/// Whether two constants are one: Spring matches them without case, `-` and `_`.
pub(super) fn same(left: &str, right: &str) -> bool {
    super::names::uniform(left) == super::names::uniform(right)
}

/// Whether a value is this one: a truth value by any of its names, a constant as Spring matches them, a number as it is.
pub(super) fn is_value(known: &str, given: &str) -> bool {
    match known {
        "true" | "false" => flag(given) == flag(known),
        _ if known.contains(|c: char| c.is_ascii_alphabetic()) => same(known, given),
        _ => known == given,
    }
}

/// Reads what Spring takes for a truth value.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(format!("expected `true` or `false`, found `{text}`")),
    }
}

/// Makes a list of a list, or of a text with commas.
fn names(entry: &Entry) -> Node {
    let names = match &entry.value {
        Value::Text(text) => split(text),
        Value::List(items) => items.clone(),
    };
    list(&names, entry)
}

/// Makes a list of texts, written where the entry is.
pub(super) fn list(texts: &[String], entry: &Entry) -> Node {
    let place = Some(entry.place.clone());
    let items = texts.iter().map(|name| Node::scalar(name, Style::Text, place.clone())).collect();
    Node::new(Data::List(items), place)
}

/// Reads a duration: `10s`, `PT10S`, or a number of `unit`.
pub(super) fn duration(text: &str, unit: Duration) -> Result<Duration, String> {
    let refused = || format!("expected a duration such as `10s`, `PT10S` or a number, found `{text}`");
    if text.starts_with(['P', 'p']) {
        return iso(&text.to_uppercase()).ok_or_else(refused);
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let number: u32 = number.parse().map_err(|_| refused())?;
    let unit = match suffix.trim().to_lowercase().as_str() {
        "" => unit,
        "ns" => Duration::from_nanos(1),
        "us" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        "d" => Duration::from_secs(86_400),
        _ => return Err(refused()),
    };
    unit.checked_mul(number).ok_or_else(refused)
}

/// Reads `P2DT3H4M5.5S`.
fn iso(text: &str) -> Option<Duration> {
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text.strip_prefix('P')?, ""),
    };
    let mut seconds = 0.0;
    let mut rest = time;
    if !days.is_empty() {
        seconds += days.strip_suffix('D')?.parse::<f64>().ok()? * 86_400.0;
    } else if time.is_empty() {
        return None;
    }
    for (unit, factor) in [('H', 3600.0), ('M', 60.0), ('S', 1.0)] {
        if let Some((number, after)) = rest.split_once(unit) {
            seconds += number.parse::<f64>().ok()? * factor;
            rest = after;
        }
    }
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    rest.is_empty().then_some(duration)
}

/// A duration as our schema spells it.
pub(super) fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_each_of_springs_styles() {
        for (text, millis) in [
            ("1500", 1500),
            ("10s", 10_000),
            ("10 s", 10_000),
            ("2m", 120_000),
            ("1d", 86_400_000),
            ("PT10S", 10_000),
            ("PT1M0.5S", 60_500),
            ("pt2h", 7_200_000),
            ("P1DT1S", 86_401_000),
            ("P1D", 86_400_000),
        ] {
            assert_eq!(duration(text, Duration::from_millis(1)), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("3", Duration::from_secs(1)), Ok(Duration::from_secs(3)));
        for text in ["", "s", "10 parsecs", "-1", "P", "PT", "PTS", "PT1X", "1.5s", "PT-1S"] {
            assert!(duration(text, Duration::from_secs(1)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_compared_as_what_it_is() {
        assert!(
            is_value("true", "yes") && is_value("false", "Off") && is_value("auto", "AUTO") && is_value("-1", "-1")
        );
        assert!(!is_value("-1", "1") && !is_value("true", "1.0") && !is_value("false", "maybe") && !is_value("*", "a"));
    }

    #[test]
    fn truth_has_several_names() {
        assert_eq!([flag("YES"), flag("on"), flag("1"), flag("True")], [Ok(true), Ok(true), Ok(true), Ok(true)]);
        assert_eq!([flag("no"), flag("Off"), flag("0")], [Ok(false), Ok(false), Ok(false)]);
        assert!(flag("maybe").is_err());
    }
}
