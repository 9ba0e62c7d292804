//! Which documents are in force: `spring.config.activate.on-profile: prod & !eu`.

/// How many signs and parentheses may stand within each other.
const DEEPEST: usize = 64;

/// Returns whether an expression holds; a comma separates alternatives.
pub(super) fn holds(expression: &str, active: &[String]) -> Result<bool, String> {
    let refused =
        || format!("`{expression}` is no expression of profiles such as `prod`, `!prod` or `(prod & eu) | test`");
    let mut any = false;
    for alternative in expression.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let mut parser = Parser { rest: alternative, active, depth: 0 };
        any |= parser.any().filter(|_| parser.rest.trim().is_empty()).ok_or_else(refused)?;
    }
    Ok(any)
}

struct Parser<'a> {
    rest: &'a str,
    active: &'a [String],
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, sign: char) -> bool {
        match self.rest.trim_start().strip_prefix(sign) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    /// `a | b` or `a & b`; both together need parentheses.
    fn any(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        let mut seen = None;
        loop {
            let sign = match () {
                () if self.eat('|') => '|',
                () if self.eat('&') => '&',
                () => return Some(value),
            };
            if seen.replace(sign).is_some_and(|earlier| earlier != sign) {
                return None;
            }
            let next = self.one()?;
            value = if sign == '|' { value || next } else { value && next };
        }
    }

    fn one(&mut self) -> Option<bool> {
        if self.depth == DEEPEST {
            return None;
        }
        self.depth += 1;
        let value = self.inner();
        self.depth -= 1;
        value
    }

    fn inner(&mut self) -> Option<bool> {
        if self.eat('!') {
            return self.one().map(|value| !value);
        }
        if self.eat('(') {
            let value = self.any()?;
            return self.eat(')').then_some(value);
        }
        let rest = self.rest.trim_start();
        let end = rest.find(['!', '(', ')', '|', '&']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        self.rest = after;
        let name = name.trim();
        (!name.is_empty()).then(|| self.active.iter().any(|profile| profile == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_hold_by_the_active_profiles() {
        let active = ["prod".to_owned(), "eu".to_owned()];
        for (expression, expected) in [
            ("prod", true),
            ("test", false),
            ("test, eu", true),
            ("!test", true),
            ("prod & eu", true),
            ("prod & test", false),
            ("prod | test", true),
            ("(prod & test) | !test", true),
            ("!(prod & eu)", false),
        ] {
            assert_eq!(holds(expression, &active), Ok(expected), "{expression}");
        }
        for expression in ["prod &", "prod & eu | test", "(prod", "&"] {
            assert!(holds(expression, &active).is_err(), "{expression}");
        }
        for sign in ["!", "("] {
            assert!(holds(&(sign.repeat(100_000) + "prod"), &active).is_err());
        }
    }
}
