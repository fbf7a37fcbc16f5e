//! Validation errors: the invalid field, and a description of the fault.

/// A value that failed its check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct Invalid {
    /// Invalid member, parameter or header; dotted if nested: `data.level`.
    pub field: String,
    /// Description for the person who sent it.
    pub detail: String,
}

impl Invalid {
    /// Creates an error about `field`.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }

    /// Prefixes the field with the index of its event in a batch.
    #[must_use]
    pub fn at(self, index: usize) -> Self {
        Self { field: format!("[{index}].{}", self.field), ..self }
    }
}
