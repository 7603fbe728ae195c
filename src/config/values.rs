//! The kinds of values a configuration file holds. Each says of a bad one what is wrong and what is
//! allowed, and describes itself to the JSON Schema.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toml::Spanned;

use super::fault::{nearest, one_of};

/// A scalar as TOML has it.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number.
    Integer(i128),
    /// A number with a point.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
}

impl<'a> Raw<'a> {
    /// The text.
    ///
    /// # Errors
    /// What it is instead.
    pub fn text(self) -> Result<&'a str, String> {
        match self {
            Raw::Text(text) => Ok(text),
            other => Err(format!("{other} is not in quotes")),
        }
    }
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) => f.write_str(&quoted(text)),
            Raw::Integer(number) => write!(f, "{number}"),
            Raw::Float(number) => write!(f, "{number:?}"),
            Raw::Boolean(is) => write!(f, "{is}"),
        }
    }
}

/// Text of the file in a message: one line, and not long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// A kind of value: how it is written, and what that means.
pub trait Value {
    /// What one means.
    type Means: Clone + fmt::Debug;

    /// The end of the sentence that says what is allowed.
    fn allowed() -> String;

    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(raw: Raw<'_>) -> Result<Self::Means, String>;

    /// For the JSON Schema.
    fn schema() -> Schema;
}

/// A table or a list, and where it stands in the file.
#[derive(Debug)]
pub struct Placed<T> {
    /// What stands there.
    pub value: T,
    /// Its place, in bytes.
    pub span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Placed<T>, D::Error> {
        let spanned = Spanned::deserialize(deserializer)?;
        Ok(Placed {
            span: spanned.span(),
            value: spanned.into_inner(),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A value of a kind, and where it stands in the file.
#[derive(Clone, Debug)]
pub struct At<T: Value> {
    /// What it means.
    pub value: T::Means,
    /// Its place, in bytes.
    pub span: Range<usize>,
}

// The place is no part of the identity: maps are about values.
impl<T: Value<Means: Ord>> PartialEq for At<T> {
    fn eq(&self, other: &At<T>) -> bool {
        self.value == other.value
    }
}

impl<T: Value<Means: Ord>> Eq for At<T> {}

impl<T: Value<Means: Ord>> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &At<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Value<Means: Ord>> Ord for At<T> {
    fn cmp(&self, other: &At<T>) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

impl<'de, T: Value> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<At<T>, D::Error> {
        let Placed { value, span } = Placed::<Reader<T>>::deserialize(deserializer)?;
        Ok(At { value: value.0, span })
    }
}

impl<T: Value> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

struct Reader<T: Value>(T::Means);

impl<'de, T: Value> Deserialize<'de> for Reader<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reader<T>, D::Error> {
        struct Scalar<T>(PhantomData<T>);

        impl<T: Value> Scalar<T> {
            fn read<E: Error>(raw: Raw<'_>) -> Result<Reader<T>, E> {
                T::read(raw)
                    .map(Reader)
                    .map_err(|wrong| E::custom(format!("{wrong}, allowed is {}", T::allowed())))
            }
        }

        impl<T: Value> Visitor<'_> for Scalar<T> {
            type Value = Reader<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&T::allowed())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Reader<T>, E> {
                Self::read(Raw::Text(text))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Reader<T>, E> {
                Self::read(Raw::Integer(number.into()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Reader<T>, E> {
                Self::read(Raw::Integer(number.into()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Reader<T>, E> {
                Self::read(Raw::Float(number))
            }
            fn visit_bool<E: Error>(self, is: bool) -> Result<Reader<T>, E> {
                Self::read(Raw::Boolean(is))
            }
        }

        deserializer.deserialize_any(Scalar(PhantomData))
    }
}

impl Value for String {
    type Means = String;

    fn allowed() -> String {
        "text in quotes".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<String, String> {
        match raw.text()? {
            "" => Err("\"\" is empty".to_owned()),
            text => Ok(text.to_owned()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Value for bool {
    type Means = bool;

    fn allowed() -> String {
        "true or false, without quotes".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<bool, String> {
        match raw {
            Raw::Boolean(is) => Ok(is),
            other => Err(format!("{other} is neither true nor false")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// A whole number within bounds.
#[derive(Debug)]
pub struct Whole<const MIN: u32, const MAX: u32>;

/// A number of things: at least one.
pub type Count<const MAX: u32> = Whole<1, MAX>;

impl<const MIN: u32, const MAX: u32> Value for Whole<MIN, MAX> {
    type Means = u32;

    fn allowed() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn read(raw: Raw<'_>) -> Result<u32, String> {
        match raw {
            Raw::Integer(0) if MIN == 1 => Err("0 does not mean \"unlimited\"".to_owned()),
            Raw::Integer(number) => match u32::try_from(number) {
                Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
                Ok(_) | Err(_) => Err(format!("{number} is out of bounds")),
            },
            other => Err(format!("{other} is no whole number")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A part of a whole, from none to all.
#[derive(Debug)]
pub struct Share;

impl Value for Share {
    type Means = f64;

    fn allowed() -> String {
        "a number from 0.0 to 1.0".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<f64, String> {
        match raw {
            Raw::Float(share) if (0.0..=1.0).contains(&share) => Ok(share),
            Raw::Integer(0) => Ok(0.0),
            Raw::Integer(1) => Ok(1.0),
            Raw::Integer(_) | Raw::Float(_) => Err(format!("{raw} is out of bounds")),
            other => Err(format!("{other} is no number")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

/// What is one of a few words in the file.
pub trait Words: Clone + PartialEq + fmt::Debug + 'static {
    /// Each word and what it means.
    const WORDS: &'static [(&'static str, Self)];

    /// As the file spells it.
    fn word(&self) -> &'static str {
        let mut words = Self::WORDS.iter();
        words
            .find(|(_, meaning)| meaning == self)
            .map_or("", |(word, _)| *word)
    }
}

/// One of a few words.
#[derive(Debug)]
pub struct Word<T>(PhantomData<T>);

fn words<T: Words>() -> impl Iterator<Item = &'static str> {
    T::WORDS.iter().map(|(word, _)| *word)
}

impl<T: Words> Value for Word<T> {
    type Means = T;

    fn allowed() -> String {
        one_of(words::<T>())
    }

    fn read(raw: Raw<'_>) -> Result<T, String> {
        let text = raw.text()?;
        if let Some((_, meaning)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(meaning.clone());
        }
        Err(match nearest(text, words::<T>()) {
            Some(near) => format!("{} is not known (did you mean {near:?}?)", quoted(text)),
            None => format!("{} is not known", quoted(text)),
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": words::<T>().collect::<Vec<_>>() })
    }
}

/// The name of a route or an upstream: a label of the metrics, so it is kept simple.
#[derive(Debug)]
pub struct Name;

impl Value for Name {
    type Means = String;

    fn allowed() -> String {
        "1 to 64 letters, digits, '_', '-' and '.'".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text()?;
        let simple = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        match (1..=64).contains(&text.len()) && text.bytes().all(simple) {
            true => Ok(text.to_owned()),
            false => Err(format!("{} is no name", quoted(text))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" })
    }
}

/// What was given, or the default.
pub(super) fn given_or<T: Value>(given: &Option<At<T>>, default: T::Means) -> T::Means {
    given.as_ref().map_or(default, |given| given.value.clone())
}
