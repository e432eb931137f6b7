//! The type of a view's column.
//!
//! In: the FHIR type of a value, and the SQL type that a tag may ask for. Out: a [`ColumnType`].
//! The types are those that SQL on FHIR suggests, but for decimals: it makes text of them to keep
//! their digits, which a DECIMAL here keeps too.

use crate::model::ColumnType;
use crate::transform::fhirpath::FhirType;

/// The tag that says a column's SQL type.
pub(super) const TAG: &str = "ansi/type";

/// FHIR's primitive types, those of SQL on FHIR.
pub(super) const PRIMITIVES: [&str; 20] = [
    "base64Binary",
    "boolean",
    "canonical",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "integer64",
    "markdown",
    "oid",
    "positiveInt",
    "string",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
];

/// What `ansi/type` may say; lengths may be left out.
pub(super) const ACCEPTED: [&str; 24] = [
    "CHARACTER(n)",
    "CHARACTER VARYING(n)",
    "VARCHAR(n)",
    "CHARACTER LARGE OBJECT",
    "CLOB",
    "TEXT",
    "SMALLINT",
    "INTEGER",
    "INT",
    "BIGINT",
    "NUMERIC(p, s)",
    "DECIMAL(p, s)",
    "REAL",
    "FLOAT(p)",
    "DOUBLE PRECISION",
    "BOOLEAN",
    "DATE",
    "TIME(p)",
    "TIMESTAMP(p)",
    "TIMESTAMP(p) WITH TIME ZONE",
    "BINARY VARYING",
    "BINARY LARGE OBJECT",
    "UUID",
    "JSON",
];

/// Where FHIR's types are defined.
const FHIR_PREFIX: &str = "http://hl7.org/fhir/StructureDefinition/";
/// Where FHIRPath's are.
const SYSTEM_PREFIX: &str = "http://hl7.org/fhirpath/System.";

/// A type that values of a column have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    /// A literal in JSON, and the column it goes to.
    Primitive(ColumnType),
    /// An object.
    Object,
}

impl ValueType {
    /// The type that a definition names, by name or URI. `None` if there is no such type in R4.
    pub(super) fn written(name: &str) -> Option<Self> {
        if let Some(system) = name.strip_prefix(SYSTEM_PREFIX) {
            return Self::computed(system);
        }
        Self::named(name.strip_prefix(FHIR_PREFIX).unwrap_or(name))
    }

    /// The type of this name: FHIR's (`code`, `HumanName`, `Patient.contact`) or that of a
    /// computed value (`Integer`).
    pub(super) fn named(name: &str) -> Option<Self> {
        let column_type = match name {
            "boolean" => ColumnType::Boolean,
            "integer" | "positiveInt" | "unsignedInt" => ColumnType::Int,
            // of R5
            "integer64" => ColumnType::BigInt,
            "decimal" => ColumnType::Decimal,
            "instant" => ColumnType::DateTime,
            "base64Binary" => ColumnType::Binary,
            _ => match FhirType::named(name) {
                Some(known) if known.is_primitive() => ColumnType::String,
                Some(_) => return Some(Self::Object),
                None => return Self::computed(name),
            },
        };
        Some(Self::Primitive(column_type))
    }

    fn computed(name: &str) -> Option<Self> {
        let column_type = match name {
            "Boolean" => ColumnType::Boolean,
            "Integer" => ColumnType::Int,
            "Decimal" => ColumnType::Decimal,
            "String" | "Date" | "DateTime" | "Time" => ColumnType::String,
            _ => return None,
        };
        Some(Self::Primitive(column_type))
    }
}

/// The column that an SQL type of ISO/IEC 9075 means, and its longest text in characters. `None`
/// for a type that is not known.
pub(super) fn sql_type(text: &str) -> Option<(ColumnType, Option<usize>)> {
    let (name, sizes, zone) = parts(text)?;
    let (column_type, most_sizes) = match name.as_str() {
        "CHARACTER" | "CHAR" | "CHARACTER VARYING" | "CHAR VARYING" | "VARCHAR" => {
            (ColumnType::String, 1)
        }
        "CHARACTER LARGE OBJECT" | "CHAR LARGE OBJECT" | "CLOB" | "TEXT" => (ColumnType::String, 0),
        "SMALLINT" | "INTEGER" | "INT" => (ColumnType::Int, 0),
        "BIGINT" => (ColumnType::BigInt, 0),
        "NUMERIC" | "DECIMAL" | "DEC" => (ColumnType::Decimal, 2),
        "FLOAT" => (ColumnType::Double, 1),
        "REAL" | "DOUBLE PRECISION" | "DOUBLE" => (ColumnType::Double, 0),
        "BOOLEAN" => (ColumnType::Boolean, 0),
        "DATE" => (ColumnType::Date, 0),
        "TIME" if zone != "WITH TIME ZONE" => (ColumnType::Time, 1),
        "TIMESTAMP" => (ColumnType::DateTime, 1),
        "BINARY" | "BINARY VARYING" | "VARBINARY" | "BINARY LARGE OBJECT" | "BLOB" => {
            (ColumnType::Binary, 0)
        }
        "UUID" => (ColumnType::Uuid, 0),
        "JSON" => (ColumnType::Json, 0),
        _ => return None,
    };
    let maximum = match (name.as_str(), sizes.first().copied()) {
        // without a length it has one character
        ("CHARACTER" | "CHAR", None) => Some(1),
        (_, length) if column_type == ColumnType::String => length,
        _ => None,
    };
    let has_clock = matches!(column_type, ColumnType::Time | ColumnType::DateTime);
    let is_one = sizes.len() <= most_sizes && (zone.is_empty() || has_clock) && maximum != Some(0);
    is_one.then_some((column_type, maximum))
}

/// `timestamp(6) with time zone` as its name, sizes and time zone, in capitals.
fn parts(text: &str) -> Option<(String, Vec<usize>, String)> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase();
    let Some((before, rest)) = text.split_once('(') else {
        let text = words(text);
        let zone = ["WITH TIME ZONE", "WITHOUT TIME ZONE"]
            .into_iter()
            .find(|zone| text.ends_with(&format!(" {zone}")))
            .unwrap_or_default();
        let name = text.strip_suffix(zone).unwrap_or(&text).trim_end().to_owned();
        return Some((name, Vec::new(), zone.to_owned()));
    };
    let (sizes, after) = rest.split_once(')')?;
    let sizes: Result<Vec<usize>, _> = sizes.split(',').map(|size| size.trim().parse()).collect();
    let zone = words(after);
    matches!(zone.as_str(), "" | "WITH TIME ZONE" | "WITHOUT TIME ZONE").then_some((
        words(before),
        sizes.ok()?,
        zone,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_types_are_read_in_any_case_and_spacing() {
        for (text, column_type, size) in [
            ("VARCHAR", ColumnType::String, None),
            ("varchar(10)", ColumnType::String, Some(10)),
            ("Character  Varying ( 200 )", ColumnType::String, Some(200)),
            ("CHAR", ColumnType::String, Some(1)),
            ("CHARACTER(3)", ColumnType::String, Some(3)),
            ("character large object", ColumnType::String, None),
            ("INTEGER", ColumnType::Int, None),
            ("BIGINT", ColumnType::BigInt, None),
            ("NUMERIC(10, 2)", ColumnType::Decimal, None),
            ("DOUBLE PRECISION", ColumnType::Double, None),
            ("DATE", ColumnType::Date, None),
            ("TIME WITHOUT TIME ZONE", ColumnType::Time, None),
            ("TIMESTAMP", ColumnType::DateTime, None),
            ("timestamp(6) with time zone", ColumnType::DateTime, None),
            ("TIMESTAMP WITH TIME ZONE", ColumnType::DateTime, None),
            ("BINARY VARYING", ColumnType::Binary, None),
        ] {
            assert_eq!(sql_type(text), Some((column_type, size)), "{text}");
        }
    }

    #[test]
    fn what_is_no_sql_type_or_would_mean_another_is_not_guessed() {
        for text in [
            "",
            "STRING",
            "VARCHAR(0)",
            "VARCHAR(ten)",
            "VARCHAR(1, 2)",
            "VARCHAR(10",
            "VARCHAR(10) ARRAY",
            "DATE WITH TIME ZONE",
            "TIME WITH TIME ZONE",
            "INTEGER(4)",
            "NUMERIC(1,2,3)",
            "INTERVAL",
            "WITH TIME ZONE",
        ] {
            assert_eq!(sql_type(text), None, "{text}");
        }
    }

    #[test]
    fn every_accepted_sql_type_is_one() {
        for text in ACCEPTED {
            let written = text.replace("(n)", "(9)").replace("(p", "(9").replace(" s)", " 2)");
            assert!(sql_type(&written).is_some(), "{text}");
        }
    }

    #[test]
    fn types_are_named_by_name_uri_or_element() {
        let text = Some(ValueType::Primitive(ColumnType::String));
        for name in ["date", "code", "http://hl7.org/fhir/StructureDefinition/dateTime"] {
            assert_eq!(ValueType::written(name), text, "{name}");
        }
        let integer = Some(ValueType::Primitive(ColumnType::Int));
        assert_eq!(ValueType::written("http://hl7.org/fhirpath/System.Integer"), integer);
        for name in ["Address", "Observation.referenceRange", "Patient"] {
            assert_eq!(ValueType::written(name), Some(ValueType::Object), "{name}");
        }
        for name in ["", "strin", "http://example.org/string", "VARCHAR"] {
            assert_eq!(ValueType::written(name), None, "{name}");
        }
    }
}
