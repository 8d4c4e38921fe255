//! docs/protocol.schema.json is generated from the types: `UPDATE_SCHEMA=1 cargo test -p sweep-protocol schema` writes it again.

use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::request::Request;
use super::{Event, Order};

/// A line of a journal: one JSON object and a line feed, of at most 1,048,576 bytes.
#[derive(Serialize, JsonSchema)]
struct Line {
    /// Number of the record in its journal: from 0, without gaps.
    s: u64,
    /// Unix seconds, for display only.
    t: f64,
    #[serde(flatten)]
    event: Event,
    /// CRC-32 (IEEE) of all bytes of the line before `,"c"`; the last key of the line.
    #[schemars(regex(pattern = "^[0-9a-f]{8}$"))]
    c: String,
}

/// What a writer writes; a reader ignores unknown keys.
fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let (order, record) = (generator.subschema_for::<Order>(), generator.subschema_for::<Line>());
    let request = generator.subschema_for::<Request>();
    let mut defs = generator.take_definitions(true);
    let named = |defs: &serde_json::Map<String, Value>, schema: Schema| {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        defs.get(name).map_or_else(|| schema.clone().to_value(), |_| json!({ "$ref": format!("#/$defs/{name}") }))
    };
    let (order, record, request) = (named(&defs, order), named(&defs, record), named(&defs, request));
    defs.insert("order".to_owned(), order);
    defs.insert("record".to_owned(), record);
    defs.insert("request".to_owned(), request);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("The worker protocol, version {}", crate::VERSION),
        "description": "One line from the controller (order) or from a worker (record). See protocol.md.",
        "oneOf": [{ "$ref": "#/$defs/order" }, { "$ref": "#/$defs/record" }],
        "$defs": defs,
    })
}

#[test]
fn the_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == text,
        "docs/protocol.schema.json is not that of the types: UPDATE_SCHEMA=1 cargo test -p sweep-protocol schema"
    );
}
