//! Examples of bodies in the description of the API.

use serde_json::{Value, json};

/// Events as Server-Sent Events, with the control event that begins every stream.
pub(crate) const EVENT_BLOCKS: &str = r#"retry: 2934
event: hub-open
id: 24f8edc7-0000000000001fff
data: {"session":"d0071534-438d-4d8c-9535-e3bc4cf60b02","resume":"live","requested":null,"from":"24f8edc7-0000000000001fff"}

id: 24f8edc7-0000000000002000
data: v42 is out

event: log
id: 24f8edc7-0000000000003000
data: {"level":"info","message":"v42 is out","timestamp":"2026-11-30T08:00:01.250Z"}

"#;

/// Events as newline-delimited JSON.
pub(crate) const EVENT_LINES: &str = r#"{"id":"24f8edc7-0000000000001fff","type":"hub-open","data":{"session":"d0071534-438d-4d8c-9535-e3bc4cf60b02","resume":"live","requested":null,"from":"24f8edc7-0000000000001fff"}}
{"id":"24f8edc7-0000000000002000","stream":"releases","type":"message","time":"2026-11-30T08:00:00.000Z","data":"v42 is out"}
"#;

pub(crate) fn event() -> Value {
    json!({ "stream": "orders", "type": "message", "data": { "order": 17 }, "key": "order-17" })
}

pub(crate) fn events() -> Value {
    json!([
        { "stream": ["builds.8", "builds.all"], "data": { "step": 1 } },
        { "stream": ["builds.8", "builds.all"], "data": { "step": 2 } },
    ])
}

pub(crate) fn receipt() -> Value {
    json!({
        "id": "24f8edc7-0000000000001000",
        "stream": "orders",
        "subscribers": 3,
        "duplicate": false,
    })
}

pub(crate) fn receipts() -> Value {
    let streams = ["builds.8", "builds.all"];
    json!([
        { "id": "24f8edc7-0000000000003000", "stream": streams, "subscribers": 1, "duplicate": false },
        { "id": "24f8edc7-0000000000003001", "stream": streams, "subscribers": 1, "duplicate": false },
    ])
}

pub(crate) fn receipt_summary() -> Value {
    json!({
        "published": 2,
        "first": "24f8edc7-0000000000004000",
        "last": "24f8edc7-0000000000004001",
    })
}

pub(crate) fn log_message() -> Value {
    json!({ "level": "warn", "message": "the till is slow", "fields": { "seconds": 3 } })
}

pub(crate) fn log_receipt() -> Value {
    json!({
        "id": "24f8edc7-0000000000005000",
        "stream": "logs",
        "subscribers": 1,
        "duplicate": false,
    })
}

pub(crate) fn subscription() -> Value {
    json!({
        "stream": ["orders.*", "sales"],
        "last": 10,
        "follow": false,
        "format": "ndjson",
    })
}

pub(crate) fn stream() -> Value {
    json!({
        "name": "orders.eu",
        "state": "open",
        "subscribers": 3,
        "published": 1204,
        "events": 1000,
        "bytes": 25210,
        "first_id": "24f8edc7-00000000000cc000",
        "last_id": "24f8edc7-00000000004b4000",
        "last_time": "2026-11-30T08:00:01.250Z",
    })
}

pub(crate) fn stream_list() -> Value {
    json!({ "streams": [stream()], "next": "orders.eu" })
}

pub(crate) fn end_receipt() -> Value {
    json!({
        "id": "24f8edc7-0000000000006000",
        "stream": "builds.8",
        "state": "ended",
        "subscribers": 1,
    })
}

pub(crate) fn ticket_request() -> Value {
    json!({ "streams": ["builds.**"], "ttl": "10m" })
}

pub(crate) fn ticket() -> Value {
    json!({ "ticket": TICKET, "expires_at": "2026-11-30T08:10:01.250Z" })
}

/// A ticket, shortened.
pub(super) const TICKET: &str = "eyJ0eXAiOiJmYW5mYXJlLXRpY2tldCIsImFsZyI6IkhTMjU2In0.\
    eyJzdHJlYW1zIjpbImJ1aWxkcy4qKiJdfQ.QJpbYsOCXMUSUKQ8hTpiBqEj2Czc4sGHV00SlV1qsiU";

pub(crate) fn caller() -> Value {
    json!({
        "subject": "key ci",
        "expires_at": null,
        "publish": ["builds.**"],
        "end": ["builds.**"],
        "delete": [],
        "subscribe": ["builds.**", "deploys"],
        "run": [],
        "files": ["releases"],
        "chat": [],
        "admin": false,
        "node": null,
    })
}

pub(crate) fn revocation_target() -> Value {
    json!({ "sub": "ann" })
}

pub(crate) fn revocation() -> Value {
    json!({ "sub": "ann", "revoked_at": "2026-11-30T08:00:01.250Z" })
}

pub(crate) fn revocations() -> Value {
    json!({ "revocations": [revocation()] })
}

pub(crate) fn sessions() -> Value {
    json!({
        "sessions": [{
            "id": "d0071534-438d-4d8c-9535-e3bc4cf60b02",
            "hub": null,
            "streams": ["builds.**"],
            "protocol": "native",
            "subject": "key ci",
            "address": "192.0.2.7",
            "since": "2026-11-30T08:00:01.250Z",
            "position": "24f8edc7-0000000000005000",
            "state": "live",
            "lag": 0,
            "queued_bytes": 0,
            "sent_events": 12,
            "resume": "resumed",
        }],
        "next": null,
        "silent_workers": 0,
        "silent_hubs": [],
    })
}

#[cfg(feature = "cluster")]
pub(crate) fn cluster() -> Value {
    json!({
        "name": "fanfare",
        "hub": "hub-a",
        "log": {
            "end": 48_211,
            "leader": "n1",
            "stale_servers": [],
            "unreachable_s": null,
            "problem": null,
        },
        "hubs": [{
            "name": "hub-a",
            "version": "0.1.0",
            "since": "2026-11-30T08:00:01.250Z",
            "applied": 48_211,
            "lag": 0,
            "sessions": 412,
            "state": "ready",
            "silent_s": null,
            "problem": null,
        }],
    })
}

pub(crate) fn presence() -> Value {
    json!({
        "stream": "builds.8",
        "sessions": 3,
        "anonymous": 1,
        "subjects": [{ "subject": "key ci", "sessions": 2 }],
        "subject_count": 1,
        "silent_hubs": [],
    })
}

pub(crate) fn losses() -> Value {
    json!({
        "losses": [{
            "kept": "6469b87e-0000000000005000",
            "committed": "6469b87e-0000000000007000",
            "place": "/var/lib/fanfare/damaged-0.jnl",
            "found_ms": 1_796_025_601_250_u64,
        }],
    })
}

pub(crate) fn log_filter() -> Value {
    json!({ "filter": "info,fanfare::hub=debug" })
}

pub(crate) fn version() -> Value {
    json!({
        "name": "fanfare",
        "version": env!("CARGO_PKG_VERSION"),
        "journal_format": 2,
        "features": ["chat", "dashboard", "jobs"],
    })
}

pub(crate) fn ready() -> Value {
    json!({ "ready": true, "checks": { "disk": { "ok": true }, "journal": { "ok": true } } })
}

pub(crate) fn not_ready() -> Value {
    json!({
        "ready": false,
        "checks": {
            "cluster": { "ok": true },
            "draining": { "ok": false, "reason": "the hub is stopping" },
            "journal": { "ok": true },
        },
    })
}

/// Metrics in Prometheus's text format.
pub(crate) fn metrics() -> Value {
    json!(
        "# HELP fanfare_sessions Open sessions\n# TYPE fanfare_sessions gauge\nfanfare_sessions 3\n"
    )
}

pub(crate) fn stats() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": 86_400,
        "ready": true,
        "checks": { "disk": { "ok": true }, "journal": { "ok": true } },
        "totals": {
            "sessions": 3,
            "sessions_catching_up": 0,
            "sessions_opened": 240,
            "sessions_closed": 237,
            "subscribers_refused": 0,
            "events_published": 1204,
            "published_bytes": 25_210,
            "publishes_refused": 1,
            "deliveries": 3612,
            "delivered_bytes": 75_630,
            "events_replayed": 600,
            "session_gaps": 0,
            "credentials_refused": 0,
            "session_queue_bytes": 0,
            "journal_bytes": 25_210,
            "journal_max_bytes": 10_737_418_240_u64,
            "journal_streams": 5,
            "journal_disk_bytes": 40_320,
            "journal_disk_free_bytes": 34_877_505_536_u64,
        },
        "fan_out": {
            "count": 1204,
            "sum_s": 0.11,
            "buckets": [{ "le_s": 0.0001, "count": 900 }, { "le_s": 0.001, "count": 1204 }],
        },
        "refusals": {
            "connections": {},
            "credentials": {},
            "publishes": { "conflict": 1 },
            "requests": {},
            "subscribers": {},
        },
        "sources": [
            { "name": "heartbeats", "state": "running", "restarts": 0, "events": 4, "refused": 0 },
        ],
        "jobs": [],
        "limits": [{
            "limit": "max_connections",
            "max": 18_270,
            "use": 3,
            "peak": 41,
            "refusals": 0,
        }],
    })
}

pub(crate) fn description() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Fanfare", "version": env!("CARGO_PKG_VERSION") },
        "paths": {},
    })
}

#[cfg(feature = "jobs")]
pub(crate) fn jobs() -> Value {
    json!({
        "jobs": [{
            "name": "disk-usage",
            "at_most": 1,
            "running": [{
                "run": "20261130T080001Z-6f1c2a90",
                "stream": "jobs.disk-usage.20261130T080001Z-6f1c2a90",
                "since": "2026-11-30T08:00:01.250Z",
            }],
        }],
    })
}

#[cfg(feature = "jobs")]
pub(crate) fn started_run() -> Value {
    json!({
        "run": "20261130T080001Z-6f1c2a90",
        "stream": "jobs.disk-usage.20261130T080001Z-6f1c2a90",
        "events_url": "/streams/jobs.disk-usage.20261130T080001Z-6f1c2a90/events?from=start",
    })
}

#[cfg(feature = "search")]
pub(crate) fn search() -> Value {
    let lines = [
        r#"{"id":"2a1ff91e-0000000000011000","stream":"api.eu","type":"log","time":"2026-11-30T08:15:02.114Z","data":{"level":"error","message":"timed out"}}"#,
        r#"{"type":"hub-done","data":{"scanned":4810,"matched":1,"time":"2026-11-30T08:20:00.000Z","complete":true,"next":"2a1ff91e-0000000000012000"}}"#,
    ];
    lines.map(|line| format!("{line}\n")).concat().into()
}
