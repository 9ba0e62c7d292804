//! Placeholders: `${NAME}`, `${NAME:default}`, one inside the other.

/// How deep placeholders may lead to each other.
const MAX_DEPTH: usize = 32;

/// How many placeholders a value may lead to.
const MOST: usize = 10_000;

/// How many bytes a value may have when all is put in place.
const LONGEST: usize = 64 << 10;

/// Puts values in the place of placeholders. `lookup` returns what a name stands for, with placeholders of its own.
///
/// What a name stands for is resolved too, also where the name is put together from others. `\${` is no placeholder.
pub(super) fn resolve(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    Resolver { lookup, names: Vec::new(), depth: 0, left: MOST }.text(text)
}

struct Resolver<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// What is being resolved, outermost first.
    names: Vec<String>,
    /// How many placeholders are open.
    depth: usize,
    /// How many more may be resolved.
    left: usize,
}

impl Resolver<'_> {
    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut resolved = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if let Some(before) = rest[..start].strip_suffix('\\') {
                resolved.push_str(before);
                resolved.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            resolved.push_str(&rest[..start]);
            let inner = &rest[start + 2..];
            let end = closing(inner).ok_or("`${` has no `}` behind it")?;
            resolved.push_str(&self.placeholder(&inner[..end])?);
            rest = &inner[end + 1..];
        }
        resolved.push_str(rest);
        if resolved.len() > LONGEST {
            return Err(format!("with its placeholders resolved it has more than {LONGEST} bytes"));
        }
        Ok(resolved)
    }

    fn placeholder(&mut self, inner: &str) -> Result<String, String> {
        if self.depth >= MAX_DEPTH {
            return Err(format!("there are more than {MAX_DEPTH} placeholders within each other"));
        }
        self.left = self.left.checked_sub(1).ok_or("it leads to too many placeholders")?;
        self.depth += 1;
        let resolved = self.one(inner);
        self.depth -= 1;
        resolved
    }

    fn one(&mut self, inner: &str) -> Result<String, String> {
        let (name, default) = match separator(inner) {
            Some(at) => (&inner[..at], Some(&inner[at + 1..])),
            None => (inner, None),
        };
        let name = self.text(name)?;
        let name = name.trim();
        if self.names.iter().any(|outer| outer == name) || self.names.len() >= MAX_DEPTH {
            return Err(format!("the placeholder `${{{name}}}` leads back to itself"));
        }
        match ((self.lookup)(name), default) {
            (Some(value), _) => {
                self.names.push(name.to_owned());
                let resolved = self.text(&value);
                self.names.pop();
                resolved
            }
            (None, Some(default)) => self.text(default),
            (None, None) if name.starts_with("random.") => {
                Err(format!("`${{{name}}}` would be another value at each start; set it in code or by a variable"))
            }
            (None, None) => Err(format!(
                "nothing is called `{name}`, neither a variable nor a property of these files, and `${{{inner}}}` has no default"
            )),
        }
    }
}

/// Finds the brace that closes a placeholder.
fn closing(text: &str) -> Option<usize> {
    scan(text, |text| text.starts_with('}'))
}

/// Finds the colon before the default.
fn separator(text: &str) -> Option<usize> {
    scan(text, |text| text.starts_with(':'))
}

/// Finds the first place outside of inner placeholders that is wanted.
fn scan(text: &str, wanted: impl Fn(&str) -> bool) -> Option<usize> {
    let mut depth = 0_usize;
    let mut skip = 0;
    for (at, _) in text.char_indices() {
        if at < skip {
            continue;
        }
        let here = &text[at..];
        if here.starts_with("${") {
            depth += 1;
            skip = at + 2;
        } else if depth == 0 && wanted(here) {
            return Some(at);
        } else if here.starts_with('}') {
            depth = depth.saturating_sub(1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<String, String> {
        let known =
            [("HOST", "mq"), ("PORT", "${OTHER:5672}"), ("which", "HOST"), ("a", "${b}"), ("b", "${a}"), ("empty", "")];
        let lookup = |name: &str| known.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        resolve(text, &lookup)
    }

    #[test]
    fn names_defaults_and_what_they_lead_to_are_put_in() {
        for (text, expected) in [
            ("${HOST}:${PORT}", "mq:5672"),
            ("${NONE:x}${empty:y}", "x"),
            ("${NONE:${ALSO:z}}", "z"),
            ("${${which}}", "mq"),
            ("${NONE:http://h:1}", "http://h:1"),
            ("${NONE:}", ""),
            ("\\${HOST} $HOST {x}", "${HOST} $HOST {x}"),
            ("#{a}", "#{a}"),
        ] {
            assert_eq!(resolved(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused_by_name() {
        assert!(resolved("x${NONE}").unwrap_err().contains("nothing is called `NONE`"));
        assert!(resolved("${a}").unwrap_err().contains("leads back to itself"));
        assert!(resolved("${HOST").unwrap_err().contains("no `}` behind it"));
        assert!(resolved("${random.uuid}").unwrap_err().contains("at each start"));
    }

    #[test]
    fn what_would_never_end_is_refused() {
        let wide = |name: &str| {
            let next = name.strip_prefix('a').and_then(|level| level.parse::<u32>().ok())? + 1;
            Some(if next > 30 { String::new() } else { format!("${{a{next}}}${{a{next}}}") })
        };
        assert!(resolve("${a0}", &wide).unwrap_err().contains("too many placeholders"));
        let deep = "${x:".repeat(10_000) + &"}".repeat(10_000);
        assert!(resolve(&deep, &|_| None).unwrap_err().contains("within each other"));
        let long = |name: &str| (name == "a").then(|| "x".repeat(40_000));
        assert!(resolve("${a}${a}", &long).unwrap_err().contains("65536 bytes"));
    }
}
