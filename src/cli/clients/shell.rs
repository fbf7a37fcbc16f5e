//! `fanfare completions` and `fanfare man`: generated from the definition of the command line.

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;
use std::path::PathBuf;

pub(super) fn completions_command() -> Command {
    Command::new("completions").about("Print shell completions").arg(
        Arg::new("shell")
            .value_name("SHELL")
            .required(true)
            .value_parser(clap::value_parser!(Shell))
            .help("Shell to print completions for"),
    )
}

pub(super) fn man_command() -> Command {
    Command::new("man")
        .about("Print the manual page, or write the pages of all subcommands to a folder")
        .arg(
            Arg::new("folder")
                .long("folder")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Folder to write the pages to"),
        )
}

/// Returns the shell completions of `command`.
pub(super) fn completions(flags: &ArgMatches, mut command: Command) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(shell) = flags.get_one::<Shell>("shell") {
        clap_complete::generate(*shell, &mut command, "fanfare", &mut out);
    }
    out
}

/// Returns the manual page of `command`; empty if the pages were written to a folder.
pub(super) fn man(flags: &ArgMatches, command: Command) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    match flags.get_one::<PathBuf>("folder") {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(command, folder))
                .with_context(|| format!("cannot write to {}", folder.display()))?;
        }
        None => clap_mangen::Man::new(command).render(&mut out)?,
    }
    Ok(out)
}
