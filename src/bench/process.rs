//! Resource usage of a process and its children.

use crate::platform::{self, ProcessStat};

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

impl Process {
    /// Returns true if the process exists.
    pub fn exists(self) -> bool {
        platform::processes().iter().any(|stat| stat.pid == self.0)
    }

    /// Returns the processor time of the running processes.
    pub fn cpu(self) -> CpuTime {
        self.tree().iter().fold(CpuTime::default(), |sum, stat| CpuTime {
            user_s: sum.user_s + stat.user_s,
            system_s: sum.system_s + stat.system_s,
        })
    }

    /// Returns the proportional set size of all processes, in bytes; `None` if it cannot be read.
    pub fn pss_bytes(self) -> Option<u64> {
        self.tree().iter().map(|stat| platform::memory_bytes(stat.pid)).sum()
    }

    fn tree(self) -> Vec<ProcessStat> {
        let processes = platform::processes();
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
