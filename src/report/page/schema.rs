//! docs/page.schema.json is generated from the types: `UPDATE_SCHEMA=1 cargo test --lib schema` writes it again.

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::json;

use super::Model;

#[test]
fn the_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/page.schema.json");
    let mut schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Model>();
    schema.insert("title".to_owned(), json!("The model of a page"));
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "docs/page.schema.json is not that of the types: UPDATE_SCHEMA=1 cargo test --lib schema");
}
