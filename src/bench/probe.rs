//! Exports the parsers of a server's output, for the fuzz targets.
//!
//! The bench itself does not use this module.

pub use super::http1::{Decoder, InvalidResponse};
pub use super::mark::{MARK_BYTES, Mark};
pub use super::sse::Scanner;
