//! The constants of a view.
//!
//! In: constants as they are written. Out: the variables of the view's expressions, each of the
//! type that its `value[x]` says. A constant that cannot be used is a problem here, once, and not
//! in every expression that names it.

use super::document::Constant;
use crate::problem::Problem;
use crate::transform::fhirpath::{Variables, primitive};

/// Most digits of a decimal that survive the reading of a file as they were written.
const MAX_DECIMAL_DIGITS: usize = 15;

/// What the expressions of a view may use as `%name`.
pub(super) fn variables(
    file: &str,
    constants: &[Constant],
    problems: &mut Vec<Problem>,
) -> Variables {
    let mut variables = Variables::of_views();
    for (index, constant) in constants.iter().enumerate() {
        let at = format!("/constant/{index}");
        let mut report = |key: &str, message: String| {
            problems.push(Problem::new(file, format!("{at}{key}"), message));
        };
        let mut values = constant
            .values()
            .into_iter()
            .filter_map(|(fhir_type, key, value)| value.map(|value| (fhir_type, key, value)));
        let (first, second) = (values.next(), values.next());
        // Known even if its value is wrong: the expressions that use it are not to blame.
        let mut value = primitive("string", "");
        match (first, second) {
            (None, _) => {
                let keys: Vec<&str> = constant.values().into_iter().map(|value| value.1).collect();
                report("", format!("a value is needed (accepted: {})", keys.join(", ")));
            }
            (Some((_, key, _)), Some((_, other, _))) => {
                report("", format!("a constant has one value; `{key}` and `{other}` are two"));
            }
            (Some((fhir_type, key, text)), None) => match primitive(fhir_type, &text) {
                _ if fhir_type == "decimal" && digits(&text) > MAX_DECIMAL_DIGITS => {
                    let message = format!("a decimal is read to {MAX_DECIMAL_DIGITS} digits");
                    report(&format!("/{key}"), message);
                }
                None => report(&format!("/{key}"), format!("this is no {fhir_type}")),
                known => value = known,
            },
        }
        if let Some(value) = value
            && !variables.define(&constant.name, value)
        {
            let name = &constant.name;
            report("/name", format!("`%{name}` has a meaning already; take another name"));
        }
    }
    variables
}

/// Digits of a number, without leading zeros and the exponent.
fn digits(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.chars().filter(char::is_ascii_digit);
    digits.skip_while(|digit| *digit == '0').count()
}

impl Constant {
    /// Every value that a constant may have: FHIR type, key and, if given, its text.
    fn values(&self) -> [(&'static str, &'static str, Option<String>); 19] {
        let text = Option::<String>::clone;
        let number = |number: &Option<i32>| number.as_ref().map(ToString::to_string);
        [
            ("base64Binary", "valueBase64Binary", text(&self.value_base64_binary)),
            ("boolean", "valueBoolean", self.value_boolean.as_ref().map(ToString::to_string)),
            ("canonical", "valueCanonical", text(&self.value_canonical)),
            ("code", "valueCode", text(&self.value_code)),
            ("date", "valueDate", text(&self.value_date)),
            ("dateTime", "valueDateTime", text(&self.value_date_time)),
            ("decimal", "valueDecimal", self.value_decimal.as_ref().map(ToString::to_string)),
            ("id", "valueId", text(&self.value_id)),
            ("instant", "valueInstant", text(&self.value_instant)),
            ("integer", "valueInteger", number(&self.value_integer)),
            ("integer64", "valueInteger64", text(&self.value_integer64)),
            ("oid", "valueOid", text(&self.value_oid)),
            ("string", "valueString", text(&self.value_string)),
            ("positiveInt", "valuePositiveInt", number(&self.value_positive_int)),
            ("time", "valueTime", text(&self.value_time)),
            ("unsignedInt", "valueUnsignedInt", number(&self.value_unsigned_int)),
            ("uri", "valueUri", text(&self.value_uri)),
            ("url", "valueUrl", text(&self.value_url)),
            ("uuid", "valueUuid", text(&self.value_uuid)),
        ]
    }
}
