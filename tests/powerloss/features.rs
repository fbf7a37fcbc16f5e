//! Features with state in the journal, across a power loss: a chat, a job and a followed file.

use crate::access::{ADMIN, Settings, post, wait_for};
use crate::client::{Client, Event, Published};
use crate::disk::{Disk, is_available};
use crate::faults::Faults;
use crate::loss::Unsynced;
use crate::medium::Journaling;
use crate::scenario::{run_seeds, seeds};
use serde_json::{Value, json};
use std::io::Write as _;

/// The state that clients know before the power loss.
struct KnownState {
    chat_path: String,
    chat: Value,
    events: Vec<Event>,
    lines: u64,
}

fn append(settings: &Settings, lines: std::ops::Range<u64>) {
    let mut file = std::fs::OpenOptions::new().append(true).open(settings.log()).unwrap();
    for line in lines {
        writeln!(file, "line {line}").unwrap();
    }
}

/// The messages of the followed file's stream.
fn read_lines(client: &Client) -> Option<Vec<String>> {
    let path = "/streams/logs.app/events?from=start&follow=false&format=ndjson&control=off";
    let (status, text) = client.get(path)?;
    let message = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        event["data"]["message"].as_str().map(str::to_owned)
    };
    if status == 200 { text.lines().map(message).collect() } else { None }
}

fn expect_lines(client: &Client, count: u64) -> Result<(), String> {
    let expected: Vec<String> = (0..count).map(|n| format!("line {n}")).collect();
    let has_all_lines = || read_lines(client).filter(|lines| lines.len() >= expected.len());
    let lines = wait_for("following the file", has_all_lines)
        .map_err(|error| format!("{error}: {:?}", read_lines(client)))?;
    if lines == expected { Ok(()) } else { Err(format!("of {count} lines there are {lines:?}")) }
}

fn read_json(client: &Client, path: &str) -> Option<Value> {
    let (status, text) = client.get(path)?;
    if status == 200 { serde_json::from_str(&text).ok() } else { None }
}

fn use_features(client: &Client, settings: &Settings, lines: u64) -> Result<KnownState, String> {
    let is_followed =
        || client.get("/metrics").filter(|(_, text)| text.contains("fanfare_tail_files 1"));
    wait_for("following the file", is_followed)?;
    append(settings, 0..lines);
    let chat = post(client, "/chats", &json!({ "message": "hello there" }))?;
    let run = post(client, "/jobs/greet/runs", &json!({}))?;
    for n in 0..5 {
        if !matches!(client.publish("a.x", &n.to_string(), None), Published::Acknowledged { .. }) {
            return Err("a publish fails".to_owned());
        }
    }
    let chat_path = format!("/chats/{}", chat["id"].as_str().unwrap_or_default());
    let is_done = |chat: &Value| chat["status"] == "done";
    let chat = wait_for("the chat's end", || read_json(client, &chat_path).filter(is_done))?;
    let stream = format!("/streams/{}", run["stream"].as_str().unwrap_or_default());
    let has_ended = |stream: &Value| stream["state"] == "ended";
    wait_for("the job's end", || read_json(client, &stream).filter(has_ended))?;
    expect_lines(client, lines)?;
    Ok(KnownState { chat_path, chat, events: client.read_all()?, lines })
}

fn check_features(client: &Client, settings: &Settings, known: &KnownState) -> Result<(), String> {
    if let Some(loss) = client.reported_loss()? {
        return Err(format!("a loss is told and nothing is lost: {loss}"));
    }
    let events = client.read_all()?;
    if !events.starts_with(&known.events) {
        return Err(format!("of {:#?}\nthere are {events:#?}", known.events));
    }
    match read_json(client, &known.chat_path) {
        Some(chat) if chat == known.chat => {}
        chat => return Err(format!("of the chat {} there is {chat:?}", known.chat)),
    }
    append(settings, known.lines..known.lines + 3);
    expect_lines(client, known.lines + 3)
}

#[test]
fn a_chat_a_job_and_a_followed_file_survive_a_power_loss() {
    if !is_available() {
        return;
    }
    let scenario = "a_chat_a_job_and_a_followed_file_survive_a_power_loss";
    run_seeds(scenario, seeds(4, 300), |seed| {
        let disk = Disk::mount(Journaling::Ordered);
        let settings = Settings::write();
        disk.resume(Faults::default());
        let mut hub = settings.start(&disk)?;
        let client = hub.client().with_credential(ADMIN);
        let known = use_features(&client, &settings, 3 + seed);
        hub.kill(&disk);
        let known = known.map_err(|error| format!("{error}\n--- log\n{}", hub.log()))?;
        disk.lose_power(
            if seed.is_multiple_of(2) { Unsynced::Lost } else { Unsynced::Chosen },
            seed,
        );
        disk.resume(Faults::default());
        let mut hub = settings.start(&disk)?;
        let client = hub.client().with_credential(ADMIN);
        let result = check_features(&client, &settings, &known);
        hub.kill(&disk);
        result.map_err(|error| format!("{error}\n--- log\n{}", hub.log()))
    });
}
