//! Jobs: commands that clients start by name. Each run has its own stream.

use crate::credentials::file_with;
use crate::hub::{Hub, TEST_TIMEOUT};
use crate::reader::{Event, Reader};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// A Python script that prints to both outputs every 50 ms and never flushes.
const SLOW: &str = "import sys, time\nfor n in range(5):\n    print(f'line {n}')\n    \
                    print(f'ERROR: {n}', file=sys.stderr)\n    time.sleep(0.05)\nsys.exit(3)\n";

fn config(folder: &Path, jobs: &str) -> String {
    let file = folder.join("jobs.toml");
    std::fs::write(&file, jobs).unwrap();
    file.to_str().unwrap().to_owned()
}

async fn hub_with(jobs: &str) -> (Hub, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), jobs);
    (Hub::start(&["--config", &file]).await, folder)
}

async fn begin(hub: &Hub, job: &str) -> Value {
    let answer = hub.http.post(hub.url(&format!("/jobs/{job}/runs"))).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let begun: Value = answer.json().await.unwrap();
    assert_eq!(begun["events_url"], location.as_str());
    begun
}

async fn read(hub: &Hub, begun: &Value) -> Reader {
    hub.subscribe(begun["events_url"].as_str().unwrap()).await
}

/// Returns all events of a run after its stream has ended.
async fn whole(hub: &Hub, begun: &Value) -> Vec<Event> {
    let mut reader = read(hub, begun).await;
    let mut events = Vec::new();
    while let Some(event) = reader.next_event().await {
        events.push(event);
    }
    events
}

fn exit(events: &[Event]) -> Value {
    let last = events.last().unwrap();
    assert_eq!(last.name, "exit", "{events:?}");
    last.json()
}

fn messages(events: &[Event], output: &str) -> Vec<String> {
    let of_output = events.iter().filter(|event| event.name == "log").map(Event::json);
    let of_output = of_output.filter(|log| log["fields"]["output"] == output);
    of_output.map(|log| log["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
#[ignore = "needs python3"]
async fn job_output_is_streamed_line_by_line_and_complete_for_late_readers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("slow.py"), SLOW).unwrap();
    let jobs = format!(
        "[job.slow]\ncommand = [\"python3\", \"slow.py\"]\ndirectory = {:?}\n\
         environment = {{ GREETING = \"hello\" }}\n",
        folder.path()
    );
    let (hub, _folder) = hub_with(&jobs).await;
    let begun = begin(&hub, "slow").await;
    let stream = begun["stream"].as_str().unwrap();
    assert_eq!(stream, format!("jobs.slow.{}", begun["run"].as_str().unwrap()));
    let mut reader = read(&hub, &begun).await;
    let first = reader.take(2).await;
    assert_eq!(first[0].name, "start");
    assert_eq!(first[0].json(), json!({ "job": "slow", "run": begun["run"] }));
    let (_, jobs) = hub.get("/jobs").await;
    assert_eq!(jobs["jobs"][0]["running"][0]["stream"], stream, "the job still runs");
    let mut rest = Vec::new();
    while let Some(event) = reader.next_event().await {
        rest.push(event);
    }
    let exit = exit(&rest);
    assert_eq!(json!([exit["code"], exit["signal"], exit["reason"]]), json!([3, null, "exited"]));
    assert!(exit["duration_ms"].as_u64() >= Some(250), "{exit}");
    let late = whole(&hub, &begun).await;
    let texts = |text: &str| (0..5).map(|n| format!("{text}{n}")).collect::<Vec<_>>();
    assert_eq!(messages(&late, "stdout"), texts("line "));
    assert_eq!(messages(&late, "stderr"), texts("ERROR: "));
    let error = late.iter().find(|event| event.data.contains("ERROR: 0")).unwrap().json();
    assert_eq!(error["level"], "error");
    assert_eq!(late.len(), 1 + 5 + 5 + 1);
    assert_eq!(hub.get(&format!("/streams/{stream}")).await.1["state"], "ended");
    let resumed = hub.resume(&format!("/streams/{stream}/events"), &first[1].id).await;
    assert_eq!(whole_of(resumed).await, late.len() - 2, "a resumed reader gets the rest");
    hub.wait_for_metric("fanfare_job_running{job=\"slow\"}", |n| n == 0.0).await;
    let failed = "fanfare_job_runs_total{job=\"slow\",outcome=\"failed\"}";
    assert_eq!(hub.metric(failed).await, 1.0);
}

async fn whole_of(mut reader: Reader) -> usize {
    let mut events = 0;
    while reader.next_event().await.is_some() {
        events += 1;
    }
    events
}

/// Returns the process id that a job prints as its first line.
async fn process(reader: &mut Reader) -> Pid {
    let events = reader.take(2).await;
    let id = events[1].json()["message"].as_str().unwrap().parse().unwrap();
    Pid::from_raw(id).unwrap()
}

async fn wait_for_exit(process: Pid) {
    let began = Instant::now();
    while test_kill_process(process).is_ok() {
        assert!(began.elapsed() < TEST_TIMEOUT, "{process:?} still runs");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stopped_job_gets_sigterm_and_then_sigkill() {
    let jobs = "[job.good]\ncommand = [\"sh\", \"-c\", \"echo $$; exec sleep 1000\"]\n\
                [job.bad]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; echo $$; while :; do sleep 1; done\"]\n\
                stop-after = \"200ms\"\n\
                [job.long]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & echo $!; wait\"]\n\
                timeout = \"300ms\"\n";
    let (hub, _folder) = hub_with(jobs).await;
    for (job, signal) in [("good", Signal::TERM), ("bad", Signal::KILL)] {
        let begun = begin(&hub, job).await;
        let mut reader = read(&hub, &begun).await;
        let process = process(&mut reader).await;
        let path = format!("/jobs/{job}/runs/{}", begun["run"].as_str().unwrap());
        let stop = || hub.http.delete(hub.url(&path)).send();
        assert_eq!(stop().await.unwrap().status(), 202);
        let exit = exit(&whole(&hub, &begun).await);
        assert_eq!(
            json!([exit["code"], exit["signal"], exit["reason"]]),
            json!([null, signal.as_raw(), "stopped"]),
            "{job}"
        );
        wait_for_exit(process).await;
        assert_eq!(stop().await.unwrap().status(), 204, "the run has ended");
        let none = hub.http.delete(hub.url(&format!("/jobs/{job}/runs/none"))).send().await;
        assert_eq!(none.unwrap().status(), 404);
    }
    let begun = begin(&hub, "long").await;
    let child = process(&mut read(&hub, &begun).await).await;
    assert_eq!(exit(&whole(&hub, &begun).await)["reason"], "timeout");
    wait_for_exit(child).await;
}

#[tokio::test]
async fn a_job_killed_from_outside_reports_its_signal_and_all_its_output() {
    let jobs = "[job.j]\ncommand = [\"sh\", \"-c\", \"echo $$; seq 1 5000; echo -n open; exec sleep 1000\"]\n";
    let (hub, _folder) = hub_with(jobs).await;
    let begun = begin(&hub, "j").await;
    let mut reader = read(&hub, &begun).await;
    let process = process(&mut reader).await;
    reader.take(5000).await;
    kill_process(process, Signal::KILL).unwrap();
    let events = whole(&hub, &begun).await;
    let exit = exit(&events);
    assert_eq!(json!([exit["signal"], exit["reason"]]), json!([9, "signalled"]));
    let said = messages(&events, "stdout");
    let counted: Vec<String> = (1..=5000).map(|n| n.to_string()).collect();
    assert_eq!(said[1..5001], counted);
    assert_eq!(said[5001..], ["open"], "the incomplete last line, too");
}

#[tokio::test]
async fn runs_are_limited_by_at_most_and_need_the_run_grant() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("runner", "s1", "run = [\"one\"]"),
        ("reader", "s2", "subscribe = [\"logs\"]"),
        ("ops", "s3", "run = [\"*\"]"),
    ];
    let jobs = "[job.one]\ncommand = [\"sleep\", \"1000\"]\nat-most = 2\n\
                [job.two]\ncommand = [\"true\"]\n";
    let file = file_with(folder.path(), &keys, jobs);
    let hub = Hub::start(&["--config", &file, "--metrics-listen", "127.0.0.1:0"]).await;
    let post = async |secret: &str, path: &str| {
        let asked = hub.http.post(hub.url(path)).bearer_auth(secret).send().await.unwrap();
        (asked.status().as_u16(), asked.json::<Value>().await.unwrap())
    };
    assert_eq!(post("s2", "/jobs/one/runs").await.0, 403);
    assert_eq!(post("s1", "/jobs/two/runs").await.0, 403);
    assert_eq!(post("s3", "/jobs/three/runs").await.0, 404);
    let (status, begun) = post("s1", "/jobs/one/runs").await;
    assert_eq!(status, 202);
    assert_eq!(post("s3", "/jobs/one/runs").await.0, 202);
    let (status, problem) = post("s1", "/jobs/one/runs").await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("resource_exhausted")));
    let refused = "fanfare_job_runs_total{job=\"one\",outcome=\"refused\"}";
    assert_eq!(hub.metric(refused).await, 1.0);
    // A grant to run a job includes reading its runs, and nothing else.
    let get = async |secret: &str, path: &str| {
        let asked = hub.http.get(hub.url(path)).bearer_auth(secret).send().await.unwrap();
        asked.status().as_u16()
    };
    let path =
        format!("/streams/{}/events?follow=false&from=start", begun["stream"].as_str().unwrap());
    assert_eq!((get("s1", &path).await, get("s2", &path).await), (200, 403));
    assert_eq!(get("s1", "/streams/jobs.two.x/events").await, 403);
    let asked = hub.http.get(hub.url("/jobs")).bearer_auth("s1").send().await.unwrap();
    let jobs: Value = asked.json().await.unwrap();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(jobs["jobs"][0]["running"].as_array().unwrap().len(), 2);
    let run = begun["run"].as_str().unwrap();
    let stop = |secret: &str| {
        hub.http.delete(hub.url(&format!("/jobs/one/runs/{run}"))).bearer_auth(secret).send()
    };
    assert_eq!(stop("s2").await.unwrap().status(), 403);
    assert_eq!(stop("s1").await.unwrap().status(), 202);
    hub.wait_for_metric("fanfare_job_running{job=\"one\"}", |n| n == 1.0).await;
    assert_eq!(post("s1", "/jobs/one/runs").await.0, 202, "a slot is free again");
}

#[tokio::test]
#[ignore = "needs root: runs jobs as other users"]
async fn a_failed_start_is_reported_and_a_root_hub_runs_jobs_as_another_user() {
    let jobs = "[job.none]\ncommand = [\"/no/such/program\"]\n\
                [job.nobody]\ncommand = [\"sh\", \"-c\", \"id -un; id -G; echo $HOME $USER $FANFARE_STREAM\"]\n\
                user = \"nobody\"\n";
    let (hub, _folder) = hub_with(jobs).await;
    let begun = begin(&hub, "none").await;
    let exit = exit(&whole(&hub, &begun).await);
    assert_eq!(exit["reason"], "not_started");
    assert!(exit["message"].as_str().unwrap().contains("/no/such/program"), "{exit}");
    assert!(rustix::process::geteuid().is_root(), "only root runs jobs as another user");
    let begun = begin(&hub, "nobody").await;
    let said = messages(&whole(&hub, &begun).await, "stdout");
    assert_eq!(said[0], "nobody");
    assert_eq!(said[1].split(' ').count(), 1, "only in its own group: {}", said[1]);
    assert!(said[2].ends_with(begun["stream"].as_str().unwrap()), "{said:?}");
}

#[tokio::test]
async fn a_stopping_hub_stops_its_jobs_and_a_killed_one_ends_their_streams_at_restart() {
    let jobs = "[job.j]\ncommand = [\"sh\", \"-c\", \"trap 'echo bye; exit 0' TERM; echo $$; while :; do sleep 0.1; done\"]\n";
    let (mut hub, _folder) = hub_with(jobs).await;
    let begun = begin(&hub, "j").await;
    let mut reader = read(&hub, &begun).await;
    let job = process(&mut reader).await;
    hub.stop().await;
    wait_for_exit(job).await;
    hub.restart().await;
    let events = whole(&hub, &begun).await;
    assert_eq!(messages(&events, "stdout")[1], "bye", "its last output is stored");
    assert_eq!(exit(&events)["reason"], "hub_stopping");
    let begun = begin(&hub, "j").await;
    let left = process(&mut read(&hub, &begun).await).await;
    hub.kill();
    hub.restart().await;
    let last = exit(&whole(&hub, &begun).await);
    assert_eq!(json!([last["code"], last["reason"]]), json!([null, "hub_restarted"]));
    let _ = kill_process(left, Signal::KILL);
    assert_eq!(hub.get("/jobs").await.1["jobs"][0]["running"], json!([]));
}

#[tokio::test]
async fn invalid_job_settings_are_reported_with_their_line() {
    for (text, why) in [
        ("[job.\"a.b\"]\ncommand = [\"x\"]", "invalid job name"),
        ("[job.j]\n", "missing `command`"),
        ("[job.j]\ncommand = []", "missing `command`"),
        ("[job.j]\ncommand = [\"x\"]\nuser = \"no-such-user\"", "unknown user"),
        ("[job.j]\ncommand = [\"x\"]\ndirectory = \"/no/such\"", "is not an existing directory"),
        ("[job.j]\ncommand = [\"x\"]\nenvironment = [\"A=1\"]", "must be a table of strings"),
        ("[job.j]\ncommand = [\"x\"]\nshell = true", "unknown member \"shell\" in [job.NAME]"),
        ("[job.j]\ncommand = [\"x\"]\nname = \"k\"", "the table header sets the name \"j\""),
        ("[[job]]\ncommand = [\"x\"]", "[job.NAME]"),
        ("job = 3", "[job.NAME]"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = config(folder.path(), text);
        let checked = std::process::Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["config", "check", "--config", &file])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && said.contains(why), "{text}: {said}");
        assert!(said.contains("jobs.toml:"), "{said}");
    }
}

/// Output is published even if the journal accepts it only long after the end of the command.
#[tokio::test]
#[ignore = "needs root: mounts a tmpfs"]
async fn job_output_is_published_once_the_journal_accepts_it_again() {
    let jobs = "[job.j]\ncommand = [\"sh\", \"-c\", \"sleep 0.5; seq 1 8000; echo -n open\"]\n";
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), jobs);
    let disk = crate::disk::SmallDisk::new(64);
    let flags = ["--config", &file, "--min-free-bytes", "32MiB"];
    let hub = Hub::start_in(&disk.path().join("data"), &flags).await;
    let begun = begin(&hub, "j").await;
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 40 << 20]).unwrap();
    hub.wait_for_metric("fanfare_journal_disk_full", |n| n == 1.0).await;
    // Longer than the hub waits for a quiet pipe (`OUTPUT_WITHIN`). The run must not end meanwhile.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(hub.metric("fanfare_job_running{job=\"j\"}").await, 1.0);
    std::fs::remove_file(&ballast).unwrap();
    let events = whole(&hub, &begun).await;
    assert_eq!(exit(&events)["code"], 0);
    let expected: Vec<String> = (1..=8000).map(|n| n.to_string()).chain(["open".into()]).collect();
    assert_eq!(messages(&events, "stdout"), expected);
}

#[tokio::test]
async fn no_job_outlives_a_hub_that_shuts_down() {
    let jobs = "[job.j]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; echo $$; while :; do sleep 0.1; done\"]\n\
                stop-after = \"5m\"\nat-most = 3\n\
                [job.timed]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; echo $$; while :; do sleep 0.1; done\"]\n\
                stop-after = \"5m\"\ntimeout = \"100ms\"\n";
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), jobs);
    // The second SIGINT stops the hub without waiting for the drain window.
    for (at_once, window) in [(false, "3s"), (true, "5m")] {
        let mut hub = Hub::start(&["--config", &file, "--drain", window]).await;
        let (mut left, mut runs) = (Vec::new(), Vec::new());
        for job in ["j", "j", "timed"] {
            let begun = begin(&hub, job).await;
            left.push(process(&mut read(&hub, &begun).await).await);
            runs.push(begun);
        }
        let path = format!("/jobs/j/runs/{}", runs[0]["run"].as_str().unwrap());
        assert_eq!(hub.http.delete(hub.url(&path)).send().await.unwrap().status(), 202);
        // The timeout of `timed` passes.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let pid = Pid::from_raw(hub.pid() as i32).unwrap();
        if at_once {
            kill_process(pid, Signal::INT).unwrap();
            hub.wait_for_log("draining", 1).await;
            kill_process(pid, Signal::INT).unwrap();
        } else {
            hub.terminate();
        }
        assert!(hub.ended().await.success());
        for process in left {
            wait_for_exit(process).await;
        }
        hub.restart().await;
        for (begun, reason) in runs.iter().zip(["stopped", "hub_stopping", "timeout"]) {
            let last = exit(&whole(&hub, begun).await);
            if !at_once {
                assert_eq!(last["reason"], reason);
            }
        }
    }
}

/// A run starts, and its stream ends, even if the client disconnects before the response.
#[tokio::test]
async fn a_run_ends_even_if_its_client_disconnects() {
    let jobs = "[job.j]\ncommand = [\"echo\", \"hello\"]\nat-most = 100\n";
    let (hub, _folder) = hub_with(jobs).await;
    let pid = Pid::from_raw(hub.pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    for _ in 0..20 {
        use tokio::io::AsyncWriteExt as _;
        let mut socket = tokio::net::TcpStream::connect(&hub.address).await.unwrap();
        let request = format!(
            "POST /jobs/j/runs HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
            hub.address
        );
        socket.write_all(request.as_bytes()).await.unwrap();
    }
    kill_process(pid, Signal::CONT).unwrap();
    let ended = "fanfare_job_runs_total{job=\"j\",outcome=\"ok\"}";
    hub.wait_for_metric(ended, |runs| runs > 0.0).await;
    hub.wait_for_metric("fanfare_job_running{job=\"j\"}", |running| running == 0.0).await;
    let runs = hub.metric(ended).await as usize;
    let (_, list) = hub.get("/streams?prefix=jobs.&limit=1000").await;
    let streams = list["streams"].as_array().unwrap();
    assert_eq!(streams.len(), runs);
    assert!(streams.iter().all(|stream| stream["state"] == "ended"), "{list}");
}

#[tokio::test]
#[ignore = "needs root: runs jobs as other users"]
async fn a_job_does_not_inherit_the_hubs_settings() {
    let folder = tempfile::tempdir().unwrap();
    let jobs =
        "[job.own]\ncommand = [\"env\"]\n[job.other]\ncommand = [\"env\"]\nuser = \"nobody\"\n";
    let file = config(folder.path(), jobs);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["--listen", "127.0.0.1:0", "--system", "off", "--config", &file, "--data-dir"])
        .arg(folder.path().join("data"))
        .env("FANFARE_JWT_SECRET", crate::credentials::SECRET)
        .env("FANFARE_ANONYMOUS", "subscribe")
        .env("OTHER_SECRET", "of the hub's user")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let http = crate::hub::http();
    let claims = crate::credentials::with("fanfare", json!({ "run": ["*"] }));
    let token = crate::credentials::good(&claims);
    for job in ["own", "other"] {
        let asked = http.post(format!("{url}/jobs/{job}/runs")).bearer_auth(&token).send().await;
        let begun: Value = asked.unwrap().json().await.unwrap();
        let path =
            format!("{url}{}&format=text&control=off", begun["events_url"].as_str().unwrap());
        let said = http.get(path).bearer_auth(&token).send().await.unwrap().text().await.unwrap();
        assert!(said.contains("FANFARE_RUN=") && said.contains("PATH="), "{said}");
        assert!(!said.contains("JWT_SECRET") && !said.contains("ANONYMOUS"), "{said}");
        assert!(!said.contains("OTHER_SECRET"), "{said}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_job_inherits_only_the_variables_of_pass_env() {
    // The hub has these variables, as it would have the API key of an upstream.
    let [secret, passed] = ["UPSTREAM_KEY", "PASSED_ON"];
    let folder = tempfile::tempdir().unwrap();
    let jobs = format!(
        "[job.all]\ncommand = [\"env\"]\npass-env = [{passed:?}]\nenvironment = {{ A = \"b\" }}\n"
    );
    let file = config(folder.path(), &jobs);
    let variables = [(secret, "x"), (passed, "x")];
    let hub = Hub::with_variables(&variables, &["--config", &file]).await;
    let begun = begin(&hub, "all").await;
    let said = messages(&whole(&hub, &begun).await, "stdout");
    let has = |name: &str| said.iter().any(|line| line.starts_with(&format!("{name}=")));
    assert!(has("PATH") && has("A") && has(passed) && has("FANFARE_RUN"), "{said:?}");
    assert!(!has(secret), "{said:?}");
}

/// Returns the state of a process in `/proc`: `S` if it sleeps and has not been signalled.
fn state_of(process: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// The kernel may reuse the id of a process as soon as it was waited for, also as the id of a
/// process group. So the hub signals the group while its leader is still in the process table.
#[tokio::test]
async fn the_group_of_a_job_is_signalled_before_its_leader_is_waited_for() {
    let jobs = "[job.j]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & echo $$ $!\"]\n";
    let (hub, _folder) = hub_with(jobs).await;
    let begun = begin(&hub, "j").await;
    let printed = read(&hub, &begun).await.take(2).await[1].json();
    let processes: Vec<i32> = printed["message"]
        .as_str()
        .unwrap()
        .split(' ')
        .map(|process| process.parse().unwrap())
        .collect();
    let [leader, left_behind] = processes[..] else { panic!("{printed}") };
    let began = Instant::now();
    while state_of(leader).is_some() {
        assert!(began.elapsed() < TEST_TIMEOUT, "{leader} is never waited for");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // A signal wakes a process before the call that sends it returns.
    assert_ne!(state_of(left_behind), Some('S'), "the group was not signalled first");
    wait_for_exit(Pid::from_raw(left_behind).unwrap()).await;
}
