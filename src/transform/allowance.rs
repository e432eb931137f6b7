//! What the rows of one resource below one root may cost.
//!
//! In: the text that was copied and the steps that were taken. Out: a refusal once it is too much.
//! Each evaluation has bounds of its own; rows multiply them. The bounds are far above what
//! records reach and low enough that a hostile one costs a letter, not the process.

use super::error::TransformError;
use super::fhirpath::MAX_STEPS;

/// Most bytes of text that are read into one resource's rows, or thrown away on the way there. The
/// largest document has 16 MiB.
pub(super) const MAX_BYTES: usize = 256 << 20;

/// Most steps of all the expressions together: those of ten evaluations that reach their bound, about
/// a second.
pub(super) const MAX_WORK: u32 = 10 * MAX_STEPS;

/// What is left of it.
pub(super) struct Allowance {
    bytes: usize,
    steps: u32,
}

impl Allowance {
    pub(super) const fn new() -> Self {
        Self { bytes: MAX_BYTES, steps: MAX_WORK }
    }

    /// Counts text, before it is copied where its length is known.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Result<(), TransformError> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => self.bytes = left,
            None => return Err(TransformError::TooManyBytes { limit: MAX_BYTES }),
        }
        Ok(())
    }

    /// Counts what expressions took. Once it is too much, it stays too much.
    pub(super) fn spend_steps(&mut self, steps: u32) -> Result<(), TransformError> {
        self.steps = self.steps.saturating_sub(steps);
        if self.steps == 0 {
            return Err(TransformError::TooMuchWork { limit: MAX_WORK });
        }
        Ok(())
    }
}
