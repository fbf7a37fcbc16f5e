//! The `fanfare` binary; everything is in the library.

/// jemalloc, because glibc frees the memory of a journal flush under a lock that publishes wait for
/// (`docs/decisions/0006-jemalloc.md`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    fanfare::cli::run(std::env::args_os())
}
