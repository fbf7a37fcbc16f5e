//! The output of commands, as it is read while they run.

use crate::event::level_of;
use serde::Serialize;

/// What asks programs not to hold lines back that go to no terminal: Python by a variable of its own,
/// whatever uses C's standard output by coreutils' `stdbuf`, where that is installed.
const PYTHON: (&str, &str) = ("PYTHONUNBUFFERED", "1");
const STDBUF_LIBRARIES: [&str; 2] =
    ["/usr/libexec/coreutils/libstdbuf.so", "/usr/lib/coreutils/libstdbuf.so"];

/// A command whose output is to come at once.
pub trait Unbuffered {
    /// Sets what asks for that in its environment, where nothing is set.
    fn unbuffered(&mut self) -> &mut Self;
}

impl Unbuffered for tokio::process::Command {
    fn unbuffered(&mut self) -> &mut Self {
        let is_free = |name: &str| std::env::var_os(name).is_none();
        if is_free(PYTHON.0) {
            self.env(PYTHON.0, PYTHON.1);
        }
        let library = STDBUF_LIBRARIES.iter().find(|path| std::path::Path::new(path).exists());
        if let Some(library) = library.filter(|_| is_free("LD_PRELOAD")) {
            self.env("LD_PRELOAD", library).env("_STDBUF_O", "L").env("_STDBUF_E", "L");
        }
        self
    }
}

/// A line as the data of a `log` event.
#[derive(Serialize)]
pub struct LogData<'a> {
    level: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields<'a>>,
}

#[derive(Serialize)]
struct Fields<'a> {
    output: &'a str,
}

/// A line of an output as the data of a `log` event: its level is the one that it says, and otherwise
/// `info`.
pub fn log_data<'a>(line: &'a str, output: Option<&'a str>) -> LogData<'a> {
    let level = level_of(line).unwrap_or("info");
    LogData { level, message: line, fields: output.map(|output| Fields { output }) }
}

/// What a terminal shows of a line at its end: what stands before a carriage return is written over,
/// as progress bars do.
pub fn shown_line(line: &str) -> &str {
    line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_progress_bar_the_last_state_is_a_line() {
        assert_eq!(shown_line(" 10 %\r 50 %\r100 %"), "100 %");
        assert_eq!(shown_line("done\r"), "done");
        assert_eq!(shown_line("\r"), "");
        assert_eq!(shown_line("plain"), "plain");
    }
}
