//! Names of properties as Spring Boot matches them: `maxAttempts`, `max-attempts` and `MAX_ATTEMPTS` are one name.

/// Maps below these keys have names of their own, which are taken as they are.
const VERBATIM: [&str; 6] =
    ["configuration", "consumerproperties", "producerproperties", "properties", "options", "replicasassignments"];

/// One name between dots or in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) text: String,
    /// Whether it stood in brackets, where every character counts.
    pub(super) bracketed: bool,
}

impl Segment {
    /// Whether this is a name, however it is spelt.
    pub(super) fn is(&self, name: &str) -> bool {
        uniform(&self.text) == uniform(name)
    }
}

/// The whole name of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) Vec<Segment>);

impl Key {
    /// Takes a name apart: `a.b[c.d].e[0]`.
    pub(super) fn parse(text: &str) -> Self {
        let mut segments = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let bracketed = if c == '[' { rest[1..].split_once(']') } else { None };
            match (c, bracketed) {
                (_, Some((inner, after))) => {
                    push(&mut segments, &mut plain);
                    segments.push(Segment { text: inner.to_owned(), bracketed: true });
                    rest = after;
                }
                ('.', _) => {
                    push(&mut segments, &mut plain);
                    rest = &rest[1..];
                }
                _ => {
                    plain.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        push(&mut segments, &mut plain);
        Self(segments)
    }

    /// Returns what two spellings of one property have in common.
    ///
    /// Names of bindings and binders differ by more than case; those of settings that are passed on, by everything.
    pub(super) fn canonical(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut verbatim = false;
        for segment in &self.0 {
            let above = parts.last().map(String::as_str).unwrap_or_default();
            let part = match above {
                _ if verbatim => segment.text.clone(),
                "bindings" | "binders" => segment.text.to_lowercase(),
                _ => uniform(&segment.text),
            };
            verbatim = verbatim || VERBATIM.contains(&part.as_str()) && !above.is_empty();
            parts.push(part);
        }
        parts.join(".")
    }

    /// Returns the name without an index at its end, and the index: `a[1]` is `a` and 1.
    pub(super) fn split_index(&self) -> Option<(Self, usize)> {
        let (last, above) = self.0.split_last()?;
        let index = last.text.parse().ok().filter(|_| last.bracketed)?;
        Some((Self(above.to_vec()), index))
    }

    /// Returns what stands below a prefix; `names` are spelt in kebab-case.
    pub(super) fn below(&self, names: &[&str]) -> Option<&[Segment]> {
        let (first, rest) = self.0.split_at_checked(names.len())?;
        first.iter().zip(names).all(|(segment, name)| segment.is(name)).then_some(rest)
    }
}

fn push(segments: &mut Vec<Segment>, plain: &mut String) {
    if !plain.is_empty() {
        segments.push(Segment { text: std::mem::take(plain), bracketed: false });
    }
}

/// Joins segments as they are: `max.poll.records`.
pub(super) fn joined(segments: &[Segment]) -> String {
    segments.iter().map(|segment| segment.text.as_str()).collect::<Vec<_>>().join(".")
}

/// Writes segments as a path; one with dots of its own stays in brackets.
pub(super) fn shown(segments: &[Segment]) -> String {
    segments.iter().fold(String::new(), |path, segment| {
        let index = segment.bracketed && (segment.text.contains('.') || segment.text.parse::<usize>().is_ok());
        match (index, path.is_empty()) {
            (true, _) => format!("{path}[{}]", segment.text),
            (false, true) => segment.text.clone(),
            (false, false) => format!("{path}.{}", segment.text),
        }
    })
}

/// A name without case, `-` and `_`.
pub(super) fn uniform(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// A name of an environment variable as it would be spelt for a property.
pub(super) fn variable(name: &str) -> String {
    name.replace(['.', '-'], "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Key::parse(text).canonical()
    }

    #[test]
    fn brackets_hold_dots_and_indexes() {
        let key = Key::parse("spring.cloud.stream.bindings[orders.eu].group");
        assert_eq!(key.0[4], Segment { text: "orders.eu".to_owned(), bracketed: true });
        assert_eq!(shown(&key.0), "spring.cloud.stream.bindings[orders.eu].group");
        assert_eq!(
            Key::parse("a.b[2]").split_index().map(|(key, index)| (shown(&key.0), index)),
            Some(("a.b".to_owned(), 2))
        );
        assert_eq!(Key::parse("a.2").split_index(), None);
        assert_eq!(joined(&Key::parse("a[max.poll.records]").0[1..]), "max.poll.records");
        assert_eq!(shown(&Key::parse("a[b").0), "a[b", "an open bracket is a character");
    }

    #[test]
    fn names_of_channels_differ_by_hyphens_and_not_by_case() {
        assert_eq!(
            canonical("spring.cloud.stream.bindings.Orders.Group"),
            canonical("spring.cloud.stream.bindings.orders.group")
        );
        assert_ne!(
            canonical("spring.cloud.stream.bindings.my-orders.group"),
            canonical("spring.cloud.stream.bindings.myorders.group")
        );
    }

    #[test]
    fn names_of_client_settings_are_verbatim() {
        let path = "spring.cloud.stream.kafka.binder.configuration";
        assert_eq!(canonical(&format!("{path}.max.poll.records")), canonical(&format!("{path}[max.poll.records]")));
        assert_ne!(canonical(&format!("{path}.max-poll.records")), canonical(&format!("{path}.maxpoll.records")));
    }

    /// Words of a name, and how each is spelt: 0 kebab, 1 camel, 2 snake, 3 upper-case snake.
    fn spelt(words: &[String], how: u8) -> String {
        match how {
            0 => words.join("-"),
            1 => words
                .iter()
                .enumerate()
                .map(|(index, word)| if index == 0 { word.clone() } else { capital(word) })
                .collect(),
            2 => words.join("_"),
            _ => words.join("_").to_uppercase(),
        }
    }

    fn capital(word: &str) -> String {
        let (first, rest) = word.split_at(1);
        format!("{}{rest}", first.to_uppercase())
    }

    proptest! {
        #[test]
        fn all_spellings_of_a_name_are_one(
            segments in prop::collection::vec(prop::collection::vec("[a-z]{1,6}", 1..4), 1..4),
            first in prop::collection::vec(0u8..4, 4), second in prop::collection::vec(0u8..4, 4),
        ) {
            let path = |how: &[u8]| segments.iter().zip(how).map(|(words, how)| spelt(words, *how)).collect::<Vec<_>>().join(".");
            prop_assume!(segments.iter().all(|words| !VERBATIM.contains(&words.concat().as_str()) && !["bindings", "binders"].contains(&words.concat().as_str())));
            prop_assert_eq!(canonical(&path(&first)), canonical(&path(&second)));
        }
    }
}
