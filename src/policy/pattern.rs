//! Patterns of the configuration: a value, or the beginning of one and a `*`.

/// The value of one field, or the beginning of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Pattern {
    /// This value.
    Exact(Box<str>),
    /// Every value that begins so.
    Prefix(Box<str>),
}

impl Pattern {
    /// Reads `"x"` or `"x*"`.
    ///
    /// # Errors
    /// Where a `*` stands elsewhere than at the end.
    pub fn parse(text: &str) -> Result<Pattern, &'static str> {
        let (text, pattern): (_, fn(Box<str>) -> Pattern) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, Pattern::Prefix),
            None => (text, Pattern::Exact),
        };
        match text.contains('*') {
            true => Err("'*' stands for the rest of a value, at its end alone"),
            false => Ok(pattern(text.into())),
        }
    }

    /// Whether a value fits.
    pub fn fits(&self, value: &str) -> bool {
        match self {
            Pattern::Exact(exact) => **exact == *value,
            Pattern::Prefix(prefix) => value.starts_with(&**prefix),
        }
    }

    /// Whether whatever fits the other one fits this one.
    pub(super) fn covers(&self, other: &Pattern) -> bool {
        match other {
            Pattern::Exact(value) => self.fits(value),
            Pattern::Prefix(longer) => match self {
                Pattern::Exact(_) => false,
                Pattern::Prefix(prefix) => longer.starts_with(&**prefix),
            },
        }
    }

    /// As the configuration spells it.
    pub fn spelled(&self) -> String {
        match self {
            Pattern::Exact(exact) => exact.to_string(),
            Pattern::Prefix(prefix) => format!("{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_is_any_rest() {
        for (pattern, value, fits) in [
            ("DEFAULT", "DEFAULT", true),
            ("DEFAULT", "DEFAULT_2", false),
            ("CRM_*", "CRM_", true),
            ("CRM_*", "CRM_LEAD_DETAIL_TAB", true),
            ("CRM_*", "XCRM_", false),
            ("*", "anything", true),
        ] {
            let read = Pattern::parse(pattern).unwrap();
            assert_eq!(read.fits(value), fits, "{pattern} {value}");
            assert_eq!(read.spelled(), pattern);
        }
        assert!(Pattern::parse("A*B").is_err() && Pattern::parse("**").is_err());
    }
}
