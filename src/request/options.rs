//! `PLACEMENT_OPTIONS`: JSON in a form field. Whatever it is, the request goes on; its state is told.

use std::fmt::Write;

use crate::request::byte_set::{ByteSet, byte_set};

/// The largest compact form that is written as a header, in bytes.
pub const MAX_HEADER: usize = 4096;

/// What the field holds. The words are those of the header `X-Bitrix24-Placement-Options-State`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Options {
    /// A JSON object; compact, ASCII only.
    Object(String),
    /// A JSON array; compact, ASCII only.
    Array(String),
    /// A JSON string, number, `true`, `false` or `null`.
    Scalar,
    /// The field is there and blank.
    Empty,
    /// The field is not there.
    Absent,
    /// Not JSON: broken, not UTF-8, nested deeper than 128.
    Invalid,
    /// An object or array whose compact form is over [`MAX_HEADER`].
    TooLarge,
}

impl Options {
    /// Reads the decoded value of the field.
    pub fn read(value: Option<&[u8]>) -> Options {
        let Some(value) = value else {
            return Options::Absent;
        };
        let trimmed = value.trim_ascii();
        let Some(&first) = trimmed.first() else {
            return Options::Empty;
        };
        let Ok(json) = std::str::from_utf8(trimmed) else {
            return Options::Invalid;
        };
        // serde_json checks the grammar without building a tree; key order and number text stay.
        if serde_json::from_str::<serde::de::IgnoredAny>(json).is_err() {
            return Options::Invalid;
        }
        match first {
            b'{' => compact(json).map_or(Options::TooLarge, Options::Object),
            b'[' => compact(json).map_or(Options::TooLarge, Options::Array),
            _ => Options::Scalar,
        }
    }

    /// The word for the header.
    pub const fn state(&self) -> &'static str {
        match self {
            Options::Object(_) => "object",
            Options::Array(_) => "array",
            Options::Scalar => "scalar",
            Options::Empty => "empty",
            Options::Absent => "absent",
            Options::Invalid => "invalid",
            Options::TooLarge => "too_large",
        }
    }

    /// The text for the header `X-Bitrix24-Placement-Options`.
    pub fn header(&self) -> Option<&str> {
        match self {
            Options::Object(json) | Options::Array(json) => Some(json),
            Options::Scalar | Options::Empty | Options::Absent | Options::Invalid | Options::TooLarge => None,
        }
    }
}

/// Sound JSON without the white space between tokens, every character beyond printable ASCII as
/// `\uXXXX` (surrogate pairs above U+FFFF). `None` where that is over [`MAX_HEADER`].
fn compact(json: &str) -> Option<String> {
    static VISIBLE: ByteSet = byte_set!(b => b.is_ascii_graphic());
    // As a browser's `JSON.stringify` or PHP's `json_encode` writes it, if no text holds a space.
    if VISIBLE.has_all(json.as_bytes()) {
        return (json.len() <= MAX_HEADER).then(|| json.to_owned());
    }
    let mut out = String::with_capacity(json.len().min(MAX_HEADER));
    let mut in_string = false;
    let mut escaped = false;
    for c in json.chars() {
        if in_string {
            (in_string, escaped) = match c {
                _ if escaped => (true, false),
                '\\' => (true, true),
                '"' => (false, false),
                _ => (true, false),
            };
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        if (' '..='~').contains(&c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").ok()?;
            }
        }
        if out.len() > MAX_HEADER {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Options {
        Options::read(Some(value.as_bytes()))
    }

    #[test]
    fn objects_keep_order_numbers_and_escapes() {
        let given = "{ \"b\" : 1.50e+3 ,\n\"a\": \"x \\u0026 \\/ \\\" y\", \"b\": [ ] }";
        assert_eq!(
            read(given),
            Options::Object(r#"{"b":1.50e+3,"a":"x \u0026 \/ \" y","b":[]}"#.to_owned())
        );
    }

    #[test]
    fn what_a_header_can_not_carry_is_escaped() {
        assert_eq!(
            read("[\"ж\u{7f}😀\"]"),
            Options::Array(r#"["\u0436\u007f\ud83d\ude00"]"#.to_owned())
        );
    }

    #[test]
    fn each_state_has_its_word() {
        for (given, state) in [
            ("{}", "object"),
            ("[]", "array"),
            ("null", "scalar"),
            ("\"undefined\"", "scalar"),
            ("12", "scalar"),
            ("", "empty"),
            (" \n", "empty"),
            ("undefined", "invalid"),
            ("{\"a\":}", "invalid"),
            ("{} x", "invalid"),
        ] {
            assert_eq!(read(given).state(), state, "{given:?}");
        }
        assert_eq!(Options::read(None).state(), "absent");
        assert_eq!(Options::read(Some(b"{\"a\":\"\xff\"}")).state(), "invalid");
        assert_eq!(read(&"[".repeat(100_000)).state(), "invalid");
        let fits = format!("[\"{}\"]", "a".repeat(MAX_HEADER - 4));
        assert_eq!(read(&fits), Options::Array(fits.clone()));
        assert_eq!(
            read(&format!("[\"{}\"]", "a".repeat(MAX_HEADER - 3))).state(),
            "too_large"
        );
    }
}
