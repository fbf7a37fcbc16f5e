//! Linux: files of `/proc`, and calls that only it has.

#[cfg(feature = "bench")]
use super::ProcessStat;
#[cfg(feature = "files")]
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::fs;
#[cfg(feature = "files")]
use std::fs::File;
use std::io;
#[cfg(feature = "files")]
use std::path::Path;
use std::time::Duration;

/// Returns the resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Returns the maximum memory of the process, in bytes: the limit of its control group or the
/// memory of the machine, whichever is less.
pub(crate) fn machine_memory_bytes() -> Option<u64> {
    let group_limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group_limit = group_limit.and_then(|text| text.trim().parse::<u64>().ok());
    let machine_total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    });
    [group_limit, machine_total].into_iter().flatten().min()
}

/// Returns the number of processes; 0 if it cannot be read.
#[cfg(feature = "system")]
pub(crate) fn process_count() -> u64 {
    process_ids().count() as u64
}

/// Returns the ids of all processes.
#[cfg(any(feature = "bench", feature = "system"))]
fn process_ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Opens a file within a folder; links are followed if they stay in it (openat2(2)).
#[cfg(feature = "files")]
pub(crate) fn open_beneath(folder: &Path, path: &str) -> io::Result<File> {
    if !super::is_plain(path) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let root =
        openat2(CWD, folder, flags | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::empty())?;
    // Opening a FIFO without a writer must not block.
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve_flags = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(&root, path, flags, Mode::empty(), resolve_flags)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Makes the kernel close a connection whose peer acknowledges nothing for `timeout` (RFC 5482).
pub(crate) fn set_unacknowledged_timeout(
    socket: &socket2::Socket,
    timeout: Duration,
) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(timeout))
}

/// Lowers the priority of the calling thread. Without permission it stays as it is.
#[cfg(feature = "search")]
pub(crate) fn lower_thread_priority(niceness: i32) {
    let _ = rustix::process::nice(niceness);
}

/// Returns all processes.
#[cfg(feature = "bench")]
pub(crate) fn processes() -> Vec<ProcessStat> {
    process_ids().filter_map(stat).collect()
}

/// Reads `proc_pid_stat(5)`. The name may contain anything, so fields are counted after its end.
#[cfg(feature = "bench")]
fn stat(pid: u32) -> Option<ProcessStat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let hz = rustix::param::clock_ticks_per_second() as f64;
    let parent = fields.get(1)?.parse().ok()?;
    Some(ProcessStat { pid, parent, user_s: ticks(11)? / hz, system_s: ticks(12)? / hz })
}

/// Returns the proportional set size of a process, in bytes.
#[cfg(feature = "bench")]
pub(crate) fn memory_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Returns the bytes of kernel memory that TCP buffers use on this machine, including both ends of
/// loopback connections.
#[cfg(feature = "bench")]
pub(crate) fn socket_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let tcp = text.lines().find(|line| line.starts_with("TCP:"));
    let pages = tcp.and_then(|line| line.split_whitespace().skip_while(|w| *w != "mem").nth(1));
    let pages: u64 = pages.and_then(|p| p.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Makes the kernel terminate this process when its parent exits.
#[cfg(feature = "bench")]
pub(crate) fn end_with_parent() -> io::Result<()> {
    let signal = Some(rustix::process::Signal::TERM);
    Ok(rustix::process::set_parent_process_death_signal(signal)?)
}

/// Registers the metrics of this process.
pub(crate) fn register_process_metrics(
    registry: &prometheus::Registry,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
}
