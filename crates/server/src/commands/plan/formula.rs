//! Arithmetic over named figures: `ceil(viewers / sockets_per_node)`.
//!
//! Pure. [`super::model`] states each line of a plan as such a formula, and the plan prints the formula beside its value, so a
//! reader can check every line. Grammar: numbers, names, `+ - * /`, parentheses, and the functions `ceil`, `floor`, `round`,
//! `min`, `max`.

use std::collections::BTreeMap;

/// Why a formula has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormulaError {
    /// The text is not a formula.
    #[error("cannot read {0:?}")]
    Syntax(String),
    /// A name without a figure.
    #[error("there is no figure named {0}")]
    Unknown(String),
}

/// The value of a formula.
///
/// # Errors
/// [`FormulaError`] names the text or the name at fault.
pub fn evaluate(formula: &str, figures: &BTreeMap<String, f64>) -> Result<f64, FormulaError> {
    let mut parser = Parser { rest: formula, figures };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.syntax()),
    }
}

struct Parser<'a> {
    rest: &'a str,
    figures: &'a BTreeMap<String, f64>,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn next_is(&mut self, wanted: char) -> bool {
        let is = self.peek() == Some(wanted);
        if is {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        is
    }

    fn syntax(&self) -> FormulaError {
        FormulaError::Syntax(self.rest.to_owned())
    }

    /// Takes the longest prefix of such characters.
    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn sum(&mut self) -> Result<f64, FormulaError> {
        let mut value = self.product()?;
        loop {
            if self.next_is('+') {
                value += self.product()?;
            } else if self.next_is('-') {
                value -= self.product()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<f64, FormulaError> {
        let mut value = self.factor()?;
        loop {
            if self.next_is('*') {
                value *= self.factor()?;
            } else if self.next_is('/') {
                value /= self.factor()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn factor(&mut self) -> Result<f64, FormulaError> {
        match self.peek() {
            Some('(') => {
                self.next_is('(');
                let value = self.sum()?;
                self.closed(value)
            }
            Some(c) if c.is_ascii_digit() => {
                let word = self.word(|c| c.is_ascii_digit() || c == '.');
                word.parse().map_err(|_| FormulaError::Syntax(word.to_owned()))
            }
            Some(c) if c.is_ascii_lowercase() => {
                let name = self.word(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
                if self.next_is('(') { self.call(name) } else { self.figure(name) }
            }
            _ => Err(self.syntax()),
        }
    }

    fn figure(&self, name: &str) -> Result<f64, FormulaError> {
        self.figures.get(name).copied().ok_or_else(|| FormulaError::Unknown(name.to_owned()))
    }

    fn call(&mut self, name: &str) -> Result<f64, FormulaError> {
        let mut value = self.sum()?;
        let value = match name {
            "ceil" => value.ceil(),
            "floor" => value.floor(),
            "round" => value.round(),
            "min" | "max" => {
                while self.next_is(',') {
                    let other = self.sum()?;
                    value = if name == "min" { value.min(other) } else { value.max(other) };
                }
                value
            }
            _ => return Err(FormulaError::Unknown(name.to_owned())),
        };
        self.closed(value)
    }

    fn closed(&mut self, value: f64) -> Result<f64, FormulaError> {
        if self.next_is(')') { Ok(value) } else { Err(self.syntax()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(formula: &str) -> Result<f64, FormulaError> {
        let figures = [("viewers", 100_000.0), ("rooms", 3.0)].map(|(name, value)| (name.to_owned(), value));
        evaluate(formula, &BTreeMap::from(figures))
    }

    #[test]
    fn products_bind_tighter_than_sums_and_functions_nest() {
        assert_eq!(value("2 + 3 * 4"), Ok(14.0));
        assert_eq!(value("(2 + 3) * 4 - 10 / 4"), Ok(17.5));
        assert_eq!(value("ceil(viewers / rooms)"), Ok(33_334.0));
        assert_eq!(value("max(1, min(viewers, 7, rooms) , 2)"), Ok(3.0));
    }

    #[test]
    fn what_is_no_formula_is_named() {
        assert_eq!(value("viewers / users"), Err(FormulaError::Unknown("users".into())));
        assert_eq!(value("sqrt(4)"), Err(FormulaError::Unknown("sqrt".into())));
        for text in ["", "1 +", "(1", "min(1", "1 2", "Viewers", "1..2"] {
            assert!(matches!(value(text), Err(FormulaError::Syntax(_))), "{text:?}");
        }
    }
}
