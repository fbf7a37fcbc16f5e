//! Figures of a cluster without faults, from the scenarios of `fanfare bench`.

use super::super::plan::{Plan, command};
use super::super::report::Report;
use super::super::run::run;
use super::ClusterPlan;
use super::machines::{Hub, Machines};
use super::report::{Figure, median};
use anyhow::{Context as _, Result, ensure};

/// Number of events in a batch.
const BATCH: usize = 100;
/// Publishers of batches at each hub, 16 in total.
const BATCH_PUBLISHERS: [usize; 3] = [6, 5, 5];
/// Maximum number of files of a measurement.
const MAX_FILES: u64 = 4_096;

/// Runs a scenario at a hub.
fn measure(hub: &Hub, plan: &ClusterPlan, scenario: &str, flags: &[&str]) -> Result<Report> {
    let (publish, subscribe) = (
        format!("http://{}/publish", hub.address),
        format!("http://{}/events?stream=p", hub.address),
    );
    let (pid, duration) = (hub.pid.to_string(), format!("{}ms", plan.duration.as_millis()));
    let target =
        ["bench", scenario, "--publish-url", &publish, "--pid", &pid, "--duration", &duration];
    let mut arguments = target.to_vec();
    if scenario == "paced" {
        arguments.extend(["--subscribe-url", &subscribe]);
    }
    arguments.extend(flags);
    let report = run(&Plan::read(&command().try_get_matches_from(arguments)?)?, MAX_FILES)?;
    ensure!(report.is_clean(), "events were lost, doubled or reordered: {report:?}");
    Ok(report)
}

fn publishes(report: &Report) -> Result<&super::super::report::Publishes> {
    let publishes = report.publish.as_ref().context("publishes")?;
    ensure!(publishes.refused + publishes.failed == 0, "publishes failed: {publishes:?}");
    Ok(publishes)
}

/// Measures batches over 16 connections, at all hubs at a time.
pub fn batches(machines: &Machines, plan: &ClusterPlan) -> Result<Vec<Figure>> {
    let rest = format!(",{{\"stream\":\"b\",\"data\":\"{}\"}}", "x".repeat(200)).repeat(BATCH - 1);
    let body = format!("[{{\"stream\":\"b\",\"data\":{{data}}}}{rest}]");
    let at = |hub: &Hub, publishers: usize| -> Result<f64> {
        let publishers = publishers.to_string();
        let flags = ["--publishers", &publishers, "--publish-body", &body];
        Ok(publishes(&measure(hub, plan, "publish", &flags)?)?.per_second * BATCH as f64)
    };
    let (mut single, mut cluster) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        single.push(at(&machines.single, BATCH_PUBLISHERS.iter().sum())?);
        let together: Result<Vec<f64>> = std::thread::scope(|scope| {
            let hubs = machines.hubs.iter().zip(BATCH_PUBLISHERS);
            let running: Vec<_> =
                hubs.map(|(hub, publishers)| scope.spawn(move || at(hub, publishers))).collect();
            let joined =
                running.into_iter().map(|thread| thread.join().ok().context("a thread")?);
            joined.collect()
        });
        cluster.push(together?.iter().sum());
    }
    let name = "batches of 100, 16 connections: events/s";
    Ok(vec![Figure::beside(name, median(&single), median(&cluster), Some("at least 40,000"))])
}

/// Measures the answers to 64 publishers of single events.
pub fn single(machines: &Machines, plan: &ClusterPlan) -> Result<Vec<Figure>> {
    let flags = ["--publishers", "64", "--publish-body", "{\"stream\":\"q\",\"data\":{data}}"];
    let (mut rates, mut answers) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..plan.rounds {
        let cluster = &machines.hubs[round % machines.hubs.len()];
        for (side, hub) in [&machines.single, cluster].into_iter().enumerate() {
            let report = measure(hub, plan, "publish", &flags)?;
            let publishes = publishes(&report)?;
            rates[side].push(publishes.per_second);
            answers[side].push(publishes.answer_ms.p99);
        }
    }
    let [rate, answer] = [rates, answers].map(|sides| sides.map(|values| median(&values)));
    Ok(vec![
        Figure::beside("64 publishers: publishes/s", rate[0], rate[1], None),
        Figure::beside(
            "64 publishers: p99 of the answer, ms",
            answer[0],
            answer[1],
            Some("ratio at most 5"),
        ),
    ])
}

/// Measures the processor time of deliveries to 1,000 subscribers.
pub fn paced(machines: &Machines, plan: &ClusterPlan) -> Result<Vec<Figure>> {
    let flags = ["--publish-body", "{\"stream\":\"p\",\"data\":{data}}"];
    let mut sides = [Vec::new(), Vec::new()];
    for round in 0..plan.rounds {
        let cluster = &machines.hubs[round % machines.hubs.len()];
        for (side, hub) in [&machines.single, cluster].into_iter().enumerate() {
            let used = measure(hub, plan, "paced", &flags)?.used.context("the used resources")?;
            sides[side].push(used.cpu_us_per_delivery.context("deliveries")?);
        }
    }
    let [single, cluster] = sides.map(|values| median(&values));
    let name = "1,000 subscribers, 50 events/s: µs of processor time per delivery";
    Ok(vec![Figure::beside(name, single, cluster, Some("ratio at most 1.05"))])
}
