//! Readers of what a server sends by themselves, for the fuzz targets.
//!
//! Nothing of the bench uses it but tests.

pub use super::http1::{Decoder, Garbled};
pub use super::mark::{MARK_BYTES, Mark};
pub use super::sse::Scanner;
