//! The JSON Schema of the configuration file, from the types that read it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::file::File;
use super::tree::below;

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
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<File>();
    let mut found = Vec::new();
    gather(schema.as_value(), "", "", key, &mut found);
    found
}

/// Looks through a table that stands at `path` under `header`, and through those below it.
fn gather(table: &Value, path: &str, header: &str, key: &str, found: &mut Vec<String>) {
    let properties = table.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        if name == key && !found.iter().any(|other| other == header) {
            found.push(header.to_owned());
        }
        let path = below(path, name);
        for schema in shapes(schema) {
            let named = schema
                .get("additionalProperties")
                .filter(|below| below.is_object());
            let (below, path, open, close) = match (named, schema.get("items")) {
                (Some(below), _) => (below, format!("{path}.NAME"), "[", "]"),
                (None, Some(below)) => (below, path.clone(), "[[", "]]"),
                (None, None) => (schema, path.clone(), "[", "]"),
            };
            for table in shapes(below) {
                gather(table, &path, &format!("{open}{path}{close}"), key, found);
            }
        }
    }
}

/// Every shape that a value may have.
fn shapes(schema: &Value) -> Vec<&Value> {
    match schema.get("anyOf").and_then(Value::as_array) {
        Some(choices) => choices.iter().flat_map(shapes).collect(),
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
