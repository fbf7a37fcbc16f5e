//! The description of the API: each operation has a summary, a description, examples that fit their
//! schemas, and its errors.

use crate::hub::Hub;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Maximum length of a summary, in characters.
const MAX_SUMMARY_CHARS: usize = 60;

/// An operation with the name that assertions report.
struct Operation {
    name: String,
    value: Value,
}

/// Returns the description of the API and its operations.
async fn description() -> (Value, Vec<Operation>) {
    let hub = Hub::start(&[]).await;
    let (status, description) = hub.get("/openapi.json").await;
    assert_eq!(status, 200);
    let paths = description["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, value)| Operation {
            name: format!("{} {path}", method.to_uppercase()),
            value: value.clone(),
        })
    });
    let operations: Vec<Operation> = operations.collect();
    assert!(operations.len() >= 30, "too few operations found: {}", operations.len());
    (description, operations)
}

/// Returns the members of an object; none for any other value.
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// Returns the examples of a media type.
fn examples(content: &Value) -> Vec<&Value> {
    let named = members(&content["examples"]).map(|(_, example)| &example["value"]);
    content.get("example").into_iter().chain(named).collect()
}

/// Follows a reference.
fn resolve<'a>(description: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => description.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Adds the members that a schema of an object has, and those that it requires.
fn add_members(
    description: &Value,
    schema: &Value,
    known: &mut BTreeSet<String>,
    required: &mut BTreeSet<String>,
) {
    let schema = resolve(description, schema);
    known.extend(members(&schema["properties"]).map(|(name, _)| name.clone()));
    let names = schema["required"].as_array().into_iter().flatten();
    required.extend(names.map(|name| name.as_str().unwrap().to_owned()));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        add_members(description, part, known, required);
    }
    // Exactly one of the alternatives applies, so none is required.
    for part in schema["oneOf"].as_array().into_iter().flatten() {
        add_members(description, part, known, &mut BTreeSet::new());
    }
}

/// Returns true if a value fits its schema: arrays and objects with the members of the schema.
fn fits(description: &Value, schema: &Value, value: &Value) -> bool {
    let schema = resolve(description, schema);
    match value {
        Value::Array(items) => {
            let alternatives = schema["oneOf"].as_array().into_iter().flatten();
            let arrays = alternatives.chain([schema]).filter(|array| array.get("items").is_some());
            let mut arrays = arrays.map(|array| &array["items"]);
            arrays.any(|item| items.iter().all(|value| fits(description, item, value)))
        }
        Value::Object(object) => {
            let (mut known, mut required) = (BTreeSet::new(), BTreeSet::new());
            add_members(description, schema, &mut known, &mut required);
            let is_free = known.is_empty();
            let names: BTreeSet<String> = object.keys().cloned().collect();
            (is_free || names.is_subset(&known)) && names.is_superset(&required)
        }
        _ => true,
    }
}

#[tokio::test]
async fn each_operation_has_a_summary_and_a_description() {
    let (_, operations) = description().await;
    let mut summaries = BTreeSet::new();
    for Operation { name, value } in &operations {
        let summary = value["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty(), "{name} has no summary");
        assert!(summary.chars().count() <= MAX_SUMMARY_CHARS, "{name}: {summary} is too long");
        assert!(!summary.ends_with('.'), "{name}: {summary} ends with a full stop");
        assert!(!summary.contains('/'), "{name}: {summary} repeats the path");
        assert!(summaries.insert(summary), "{name}: another operation has the summary {summary}");
        let text = value["description"].as_str().unwrap_or_default();
        assert!(text.ends_with('.') && text != summary, "{name} has no description: {text:?}");
    }
}

#[tokio::test]
async fn json_bodies_and_responses_have_examples_that_fit_their_schemas() {
    let (description, operations) = description().await;
    let (mut bodies, mut responses) = (0, 0);
    let check = |name: &str, content: &Value| {
        let examples = examples(content);
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            assert!(fits(&description, &content["schema"], example), "{name}: {example}");
        }
    };
    for Operation { name, value } in &operations {
        if let Some(content) = value["requestBody"]["content"].get("application/json") {
            check(&format!("the body of {name}"), content);
            bodies += 1;
        }
        for status in ["200", "201", "202"] {
            if let Some(content) = value["responses"][status]["content"].get("application/json") {
                check(&format!("the response {status} of {name}"), content);
                responses += 1;
            }
        }
    }
    assert!(bodies >= 7 && responses >= 20, "too few examples: {bodies} and {responses}");
}

#[tokio::test]
async fn each_operation_has_its_errors_with_their_codes() {
    let (description, operations) = description().await;
    let mut errors = 0;
    for Operation { name, value } in &operations {
        let responses: Vec<_> = members(&value["responses"]).collect();
        assert!(responses.iter().any(|(status, _)| status.starts_with('4')), "{name} has no error");
        for (status, response) in responses {
            for (_, content) in members(&response["content"]) {
                for (code, example) in members(&content["examples"]) {
                    if status.starts_with('2') {
                        continue;
                    }
                    errors += 1;
                    let name = format!("{name} {status} {code}");
                    let body = &example["value"];
                    assert!(example["summary"].is_string(), "{name} has no cause");
                    assert!(fits(&description, &content["schema"], body), "{name}: {body}");
                    let has_status =
                        status.parse().is_ok_and(|status: u64| body["status"] == status);
                    let is_problem = has_status && body["code"] == *code;
                    assert!(is_problem || body["error"]["code"] == *code, "{name}: {body}");
                }
            }
        }
    }
    assert!(errors > 200, "too few errors found: {errors}");
}
