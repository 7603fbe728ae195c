//! What rules and dashboard ask for, taken out of their text.

use std::collections::BTreeSet;

use serde_json::Value;

/// One expression, and where it stands.
#[derive(Clone, Debug)]
pub struct Expression {
    pub of: String,
    pub text: String,
    /// Labels that the result is expected to have: named in a legend or an annotation.
    pub shown: BTreeSet<String>,
}

/// What a panel's variables stand for here.
const VARIABLES: [(&str, &str); 6] = [
    ("$__rate_interval", "1m"),
    ("$__range", "1m"),
    ("$job", super::JOB),
    ("$instance", ".+"),
    ("$route", ".+"),
    ("$upstream", ".+"),
];

/// The expressions of every panel, the variables filled in.
pub fn of_dashboard(text: &str) -> Vec<Expression> {
    fn walk(value: &Value, title: &str, found: &mut Vec<Expression>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(item, title, found)),
            Value::Object(object) => {
                let title = object.get("title").and_then(Value::as_str).unwrap_or(title);
                if let Some(text) = object.get("expr").and_then(Value::as_str) {
                    let legend = object
                        .get("legendFormat")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    let mut text = text.to_owned();
                    for (variable, value) in VARIABLES {
                        text = text.replace(variable, value);
                    }
                    found.push(Expression {
                        of: title.to_owned(),
                        text,
                        shown: between(legend, "{{", "}}"),
                    });
                }
                object.values().for_each(|value| walk(value, title, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(
        &serde_json::from_str(text).expect("a dashboard in JSON"),
        "",
        &mut found,
    );
    found
}

/// The expressions of every rule, from what `/api/v1/rules` says of them.
pub fn of_rules(groups: &Value) -> Vec<Expression> {
    let rules = groups["groups"].as_array().expect("groups").iter();
    let rules = rules.flat_map(|group| group["rules"].as_array().expect("rules"));
    rules
        .map(|rule| Expression {
            of: rule["name"].as_str().expect("a name").to_owned(),
            text: rule["query"].as_str().expect("a query").to_owned(),
            shown: between(&rule["annotations"].to_string(), "$labels.", " "),
        })
        .collect()
}

/// Every word between two marks.
fn between(text: &str, open: &str, close: &str) -> BTreeSet<String> {
    let parts = text.split(open).skip(1);
    let words = parts.map(|part| part.split(close).next().unwrap_or_default().trim());
    words.map(str::to_owned).collect()
}

impl Expression {
    /// The selectors in it: a metric's name with its matchers, without range and offset.
    pub fn selectors(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find(|c: char| is_word(c) || c == '"' || c == '{') {
            rest = &rest[at..];
            let end = match rest.chars().next() {
                Some('"') => after_string(rest),
                // A matcher list that follows no metric's name belongs to a word that was passed over.
                Some('{') => 1,
                _ => {
                    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    let (word, after) = rest.split_at(end);
                    let list = after.trim_start();
                    // What a range vector is named inside (`[5m]`) begins with a digit.
                    if is_metric(word) && !list.starts_with('(') {
                        let matchers = if list.starts_with('{') {
                            &list[..after_matchers(list)]
                        } else {
                            ""
                        };
                        found.insert(format!("{word}{matchers}"));
                    }
                    end
                }
            };
            rest = &rest[end..];
        }
        found
    }

    /// The labels that it groups or joins by.
    pub fn grouped_by(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for word in ["by", "on"] {
            for part in self.text.split(&format!(" {word} (")).skip(1) {
                let list = part.split(')').next().unwrap_or_default();
                let labels = list.split(',').map(str::trim).filter(|label| !label.is_empty());
                found.extend(labels.map(str::to_owned));
            }
        }
        found
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The gateway's and the process's metrics, recorded ones, and Prometheus' own `up`.
fn is_metric(word: &str) -> bool {
    word == "up" || word.contains("widget_gateway_") || word.starts_with("process_")
}

/// Where the string that the text begins with ends.
fn after_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    panic!("an open string: {text}")
}

/// Where the list of matchers that the text begins with ends.
fn after_matchers(text: &str) -> usize {
    let mut at = 1;
    loop {
        match text[at..].chars().next() {
            Some('}') => return at + 1,
            Some('"') => at += after_string(&text[at..]),
            Some(c) => at += c.len_utf8(),
            None => panic!("open matchers: {text}"),
        }
    }
}

#[test]
fn selectors_and_labels_are_found() {
    let one = Expression {
        of: String::new(),
        text: "sum by (job, le) (rate(widget_gateway_a_bucket{le=\"5\", x=~\"}up\"}[5m] offset 1w)) \
               / on (job) group_left job:widget_gateway_b:rate5m > up"
            .to_owned(),
        shown: BTreeSet::new(),
    };
    assert_eq!(
        one.selectors().into_iter().collect::<Vec<_>>(),
        [
            "job:widget_gateway_b:rate5m",
            "up",
            "widget_gateway_a_bucket{le=\"5\", x=~\"}up\"}",
        ]
    );
    assert_eq!(one.grouped_by().into_iter().collect::<Vec<_>>(), ["job", "le"]);
    assert_eq!(
        between("{{ a }} {{b}}", "{{", "}}")
            .into_iter()
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
}
