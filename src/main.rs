//! The `fanfare` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    fanfare::cli::run(std::env::args_os())
}
