//! Rows of the comparison: arguments of `fanfare bench`, and our own servers in each row.

/// The hub and the floor, which `fanfare bench` starts itself.
pub const OWN: [&str; 2] = ["fanfare", "floor"];

/// A row of the comparison, with its table.
pub struct Row {
    pub name: &'static str,
    /// Heading of the table.
    pub title: &'static str,
    /// Arguments for every server.
    pub args: &'static [&'static str],
    /// Servers of our own, or variants of one, with their arguments.
    pub own: &'static [(&'static str, &'static [&'static str])],
    /// Columns of the table.
    pub columns: &'static [Column],
}

/// A column of a table.
#[derive(Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    /// JSON pointer of the value in a report.
    pub path: &'static str,
    /// Divisor of the value for display.
    pub unit: f64,
    pub digits: usize,
}

const fn column(name: &'static str, path: &'static str, unit: f64, digits: usize) -> Column {
    Column { name, path, unit, digits }
}

const DELIVERIES: Column = column("deliveries/s", "/deliveries/per_second", 1.0, 0);
const PER_DELIVERY: Column = column("CPU µs per delivery", "/used/cpu_us_per_delivery", 1.0, 2);
const PER_PUBLISH: Column = column("CPU µs per publish", "/used/cpu_us_per_publish", 1.0, 1);
const PUBLISHES: Column = column("publishes/s", "/publish/per_second", 1.0, 0);
const CPU: Column = column("CPU, % of a core", "/used/cpu_percent", 1.0, 2);
const P50: Column = column("p50 ms", "/latency_ms/p50", 1.0, 2);
const P99: Column = column("p99 ms", "/latency_ms/p99", 1.0, 2);
const P999: Column = column("p99.9 ms", "/latency_ms/p999", 1.0, 2);
const ANSWER_P50: Column = column("answer p50 ms", "/publish/answer_ms/p50", 1.0, 2);
const ANSWER_P99: Column = column("answer p99 ms", "/publish/answer_ms/p99", 1.0, 2);
const PER_CONNECTION: Column =
    column("KiB per connection", "/used/pss_bytes_per_connection", 1024.0, 1);
const LEVEL: Column = column("all level after ms", "/storm/level_after_ms", 1.0, 0);
const SOCKETS: Column = column("socket buffers, MiB", "/socket_bytes", 1048576.0, 1);

const FLOOR: &[&str] = &["--floor", super::WORKERS];

/// All rows.
pub const ROWS: [Row; 10] = [
    Row {
        name: "paced",
        title: "Paced: 1,000 readers, 50 events/s",
        args: &["paced", "--duration", "10s"],
        own: &[("fanfare", &[]), ("floor", FLOOR)],
        columns: &[PER_DELIVERY, P50, P99, P999],
    },
    Row {
        name: "saturated",
        title: "Saturated: 1,000 readers, 16 publishing connections",
        args: &["saturated", "--duration", "8s"],
        own: &[("fanfare", &[]), ("floor", FLOOR)],
        columns: &[DELIVERIES, PER_DELIVERY, P50, P99, SOCKETS],
    },
    Row {
        name: "one-publisher",
        title: "One publisher that waits for each answer, 1,000 readers",
        args: &["saturated", "--publishers", "1", "--duration", "8s"],
        own: &[("fanfare", &[]), ("floor", FLOOR)],
        columns: &[DELIVERIES, PER_DELIVERY, ANSWER_P50, P50, P99],
    },
    Row {
        name: "idle",
        title: "Idle: 10,000 connections",
        args: &["idle", "--duration", "2s"],
        own: &[("fanfare", &[]), ("floor", FLOOR)],
        columns: &[PER_CONNECTION],
    },
    Row {
        name: "heartbeats",
        title: "Idle with heartbeats every 15 s: 10,000 connections",
        args: &["idle", "--duration", "31s"],
        own: &[("fanfare", &["--", "--heartbeat", "15s"])],
        columns: &[CPU],
    },
    Row {
        name: "growth",
        title: "Growth: as many deliveries/s to 1,000 and to 15,000 readers",
        args: &["paced", "--duration", "10s"],
        own: &[
            ("1,000 readers", &["--subscribers", "1000", "--rate", "50"]),
            ("15,000 readers", &["--subscribers", "15000", "--rate", "3.333333"]),
            ("floor, 1,000 readers", FLOOR),
            (
                "floor, 15,000 readers",
                &["--floor", super::WORKERS, "--subscribers", "15000", "--rate", "3.333333"],
            ),
        ],
        columns: &[PER_DELIVERY, P50, P99],
    },
    Row {
        name: "many-streams",
        title: "Many streams: two readers each, 2,000 events/s in turn",
        args: &["many-streams", "--duration", "10s"],
        own: &[
            (
                "10 streams",
                &["--streams", "10", "--subscribers", "20", "--streams-per-subscriber", "1"],
            ),
            ("100,000 streams", &[]),
        ],
        columns: &[PER_PUBLISH, PER_DELIVERY, P50, P99],
    },
    Row {
        name: "storm",
        title: "Storm: 10,000 readers drop at once and resume, 100 missed events each",
        args: &["storm"],
        own: &[("fanfare", &[])],
        columns: &[LEVEL],
    },
    Row {
        name: "publish",
        title: "Publish: 64 connections, no readers",
        args: &["publish", "--duration", "8s"],
        own: &[("fanfare", &[])],
        columns: &[PUBLISHES, PER_PUBLISH, ANSWER_P50, ANSWER_P99],
    },
    Row {
        name: "stuck",
        title: "Stuck: 100 of 1,000 readers never read",
        args: &["paced", "--duration", "10s"],
        own: &[
            ("900 readers", &["--subscribers", "900"]),
            ("900 readers, 100 stuck", &["--subscribers", "1000", "--stuck", "100"]),
        ],
        columns: &[P50, P99, PER_DELIVERY],
    },
    Row {
        name: "slow",
        title: "Slow: 900 clients that never finish what they begin, beside 100 readers",
        args: &["slow", "--duration", "10s"],
        own: &[("100 readers", &["--slow", "0"]), ("100 readers, 900 slow clients", &[])],
        columns: &[P50, P99, PER_DELIVERY],
    },
];
