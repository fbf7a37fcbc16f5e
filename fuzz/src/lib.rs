//! What the targets have in common: the laws, which are those of the property tests.

#[path = "../../tests/suite/properties/laws/mod.rs"]
pub mod laws;
