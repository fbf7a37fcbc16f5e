//! Events that the hub itself publishes: system metrics, its log and the status of heartbeats.

use crate::credentials::file_with_keys;
use crate::hub::Hub;
use crate::reader::Reader;
use serde_json::{Value, json};

/// Returns the entry of a source in `/stats`, or `Null` if it has none.
async fn source(hub: &Hub, name: &str) -> Value {
    let stats = hub.get("/stats").await.1;
    let sources = stats["sources"].as_array().unwrap();
    sources.iter().find(|source| source["name"] == name).cloned().unwrap_or(Value::Null)
}

#[cfg(feature = "system")]
#[tokio::test]
async fn the_system_monitor_publishes_metrics_that_agree_with_the_kernel() {
    let hub = Hub::start(&["--system", "200ms"]).await;
    let mut reader = hub.subscribe("/streams/system/events").await;
    reader.open().await;
    let events = reader.take(24).await;
    let data_of_type =
        |kind: &str| events.iter().filter(|e| e.name == kind).map(|e| e.json()).collect();
    let (metrics, statuses): (Vec<Value>, Vec<Value>) =
        (data_of_type("metric"), data_of_type("status"));
    for name in [
        "cpu_percent",
        "memory_percent",
        "disk_percent",
        "network_sent",
        "network_received",
        "process_count",
        "load_average",
    ] {
        let values: Vec<f64> = metrics
            .iter()
            .filter(|metric| metric["name"] == name)
            .map(|metric| metric["value"].as_f64().unwrap())
            .collect();
        assert!(values.len() >= 2, "{name} in {metrics:?}");
        assert!(values.iter().all(|value| *value >= 0.0), "{name} {values:?}");
        if name.ends_with("_percent") {
            assert!(values.iter().all(|value| *value <= 100.0), "{name} {values:?}");
        }
    }
    // The status agrees with the kernel.
    let status = statuses.last().unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let reported_uptime = status["uptime"].as_f64().unwrap();
    assert!(
        reported_uptime <= uptime && reported_uptime > uptime - 60.0,
        "{reported_uptime} of {uptime}"
    );
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(status["memory_total_bytes"], total * 1024);
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(status["cpu_percent_per_core"].as_array().unwrap().len() >= cores);
    let processes = status["process_count"].as_f64().unwrap();
    assert!(processes >= 2.0, "this one and the hub: {processes}");
    assert!(status["disk_total_bytes"].as_u64() > Some(0));
    assert_eq!(status["load_average"].as_array().unwrap().len(), 3);
    let system = source(&hub, "system").await;
    assert_eq!(json!([system["name"], system["state"]]), json!(["system", "running"]));
    assert!(system["events"].as_u64() >= Some(24), "{system}");
    assert_eq!(hub.metric("fanfare_source_up{source=\"system\"}").await, 1.0);
    assert!(hub.metric("fanfare_source_events_total{source=\"system\"}").await >= 24.0);
}

#[cfg(feature = "system")]
#[tokio::test]
async fn the_hub_keeps_a_history_of_its_own_figures() {
    let hub = Hub::start(&["--system", "100ms"]).await;
    let mut system = hub.subscribe("/streams/system/events").await;
    hub.publish("a", "1").await;
    // Deliveries of the monitor itself are counted, too.
    let mut history = hub.subscribe("/streams/hub.stats/events?from=start").await;
    loop {
        let event = history.take(1).await.remove(0);
        let stats = event.json();
        assert!(stats["timestamp"].is_string() && stats["refusals_per_second"] == 0.0, "{stats}");
        if stats["sessions"] == 2 && stats["deliveries_per_second"].as_f64() > Some(0.0) {
            assert!(stats["events_per_second"].as_f64() > Some(0.0), "{stats}");
            assert!(stats["fan_out_p99_s"].as_f64() > Some(0.0), "{stats}");
            break;
        }
        system.take(1).await;
    }
}

#[tokio::test]
async fn the_system_stream_is_reserved_and_the_monitor_can_be_off() {
    let hub = Hub::start(&["--system", "off", "--publish-log=off"]).await;
    let (status, problem) = hub.try_post("/publish", r#"{"stream":"system","data":1}"#).await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
    assert_eq!(source(&hub, "system").await, Value::Null);
    assert_eq!(hub.metric("fanfare_source_up{source=\"system\"}").await, 0.0);
    assert_eq!(hub.get("/streams").await.1["streams"], json!([]));
}

#[cfg(feature = "system")]
#[tokio::test]
async fn the_system_monitor_continues_after_its_events_were_refused() {
    let hub = Hub::start(&["--system", "100ms", "--min-free-bytes", "1000TiB"]).await;
    let refused = "fanfare_source_events_refused_total{source=\"system\"}";
    hub.wait_for_metric(refused, |n| n >= 16.0).await;
    let system = source(&hub, "system").await;
    assert_eq!(json!([system["state"], system["restarts"]]), json!(["running", 0]));
    assert!(system["error"].as_str().unwrap().contains("min-free-bytes"), "{system}");
}

const LOG: [&str; 3] = ["--system", "off", "--publish-log"];

#[tokio::test]
async fn the_hubs_own_log_is_a_stream_for_admins() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("ops", "ops", "admin = true"), ("app", "app", "subscribe = [\"**\"]")];
    let file = file_with_keys(folder.path(), &keys);
    let hub = Hub::start(&[&LOG[..], &["--config", &file]].concat()).await;
    let path = "/streams/hub.logs/events?from=start";
    let bearer = [("Authorization", "Bearer ops")];
    let mut reader = Reader::connect(&hub.address, path, &bearer).await.unwrap();
    reader.open().await;
    let request = hub.http.get(hub.url("/nothing")).bearer_auth("app").header("X-Request-Id", "r1");
    assert_eq!(request.send().await.unwrap().status(), 404);
    let line = loop {
        let event = reader.next_event().await.unwrap();
        assert_eq!(event.name, "log");
        let line = event.json();
        if line["fields"]["request_id"] == "r1" {
            break line;
        }
    };
    assert_eq!(
        json!([line["level"], line["message"], line["module"], line["fields"]["reason"]]),
        json!(["info", "request", "fanfare::http::middleware::access_log", "not_found"])
    );
    assert!(line["line"].as_u64() > Some(0) && line["timestamp"].is_string(), "{line}");
    let refused = hub.http.get(hub.url(path)).bearer_auth("app").send().await.unwrap();
    assert_eq!(refused.status(), 403);
}

#[tokio::test]
async fn the_log_never_feeds_on_itself() {
    let hub = Hub::start(&[&LOG[..], &["--log", "trace"]].concat()).await;
    let events = "fanfare_source_events_total{source=\"log\"}";
    assert_eq!(hub.get("/version").await.0, 200);
    hub.wait_for_metric(events, |n| n >= 1.0).await;
    // Each scrape logs a few lines at this level, of its request and perhaps its connection. A log
    // that fed on itself would add a line with each commit.
    let mut before = hub.metric(events).await;
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let now = hub.metric(events).await;
        assert!(now - before <= 10.0, "{} lines of one scrape\n{}", now - before, hub.log());
        before = now;
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_published_loses_lines_and_delays_no_request() {
    let hub = Hub::start(&[&LOG[..], &["--min-free-bytes", "1000TiB"]].concat()).await;
    for _ in 0..50 {
        assert_eq!(hub.get("/nothing").await.0, 404);
    }
    let refused = "fanfare_source_events_refused_total{source=\"log\"}";
    hub.wait_for_metric(refused, |n| n >= 50.0).await;
    assert_eq!(source(&hub, "log").await["state"], "running");
}

async fn publish_heartbeat(hub: &Hub, source: &str) {
    let body = json!({ "stream": "beats", "type": "heartbeat", "data": { "source": source } });
    hub.post("/publish", body).await;
}

/// Returns the source and the status of the next status event.
async fn next_status(reader: &mut Reader) -> (String, String) {
    let event = reader.next_event().await.unwrap();
    assert_eq!(event.name, "status");
    let data = event.json();
    let text = |name: &str| data[name].as_str().unwrap().to_owned();
    (text("source"), text("status"))
}

#[tokio::test]
async fn each_change_of_a_heartbeat_status_is_published_once() {
    let hub = Hub::start(&["--heartbeat-late", "5s", "--heartbeat-down", "8s"]).await;
    let mut reader = hub.subscribe("/streams/heartbeats/events").await;
    reader.open().await;
    publish_heartbeat(&hub, "shop").await;
    assert_eq!(next_status(&mut reader).await, ("shop".into(), "up".into()));
    hub.wait_for_metric("fanfare_heartbeat_sources{status=\"up\"}", |n| n == 1.0).await;
    // Repeated heartbeats are reported once.
    for _ in 0..5 {
        publish_heartbeat(&hub, "shop").await;
    }
    for status in ["late", "down"] {
        assert_eq!(next_status(&mut reader).await, ("shop".into(), status.into()));
    }
    hub.wait_for_metric("fanfare_heartbeat_sources{status=\"down\"}", |n| n == 1.0).await;
    publish_heartbeat(&hub, "till").await;
    assert_eq!(next_status(&mut reader).await, ("till".into(), "up".into()));
    publish_heartbeat(&hub, "shop").await;
    assert_eq!(next_status(&mut reader).await, ("shop".into(), "up".into()));
}

#[tokio::test]
async fn a_service_that_died_while_the_hub_was_down_is_reported() {
    let mut hub = Hub::start(&["--heartbeat-late", "3s", "--heartbeat-down", "6s"]).await;
    let mut reader = hub.subscribe("/streams/heartbeats/events").await;
    reader.open().await;
    publish_heartbeat(&hub, "shop").await;
    let mut before = next_status(&mut reader).await;
    let last = reader.last_id().to_owned();
    hub.kill();
    hub.restart().await;
    let mut reader = hub.resume("/streams/heartbeats/events", &last).await;
    reader.open().await;
    // No heartbeat follows, so that the hub relies on the status events from before the kill.
    while before.1 != "down" {
        let next = next_status(&mut reader).await;
        assert!(next.0 == "shop" && next.1 != before.1 && next.1 != "up", "{next:?}");
        before = next;
    }
}

#[tokio::test]
async fn heartbeat_late_must_be_shorter_than_heartbeat_down() {
    let flags = ["config", "check", "--heartbeat-late", "2m", "--heartbeat-down", "1m"];
    let output = std::process::Command::new(crate::hub::program()).args(flags).output();
    let output = output.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("--heartbeat-late"), "{stderr}");
}

/// Heartbeats are bound to their stream: a publisher to another one cannot forge them.
#[tokio::test]
async fn a_heartbeat_on_another_stream_keeps_no_service_alive() {
    let hub = Hub::start(&["--heartbeat-late", "2s", "--heartbeat-down", "4s"]).await;
    let mut reader = hub.subscribe("/streams/heartbeats/events").await;
    reader.open().await;
    let publish_beat = async |stream: &str| {
        let data = json!({ "source": "shop" });
        hub.post("/publish", json!({ "stream": stream, "type": "heartbeat", "data": data })).await;
    };
    publish_beat("beats.shop").await;
    let first = reader.next_event().await.unwrap().json();
    assert_eq!(json!([first["source"], first["status"]]), json!(["shop", "up"]));
    let forge = async {
        loop {
            publish_beat("beats.other").await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let until_down = async {
        loop {
            let status = reader.next_event().await.unwrap().json();
            if status["source"] == "shop" && status["status"] == "down" {
                return status;
            }
        }
    };
    let status = tokio::select! {
        () = forge => unreachable!("it goes on for ever"),
        status = until_down => status,
    };
    assert_eq!(status["stream"], "beats.shop", "{status}");
}
