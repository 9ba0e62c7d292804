//! Java's `.properties`: escapes, continued lines, and documents with `#---` between them.

/// One property as it was written, with its line from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Reads all documents of a text.
pub(super) fn read(text: &str) -> Vec<Vec<Property>> {
    let mut documents = vec![Vec::new()];
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let trimmed = line.trim_start_matches(is_blank);
        if matches!(trimmed.trim_end(), "#---" | "!---") {
            documents.push(Vec::new());
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = trimmed.to_owned();
        while is_continued(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let (key, value) = split(&logical);
        if let Some(document) = documents.last_mut() {
            document.push(Property { key: unescaped(key), value: unescaped(value), line: index + 1 });
        }
    }
    documents
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// A line goes on if it ends with a backslash that is not itself escaped.
fn is_continued(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => return (&line[..at], line[at + 1..].trim_start_matches(is_blank)),
            c if is_blank(c) => {
                let rest = line[at..].trim_start_matches(is_blank);
                let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
                return (&line[..at], value.trim_start_matches(is_blank));
            }
            _ => {}
        }
    }
    (line, "")
}

fn unescaped(text: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = chars.as_str().chars().take(4).collect();
                    match u16::from_str_radix(&digits, 16) {
                        Ok(unit) if digits.len() == 4 => {
                            // Two of them may be the halves of one character.
                            units.push(unit);
                            chars.nth(3);
                            continue;
                        }
                        _ => 'u',
                    }
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        read(text).into_iter().flatten().map(|property| (property.key, property.value)).collect()
    }

    #[test]
    fn keys_end_at_an_equals_sign_a_colon_or_a_blank() {
        for text in ["a=b c", "a:b c", "a b c", "a =  b c", "  a\t:\tb c"] {
            assert_eq!(pairs(text), [("a".to_owned(), "b c".to_owned())], "{text}");
        }
        assert_eq!(pairs("a"), [("a".to_owned(), String::new())]);
        assert_eq!(pairs("a==b"), [("a".to_owned(), "=b".to_owned())]);
    }

    #[test]
    fn escapes_and_continued_lines_are_read() {
        assert_eq!(pairs("a\\ b\\=c=d\\tz"), [("a b=c".to_owned(), "d\tz".to_owned())]);
        assert_eq!(
            pairs("a=x,\\\n   y\\\\\nb=1"),
            [("a".to_owned(), "x,y\\".to_owned()), ("b".to_owned(), "1".to_owned())]
        );
        assert_eq!(pairs("a=\\u017elu\\u0165 \\uD83D\\uDE00 \\q"), [("a".to_owned(), "žluť 😀 q".to_owned())]);
    }

    #[test]
    fn documents_know_their_lines() {
        let documents = read("# comment\na=1\n\n#---\n! also\nb=2\n!---\n");
        assert_eq!(documents.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0]);
        assert_eq!((documents[0][0].line, documents[1][0].line), (2, 6));
    }
}
