//! Members of an upstream's answer that the hub does not interpret; readers get them unchanged.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Strings that identify something: a later chunk replaces them, while it appends to other strings.
const LABELS: [&str; 6] = ["type", "id", "role", "name", "format", "signature"];
/// Random padding of a chunk, which means nothing and differs in each.
const PADDING: &str = "obfuscation";

/// Uninterpreted members, by the object that they came in.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Extra {
    /// Members of the delta, or of the message of an answer that is not streamed.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub delta: Map<String, Value>,
    /// Members of the choice.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub choice: Map<String, Value>,
    /// Members of the chunk itself.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub chunk: Map<String, Value>,
}

impl Extra {
    /// Returns true if it has no members.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && !self.is_content()
    }

    /// Returns true if it has members of the answer, and not only of its description.
    pub fn is_content(&self) -> bool {
        !self.delta.is_empty() || !self.choice.is_empty()
    }

    /// Returns its size in bytes, as JSON.
    pub fn bytes(&self) -> usize {
        members_bytes(&self.delta) + members_bytes(&self.choice) + members_bytes(&self.chunk)
    }

    /// Returns the members of the one tool call that it has, without the index.
    pub(super) fn into_call(mut self) -> Map<String, Value> {
        let first = match self.delta.remove("tool_calls") {
            Some(Value::Array(calls)) => calls.into_iter().next(),
            _ => None,
        };
        let Some(Value::Object(mut call)) = first else { return Map::new() };
        call.remove("index");
        call
    }

    /// Merges the members of a later chunk into it, as OpenAI's clients do: objects are merged,
    /// items of lists by their `index`, texts are appended.
    pub fn merge(&mut self, later: Self) {
        continue_members(&mut self.delta, later.delta);
        continue_members(&mut self.choice, later.choice);
        // The members of each chunk describe the whole answer, so the latest apply.
        self.chunk.extend(later.chunk);
    }
}

/// Returns the size of members in bytes, as JSON; 0 if there are none.
pub(super) fn members_bytes(members: &Map<String, Value>) -> usize {
    if members.is_empty() {
        return 0;
    }
    serde_json::to_vec(members).map_or(0, |json| json.len())
}

/// Returns the members without those that are empty, and without padding.
pub(super) fn meaningful(mut members: Map<String, Value>) -> Map<String, Value> {
    members.retain(|name, value| !is_empty(value) && name != PADDING);
    members
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn continue_members(members: &mut Map<String, Value>, later: Map<String, Value>) {
    for (name, value) in later {
        match members.get_mut(&name) {
            Some(existing) => continue_value(existing, &name, value),
            None if value.is_null() => {}
            None => drop(members.insert(name, value)),
        }
    }
}

fn continue_value(existing: &mut Value, name: &str, later: Value) {
    match (existing, later) {
        (_, Value::Null) => {}
        (Value::Object(existing), Value::Object(later)) => continue_members(existing, later),
        (Value::Array(existing), Value::Array(later)) => {
            for item in later {
                continue_list(existing, item);
            }
        }
        (Value::String(text), Value::String(later)) if !LABELS.contains(&name) => {
            text.push_str(&later);
        }
        (existing, later) => *existing = later,
    }
}

fn continue_list(list: &mut Vec<Value>, item: Value) {
    let index = item.get("index").cloned();
    let is_same = |known: &&mut Value| index.is_some() && known.get("index") == index.as_ref();
    match list.iter_mut().find(is_same) {
        Some(known) => continue_value(known, "", item),
        None => list.push(item),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn extra(value: Value) -> Extra {
        serde_json::from_value(value).expect("an extra")
    }

    #[test]
    fn chunks_are_merged_like_clients_do() {
        let mut merged = Extra::default();
        for value in [
            json!({ "delta": { "details": [{ "index": 0, "type": "t", "text": "a" }] } }),
            json!({ "delta": { "details": [{ "index": 0, "type": "t", "text": "b" }, { "index": 1 }] } }),
            json!({ "delta": { "blocks": [{ "a": 1 }] }, "chunk": { "fingerprint": "x" } }),
            json!({ "delta": { "blocks": [{ "a": 1 }] }, "chunk": { "fingerprint": "y" } }),
            json!({ "choice": { "logprobs": { "content": [1] } } }),
            json!({ "choice": { "logprobs": { "content": [2], "refusal": null } } }),
        ] {
            merged.merge(extra(value));
        }
        let details = json!([{ "index": 0, "type": "t", "text": "ab" }, { "index": 1 }]);
        assert_eq!(merged.delta["details"], details);
        assert_eq!(merged.delta["blocks"], json!([{ "a": 1 }, { "a": 1 }]));
        assert_eq!(merged.choice["logprobs"], json!({ "content": [1, 2] }));
        assert_eq!(merged.chunk["fingerprint"], "y");
    }

    #[test]
    fn empty_members_and_padding_are_dropped() {
        let value = json!({ "a": null, "b": [], "c": { "d": null }, "obfuscation": "xyz", "e": 0 });
        let Value::Object(members) = value else { panic!("an object") };
        assert_eq!(Value::Object(meaningful(members)), json!({ "e": 0 }));
    }
}
