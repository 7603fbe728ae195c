//! Prometheus text, and the one question that tests ask of it.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
#[derive(Clone)]
pub struct Metrics {
    pub text: String,
    series: Vec<Series>,
}

#[derive(Clone)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Metrics {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics {
            text: text.to_owned(),
            series: lines.map(series).collect(),
        }
    }

    /// The sum of every series that has the name and all of the labels. A question about a series that
    /// does not exist is a failure: those of a closed set exist from the start.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| {
            panic!("no series {name}{labels:?}; there are:\n{}", self.lines(name));
        })
    }

    /// The same, none where no series has the labels.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = None;
        for series in &self.series {
            let has =
                |(name, value): &(&str, &str)| series.labels.iter().any(|(n, v)| n == name && v == value);
            if series.name == name && labels.iter().all(has) {
                *found.get_or_insert(0.0) += series.value;
            }
        }
        found
    }

    /// The labels of every family, by its name. A bucket's bound is none.
    pub fn families(&self) -> BTreeMap<String, BTreeSet<String>> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|rest| rest.split(' ').next());
        let mut families: BTreeMap<_, _> = names.map(|name| (name.to_owned(), BTreeSet::new())).collect();
        for Series { name, labels, .. } in &self.series {
            let suffixes = ["", "_bucket", "_sum", "_count"];
            let family = suffixes
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|family| families.contains_key(*family))
                .unwrap_or_else(|| panic!("{name} is of no family"));
            let labels = labels
                .iter()
                .map(|(label, _)| label.clone())
                .filter(|label| label != "le");
            families.entry(family.to_owned()).or_default().extend(labels);
        }
        families
    }

    /// The lines that begin with the name, for a failure.
    pub fn lines(&self, name: &str) -> String {
        self.text
            .lines()
            .filter(|line| line.starts_with(name))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn series(line: &str) -> Series {
    let (head, value) = line
        .rsplit_once(' ')
        .unwrap_or_else(|| panic!("no value: {line}"));
    let value = match value {
        "+Inf" => f64::INFINITY,
        number => number.parse().unwrap_or_else(|_| panic!("no number: {line}")),
    };
    let (name, inside) = match head.split_once('{') {
        Some((name, rest)) => (
            name,
            rest.strip_suffix('}')
                .unwrap_or_else(|| panic!("unclosed: {line}")),
        ),
        None => (head, ""),
    };
    let mut labels = Vec::new();
    let mut rest = inside;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => value.extend(chars.next().map(|(_, c)| if c == 'n' { '\n' } else { c })),
                Some((at, '"')) => break at,
                Some((_, c)) => value.push(c),
                None => panic!("unclosed label: {line}"),
            }
        };
        labels.push((name.trim_start_matches(',').to_owned(), value));
        rest = &after[end + 1..];
    }
    Series {
        name: name.to_owned(),
        labels,
        value,
    }
}
