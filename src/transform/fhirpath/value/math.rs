//! `sqrt`, `ln`, `log`, `exp` and `power`, to 28 digits and without floating point.
//!
//! What cannot be represented is empty, as FHIRPath has it: the root of a negative number, a
//! power of more digits than are computed with. Arguments of any size take about the same time.

use bigdecimal::{BigDecimal, One as _, RoundingMode, Signed as _, ToPrimitive as _, Zero as _};

use super::item::{Item, Scalar};
use super::number;
use crate::transform::fhirpath::error::{EvaluationError, Outcome};
use crate::transform::fhirpath::function::Function;

/// What an evaluation of one costs: a few hundred multiplications of 60 digits.
pub(in crate::transform::fhirpath) const STEPS: u32 = 5_000;

/// Digits that are computed with, so that 28 are right.
const WORKING_DIGITS: u64 = 60;

/// No power of ten above this is a number that is computed with.
const LARGEST_EXPONENT: i64 = 400;

const LN_2: &str = "0.69314718055994530941723212145817656807550013436025525412068001";
const LN_10: &str = "2.3025850929940456840179914546843642076011014886287729760333279";

/// The function of a number and, for `log` and `power`, of another.
pub(in crate::transform::fhirpath) fn apply(
    function: Function,
    item: &Item<'_>,
    argument: Option<&Item<'_>>,
) -> Outcome<Option<Item<'static>>> {
    let operands = || EvaluationError::Operands { operation: function.name() };
    let own = item.scalar()?;
    if let Scalar::Nothing = own {
        return Ok(None);
    }
    let value = own.as_decimal().ok_or_else(operands)?;
    let other = match argument {
        None => None,
        Some(argument) => Some(argument.scalar()?),
    };
    if let (Function::Power, Scalar::Integer(base), Some(Scalar::Integer(exponent))) =
        (function, &own, &other)
        && *exponent >= 0
    {
        let power = u32::try_from(*exponent).ok().and_then(|power| whole_power(*base, power));
        return Ok(power.map(Item::Integer));
    }
    let other = match &other {
        None | Some(Scalar::Nothing) => None,
        Some(other) => Some(other.as_decimal().ok_or_else(operands)?),
    };
    let result = match (function, other) {
        (Function::Sqrt, _) => value.sqrt(),
        (Function::Exp, _) => exponential(&working(&value)),
        (Function::Ln, _) => logarithm(&working(&value)),
        (Function::Log, Some(base)) => logarithm(&working(&value))
            .zip(logarithm(&working(&base)))
            .filter(|(_, base)| !base.is_zero())
            .map(|(value, base)| value / base),
        (Function::Power, Some(exponent)) => power(&value, &exponent),
        _ => None,
    };
    Ok(result.map(rounded).and_then(|found| number::within_range(found).ok()).map(Item::Decimal))
}

/// A large power of -1, 0 or 1 is soon known; of any other it is soon too large.
fn whole_power(base: i64, exponent: u32) -> Option<i64> {
    match base {
        0 | 1 => Some(if exponent == 0 { 1 } else { base }),
        -1 => Some(if exponent.is_multiple_of(2) { 1 } else { -1 }),
        _ => base.checked_pow(exponent),
    }
}

fn working(value: &BigDecimal) -> BigDecimal {
    value.with_prec(WORKING_DIGITS)
}

/// An exact value stays, any other is cut to what is right of it.
fn rounded(value: BigDecimal) -> BigDecimal {
    if value.is_zero() {
        BigDecimal::zero()
    } else if value.digits() <= number::DIGITS.get() {
        value
    } else {
        number::rounded(&value).normalized()
    }
}

fn constant(digits: &str) -> BigDecimal {
    digits.parse().expect("a constant of this file")
}

/// The sum of a series whose terms shrink, the first of them given.
fn series(
    first: BigDecimal,
    mut next: impl FnMut(&BigDecimal, i64) -> (BigDecimal, BigDecimal),
) -> BigDecimal {
    /// No series of this file has a term of more than 60 digits' weight after this many.
    const TERMS: i64 = 200;
    let smallest = BigDecimal::new(1.into(), 62);
    let mut sum = first.clone();
    let mut power = first;
    for number in 1..TERMS {
        let (following, term) = next(&power, number);
        sum += &term;
        power = following;
        if term.abs() < smallest {
            break;
        }
    }
    sum
}

/// `e^x = 10^n * e^r` with `x = n * ln 10 + r`.
fn exponential(value: &BigDecimal) -> Option<BigDecimal> {
    let ln_10 = constant(LN_10);
    let tens = (value / &ln_10).with_scale_round(0, RoundingMode::HalfEven).to_i64()?;
    if tens.abs() > LARGEST_EXPONENT {
        return None;
    }
    let rest = value - ln_10 * BigDecimal::from(tens);
    let sum = series(BigDecimal::one(), |power, number| {
        let term = working(&(power * &rest / BigDecimal::from(number)));
        (term.clone(), term)
    });
    Some(sum * BigDecimal::new(1.into(), -tens))
}

/// `ln x = ln m + t * ln 2 + n * ln 10` with `m` near 1, and `ln m = 2 artanh ((m-1)/(m+1))`.
fn logarithm(value: &BigDecimal) -> Option<BigDecimal> {
    if !value.is_positive() {
        return None;
    }
    let digits = i64::try_from(value.digits()).ok()?;
    let (whole, scale) = value.as_bigint_and_exponent();
    // The first digit stands before the point.
    let tens = digits - 1 - scale;
    let mut mantissa = BigDecimal::new(whole, digits - 1);
    let limit = BigDecimal::new(14.into(), 1);
    let mut twos = 0;
    while mantissa > limit {
        mantissa = mantissa.half();
        twos += 1;
    }
    let one = BigDecimal::one();
    let ratio = working(&((&mantissa - &one) / (&mantissa + &one)));
    let square = working(&(&ratio * &ratio));
    let sum = series(ratio, |power, number| {
        let following = working(&(power * &square));
        let term = working(&(&following / BigDecimal::from(2 * number + 1)));
        (following, term)
    });
    let (twos, tens) = (BigDecimal::from(twos), BigDecimal::from(tens));
    Some(sum * BigDecimal::from(2) + twos * constant(LN_2) + tens * constant(LN_10))
}

fn power(base: &BigDecimal, exponent: &BigDecimal) -> Option<BigDecimal> {
    if exponent.is_integer() {
        return whole_exponent(base, exponent.to_i64()?);
    }
    if base.is_zero() {
        return exponent.is_positive().then(BigDecimal::zero);
    }
    exponential(&working(&(logarithm(&working(base))? * working(exponent))))
}

/// By squaring: exact while it has few digits, else to the digits that are computed with.
fn whole_exponent(base: &BigDecimal, exponent: i64) -> Option<BigDecimal> {
    let mut left = exponent.unsigned_abs();
    let (mut result, mut square) = (BigDecimal::one(), base.clone());
    while left > 0 {
        if left % 2 == 1 {
            result = representable(&result * &square)?;
        }
        left /= 2;
        if left > 0 {
            square = representable(&square * &square)?;
        }
    }
    if exponent < 0 { number::divide(&BigDecimal::one(), &result) } else { Some(result) }
}

fn representable(value: BigDecimal) -> Option<BigDecimal> {
    let value = if value.digits() > WORKING_DIGITS { working(&value) } else { value };
    let magnitude = i64::try_from(value.digits()).ok()? - value.fractional_digit_count();
    (value.is_zero() || magnitude.abs() <= LARGEST_EXPONENT).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(function: Function, value: &str, argument: Option<&str>) -> Option<String> {
        let decimal = |text: &str| Item::Decimal(text.parse().expect("a number"));
        let argument = argument.map(decimal);
        let found = apply(function, &decimal(value), argument.as_ref()).expect("a number");
        found.and_then(|item| item.text().map(std::borrow::Cow::into_owned))
    }

    #[test]
    fn results_are_right_to_28_digits() {
        for (function, value, argument, expected) in [
            (Function::Sqrt, "2", None, "1.414213562373095048801688724"),
            (Function::Exp, "1", None, "2.718281828459045235360287471"),
            (Function::Exp, "-20.5", None, "0.000000001250152866386742628937553119"),
            (Function::Ln, "1", None, "0"),
            (Function::Ln, "2", None, "0.6931471805599453094172321215"),
            (Function::Ln, "0.0001234", None, "-9.000079446492986664711136383"),
            (Function::Log, "1000", Some("10"), "3"),
            (Function::Log, "0.125", Some("2"), "-3"),
            (Function::Power, "2", Some("0.5"), "1.414213562373095048801688724"),
            (Function::Power, "1.05", Some("3"), "1.157625"),
            (Function::Power, "4", Some("-1"), "0.25"),
        ] {
            assert_eq!(on(function, value, argument).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_represented_is_empty() {
        for (function, value, argument) in [
            (Function::Sqrt, "-1", None),
            (Function::Ln, "0", None),
            (Function::Log, "10", Some("1")),
            (Function::Exp, "1e9", None),
            (Function::Exp, "-1e300", None),
            (Function::Power, "-1", Some("0.5")),
            (Function::Power, "1.5", Some("1e15")),
            (Function::Power, "0", Some("-1")),
            (Function::Power, "1e300", Some("2")),
        ] {
            assert_eq!(on(function, value, argument), None, "{value}");
        }
    }
}
