//! The outline of a request's form: which names stand where and how long their values are, and never a value.
//! It is what can be shown of a call that observe mode let through.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::field::{FaultCode, Field};
use super::form::{Form, Reading};

/// Option keys that are told of one call.
const MOST_KEYS: usize = 24;
/// A key that is longer is no name.
const LONGEST_KEY: usize = 40;

/// The outline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outline {
    /// Bytes of the query.
    pub query: usize,
    /// Bytes of the body.
    pub body: usize,
    /// The known names that are there, in the order of the contract; none where the form can not be read.
    pub fields: Vec<FieldOutline>,
    /// The names of the options' keys, where they are an object.
    pub options: OptionKeys,
}

/// One known name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldOutline {
    /// Which.
    pub field: Field,
    /// Whether the query has it.
    pub in_query: bool,
    /// Whether the body has it.
    pub in_body: bool,
    /// Bytes of its value, or why there is not one.
    pub value: Result<usize, FaultCode>,
}

/// The keys of an object, as far as they are names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OptionKeys {
    /// The first of them, in their order.
    pub names: Vec<String>,
    /// Keys beyond those, and keys that could be values: no identifier, or a long one.
    pub others: usize,
}

impl Outline {
    /// Of a form that can not be read.
    pub fn unread(query: usize, body: usize) -> Outline {
        Outline {
            query,
            body,
            fields: Vec::new(),
            options: OptionKeys::default(),
        }
    }

    /// Of a form, whose query and body have so many bytes.
    pub fn of(form: &Form<'_>, query: usize, body: usize) -> Outline {
        let parts = form.parts();
        let fields = Field::ALL.into_iter().filter_map(|field| {
            let value = match form.reading(field) {
                Reading::Absent => return None,
                Reading::Value(value) => Ok(value.len()),
                Reading::Faulty(code) => Err(*code),
            };
            Some(FieldOutline {
                field,
                in_query: parts.in_query.has(field),
                in_body: parts.in_body.has(field),
                value,
            })
        });
        Outline {
            query,
            body,
            fields: fields.collect(),
            options: form
                .value(Field::PlacementOptions)
                .and_then(|options| serde_json::from_slice(options.trim_ascii()).ok())
                .unwrap_or_default(),
        }
    }
}

impl OptionKeys {
    fn add(&mut self, key: &str) {
        let mut letters = key.chars();
        let begins = letters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let is_name = begins
            && key.len() <= LONGEST_KEY
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        match is_name && self.names.len() < MOST_KEYS {
            true => self.names.push(key.to_owned()),
            false => self.others += 1,
        }
    }
}

/// The keys of a JSON object; its values are passed over. Anything but an object is an error.
impl<'de> Deserialize<'de> for OptionKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OptionKeys, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = OptionKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OptionKeys, A::Error> {
                let mut keys = OptionKeys::default();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.add(&key);
                }
                Ok(keys)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_places_and_sizes_are_told_and_no_value() {
        let query = "DOMAIN=portal.example&LANG=en&LANG=de";
        let body = "DOMAIN=portal.example&AUTH_ID=secret&PLACEMENT_OPTIONS=%7B%22ID%22:%22hidden%22,%2242%22:1%7D&x=1";
        let form = Form::parse(query.as_bytes(), body.as_bytes(), 100).unwrap();
        let outline = Outline::of(&form, query.len(), body.len());
        let field = |field, in_query, in_body, value| FieldOutline {
            field,
            in_query,
            in_body,
            value,
        };
        assert_eq!(
            outline.fields,
            [
                field(Field::Domain, true, true, Ok(14)),
                field(Field::Lang, true, false, Err(FaultCode::Duplicate)),
                field(Field::AuthId, false, true, Ok(6)),
                field(Field::PlacementOptions, false, true, Ok(22)),
            ]
        );
        assert_eq!((outline.query, outline.body), (query.len(), body.len()));
        assert_eq!(
            (outline.options.names, outline.options.others),
            (vec!["ID".to_owned()], 1)
        );
    }

    #[test]
    fn keys_are_names_and_not_many() {
        let keys = |json: &str| serde_json::from_str::<OptionKeys>(json).unwrap_or_default();
        let many: Vec<_> = (0..100).map(|n| format!("\"k{n}\":{{\"deep\":[{n}]}}")).collect();
        let found = keys(&format!("{{{}}}", many.join(",")));
        assert_eq!((found.names.len(), found.others), (MOST_KEYS, 100 - MOST_KEYS));
        assert_eq!(found.names[1], "k1");
        let odd =
            keys(r#"{"a b":1,"é":2,"":3,"7":4,"_ok-1.x":5,"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":6}"#);
        assert_eq!((odd.names, odd.others), (vec!["_ok-1.x".to_owned()], 5));
        for other in ["[1]", "\"x\"", "{\"a\":", "", "null"] {
            assert_eq!(keys(other), OptionKeys::default(), "{other}");
        }
    }
}
