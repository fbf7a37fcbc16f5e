//! Property tests of all parsers of external input, with inputs that are mostly valid.
//!
//! `properties/laws` contains the properties; the targets of `fuzz/` check the same ones.

pub mod laws;

#[cfg(feature = "chat")]
mod chats;
mod credentials;
#[cfg(feature = "durable-streams")]
mod durable;
mod events;
mod settings;
#[cfg(feature = "mercure")]
mod topics;
mod words;

#[path = "../../src/properties.rs"]
mod run;

use proptest::prelude::*;
use run::cases;

/// Returns text that contains `pieces`, the tokens of a format, more often than random text does.
fn text_of(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(pieces).prop_map(str::to_owned),
        2 => "[ -~]{0,4}",
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}
