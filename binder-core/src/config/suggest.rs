//! "Did you mean".

/// Returns a name without what case and punctuation add: how environment variables are matched.
pub(super) fn plain(name: &str) -> String {
    let kept = name.chars().filter(|c| !matches!(c, '-' | '_' | '.'));
    kept.flat_map(char::to_lowercase).collect()
}

/// Returns the known name that was probably meant.
pub(super) fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = plain(given);
    let near = known.into_iter().filter_map(|name| {
        let plain = plain(name);
        let limit = (given.chars().count().max(plain.chars().count()) / 3).clamp(1, 3);
        let distance = strsim::damerau_levenshtein(&given, &plain);
        (distance <= limit && distance < plain.chars().count()).then_some((distance, name))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Returns `; did you mean ...?`, or else the list of what is known.
pub(super) fn hint<'a>(given: &str, label: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match closest(given, known.clone()) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => format!("; {label}: {}", list(known)),
    }
}

/// Returns `; did you mean ...?` and the list of what is known, which is short.
pub(super) fn among<'a>(given: &str, label: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let names = list(known.clone());
    match (closest(given, known), label.split_at_checked(1)) {
        (Some(name), Some((first, rest))) => {
            format!("; did you mean `{name}`? {}{rest}: {names}", first.to_uppercase())
        }
        _ => format!("; {label}: {names}"),
    }
}

/// Returns names with commas between them.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["destination", "group", "max-attempts", "key"];

    #[test]
    fn a_slip_of_the_finger_finds_the_key() {
        for (given, meant) in [("gruop", "group"), ("destinaton", "destination"), ("maxAttempts", "max-attempts")] {
            assert_eq!(closest(given, KEYS), Some(meant), "{given}");
        }
    }

    #[test]
    fn what_is_far_from_everything_finds_nothing() {
        for given in ["topic", "x", "retries"] {
            assert_eq!(closest(given, KEYS), None, "{given}");
        }
    }

    #[test]
    fn without_a_near_key_all_of_them_are_listed() {
        assert_eq!(hint("topic", "known", ["a", "b"]), "; known: a, b");
        assert_eq!(among("topic", "known", ["a", "b"]), "; known: a, b");
        assert_eq!(among("grop", "known", ["group", "b"]), "; did you mean `group`? Known: group, b");
        assert_eq!(hint("grop", "known", KEYS), "; did you mean `group`?");
    }
}
