//! The HTTP interface of a hub, as publishers and readers use it.

use crate::hub::TIMEOUT;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::thread::JoinHandle;

/// Maximum size of an answer in bytes.
const MAX_RESPONSE_BYTES: u64 = 1 << 30;

/// A stored event as a reader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub id: String,
    pub stream: String,
    pub data: String,
}

/// The outcome of a publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Published {
    Acknowledged {
        id: String,
        duplicate: bool,
    },
    Refused(u16, String),
    /// The connection broke: the event may be stored or not.
    Unknown,
}

/// A client of a hub. Clones are for other threads.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    address: String,
    /// Sent as a bearer token.
    credential: Option<String>,
}

impl Client {
    pub fn new(address: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(2 * TIMEOUT))
            .build();
        Self { agent: config.into(), address: address.to_owned(), credential: None }
    }

    /// Returns a client of the same hub that sends a bearer token.
    pub fn with_credential(&self, credential: &str) -> Self {
        Self { credential: Some(credential.to_owned()), ..self.clone() }
    }

    fn authorization(&self) -> String {
        self.credential.as_ref().map_or_else(String::new, |secret| format!("Bearer {secret}"))
    }

    /// Posts JSON; returns the status and the answer, or `None` if the connection broke.
    pub fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut request = self.agent.post(format!("http://{}{path}", self.address));
        if self.credential.is_some() {
            request = request.header("Authorization", self.authorization());
        }
        let mut response = request.send(body.to_string()).ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Some((response.status().as_u16(), body))
    }

    /// Gets a path; returns the status and the text.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        if self.credential.is_some() {
            request = request.header("Authorization", self.authorization());
        }
        let mut response = request.call().ok()?;
        let body = response.body_mut().with_config().limit(MAX_RESPONSE_BYTES);
        let text = body.read_to_string().ok()?;
        Some((response.status().as_u16(), text))
    }

    /// Publishes one event.
    pub fn publish(&self, stream: &str, data: &str, key: Option<&str>) -> Published {
        let mut event = json!({ "stream": stream, "data": data });
        if let Some(key) = key {
            event["key"] = key.into();
        }
        match self.post("/publish", &event) {
            None => Published::Unknown,
            Some((200, receipt)) => match receipt["id"].as_str() {
                Some(id) => Published::Acknowledged {
                    id: id.to_owned(),
                    duplicate: receipt["duplicate"] == true,
                },
                None => Published::Unknown,
            },
            Some((status, response)) => Published::Refused(status, response.to_string()),
        }
    }

    /// Reads every event that is kept, in order.
    pub fn read_all(&self) -> Result<Vec<Event>, String> {
        let path = "/events?stream=**&from=start&follow=false&format=ndjson&control=off";
        match self.get(path) {
            Some((200, text)) => text.lines().map(read_event).collect(),
            other => Err(format!("the events cannot be read: {other:?}")),
        }
    }

    /// Collects events as they come until the connection breaks.
    pub fn watch(&self) -> JoinHandle<Vec<Event>> {
        let path = "/events?stream=**&from=start&format=ndjson&control=off";
        let request = self.agent.get(format!("http://{}{path}", self.address));
        std::thread::spawn(move || {
            let Ok(response) = request.call() else { return Vec::new() };
            let lines = BufReader::new(response.into_body().into_reader()).lines();
            lines.map_while(Result::ok).filter_map(|line| read_event(&line).ok()).collect()
        })
    }

    /// Acknowledges the losses that the hub reports.
    pub fn acknowledge_losses(&self) -> Result<(), String> {
        let request = self.agent.delete(format!("http://{}/journal/losses", self.address));
        match request.call() {
            Ok(response) if response.status() == 200 => Ok(()),
            response => Err(format!("losses are not acknowledged: {response:?}")),
        }
    }

    /// Returns the loss that `/readyz` reports, if any.
    pub fn reported_loss(&self) -> Result<Option<String>, String> {
        let Some((_, text)) = self.get("/readyz") else {
            return Err("/readyz does not answer".to_owned());
        };
        let ready: Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        Ok(ready["checks"]["loss"]["reason"].as_str().map(str::to_owned))
    }
}

fn read_event(line: &str) -> Result<Event, String> {
    let event: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let text = |name: &str| match &event[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let stream = match &event["stream"] {
        Value::Null => text("streams"),
        _ => text("stream"),
    };
    Ok(Event { id: text("id"), stream, data: text("data") })
}
