//! How much work an evaluation may do.

use super::error::EvaluationError;
use super::{MAX_STEPS, MAX_TEXT_BYTES};

/// The work that an evaluation may still do.
#[derive(Debug)]
pub(super) struct Budget {
    steps: u32,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self { steps: MAX_STEPS }
    }

    /// Steps taken so far.
    pub(super) const fn spent(&self) -> u32 {
        MAX_STEPS - self.steps
    }

    pub(super) fn spend(&mut self, steps: u32) -> Result<(), EvaluationError> {
        self.steps = self
            .steps
            .checked_sub(steps)
            .ok_or(EvaluationError::TooManySteps { limit: MAX_STEPS })?;
        Ok(())
    }

    /// Members are found by looking through them.
    pub(super) fn spend_on_members(&mut self, members: usize) -> Result<(), EvaluationError> {
        match Self::steps_of_members(members) {
            0 => Ok(()),
            steps => self.spend(steps),
        }
    }

    /// What it is to look through so many members.
    pub(super) fn steps_of_members(members: usize) -> u32 {
        /// What a step costs, in names compared.
        const MEMBERS_PER_STEP: usize = 32;
        u32::try_from(members / MEMBERS_PER_STEP).unwrap_or(u32::MAX)
    }

    /// Text is work by its length.
    pub(super) fn spend_on_text(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        /// What a step costs, in bytes copied.
        const BYTES_PER_STEP: usize = 64;
        if bytes > MAX_TEXT_BYTES {
            return Err(EvaluationError::TextTooLong { limit: MAX_TEXT_BYTES });
        }
        self.spend(u32::try_from(bytes / BYTES_PER_STEP).unwrap_or(u32::MAX) + 1)
    }
}
