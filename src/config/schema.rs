//! The JSON Schema of the configuration file, from the types that read it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::file::File;

/// The schema, as it is published under `conf/`. Draft 7, which the TOML editors know.
pub fn schema() -> String {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<File>().to_value();
    drop_null(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// The tables that have a key of this name, as their headers are spelled; empty for the top of the file.
pub(super) fn homes(key: &str) -> Vec<String> {
    let generator = SchemaSettings::draft07().into_generator();
    let schema = generator.into_root_schema_for::<File>().to_value();
    let mut found = Vec::new();
    let top = Table {
        schema: &schema,
        path: String::new(),
        header: String::new(),
    };
    top.gather(&schema, key, &mut found);
    found
}

/// A table in the schema, and where it stands in a file.
struct Table<'s> {
    schema: &'s Value,
    path: String,
    header: String,
}

impl<'s> Table<'s> {
    fn gather(&self, root: &'s Value, key: &str, found: &mut Vec<String>) {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            if name == key && !found.contains(&self.header) {
                found.push(self.header.clone());
            }
            let path = match self.path.as_str() {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            for schema in shapes(root, schema) {
                let named = schema
                    .get("additionalProperties")
                    .filter(|below| below.is_object());
                let (below, path, open, close) = match (named, schema.get("items")) {
                    (Some(below), _) => (below, format!("{path}.NAME"), "[", "]"),
                    (None, Some(below)) => (below, path.clone(), "[[", "]]"),
                    (None, None) => (schema, path.clone(), "[", "]"),
                };
                for schema in shapes(root, below) {
                    let header = format!("{open}{path}{close}");
                    let path = path.clone();
                    Table { schema, path, header }.gather(root, key, found);
                }
            }
        }
    }
}

/// Every shape that a value may have, references followed.
fn shapes<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let pointer = reference.trim_start_matches('#');
        return root
            .pointer(pointer)
            .map_or_else(Vec::new, |schema| shapes(root, schema));
    }
    match schema
        .get("allOf")
        .or_else(|| schema.get("anyOf"))
        .and_then(Value::as_array)
    {
        Some(choices) => choices.iter().flat_map(|choice| shapes(root, choice)).collect(),
        None => vec![schema],
    }
}

/// A key that may be left out is an `Option` here, but TOML has no null that it could be set to.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(words)) = object.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if choices.len() == 1
                    && let Some(choices) = object.remove("anyOf")
                {
                    object.insert("allOf".into(), choices);
                }
            }
            object.values_mut().for_each(drop_null);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_null),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::homes;

    #[test]
    fn a_key_is_at_home_in_the_tables_that_have_it() {
        for (key, want) in [
            ("listen", &["[server]"][..]),
            ("trusted_proxies", &[""]),
            ("servers", &["[upstreams.NAME]", "[verify]"]),
            ("h2c", &["[[server.listeners]]"]),
            ("rise", &["[upstreams.NAME.check]"]),
            ("nothing", &[]),
        ] {
            assert_eq!(homes(key), want, "{key}");
        }
    }
}
