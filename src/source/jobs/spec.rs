//! Configuration of jobs.

use crate::source::output::Unbuffered as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Default of `PATH`, for a hub without one.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Variables that commands inherit from the hub, and those that commands of another user inherit.
const INHERITED: [&str; 10] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
];
const INHERITED_BY_OTHERS: [&str; 4] = ["LANG", "LC_ALL", "LC_CTYPE", "TZ"];
/// Maximum length of a job's name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A job: a command that can be run by name. Callers cannot change the command.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// Name of the job: one segment of a stream's name.
    pub name: String,
    /// Program and arguments; no shell interprets them.
    pub command: Vec<String>,
    /// Working directory, if it is not that of the hub.
    pub directory: Option<PathBuf>,
    /// Variables that are set in its environment, in addition to `PATH`, `HOME`, `LANG` and the
    /// like.
    pub environment: Vec<(String, String)>,
    /// Further variables that it inherits from the hub's environment.
    pub passed: Vec<String>,
    /// Maximum duration of a run.
    pub timeout: Option<Duration>,
    /// User that runs it, if it is not that of the hub.
    pub user: Option<RunAs>,
    /// Maximum number of concurrent runs.
    pub at_most: usize,
    /// Time between TERM and KILL for a run that is stopped.
    pub stop_after: Duration,
}

/// User that a job runs as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunAs {
    /// Name of the user.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Id of the user's primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

impl RunAs {
    /// Looks up a user by name.
    pub fn find(name: &str) -> Result<Self, JobError> {
        use uzers::os::unix::UserExt as _;
        let user =
            uzers::get_user_by_name(name).ok_or_else(|| JobError::NoSuchUser(name.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            uid: user.uid(),
            gid: user.primary_group_id(),
            home: user.home_dir().to_owned(),
        })
    }
}

/// Error in the definition of a job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The system does not know the user.
    #[error("unknown user {0:?}")]
    NoSuchUser(String),
    /// The name is too long, or has a character that is not allowed.
    #[error("invalid job name {0:?}: use 1 to {MAX_NAME_BYTES} of A-Z, a-z, 0-9, - and _")]
    Name(String),
}

/// Fails unless `name` is valid for a job.
pub fn check_job_name(name: &str) -> Result<(), JobError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(is_allowed) {
        Ok(())
    } else {
        Err(JobError::Name(name.to_owned()))
    }
}

impl JobSpec {
    /// Starts the command in a new process group, so that processes that it starts end with it.
    pub(super) fn start(&self, run: &str, stream: &str) -> std::io::Result<Child> {
        let (program, arguments) =
            self.command.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        command.args(arguments);
        // The hub's environment holds its settings, and keys of upstreams under arbitrary names.
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        command.env_clear().env("PATH", path);
        // The hub's `HOME` and the like do not apply to another user.
        let inherited = if self.user.is_none() { &INHERITED[..] } else { &INHERITED_BY_OTHERS[..] };
        let passed = self.passed.iter().map(String::as_str);
        for name in inherited.iter().copied().chain(passed) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .unbuffered()
            .env("FANFARE_RUN", run)
            .env("FANFARE_STREAM", stream)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
            command.env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.spawn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_name_must_be_one_segment_of_a_stream_name() {
        for good in ["backup", "a-b_C9"] {
            assert!(check_job_name(good).is_ok());
        }
        for bad in ["", "a.b", "a b", "*", "../x", "\u{e9}", &"x".repeat(65)] {
            assert!(check_job_name(bad).is_err(), "{bad}");
        }
    }
}
