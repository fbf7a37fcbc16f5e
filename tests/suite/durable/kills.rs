//! SIGKILL while producers write: each message once and in order, in both protocols.

use super::*;
use crate::hub::is_full_run;
use rand::Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PRODUCERS: u64 = 4;

/// Writes numbered messages until it is stopped, each again until it is answered; returns their number.
async fn write(address: Arc<Mutex<String>>, n: u64, stop: Arc<AtomicBool>) -> u64 {
    let http = reqwest::Client::new();
    let id = format!("p{n}");
    let mut seq = 0;
    while !stop.load(Ordering::Relaxed) {
        let url = format!("http://{}{ROOT}/s", address.lock().unwrap());
        let number = seq.to_string();
        let mut request = http.post(url).body(format!("[[{n},{seq}]]"));
        for (name, value) in producer(&id, "0", &number) {
            let value = if name == TEXT.0 { JSON.1 } else { value };
            request = request.header(name, value);
        }
        match request.timeout(Duration::from_secs(10)).send().await {
            Ok(answer) if [200, 204].contains(&answer.status().as_u16()) => seq += 1,
            Ok(answer) => assert_eq!(answer.status(), 503, "{}", answer.text().await.unwrap()),
            // Without an answer, it may have been written.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    seq
}

#[tokio::test]
async fn writes_of_producers_are_applied_once_however_often_the_hub_is_killed() {
    let kills = if is_full_run() { 50 } else { 8 };
    let mut hub = start().await;
    create(&hub, "s", &[JSON], "").await;
    let address = Arc::new(Mutex::new(hub.address.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..PRODUCERS).map(|n| tokio::spawn(write(address.clone(), n, stop.clone()))).collect();
    for _ in 0..kills {
        let pause = rand::rng().random_range(20..300);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        hub.kill();
        hub.restart().await;
        *address.lock().unwrap() = hub.address.clone();
    }
    // However slow the machine is, something is written after the last start.
    let before = get(&hub, "s").await.json().as_array().unwrap().len();
    let started = std::time::Instant::now();
    while get(&hub, "s").await.json().as_array().unwrap().len() < before + 20 {
        assert!(started.elapsed() < crate::hub::TEST_TIMEOUT, "nothing is written any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.await.unwrap());
    }
    let check = |all: Vec<(u64, u64)>, face: &str| {
        for (n, count) in (0..PRODUCERS).zip(&written) {
            let own = all.iter().filter(|(writer, _)| *writer == n).map(|(_, seq)| *seq);
            assert!(own.eq(0..*count), "{face}: producer {n} wrote {count}");
        }
    };
    let (mut all, mut offset) = (Vec::new(), "-1".to_owned());
    loop {
        let part = get(&hub, &format!("s?offset={offset}")).await;
        all.extend(serde_json::from_slice::<Vec<(u64, u64)>>(&part.body).unwrap());
        offset = part.next_offset().to_owned();
        if part.is_up_to_date() {
            break;
        }
    }
    check(all, "this protocol");
    let lines = hub.http.get(hub.url("/streams/s/events?from=start&follow=false&format=text"));
    let lines = lines.send().await.unwrap().text().await.unwrap();
    check(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), "native");
}
