//! Properties of everything that is read from outside, held against inputs that are mostly right.
//!
//! `properties/laws` says what must be so; the targets of `fuzz/` drive the same laws.

pub mod laws;

mod chats;
mod credentials;
mod events;
mod settings;
mod words;

#[path = "../../src/properties.rs"]
mod run;

use proptest::prelude::*;
use run::cases;

/// Text with what matters to a format in it more often than chance would have it.
fn text_of(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(pieces).prop_map(str::to_owned),
        2 => "[ -~]{0,4}",
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}
