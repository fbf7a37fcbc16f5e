//! The measured server: one that is running, or a child process of the bench.

use super::child::{self, OwnedChild};
use super::endpoint::Url;
use super::plan::Target;
use super::process::Process;
use anyhow::{Context as _, bail};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Address of a server, and its process if that is known.
pub struct Server {
    /// URL for subscribers.
    pub subscribe: Option<Url>,
    /// URL for publishers.
    pub publish: Option<Url>,
    /// Process, for its resource usage.
    pub process: Option<Process>,
    /// Name in reports.
    pub name: String,
    /// Child process of the bench; dropping it ends the child and removes its data.
    _owned: Option<OwnedChild>,
}

impl Server {
    /// Resolves the URLs of a running server, or starts one.
    pub fn start(target: &Target) -> anyhow::Result<Self> {
        match target {
            Target::Running { subscribe, publish, pid } => {
                let url = |text: &Option<String>| text.as_deref().map(Url::parse).transpose();
                let process = pid.map(Process);
                if let Some(Process(pid)) = process.filter(|process| !process.exists()) {
                    bail!("process {pid} does not exist");
                }
                let subscribe = url(subscribe).map_err(anyhow::Error::msg)?;
                let publish = url(publish).map_err(anyhow::Error::msg)?;
                let named = publish.as_ref().or(subscribe.as_ref()).map(|u| u.address.to_string());
                let name = named.unwrap_or_default();
                Ok(Self { subscribe, publish, process, name, _owned: None })
            }
            Target::Own(args) => {
                let owned = OwnedChild::start(|| {
                    let data = TempDir::with_prefix("fanfare-bench-")?;
                    let mut command = own_command()?;
                    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"]);
                    if !args.iter().any(|arg| arg == "--system") {
                        command.args(["--system", "off", "--publish-log=off"]);
                    }
                    command.arg("--data-dir").arg(data.path().join("data")).args(args);
                    Ok((spawn(command)?, Some(data)))
                })?;
                let name = format!("fanfare {}", env!("CARGO_PKG_VERSION"));
                Self::started(owned, name, "/events?{streams}", "/streams/{stream}/events")
            }
            Target::Floor(workers) => {
                let owned = OwnedChild::start(|| {
                    let mut command = own_command()?;
                    command.args(["bench-floor", "--workers", &workers.to_string()]);
                    Ok((spawn(command)?, None))
                })?;
                Self::started(owned, "floor".into(), "/{stream}", "/{stream}")
            }
        }
    }

    /// Waits for a child to print the address on which it listens.
    fn started(
        owned: OwnedChild,
        name: String,
        subscribe: &str,
        publish: &str,
    ) -> anyhow::Result<Self> {
        let mut line = String::new();
        let (process, out) = match owned.child() {
            Some((pid, out)) => (Some(Process(pid)), out),
            None => (None, None),
        };
        if let Some(out) = out {
            BufReader::new(out).read_line(&mut line)?;
        }
        let Some(base) = line.trim().strip_prefix("listening on ") else {
            bail!("the server did not start; its error is above");
        };
        let url = |path: &str| Url::parse(&format!("{base}{path}")).map_err(anyhow::Error::msg);
        let (subscribe, publish) = (Some(url(subscribe)?), Some(url(publish)?));
        Ok(Self { subscribe, publish, process, name, _owned: Some(owned) })
    }
}

pub fn own_command() -> std::io::Result<Command> {
    let own = std::env::current_exe()?;
    Ok(child::command(&own, &own))
}

fn spawn(mut command: Command) -> anyhow::Result<Child> {
    command.stdout(Stdio::piped()).spawn().context("cannot start the server")
}
