//! Connections to NATS servers: credentials, certificates, and servers that do not fit.

use super::nats::{Server, free_addresses};
use crate::certificate::Certificate;
use crate::hub::{Hub, TEST_TIMEOUT, program};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server and the data directory of a hub.
pub(super) struct Single {
    pub folder: TempDir,
    pub address: String,
    _server: Server,
}

impl Single {
    /// Starts a server whose configuration has these lines in addition.
    pub fn start(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let address = free_addresses().remove(0);
        let store = path("store");
        let config = format!("listen: {address}\njetstream {{ store_dir: {store:?} }}\n{lines}\n");
        std::fs::write(path("config"), config).unwrap();
        let mut server = Server {
            config: path("config"),
            variables: Vec::new(),
            log: path("log"),
            namespace: None,
            child: None,
        };
        server.start();
        Self { folder, address, _server: server }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts a hub that must be able to publish.
    pub async fn assert_accepts(&self, flags: &[&str]) {
        let flags = [
            &["--cluster-replicas", "1", "--cluster-log-max-bytes", "64MiB", "--node", "h0"],
            flags,
        ]
        .concat();
        let mut hub = Hub::start_in(&self.data(), &flags).await;
        hub.publish("a", "x").await;
        hub.stop().await;
    }

    /// Starts a hub that must exit, and returns its errors.
    pub async fn error_of(&self, flags: &[&str]) -> String {
        let mut command = Command::new(program());
        command.arg("--data-dir").arg(self.data()).args(["--listen", "127.0.0.1:0"]).args(flags);
        command.args(["--cluster-replicas", "1"]);
        let result = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let error = String::from_utf8_lossy(&result.stderr).into_owned();
        assert_eq!(result.status.code(), Some(1), "{error}");
        error
    }
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_server_that_accepts_only_small_messages_is_refused() {
    let single = Single::start("");
    let url = format!("nats://{}", single.address);
    let error = single.error_of(&["--cluster-nats", &url]).await;
    assert!(error.contains("max_payload 1048576; it must be 8388608 or more"), "{error}");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_log_that_does_not_fit_on_the_servers_is_refused() {
    let single = Single::start("max_payload: 8MB");
    let url = format!("nats://{}", single.address);
    let flags = ["--cluster-nats", &url, "--cluster-log-max-bytes", "1000TiB"];
    let error = single.error_of(&flags).await;
    let hint = "--cluster-log-max-bytes reserves 1099511627776000 bytes";
    assert!(error.contains("insufficient storage") && error.contains(hint), "{error}");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_user_and_a_token_in_the_url_are_credentials() {
    let user =
        Single::start("max_payload: 8MB\nauthorization { user: ann, password: \"s3c@ret\" }");
    let address = &user.address;
    user.assert_accepts(&["--cluster-nats", &format!("nats://ann:s3c%40ret@{address}")]).await;
    let wrong = format!("nats://ann:wr0ng@{address}");
    let error = user.error_of(&["--cluster-nats", &wrong]).await;
    assert!(error.contains("authorization violation"), "{error}");
    assert!(!error.contains("wr0ng"), "{error}");
    let token = Single::start("max_payload: 8MB\nauthorization { token: t0ken }");
    token.assert_accepts(&["--cluster-nats", &format!("nats://t0ken@{}", token.address)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_seed_in_a_file_is_a_credential() {
    // The pair of the documentation of NATS.
    let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    let user = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    let single = Single::start(&format!(
        "max_payload: 8MB\nauthorization {{ users: [{{ nkey: {user} }}] }}"
    ));
    let file = single.folder.path().join("hub.nk");
    std::fs::write(&file, format!("{seed}\n")).unwrap();
    let url = format!("nats://{}", single.address);
    let flags = ["--cluster-nats", &url, "--cluster-credentials", file.to_str().unwrap()];
    single.assert_accepts(&flags).await;
    std::fs::remove_file(&file).unwrap();
    let error = single.error_of(&flags).await;
    assert!(error.contains("cannot read credentials for NATS from"), "{error}");
    assert!(error.contains("hub.nk"), "{error}");
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_server_may_ask_for_a_certificate() {
    let (server, hub) = (Certificate::make("server"), Certificate::make("hub"));
    let key = |certificate: &Certificate| certificate.folder().join("key.pem");
    let single = Single::start(&format!(
        "max_payload: 8MB\ntls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        server.path(),
        key(&server),
        hub.path()
    ));
    let (ca, certificate, key) = (server.path(), hub.path(), key(&hub));
    let url = format!("tls://{}", single.address);
    let flags = [
        "--cluster-nats",
        &url,
        "--cluster-tls-ca",
        ca.to_str().unwrap(),
        "--cluster-tls-cert",
        certificate.to_str().unwrap(),
        "--cluster-tls-key",
        key.to_str().unwrap(),
    ];
    single.assert_accepts(&flags).await;
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn a_hub_that_may_not_publish_to_the_log_is_not_ready() {
    let single = Single::start(
        "max_payload: 8MB\nauthorization { users: [{ user: ann, password: secret, \
         permissions: { publish: { deny: [\"fanfare.log\"] } } }] }",
    );
    let url = format!("nats://ann:secret@{}", single.address);
    let flags = [
        "--cluster-replicas",
        "1",
        "--cluster-log-max-bytes",
        "64MiB",
        "--node",
        "h0",
        "--cluster-nats",
        &url,
    ];
    let hub = Hub::start_in(&single.data(), &flags).await;
    let (status, answer) = hub.try_post("/streams/a/events", "x").await;
    assert_eq!((status, &answer["code"]), (503, &json!("unconfirmed")), "{answer}");
    let began = Instant::now();
    loop {
        let (_, answer) = hub.get("/readyz").await;
        let reason = answer["checks"]["cluster"]["reason"].as_str().unwrap_or_default();
        if reason.starts_with("an append to the log has taken ") {
            assert_eq!(answer["ready"], false, "{answer}");
            break;
        }
        assert!(began.elapsed() < TEST_TIMEOUT, "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
