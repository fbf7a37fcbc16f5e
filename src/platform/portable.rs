//! Other Unix systems, such as macOS: calls of POSIX, and `sysinfo`.

#![cfg_attr(target_os = "linux", expect(dead_code, reason = "tests use some of them"))]

#[cfg(feature = "bench")]
use super::ProcessStat;
#[cfg(feature = "files")]
use rustix::fs::{Mode, OFlags, open, openat};
#[cfg(feature = "files")]
use std::fs::File;
use std::io;
#[cfg(feature = "files")]
use std::path::Path;
use std::time::Duration;
use sysinfo::{ProcessesToUpdate, System};

/// Returns the resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    memory_bytes(std::process::id())
}

/// Returns the memory of the machine, in bytes.
pub(crate) fn machine_memory_bytes() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    Some(system.total_memory()).filter(|bytes| *bytes > 0)
}

/// Returns the number of processes.
#[cfg(feature = "system")]
pub(crate) fn process_count() -> u64 {
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::All, true) as u64
}

/// Opens a file within a folder, one component after the other; no link is followed.
#[cfg(feature = "files")]
pub(crate) fn open_beneath(folder: &Path, path: &str) -> io::Result<File> {
    if !super::is_plain(path) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = open(folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        at = openat(&at, part, flags, Mode::empty())?;
    }
    // Opening a FIFO without a writer must not block.
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(openat(&at, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Does nothing: the timers of the hub close connections that take nothing.
pub(crate) fn set_unacknowledged_timeout(_: &socket2::Socket, _: Duration) -> io::Result<()> {
    Ok(())
}

/// Does nothing: only the priority of the whole process can be lowered.
#[cfg(feature = "search")]
pub(crate) fn lower_thread_priority(_: i32) {}

/// Returns all processes. Time in the kernel is part of that in user mode.
#[cfg(feature = "bench")]
pub(crate) fn processes() -> Vec<ProcessStat> {
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::All, true);
    let stat = |process: &sysinfo::Process| ProcessStat {
        pid: process.pid().as_u32(),
        parent: process.parent().map_or(0, sysinfo::Pid::as_u32),
        user_s: process.accumulated_cpu_time() as f64 / 1e3,
        system_s: 0.0,
    };
    system.processes().values().map(stat).collect()
}

/// Returns the resident memory of a process, in bytes.
pub(crate) fn memory_bytes(pid: u32) -> Option<u64> {
    let pid = sysinfo::Pid::from_u32(pid);
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    Some(system.process(pid)?.memory())
}

/// Returns 0: the memory of TCP buffers is not known.
#[cfg(feature = "bench")]
pub(crate) fn socket_bytes() -> u64 {
    0
}

/// Does nothing: a process whose parent was killed goes on.
#[cfg(feature = "bench")]
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(())
}

/// Does nothing: the Prometheus client measures processes only on Linux.
pub(crate) fn register_process_metrics(_: &prometheus::Registry) -> Result<(), prometheus::Error> {
    Ok(())
}
