//! Writes the results into `docs/benchmarks.md`, between its markers, and draws the charts.

use super::Results;
use super::chart::{Bar, chart};
use super::goals::{GOALS, GoalResult, LOSSES, losses};
use super::rows::{Column, OWN, ROWS, Row};
use fanfare::bench::number;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- compare: begin -->";
const END: &str = "<!-- compare: end -->";

/// Charts: file, title, row, path of the value, and its divisor.
const CHARTS: [(&str, &str, &str, &str, f64); 5] = [
    (
        "deliveries",
        "Deliveries per second, 1,000 readers, 16 publishers (more is better)",
        "saturated",
        "/deliveries/per_second",
        1.0,
    ),
    (
        "cpu",
        "CPU µs per delivery, 1,000 readers, 50 events/s (less is better)",
        "paced",
        "/used/cpu_us_per_delivery",
        1.0,
    ),
    (
        "memory",
        "KiB per idle connection, 10,000 connections (less is better)",
        "idle",
        "/used/pss_bytes_per_connection",
        1024.0,
    ),
    (
        "storm",
        "Milliseconds until 10,000 readers are level again (less is better)",
        "storm",
        "/storm/level_after_ms",
        1.0,
    ),
    (
        "publish",
        "Acknowledged publishes per second, 64 connections (more is better)",
        "publish",
        "/publish/per_second",
        1.0,
    ),
];

/// Rewrites the document and its charts.
pub fn rewrite(root: &Path, results: &Results) {
    let file = root.join("docs/benchmarks.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the document has the marker");
    let (_, after) = rest.split_once(END).expect("the document has both markers");
    std::fs::write(&file, format!("{before}{BEGIN}\n{}{END}{after}", body(results))).unwrap();
    let folder = root.join("docs/charts");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, title, row, path, unit) in CHARTS {
        let bars: Vec<Bar> = servers(results, row)
            .into_iter()
            .filter_map(|server| {
                let value = median_of(results, row, &server, path)? / unit;
                Some(Bar { is_ours: server == "fanfare", name: server, value })
            })
            .collect();
        std::fs::write(folder.join(format!("{name}.svg")), chart(title, &bars)).unwrap();
    }
}

fn body(results: &Results) -> String {
    let rounds = results.runs.values().map(Vec::len);
    let (min_rounds, max_rounds) = (rounds.clone().min().unwrap_or(0), rounds.max().unwrap_or(0));
    let rounds = if min_rounds == max_rounds {
        max_rounds.to_string()
    } else {
        format!("{min_rounds} to {max_rounds}")
    };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "\nMeasured {} on a shared machine: {}.\nMedians of {rounds} rounds, in each of which the \
         servers ran in turn; ratios are medians of\nthe ratios within a round. Payloads have 200 \
         bytes. Fanfare runs with `sync`.\n",
        results.date, results.machine
    );
    out.push_str("| server | version | what it is |\n|---|---|---|\n");
    for (server, version) in &results.versions {
        let about = match server.as_str() {
            "fanfare" => "this hub, 2 workers, durability `sync`",
            "floor" => "writes each frame once to each socket, 2 threads, nothing else",
            other => results.about.get(other).map_or("", String::as_str),
        };
        let _ = writeln!(out, "| {server} | {} | {about} |", version.trim());
    }
    out.push_str(
        "\n### What must be reached\n\n| figure | measured | must be | |\n|---|---|---|---|\n",
    );
    let mut title = "";
    for goal in &GOALS {
        title = if goal.title.is_empty() { title } else { goal.title };
        if let Some(result) = goal.reached(results) {
            line(&mut out, title, &result);
        }
    }
    line(&mut out, "lost, duplicated or reordered, ours", &losses(results));
    for row in &ROWS {
        table(&mut out, results, row);
    }
    out
}

fn line(out: &mut String, title: &str, result: &GoalResult) {
    let GoalResult { measured, bound, holds } = result;
    let holds = if *holds { "holds" } else { "**falls short**" };
    let _ = writeln!(out, "| {title} | {measured} | {bound} | {holds} |");
}

fn table(out: &mut String, results: &Results, row: &Row) {
    let servers = servers(results, row.name);
    if servers.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n### {}\n", row.title);
    if let Some((name, title, ..)) = CHARTS.iter().find(|chart| chart.2 == row.name) {
        let _ = writeln!(out, "![{title}](charts/{name}.svg)\n");
    }
    let _ = writeln!(out, "`fanfare bench {}`\n", row.args.join(" "));
    let heads: Vec<&str> = row.columns.iter().map(|c| c.name).collect();
    let _ = writeln!(out, "| | {} | lost |", heads.join(" | "));
    let _ = writeln!(out, "|---|{}---:|", "---:|".repeat(heads.len()));
    for server in servers {
        let cell = |column: &Column| {
            median_of(results, row.name, &server, column.path)
                .map_or("–".to_owned(), |value| number(value / column.unit, column.digits))
        };
        let cells: Vec<String> = row.columns.iter().map(cell).collect();
        let lost: f64 = LOSSES
            .iter()
            .flat_map(|loss| values(results, row.name, &server, &format!("/deliveries/{loss}")))
            .sum();
        let args = results.args.get(&format!("{}/{server}", row.name)).filter(|a| !a.is_empty());
        let args = args.map(|args| format!(" (`{args}`)")).unwrap_or_default();
        let _ = writeln!(out, "| {server}{args} | {} | {} |", cells.join(" | "), number(lost, 0));
    }
}

/// Returns the servers of a row: ours first, then by name.
fn servers(results: &Results, row: &str) -> Vec<String> {
    let prefix = format!("{row}/");
    let mut names: Vec<String> = results
        .runs
        .keys()
        .filter_map(|key| key.strip_prefix(&prefix).map(str::to_owned))
        .collect();
    names.sort_by_key(|name| OWN.iter().position(|own| own == name).unwrap_or(OWN.len()));
    names
}

fn values(results: &Results, row: &str, server: &str, path: &str) -> Vec<f64> {
    let reports = results.runs.get(&format!("{row}/{server}")).map_or(&[][..], Vec::as_slice);
    reports.iter().filter_map(|r| r.pointer(path).and_then(Value::as_f64)).collect()
}

fn median_of(results: &Results, row: &str, server: &str, path: &str) -> Option<f64> {
    let values = values(results, row, server, path);
    (!values.is_empty()).then(|| median(values))
}

/// Returns the median, which may be halfway between two values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    (values[low] + values[high]) / 2.0
}
