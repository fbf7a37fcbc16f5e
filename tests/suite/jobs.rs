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

async fn start_run(hub: &Hub, job: &str) -> Value {
    let response = hub.http.post(hub.url(&format!("/jobs/{job}/runs"))).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let run: Value = response.json().await.unwrap();
    assert_eq!(run["events_url"], location.as_str());
    run
}

async fn read(hub: &Hub, run: &Value) -> Reader {
    hub.subscribe(run["events_url"].as_str().unwrap()).await
}

/// Returns all events of a run after its stream has ended.
async fn read_events(hub: &Hub, run: &Value) -> Vec<Event> {
    let mut reader = read(hub, run).await;
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
    let logs = events.iter().filter(|event| event.name == "log").map(Event::json);
    let logs = logs.filter(|log| log["fields"]["output"] == output);
    logs.map(|log| log["message"].as_str().unwrap().to_owned()).collect()
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
    let run = start_run(&hub, "slow").await;
    let stream = run["stream"].as_str().unwrap();
    assert_eq!(stream, format!("jobs.slow.{}", run["run"].as_str().unwrap()));
    let mut reader = read(&hub, &run).await;
    let first = reader.take(2).await;
    assert_eq!(first[0].name, "start");
    assert_eq!(first[0].json(), json!({ "job": "slow", "run": run["run"] }));
    let (_, jobs) = hub.get("/jobs").await;
    assert_eq!(jobs["jobs"][0]["running"][0]["stream"], stream, "the job still runs");
    let mut remaining = Vec::new();
    while let Some(event) = reader.next_event().await {
        remaining.push(event);
    }
    let exit = exit(&remaining);
    assert_eq!(json!([exit["code"], exit["signal"], exit["reason"]]), json!([3, null, "exited"]));
    assert!(exit["duration_ms"].as_u64() >= Some(250), "{exit}");
    let replayed = read_events(&hub, &run).await;
    let texts = |text: &str| (0..5).map(|n| format!("{text}{n}")).collect::<Vec<_>>();
    assert_eq!(messages(&replayed, "stdout"), texts("line "));
    assert_eq!(messages(&replayed, "stderr"), texts("ERROR: "));
    let error = replayed.iter().find(|event| event.data.contains("ERROR: 0")).unwrap().json();
    assert_eq!(error["level"], "error");
    assert_eq!(replayed.len(), 1 + 5 + 5 + 1);
    assert_eq!(hub.get(&format!("/streams/{stream}")).await.1["state"], "ended");
    let resumed = hub.resume(&format!("/streams/{stream}/events"), &first[1].id).await;
    assert_eq!(count_events(resumed).await, replayed.len() - 2, "a resumed reader gets the rest");
    hub.wait_for_metric("fanfare_job_running{job=\"slow\"}", |n| n == 0.0).await;
    let failed = "fanfare_job_runs_total{job=\"slow\",outcome=\"failed\"}";
    assert_eq!(hub.metric(failed).await, 1.0);
}

async fn count_events(mut reader: Reader) -> usize {
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
    let started = Instant::now();
    while test_kill_process(process).is_ok() {
        assert!(started.elapsed() < TEST_TIMEOUT, "{process:?} still runs");
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
        let run = start_run(&hub, job).await;
        let mut reader = read(&hub, &run).await;
        let process = process(&mut reader).await;
        let path = format!("/jobs/{job}/runs/{}", run["run"].as_str().unwrap());
        let stop = || hub.http.delete(hub.url(&path)).send();
        assert_eq!(stop().await.unwrap().status(), 202);
        let exit = exit(&read_events(&hub, &run).await);
        assert_eq!(
            json!([exit["code"], exit["signal"], exit["reason"]]),
            json!([null, signal.as_raw(), "stopped"]),
            "{job}"
        );
        wait_for_exit(process).await;
        assert_eq!(stop().await.unwrap().status(), 204, "the run has ended");
        let response = hub.http.delete(hub.url(&format!("/jobs/{job}/runs/none"))).send().await;
        assert_eq!(response.unwrap().status(), 404);
    }
    let run = start_run(&hub, "long").await;
    let child = process(&mut read(&hub, &run).await).await;
    assert_eq!(exit(&read_events(&hub, &run).await)["reason"], "timeout");
    wait_for_exit(child).await;
}

#[tokio::test]
async fn a_job_killed_from_outside_reports_its_signal_and_all_its_output() {
    let jobs = "[job.j]\ncommand = [\"sh\", \"-c\", \"echo $$; seq 1 5000; echo -n open; exec sleep 1000\"]\n";
    let (hub, _folder) = hub_with(jobs).await;
    let run = start_run(&hub, "j").await;
    let mut reader = read(&hub, &run).await;
    let process = process(&mut reader).await;
    reader.take(5000).await;
    kill_process(process, Signal::KILL).unwrap();
    let events = read_events(&hub, &run).await;
    let exit = exit(&events);
    assert_eq!(json!([exit["signal"], exit["reason"]]), json!([9, "signalled"]));
    let output = messages(&events, "stdout");
    let numbers: Vec<String> = (1..=5000).map(|n| n.to_string()).collect();
    assert_eq!(output[1..5001], numbers);
    assert_eq!(output[5001..], ["open"], "the incomplete last line, too");
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
        let response = hub.http.post(hub.url(path)).bearer_auth(secret).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    assert_eq!(post("s2", "/jobs/one/runs").await.0, 403);
    assert_eq!(post("s1", "/jobs/two/runs").await.0, 403);
    assert_eq!(post("s3", "/jobs/three/runs").await.0, 404);
    let (status, run) = post("s1", "/jobs/one/runs").await;
    assert_eq!(status, 202);
    assert_eq!(post("s3", "/jobs/one/runs").await.0, 202);
    let (status, problem) = post("s1", "/jobs/one/runs").await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("resource_exhausted")));
    let refused = "fanfare_job_runs_total{job=\"one\",outcome=\"refused\"}";
    assert_eq!(hub.metric(refused).await, 1.0);
    // A grant to run a job includes reading its runs, and nothing else.
    let get = async |secret: &str, path: &str| {
        let response = hub.http.get(hub.url(path)).bearer_auth(secret).send().await.unwrap();
        response.status().as_u16()
    };
    let path =
        format!("/streams/{}/events?follow=false&from=start", run["stream"].as_str().unwrap());
    assert_eq!((get("s1", &path).await, get("s2", &path).await), (200, 403));
    assert_eq!(get("s1", "/streams/jobs.two.x/events").await, 403);
    let response = hub.http.get(hub.url("/jobs")).bearer_auth("s1").send().await.unwrap();
    let jobs: Value = response.json().await.unwrap();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(jobs["jobs"][0]["running"].as_array().unwrap().len(), 2);
    let run_id = run["run"].as_str().unwrap();
    let stop = |secret: &str| {
        hub.http.delete(hub.url(&format!("/jobs/one/runs/{run_id}"))).bearer_auth(secret).send()
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
    let run = start_run(&hub, "none").await;
    let exit = exit(&read_events(&hub, &run).await);
    assert_eq!(exit["reason"], "not_started");
    assert!(exit["message"].as_str().unwrap().contains("/no/such/program"), "{exit}");
    assert!(rustix::process::geteuid().is_root(), "only root runs jobs as another user");
    let run = start_run(&hub, "nobody").await;
    let output = messages(&read_events(&hub, &run).await, "stdout");
    assert_eq!(output[0], "nobody");
    assert_eq!(output[1].split(' ').count(), 1, "only in its own group: {}", output[1]);
    assert!(output[2].ends_with(run["stream"].as_str().unwrap()), "{output:?}");
}

#[tokio::test]
async fn a_stopping_hub_stops_its_jobs_and_a_killed_one_ends_their_streams_at_restart() {
    let jobs = "[job.j]\ncommand = [\"sh\", \"-c\", \"trap 'echo bye; exit 0' TERM; echo $$; while :; do sleep 0.1; done\"]\n";
    let (mut hub, _folder) = hub_with(jobs).await;
    let run = start_run(&hub, "j").await;
    let mut reader = read(&hub, &run).await;
    let job = process(&mut reader).await;
    hub.stop().await;
    wait_for_exit(job).await;
    hub.restart().await;
    let events = read_events(&hub, &run).await;
    assert_eq!(messages(&events, "stdout")[1], "bye", "its last output is stored");
    assert_eq!(exit(&events)["reason"], "hub_stopping");
    let run = start_run(&hub, "j").await;
    let orphan = process(&mut read(&hub, &run).await).await;
    hub.kill();
    hub.restart().await;
    let exit_event = exit(&read_events(&hub, &run).await);
    assert_eq!(json!([exit_event["code"], exit_event["reason"]]), json!([null, "hub_restarted"]));
    let _ = kill_process(orphan, Signal::KILL);
    assert_eq!(hub.get("/jobs").await.1["jobs"][0]["running"], json!([]));
}

#[tokio::test]
async fn invalid_job_settings_are_reported_with_their_line() {
    for (text, reason) in [
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
        let output = std::process::Command::new(crate::hub::program())
            .args(["config", "check", "--config", &file])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(reason), "{text}: {stderr}");
        assert!(stderr.contains("jobs.toml:"), "{stderr}");
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
    let run = start_run(&hub, "j").await;
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 40 << 20]).unwrap();
    hub.wait_for_metric("fanfare_journal_disk_full", |n| n == 1.0).await;
    // Longer than the hub waits for a quiet pipe (`OUTPUT_WITHIN`). The run must not end meanwhile.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(hub.metric("fanfare_job_running{job=\"j\"}").await, 1.0);
    std::fs::remove_file(&ballast).unwrap();
    let events = read_events(&hub, &run).await;
    assert_eq!(exit(&events)["code"], 0);
    let expected: Vec<String> = (1..=8000).map(|n| n.to_string()).chain(["open".into()]).collect();
    assert_eq!(messages(&events, "stdout"), expected);
}

#[tokio::test]
async fn no_job_outlives_a_hub_that_shuts_down() {
    let jobs = "[job.j]\ncommand = [\"sh\", \"-c\", \"trap 'echo terminated' TERM; echo $$; while :; do sleep 0.1; done\"]\n\
                stop-after = \"5m\"\nat-most = 3\n\
                [job.timed]\ncommand = [\"sh\", \"-c\", \"trap 'echo terminated' TERM; echo $$; while :; do sleep 0.1; done\"]\n\
                stop-after = \"5m\"\ntimeout = \"100ms\"\n";
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), jobs);
    // The second SIGINT stops the hub without waiting for the drain window.
    for (is_immediate, window) in [(false, "10s"), (true, "5m")] {
        let mut hub = Hub::start(&["--config", &file, "--drain", window]).await;
        let (mut processes, mut runs, mut readers) = (Vec::new(), Vec::new(), Vec::new());
        for job in ["j", "j", "timed"] {
            let run = start_run(&hub, job).await;
            let mut reader = read(&hub, &run).await;
            processes.push(process(&mut reader).await);
            readers.push(reader);
            runs.push(run);
        }
        let path = format!("/jobs/j/runs/{}", runs[0]["run"].as_str().unwrap());
        assert_eq!(hub.http.delete(hub.url(&path)).send().await.unwrap().status(), 202);
        // One is stopped, and the timeout of another passes.
        for index in [0, 2] {
            while readers[index].next_event().await.unwrap().json()["message"] != "terminated" {}
        }
        let pid = Pid::from_raw(hub.pid() as i32).unwrap();
        if is_immediate {
            kill_process(pid, Signal::INT).unwrap();
            hub.wait_for_log("draining", 1).await;
            kill_process(pid, Signal::INT).unwrap();
        } else {
            hub.terminate();
        }
        assert!(hub.wait_for_exit().await.success());
        for process in processes {
            wait_for_exit(process).await;
        }
        hub.restart().await;
        for (run, reason) in runs.iter().zip(["stopped", "hub_stopping", "timeout"]) {
            let exit_event = exit(&read_events(&hub, run).await);
            if !is_immediate {
                assert_eq!(exit_event["reason"], reason);
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
    let mut child = std::process::Command::new(crate::hub::program())
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
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let http = crate::hub::http();
    let claims = crate::credentials::claims_with("fanfare", json!({ "run": ["*"] }));
    let token = crate::credentials::signed_token(&claims);
    for job in ["own", "other"] {
        let response = http.post(format!("{url}/jobs/{job}/runs")).bearer_auth(&token).send().await;
        let run: Value = response.unwrap().json().await.unwrap();
        let path = format!("{url}{}&format=text&control=off", run["events_url"].as_str().unwrap());
        let output = http.get(path).bearer_auth(&token).send().await.unwrap().text().await.unwrap();
        assert!(output.contains("FANFARE_RUN=") && output.contains("PATH="), "{output}");
        assert!(!output.contains("JWT_SECRET") && !output.contains("ANONYMOUS"), "{output}");
        assert!(!output.contains("OTHER_SECRET"), "{output}");
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
    let run = start_run(&hub, "all").await;
    let output = messages(&read_events(&hub, &run).await, "stdout");
    let has = |name: &str| output.iter().any(|line| line.starts_with(&format!("{name}=")));
    assert!(has("PATH") && has("A") && has(passed) && has("FANFARE_RUN"), "{output:?}");
    assert!(!has(secret), "{output:?}");
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
    let run = start_run(&hub, "j").await;
    let printed = read(&hub, &run).await.take(2).await[1].json();
    let processes: Vec<i32> = printed["message"]
        .as_str()
        .unwrap()
        .split(' ')
        .map(|process| process.parse().unwrap())
        .collect();
    let [leader, child] = processes[..] else { panic!("{printed}") };
    let started = Instant::now();
    while state_of(leader).is_some() {
        assert!(started.elapsed() < TEST_TIMEOUT, "{leader} is never waited for");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // A signal wakes a process before the call that sends it returns.
    assert_ne!(state_of(child), Some('S'), "the group was not signalled first");
    wait_for_exit(Pid::from_raw(child).unwrap()).await;
}
