//! Slow-client attacks: other readers still get every event in order.

use crate::hub::{Hub, is_full_run};
use crate::reader::Reader;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const READERS: usize = 100;
/// Connections of an attacker, and connections opened per second.
const ATTACKERS: [&str; 4] = ["-c", "800", "-r", "400"];

/// The modes of slowhttptest: heads and bodies that never end, and answers that are hardly read.
fn modes(hub: &Hub) -> [(&'static str, Vec<String>); 3] {
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    let (publish, read) = (hub.url("/publish"), hub.url("/events?stream=large&from=start"));
    [
        ("slow heads", words(format!("-H -i 2 -t GET -u {}", hub.url("/events?stream=calm")))),
        ("slow bodies", words(format!("-B -i 2 -s 100000 -t POST -u {publish}"))),
        ("slow reads", words(format!("-X -w 512 -y 1024 -n 5 -z 32 -k 3 -u {read}"))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs slowhttptest"]
async fn other_readers_get_every_event_in_order_during_slow_client_attacks() {
    let seconds = if is_full_run() { "30" } else { "8" };
    let hub = Arc::new(Hub::start(&["--write-timeout", "5s"]).await);
    for _ in 0..40 {
        hub.publish("large", &"x".repeat(100_000)).await;
    }
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = hub.subscribe("/streams/calm/events").await;
        reader.open().await;
        readers.push(reader);
    }
    let mut published = 0;
    for (name, arguments) in modes(&hub) {
        let is_over = Arc::new(AtomicBool::new(false));
        let attack = Command::new("slowhttptest")
            .args(ATTACKERS)
            .args(["-l", seconds, "-p", "60"])
            .args(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let is_over_flag = is_over.clone();
        let attack = tokio::task::spawn_blocking(move || {
            let output = attack.wait_with_output().unwrap();
            is_over_flag.store(true, Ordering::SeqCst);
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        let first = published;
        while !is_over.load(Ordering::SeqCst) {
            hub.publish("calm", &published.to_string()).await;
            published += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let output = attack.await.unwrap();
        assert!(output.contains("slow HTTP test status"), "{name} did not run:\n{output}");
        assert!(published > first, "{name}: nothing was published");
        for reader in &mut readers {
            assert_events(reader, first, published).await;
        }
    }
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
    drop(readers);
    hub.wait_for_metric("fanfare_sessions", |n| n == 0.0).await;
}

async fn assert_events(reader: &mut Reader, from: usize, to: usize) {
    for n in from..to {
        let event = reader.next_event().await.expect("a reader was cut off");
        assert_eq!(event.data, n.to_string());
    }
}
