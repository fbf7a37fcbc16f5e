//! `fanfare bench cluster`.

use super::nats::nats_server;
use crate::hub::program;
use serde_json::Value;
use std::process::Command;

#[test]
#[ignore = "needs nats-server"]
fn the_bench_measures_a_cluster_beside_a_single_hub() {
    let small = ["--rounds", "1", "--faults", "1", "--events", "5000", "--duration", "500ms"];
    let mut command = Command::new(program());
    command.args(["bench", "cluster", "--json", "--nats-server", &nats_server()]).args(small);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 14, "{report}");
    for figure in figures {
        assert!(figure["cluster"].as_f64().unwrap() > 0.0, "{figure}");
        let ratio =
            figure["single"].as_f64().map(|single| figure["cluster"].as_f64().unwrap() / single);
        assert_eq!(figure["ratio"].as_f64(), ratio, "{figure}");
    }
    let named =
        |name: &str| figures.iter().any(|figure| figure["name"].as_str().unwrap().contains(name));
    assert!(
        ["batches", "64 publishers", "per delivery", "last hub", "killed", "frozen", "new hub"]
            .iter()
            .all(|name| named(name))
    );
}
