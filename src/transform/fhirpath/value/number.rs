//! Decimals that stay small enough to compute with.

use std::num::NonZeroU64;

use bigdecimal::{BigDecimal, RoundingMode, Zero as _};

use crate::transform::fhirpath::MAX_NUMBER_DIGITS;
use crate::transform::fhirpath::error::EvaluationError;

/// Reads a JSON or FHIRPath number. A document may say `1e999999999`, which would fill the memory
/// once it is added to something, so its size is looked at first.
pub(in crate::transform::fhirpath) fn parse_decimal(
    text: &str,
) -> Result<BigDecimal, EvaluationError> {
    if text.len() > MAX_NUMBER_DIGITS {
        return Err(EvaluationError::NumberOutOfRange);
    }
    within_range(text.parse().map_err(|_| EvaluationError::NumberOutOfRange)?)
}

/// Refuses a number that has too many digits before or behind the point.
pub(in crate::transform::fhirpath) fn within_range(
    value: BigDecimal,
) -> Result<BigDecimal, EvaluationError> {
    let limit = i64::try_from(MAX_NUMBER_DIGITS).unwrap_or(i64::MAX);
    let (_, scale) = value.as_bigint_and_exponent();
    let digits = i64::try_from(value.digits()).unwrap_or(i64::MAX);
    if scale.abs() > limit || digits > limit {
        return Err(EvaluationError::NumberOutOfRange);
    }
    Ok(value)
}

/// Digits of a result that is not exact: as many as the decimal types that FHIRPath engines
/// commonly use have.
pub(in crate::transform::fhirpath) const DIGITS: NonZeroU64 =
    NonZeroU64::new(28).expect("not zero");

/// `left / right` to 28 digits, without trailing zeros that the division made.
pub(in crate::transform::fhirpath) fn divide(
    left: &BigDecimal,
    right: &BigDecimal,
) -> Option<BigDecimal> {
    (!right.is_zero()).then(|| rounded(&(left / right)).normalized())
}

/// To 28 digits.
pub(in crate::transform::fhirpath) fn rounded(value: &BigDecimal) -> BigDecimal {
    value.with_precision_round(DIGITS, RoundingMode::HalfUp)
}

/// Without what is behind the point.
pub(in crate::transform::fhirpath) fn truncated(value: &BigDecimal) -> BigDecimal {
    value.with_scale(0)
}
