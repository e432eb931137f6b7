//! The rules document as it is written: Smile CDR's Rules Definition JSON, unchanged, and our
//! extensions to it.
//!
//! In: a JSON tree. Out: the same, typed. It knows what keys there are and what they mean; what
//! makes sense together is `validate`'s.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::model::ColumnType;

/// Rules: how FHIR resources become rows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "rowcast rules")]
pub struct RulesDocument {
    /// For editors; ignored.
    #[serde(rename = "$schema", default)]
    pub schema: Option<String>,
    /// Whether every version of every row is also appended to `<table>_history`. History is
    /// never deleted from.
    #[serde(default)]
    pub retain_all_history: bool,
    /// Joins the values of columns whose `multiplePrimitiveStrategy` is `CONCAT`. A space unless
    /// given.
    #[serde(default)]
    pub concatenation_delimiter: Option<String>,
    /// What happens to values longer than their column's `maximumSize`. `ERROR` unless given.
    #[serde(default)]
    pub overflow_strategy: Option<OverflowStrategy>,
    /// Columns and child tables that several child tables share, by name.
    #[serde(default)]
    pub named_transformers: BTreeMap<String, NamedTransformer>,
    /// One for each root table.
    #[serde(default)]
    pub transformers: Vec<RootTransformer>,
}

/// What one root table and its child tables take from one resource type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootTransformer {
    /// FHIR resource type, `Patient`. Several transformers may take the same type.
    pub resource_type: String,
    /// Target table, `patient` or `clinical.patient`.
    pub table_name: String,
    /// FHIRPath that must be true for the resource to have rows here. Not in Smile CDR.
    #[serde(rename = "where", default)]
    pub condition: Option<String>,
    /// Columns; `fhirPath` begins at the resource.
    #[serde(default)]
    pub columns: Vec<ColumnRule>,
    /// Tables with one row for each element of the resource that a path yields.
    #[serde(default)]
    pub child_tables: Vec<ChildTable>,
}

/// Columns and child tables to be referred to by name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedTransformer {
    /// Columns; `fhirPath` begins at the element, `$this` is the element itself.
    #[serde(default)]
    pub columns: Vec<ColumnRule>,
    /// Tables one level further down.
    #[serde(default)]
    pub child_tables: Vec<ChildTable>,
}

/// A table with one row for each element that a path yields.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChildTable {
    /// FHIRPath from the parent's element; one row for each element it yields.
    pub fhir_path: String,
    /// Target table.
    pub table_name: String,
    /// Key of `namedTransformers`: what fills the table.
    #[serde(default)]
    pub child_transformer_name: Option<String>,
    /// FHIRPath that must be true for an element to have a row. Not in Smile CDR.
    #[serde(rename = "where", default)]
    pub condition: Option<String>,
    /// What fills the table, instead of `childTransformerName`. Not in Smile CDR.
    #[serde(default)]
    pub columns: Option<Vec<ColumnRule>>,
    /// Tables one level further down, instead of `childTransformerName`. Not in Smile CDR.
    #[serde(default)]
    pub child_tables: Option<Vec<ChildTable>>,
}

/// What fills one column.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ColumnRule {
    /// Target column.
    pub column_name: String,
    /// FHIRPath of the value.
    #[serde(default)]
    pub fhir_path: Option<String>,
    /// Type of the value.
    pub column_type: ColumnTypeName,
    /// What happens if the path yields several values. `ERROR` unless given.
    #[serde(default)]
    pub multiple_primitive_strategy: Option<MultipleStrategy>,
    /// Longest value, characters. Measured after `CONCAT`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub maximum_size: Option<usize>,
    /// Overrides the document's `overflowStrategy`. Not in Smile CDR.
    #[serde(default)]
    pub overflow_strategy: Option<OverflowStrategy>,
    /// The value of every row, instead of `fhirPath`. Not in Smile CDR.
    #[serde(default)]
    pub constant: Option<Value>,
    /// The value where the path yields none. Not in Smile CDR.
    #[serde(default)]
    pub default: Option<Value>,
    /// What happens to `1974` and `1974-03` in a `DATE` or `DATETIME` column. `START` unless
    /// given. Not in Smile CDR.
    #[serde(default)]
    pub partial_date: Option<PartialDate>,
}

/// What happens to a value longer than `maximumSize`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum OverflowStrategy {
    /// Cut to `maximumSize` characters.
    Truncate,
    /// The change is refused with cause `value_too_long`.
    #[default]
    Error,
    /// The column is NULL.
    Null,
}

impl OverflowStrategy {
    /// The name in the rules document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncate => "TRUNCATE",
            Self::Error => "ERROR",
            Self::Null => "NULL",
        }
    }
}

/// What happens if a path yields several values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum MultipleStrategy {
    /// Joined by `concatenationDelimiter`.
    Concat,
    /// The first.
    First,
    /// The last.
    Last,
    /// A JSON array of them, also of a single one.
    Json,
    /// The change is refused with cause `multiple_values`.
    #[default]
    Error,
}

impl MultipleStrategy {
    /// The name in the rules document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Concat => "CONCAT",
            Self::First => "FIRST",
            Self::Last => "LAST",
            Self::Json => "JSON",
            Self::Error => "ERROR",
        }
    }
}

/// What happens to dates without month or day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PartialDate {
    /// Their first day, midnight UTC: `1974-03` is `1974-03-01`.
    #[default]
    Start,
    /// The column is NULL.
    Null,
    /// The change is refused with cause `type_mismatch`.
    Error,
}

impl PartialDate {
    /// The name in the rules document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Null => "NULL",
            Self::Error => "ERROR",
        }
    }
}

/// `columnType` as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ColumnTypeName {
    /// Text.
    String,
    /// Text.
    Text,
    /// 32-bit integer.
    Int,
    /// 32-bit integer.
    Integer,
    /// 64-bit integer.
    BigInt,
    /// 64-bit integer.
    Long,
    /// Decimal that keeps its digits.
    Decimal,
    /// 64-bit float.
    Double,
    /// Truth value.
    Boolean,
    /// Calendar date.
    Date,
    /// Instant, microseconds, UTC.
    DateTime,
    /// Instant, microseconds, UTC.
    Timestamp,
    /// Time of day.
    Time,
    /// UUID.
    Uuid,
    /// JSON text.
    Json,
    /// Bytes, from base64.
    Binary,
}

impl From<ColumnTypeName> for ColumnType {
    fn from(name: ColumnTypeName) -> Self {
        match name {
            ColumnTypeName::String | ColumnTypeName::Text => Self::String,
            ColumnTypeName::Int | ColumnTypeName::Integer => Self::Int,
            ColumnTypeName::BigInt | ColumnTypeName::Long => Self::BigInt,
            ColumnTypeName::Decimal => Self::Decimal,
            ColumnTypeName::Double => Self::Double,
            ColumnTypeName::Boolean => Self::Boolean,
            ColumnTypeName::Date => Self::Date,
            ColumnTypeName::DateTime | ColumnTypeName::Timestamp => Self::DateTime,
            ColumnTypeName::Time => Self::Time,
            ColumnTypeName::Uuid => Self::Uuid,
            ColumnTypeName::Json => Self::Json,
            ColumnTypeName::Binary => Self::Binary,
        }
    }
}
