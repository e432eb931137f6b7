//! The names that an expression may use as `%name` besides those that FHIRPath has itself.
//!
//! In: constants as FHIR writes them. Out: literals for the compiler, so that a constant costs
//! nothing when a document comes. What `%name` means is decided at load; nothing here looks at a
//! document.

use std::collections::BTreeMap;

use super::error::nearest;
use super::value::item::Item;
use super::value::number;
use super::value::temporal::Temporal;

/// Variables that every expression has; `` %`vs-…` `` and `` %`ext-…` `` come on top.
const PREDEFINED: [&str; 6] = ["context", "loinc", "resource", "rootResource", "sct", "ucum"];

/// What SQL on FHIR calls the index of a row.
const ROW_INDEX: &str = "rowIndex";

/// The names that an expression may use as `%name`. [`Variables::default`] has none but
/// FHIRPath's own.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    known: BTreeMap<String, Variable>,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Variable {
    /// The same value in every evaluation.
    Constant(Item<'static>),
    /// [`Environment::row_index`](super::Environment::row_index).
    RowIndex,
}

impl Variables {
    /// The variables of SQL on FHIR: `%rowIndex`.
    #[must_use]
    pub fn of_views() -> Self {
        Self { known: BTreeMap::from([(ROW_INDEX.to_owned(), Variable::RowIndex)]) }
    }

    /// Makes `%name` stand for a value. The first value of a name stays; returns whether this was
    /// the first.
    pub fn define(&mut self, name: &str, value: Item<'static>) -> bool {
        if self.is_known(name) {
            return false;
        }
        self.known.insert(name.to_owned(), Variable::Constant(value)).is_none()
    }

    /// Whether the name has a meaning already.
    #[must_use]
    pub fn is_known(&self, name: &str) -> bool {
        PREDEFINED.contains(&name) || self.known.contains_key(name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.known.get(name)
    }

    /// The names nearest to a misspelt one, as they are written.
    pub(super) fn nearest(&self, name: &str) -> Vec<String> {
        let names = PREDEFINED.into_iter().chain(self.known.keys().map(String::as_str));
        nearest(name, names, None).iter().map(|name| format!("%{name}")).collect()
    }
}

/// The value that a primitive of a FHIR type (`date`, `code`) has, written as FHIR's JSON writes
/// it but for the quotes. `None` if the text is no such value.
#[must_use]
pub fn primitive(fhir_type: &str, text: &str) -> Option<Item<'static>> {
    Some(match fhir_type {
        "boolean" => Item::Boolean(text.parse().ok()?),
        "integer" | "integer64" | "positiveInt" | "unsignedInt" => {
            Item::Integer(text.parse().ok()?)
        }
        "decimal" => Item::Decimal(number::parse_decimal(text).ok()?),
        "date" => Item::Date(Temporal::parse_date(text)?),
        "dateTime" | "instant" => Item::DateTime(Temporal::parse_date_time(text)?),
        "time" => Item::Time(Temporal::parse_time(text)?),
        _ => Item::String(text.to_owned().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_system_type_of_its_fhir_type() {
        for (fhir_type, text, expected) in [
            ("boolean", "true", Some("Boolean")),
            ("boolean", "yes", None),
            ("positiveInt", "7", Some("Integer")),
            ("integer64", "9223372036854775807", Some("Integer")),
            ("integer64", "9223372036854775808", None),
            ("decimal", "7", Some("Decimal")),
            ("decimal", "1e999999999", None),
            ("date", "2024-03", Some("Date")),
            ("date", "2024-03-01T10:00:00Z", None),
            ("dateTime", "2024-03", Some("DateTime")),
            ("instant", "2024-03-01T10:00:00Z", Some("DateTime")),
            ("time", "10:00:00", Some("Time")),
            ("code", "7", Some("String")),
        ] {
            let found = primitive(fhir_type, text);
            let found = found.as_ref().and_then(Item::type_name);
            assert_eq!(found, expected, "{fhir_type} {text}");
        }
    }

    #[test]
    fn the_first_meaning_of_a_name_stays() {
        let mut variables = Variables::of_views();
        assert!(variables.define("x", Item::Integer(1)));
        for taken in ["x", "rowIndex", "resource", "ucum"] {
            assert!(!variables.define(taken, Item::Integer(2)), "{taken}");
        }
        assert!(matches!(variables.get("x"), Some(Variable::Constant(Item::Integer(1)))));
    }
}
