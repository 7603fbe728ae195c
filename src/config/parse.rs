//! Text to `File`, with every fault on the way. A derived reader stops at its first fault; here the
//! faulty value is told, taken out of the tree, and the rest is read again until all of it can be.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

use super::fault::{Faults, Lines, nearest, one_of};
use super::file::File;
use super::schema::homes;
use super::tree::{Place, below, remove};

/// Reading again costs a walk over the file. Who has made so many faults at once has other questions.
const MOST: usize = 200;

/// The tree of a text, as far as it can be had, and what is wrong with its syntax.
pub(super) fn tree(text: &str) -> (Spanned<DeValue<'_>>, Vec<Error>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    (
        Spanned::new(table.span(), DeValue::Table(table.into_inner())),
        errors,
    )
}

/// Tells the faults of syntax. Returns the lines they stand in.
pub(super) fn tell_syntax(text: &str, errors: &[Error], faults: &mut Faults<'_>) -> Vec<usize> {
    let lines = Lines::new(text);
    let mut told: Vec<usize> = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or_default();
        let (line, _) = lines.position(span.start);
        // The first fault of a line is the cause; the parser's next ones are its consequences.
        if told.contains(&line) {
            continue;
        }
        told.push(line);
        let message = error.message();
        match text.get(span.clone()) {
            Some(key) if message == "duplicate key" => {
                faults.push(
                    span.start,
                    key.trim().to_owned(),
                    "stands here again, a key may stand once".into(),
                    false,
                );
            }
            _ => {
                let message = message.replacen(", expected ", ", allowed is ", 1);
                faults.push(span.start, "syntax".into(), message, false);
            }
        }
        if told.len() >= MOST {
            break;
        }
    }
    told
}

/// Reads the tree into the types. `broken` are the lines whose syntax is at fault: what a recovered
/// tree says of them means nothing.
pub(super) fn read(
    root: &Spanned<DeValue<'_>>,
    text: &str,
    broken: &[usize],
    faults: &mut Faults<'_>,
) -> Option<File> {
    let lines = Lines::new(text);
    // Behind a broken header, keys stand in a table where nobody wrote them.
    let trusted_until = broken
        .iter()
        .filter(|&&line| lines.text_of(line).trim_start().starts_with('['))
        .min();
    let mut tree = root.clone();
    for _ in 0..MOST {
        let error = match File::deserialize(ValueDeserializer::from(tree.clone())) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_default();
        let said = Said::of(error.message());
        let key = match said.place {
            Place::Key => faults.index().of_key(&span),
            Place::Value | Place::List => faults.index().of_value(&span),
        };
        let key = if said.place == Place::List {
            key.strip_suffix("[0]").unwrap_or(&key).to_owned()
        } else {
            key
        };
        let line = faults.line(&span);
        if !broken.contains(&line) && trusted_until.is_none_or(|&until| line < until) {
            faults.push(span.start, key.clone(), said.message, false);
        }
        let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
        said.meant
            .into_iter()
            .for_each(|meant| faults.set_unread(below(parent, &meant)));
        said.at_home
            .into_iter()
            .for_each(|at_home| faults.set_unread(at_home));
        faults.set_unread(key);
        if !remove(tree.get_mut(), &span, said.place) {
            return None;
        }
    }
    faults.push(
        text.len(),
        "file".into(),
        format!("has more than {MOST} faults, the rest is not shown"),
        false,
    );
    None
}

/// One message of the deserializer in our words.
#[derive(Default)]
struct Said {
    message: String,
    place: Place,
    /// The key that an unknown one was probably meant to be.
    meant: Option<String>,
    /// The path of one that stands in the wrong table, where there is one table for it.
    at_home: Option<String>,
}

impl Said {
    fn of(message: &str) -> Said {
        let after = |beginning: &str, middle: &str| message.strip_prefix(beginning)?.split_once(middle);
        if let Some((_, expected)) = after("unknown field ", "`, ") {
            return Said::unknown(message, expected);
        }
        let Some((given, expected)) = after("invalid type: ", ", expected ") else {
            return Said {
                message: message.to_owned(),
                ..Said::default()
            };
        };
        let (given, place) = match given {
            "sequence" => ("a list", Place::List),
            "map" => ("a table", Place::Value),
            given => (scalar(given), Place::Value),
        };
        let expected = match expected {
            "a sequence" => "a list",
            "a map" => "a table",
            other => other,
        };
        Said {
            message: format!("{given} does not fit here, allowed is {expected}"),
            place,
            ..Said::default()
        }
    }

    fn unknown(message: &str, expected: &str) -> Said {
        let given = message.split('`').nth(1).unwrap_or_default();
        let known: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
        let near = nearest(given, known.iter().copied());
        let homes = match near {
            Some(_) => Vec::new(),
            None => homes(given),
        };
        let message = match (near, homes.is_empty()) {
            (Some(near), _) => format!("is not a known key, did you mean {near:?}?"),
            (None, true) => format!("is not a known key, allowed is {}", one_of(known)),
            (None, false) => format!("is not a known key here, its place is {}", places(&homes)),
        };
        Said {
            message,
            place: Place::Key,
            meant: near.map(str::to_owned),
            at_home: match homes.as_slice() {
                [home] => Some(below(home.trim_matches(['[', ']']), given)),
                _ => None,
            },
        }
    }
}

/// Tables, as an operator finds them.
fn places(homes: &[String]) -> String {
    let told = homes.iter().map(|home| match home.as_str() {
        "" => "the top of the file, before the first table",
        header => header,
    });
    told.collect::<Vec<_>>().join(" or ")
}

/// `integer `5`` and `string "x"` without the name of the type.
fn scalar(given: &str) -> &str {
    let text = given.strip_prefix("string ");
    text.or(given.split('`').nth(1)).unwrap_or(given)
}
