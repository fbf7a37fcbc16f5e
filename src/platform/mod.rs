//! Calls that differ between operating systems; Linux has the exact ones, other Unix systems a
//! portable fallback.
//!
//! Promises: no other module names a system, reads `/proc`, or calls what only Linux has
//! (`tests/suite/architecture.rs`).

#[cfg(target_os = "linux")]
mod linux;
// Tests compare the two.
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::*;

/// A process and its processor time.
#[cfg(feature = "bench")]
pub(crate) struct ProcessStat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// Seconds in user mode; where the system does not tell them apart, also those in the kernel.
    pub(crate) user_s: f64,
    /// Seconds in the kernel.
    pub(crate) system_s: f64,
}

/// Returns true if every part of a path is a plain name, and none is hidden.
#[cfg(feature = "files")]
fn is_plain(path: &str) -> bool {
    let is_name = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\0');
    path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "files")]
    #[test]
    fn nothing_outside_of_the_folder_is_opened() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().expect("a folder");
        let folder = outside.path().join("in");
        std::fs::create_dir_all(folder.join("sub")).expect("a folder");
        for file in ["secret", "in/a", "in/sub/b", "in/.hidden"] {
            std::fs::write(outside.path().join(file), file).expect("writes");
        }
        symlink("sub/b", folder.join("link")).expect("a link");
        symlink("../secret", folder.join("out")).expect("a link");
        symlink(outside.path().join("secret"), folder.join("absolute")).expect("a link");
        symlink("..", folder.join("up")).expect("a link");
        symlink("loop", folder.join("loop")).expect("a link");
        for open in [open_beneath, portable::open_beneath] {
            for path in ["a", "sub/b"] {
                assert!(open(&folder, path).is_ok(), "{path}");
            }
            for path in [
                "",
                ".",
                "..",
                "../secret",
                "sub/../a",
                "/a",
                "sub",
                "missing",
                ".hidden",
                "out",
                "absolute",
                "up/secret",
                "up/in/a",
                "loop",
                "a/",
                "sub//b",
                "a\0",
            ] {
                assert!(open(&folder, path).is_err(), "{path}");
            }
        }
        // Only Linux can tell that a link stays in the folder.
        #[cfg(target_os = "linux")]
        assert!(open_beneath(&folder, "link").is_ok());
        assert!(portable::open_beneath(&folder, "link").is_err());
    }

    #[test]
    fn both_ways_of_measuring_agree_roughly() {
        let resident = [resident_bytes(), portable::resident_bytes()].map(|bytes| {
            let bytes = bytes.expect("a size");
            assert!(bytes > 100_000, "{bytes}");
            bytes as f64
        });
        assert!((0.5..2.0).contains(&(resident[0] / resident[1])), "{resident:?}");
        // A control group may have less than the machine.
        let machine = [machine_memory_bytes(), portable::machine_memory_bytes()];
        assert!(machine[0] > Some(1 << 24) && machine[0] <= machine[1], "{machine:?}");
        assert!(portable::machine_memory_bytes().is_some());
    }

    #[cfg(feature = "bench")]
    #[test]
    fn processes_are_listed_with_their_parents() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleeps");
        for list in [processes(), portable::processes()] {
            let found = list.iter().find(|stat| stat.pid == child.id()).expect("the child");
            assert_eq!(found.parent, std::process::id());
        }
        child.kill().expect("killed");
        child.wait().expect("waited");
    }
}
