//! Reason for which a value was refused: the field, and what is wrong with it.

/// A value that failed its check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct Invalid {
    /// The member, parameter or header to blame, dotted where nested: `data.level`.
    pub field: String,
    /// Description for the person who sent it.
    pub detail: String,
}

impl Invalid {
    /// Blames `field`, saying `detail`.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }

    /// The same complaint about the `index`-th member of a batch.
    #[must_use]
    pub fn at(self, index: usize) -> Self {
        Self { field: format!("[{index}].{}", self.field), ..self }
    }
}
