//! Time without an acknowledged publish when the server that leads the log fails.

use super::super::exchange::exchange;
use super::ClusterPlan;
use super::machines::{Machines, READY_WITHIN};
use super::report::{Figure, median};
use anyhow::{Result, ensure};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pause of a publisher after an answer.
const PAUSE: Duration = Duration::from_millis(10);
/// Time before a fault, and after the first publish that is acknowledged later.
const SETTLE: Duration = Duration::from_secs(2);
/// Time for which a server is stopped or frozen at least.
const DOWN_FOR: Duration = Duration::from_secs(3);
/// Number of figures of each kind, and their goals: median and longest.
const KINDS: [Kind; 3] = [
    Kind {
        fault: Fault::Kill,
        names: ["leader killed: median, s", "leader killed: longest, s"],
        goals: ["at most 6.5", "at most 10"],
    },
    Kind {
        fault: Fault::Freeze,
        names: ["leader frozen: median, s", "leader frozen: longest, s"],
        goals: ["at most 6.5", "at most 10"],
    },
    Kind {
        fault: Fault::Stop,
        names: ["leader stopped: median, s", "leader stopped: longest, s"],
        goals: ["at most 1", "at most 1"],
    },
];

struct Kind {
    fault: Fault,
    names: [&'static str; 2],
    goals: [&'static str; 2],
}

#[derive(Clone, Copy)]
enum Fault {
    Kill,
    Freeze,
    Stop,
}

/// Times of acknowledgements.
#[derive(Default)]
struct Load {
    acknowledged: Mutex<Vec<Instant>>,
    is_over: AtomicBool,
}

impl Load {
    fn record(&self) {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }

    /// Returns the acknowledgements since a time.
    fn since(&self, time: Instant) -> Vec<Instant> {
        let all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().copied().filter(|at| *at >= time).collect()
    }
}

/// Measures the longest time without an acknowledged publish, at any hub, of each fault.
pub fn measure(machines: &mut Machines, plan: &ClusterPlan) -> Result<Vec<Figure>> {
    let load = Arc::<Load>::default();
    let hubs = machines.hubs.iter().map(|hub| hub.address).enumerate();
    let publishers: Vec<_> = hubs
        .map(|(number, address)| {
            let load = load.clone();
            std::thread::spawn(move || publish(&load, number, address))
        })
        .collect();
    let figures = KINDS.iter().map(|kind| {
        let times = (0..plan.faults).map(|_| cause(machines, &load, kind.fault));
        let times = times.collect::<Result<Vec<f64>>>()?;
        let longest = times.iter().copied().fold(0.0, f64::max);
        let values = [median(&times), longest];
        Ok([0, 1].map(|n| Figure::alone(kind.names[n], values[n], Some(kind.goals[n]))))
    });
    let figures = figures.collect::<Result<Vec<_>>>();
    load.is_over.store(true, Ordering::Relaxed);
    for publisher in publishers {
        // It has ended, or panicked and published nothing.
        let _ = publisher.join();
    }
    Ok(figures?.into_iter().flatten().collect())
}

/// Publishes one event after the other, each until it is acknowledged.
fn publish(load: &Load, number: usize, address: SocketAddr) {
    let head = "POST /publish HTTP/1.1\r\nContent-Type: application/json";
    let is_over = || load.is_over.load(Ordering::Relaxed);
    for event in 0.. {
        let body = format!("{{\"stream\":\"f\",\"data\":{event},\"key\":\"{number} {event}\"}}");
        while !exchange(address, head, &body).is_ok_and(|answer| answer.status == 200) {
            if is_over() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        load.record();
        if is_over() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Causes a fault and returns the longest time without an acknowledgement, in seconds.
fn cause(machines: &mut Machines, load: &Load, fault: Fault) -> Result<f64> {
    machines.wait_for_servers()?;
    std::thread::sleep(SETTLE);
    let leader = machines.leader()?;
    let began = Instant::now();
    match fault {
        Fault::Kill => machines.kill(leader),
        Fault::Freeze => machines.signal(leader, Signal::STOP)?,
        Fault::Stop => machines.stop(leader)?,
    }
    // Publishes on their way are acknowledged for a moment.
    while began.elapsed() < DOWN_FOR || load.since(began + DOWN_FOR / 2).is_empty() {
        ensure!(began.elapsed() < READY_WITHIN, "no publish is acknowledged after the fault");
        std::thread::sleep(PAUSE);
    }
    std::thread::sleep(SETTLE);
    let mut times = load.since(began - SETTLE);
    times.push(Instant::now());
    match fault {
        Fault::Freeze => machines.signal(leader, Signal::CONT)?,
        Fault::Kill | Fault::Stop => machines.restart(leader)?,
    }
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    Ok(gaps.max().unwrap_or_default().as_secs_f64())
}
