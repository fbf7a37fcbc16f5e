//! Resource usage of a process and its children, from `/proc`.

use std::fs;

/// A process and all its descendants.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

/// Processor time used so far.
#[derive(Clone, Copy, Default, Debug)]
pub struct CpuTime {
    /// Seconds in user mode.
    pub user_s: f64,
    /// Seconds in the kernel.
    pub system_s: f64,
}

impl CpuTime {
    /// Returns the sum of both.
    pub fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }

    /// Returns the usage since `before`.
    pub fn since(self, before: Self) -> Self {
        Self { user_s: self.user_s - before.user_s, system_s: self.system_s - before.system_s }
    }
}

struct Stat {
    pid: u32,
    parent: u32,
    cpu: CpuTime,
}

impl Process {
    /// Returns true if the process exists.
    pub fn exists(self) -> bool {
        stat(self.0).is_some()
    }

    /// Returns the processor time of the running processes.
    pub fn cpu(self) -> CpuTime {
        self.tree().iter().fold(CpuTime::default(), |sum, stat| CpuTime {
            user_s: sum.user_s + stat.cpu.user_s,
            system_s: sum.system_s + stat.cpu.system_s,
        })
    }

    /// Returns the proportional set size of all processes, in bytes; `None` if it cannot be read.
    pub fn pss_bytes(self) -> Option<u64> {
        self.tree().iter().map(|stat| pss_of(stat.pid)).sum()
    }

    fn tree(self) -> Vec<Stat> {
        let processes: Vec<Stat> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?))
            .collect();
        let mut tree = vec![self.0];
        let mut seen = 0;
        while seen < tree.len() {
            let parent = tree[seen];
            tree.extend(processes.iter().filter(|s| s.parent == parent).map(|s| s.pid));
            seen += 1;
        }
        processes.into_iter().filter(|s| tree.contains(&s.pid)).collect()
    }
}

/// Reads `proc_pid_stat(5)`. The name may contain anything, so fields are counted after its end.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let hz = rustix::param::clock_ticks_per_second() as f64;
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        cpu: CpuTime { user_s: ticks(11)? / hz, system_s: ticks(12)? / hz },
    })
}

fn pss_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Returns the bytes of kernel memory that TCP buffers use on this machine, including both ends of
/// loopback connections.
pub fn socket_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let tcp = text.lines().find(|line| line.starts_with("TCP:"));
    let pages = tcp.and_then(|line| line.split_whitespace().skip_while(|w| *w != "mem").nth(1));
    let pages: u64 = pages.and_then(|p| p.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_tree_includes_children() {
        let own = Process(std::process::id());
        assert!(own.exists() && own.pss_bytes().is_some_and(|bytes| bytes > 100_000));
        let before = own.tree().len();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleeps");
        assert!(own.tree().iter().any(|stat| stat.pid == child.id()), "{before} before");
        child.kill().expect("killed");
        child.wait().expect("waited");
        assert!(!Process(child.id()).exists());
    }
}
