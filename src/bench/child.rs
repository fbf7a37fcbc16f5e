//! Child processes of a bench, which end with it, however it ends.

use rustix::process::{Pid, Signal, getppid, kill_process};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// Subcommand that executes another program, which ends with the process that started it.
pub const SUBCOMMAND: &str = "bench-child";

/// Returns a command that runs `program`, which ends with the thread that spawns it.
pub fn command(executable: &std::path::Path, program: impl Into<OsString>) -> Command {
    let mut command = Command::new(executable);
    command.args([SUBCOMMAND, &std::process::id().to_string(), "--"]).arg(program.into());
    command
}

/// Replaces this process with `program`, which the kernel terminates when its parent exits, if the
/// system can; returns only on failure.
///
/// `parent` is the id of the process that started this one. The kernel sends no signal for a parent
/// that has already exited, so the parent is compared afterwards.
pub fn become_program(parent: u32, program: &[OsString]) -> io::Error {
    let Some((name, args)) = program.split_first() else {
        return io::Error::other("no program to start was given");
    };
    match crate::platform::end_with_parent() {
        Ok(()) if Pid::as_raw(getppid()).cast_unsigned() != parent => {
            io::Error::other("the parent process has exited")
        }
        Ok(()) => Command::new(name).args(args).exec(),
        Err(error) => error,
    }
}

/// A child and its data, both ended when this is dropped or the bench is interrupted.
pub struct OwnedChild(Arc<Mutex<Option<ChildAndData>>>);

type ChildAndData = (Child, Option<TempDir>);

impl OwnedChild {
    /// Runs `start` and takes ownership of the child.
    pub fn start(start: impl FnOnce() -> anyhow::Result<ChildAndData>) -> anyhow::Result<Self> {
        let shared = Arc::new(Mutex::new(None));
        let interrupted = shared.clone();
        // The lock makes an interrupt wait until the child exists.
        let mut guard = lock(&shared);
        on_interrupt(move || end(&interrupted))?;
        *guard = Some(start()?);
        drop(guard);
        Ok(Self(shared))
    }

    /// Asks the child to end, and waits until it has.
    pub fn terminate(self) -> io::Result<()> {
        if let Some((child, _)) = lock(&self.0).as_mut() {
            if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
                kill_process(pid, Signal::TERM)?;
            }
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal to the child.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid =
            lock(&self.0).as_ref().and_then(|(child, _)| Pid::from_raw(child.id().cast_signed()));
        pid.map_or(Ok(()), |pid| kill_process(pid, signal)).map_err(Into::into)
    }

    /// Returns the child's process id, and its output unless that was taken before.
    pub fn child(&self) -> Option<(u32, Option<ChildStdout>)> {
        lock(&self.0).as_mut().map(|(child, _)| (child.id(), child.stdout.take()))
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        end(&self.0);
    }
}

/// A folder that is removed when this is dropped or the bench is interrupted.
pub struct OwnedFolder {
    path: PathBuf,
    folder: Arc<Mutex<Option<TempDir>>>,
}

impl OwnedFolder {
    /// Creates a folder. Children that use it are started later, so that they end before it is removed.
    pub fn create() -> io::Result<Self> {
        let folder = TempDir::with_prefix("fanfare-bench-")?;
        let path = folder.path().to_owned();
        let folder = Arc::new(Mutex::new(Some(folder)));
        let interrupted = folder.clone();
        on_interrupt(move || {
            drop(interrupted.lock().unwrap_or_else(PoisonError::into_inner).take())
        })?;
        Ok(Self { path, folder })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnedFolder {
    fn drop(&mut self) {
        drop(self.folder.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn lock(shared: &Mutex<Option<ChildAndData>>) -> MutexGuard<'_, Option<ChildAndData>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(shared: &Mutex<Option<ChildAndData>>) {
    if let Some((mut child, data)) = lock(shared).take() {
        let _ = child.kill();
        let _ = child.wait();
        drop(data);
    }
}

/// Actions of an interrupt, oldest first.
static ACTIONS: Mutex<Vec<Box<dyn FnOnce() + Send>>> = Mutex::new(Vec::new());

/// Runs `action` on SIGINT or SIGTERM, after those that were added later, and then exits with the shell's status for
/// that signal.
fn on_interrupt(action: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut actions = ACTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if actions.is_empty() {
        wait_for_interrupt()?;
    }
    actions.push(Box::new(action));
    Ok(())
}

/// Starts the thread that runs all actions.
fn wait_for_interrupt() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut int, mut term) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let thread = std::thread::Builder::new().name("bench-signals".into());
    thread.spawn(move || {
        let signal_number = runtime.block_on(async {
            tokio::select! {
                _ = int.recv() => Signal::INT,
                _ = term.recv() => Signal::TERM,
            }
        });
        let mut actions = ACTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(action) = actions.pop() {
            action();
        }
        std::process::exit(128 + signal_number.as_raw());
    })?;
    Ok(())
}
