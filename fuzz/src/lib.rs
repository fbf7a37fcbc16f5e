//! Laws that the fuzz targets share with the property tests.

#[path = "../../tests/suite/properties/laws/mod.rs"]
pub mod laws;
