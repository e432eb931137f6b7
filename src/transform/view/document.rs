//! The `ViewDefinition` as it is written: that of SQL on FHIR 2.0 and of the 3.0 ballot.
//!
//! In: a JSON tree. Out: the same, typed. It knows what keys there are and what they mean; what
//! makes sense together is `compile`'s.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value};

/// A view: how the resources of one type become the rows of one table (SQL on FHIR v2).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "SQL on FHIR ViewDefinition, as rowcast reads it")]
pub struct ViewDefinition {
    /// For editors; ignored.
    #[serde(rename = "$schema", default)]
    pub schema: Option<String>,
    /// `ViewDefinition`; releases up to 2.0 also write its canonical URL here.
    pub resource_type: String,
    /// The canonical URL of the definition of `ViewDefinition`, as of the 3.0 ballot.
    #[serde(default)]
    pub resource_definition: Option<String>,
    /// FHIR resource type that the view takes, `Patient`.
    pub resource: String,
    /// Name of the view: the target table.
    #[schemars(regex(pattern = "^[A-Za-z][A-Za-z0-9_]*$"))]
    pub name: String,
    /// State of the definition. It changes nothing here: a retired view that is named among the
    /// rules is filled.
    #[serde(default)]
    pub status: Option<PublicationStatus>,
    /// FHIR versions that the view was written for, `4.0.1`. rowcast knows the types of R4, so one
    /// of them must be.
    #[serde(default)]
    pub fhir_version: Option<Vec<String>>,
    /// Profiles that the view was written for. Not checked: use `where`.
    #[serde(default)]
    pub profile: Vec<String>,
    /// Values that expressions may use as `%name`.
    #[serde(default)]
    pub constant: Vec<Constant>,
    /// Columns and nested selects.
    #[schemars(length(min = 1))]
    pub select: Vec<Select>,
    /// What must be true of a resource for it to have rows here.
    #[serde(rename = "where", default)]
    pub condition: Vec<Where>,

    /// Ignored.
    #[serde(default)]
    pub id: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub meta: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub language: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub text: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub contained: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub extension: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub url: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub identifier: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub version: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub version_algorithm_string: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub version_algorithm_coding: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub title: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub experimental: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub date: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub publisher: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub contact: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub description: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub use_context: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub jurisdiction: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub purpose: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub copyright: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub copyright_label: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub approval_date: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub last_review_date: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub effective_period: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub topic: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub author: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub editor: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub reviewer: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub endorser: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub related_artifact: Option<Value>,
}

/// State of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PublicationStatus {
    /// Under development.
    Draft,
    /// Ready for use.
    Active,
    /// Withdrawn.
    Retired,
    /// Not known.
    Unknown,
}

/// Columns, nested selects and unions, for the resource or for each element that a path yields.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Select {
    /// Columns; `path` begins at the element.
    #[serde(default)]
    pub column: Vec<ColumnDefinition>,
    /// Selects below this one; every row of one goes with every row of the others.
    #[serde(default)]
    pub select: Vec<Select>,
    /// FHIRPath; rows for each element that it yields, none if there is none.
    #[serde(default)]
    pub for_each: Option<String>,
    /// FHIRPath; rows for each element that it yields, one of nulls if there is none.
    #[serde(default)]
    pub for_each_or_null: Option<String>,
    /// FHIRPaths; rows for each element that they yield, and again from each of these, at any
    /// depth.
    #[serde(default)]
    pub repeat: Option<Vec<String>>,
    /// Selects of the same columns, whose rows come one after another.
    #[serde(default)]
    pub union_all: Vec<Select>,
    /// Ignored.
    #[serde(default)]
    pub id: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub extension: Option<Value>,
}

/// What fills one column.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ColumnDefinition {
    /// Target column.
    #[schemars(regex(pattern = "^[A-Za-z][A-Za-z0-9_]*$"))]
    pub name: String,
    /// FHIRPath of the value.
    pub path: String,
    /// FHIR type of the value: `string`, `http://hl7.org/fhir/StructureDefinition/string`. What
    /// the path yields unless given; an object needs it.
    #[serde(rename = "type", default)]
    pub fhir_type: Option<String>,
    /// Whether there may be several values; the column is a JSON array then.
    #[serde(default)]
    pub collection: bool,
    /// Ignored.
    #[serde(default)]
    pub description: Option<String>,
    /// `ansi/type` says the column's SQL type; other tags are ignored.
    #[serde(default)]
    pub tag: Vec<Tag>,
    /// Ignored.
    #[serde(default)]
    pub id: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub extension: Option<Value>,
}

/// What a tool is told about a column.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tag {
    /// Name of the tag; rowcast knows `ansi/type`.
    pub name: String,
    /// Its value; of `ansi/type` an SQL type: `VARCHAR(10)`, `DATE`.
    pub value: String,
    /// Ignored.
    #[serde(default)]
    pub id: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub extension: Option<Value>,
}

/// A condition on the resource.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Where {
    /// FHIRPath that yields a boolean; nothing counts as false.
    pub path: String,
    /// Ignored.
    #[serde(default)]
    pub description: Option<String>,
    /// Ignored.
    #[serde(default)]
    pub id: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub extension: Option<Value>,
}

/// A value that expressions may use as `%name`. It has exactly one of the values.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Constant {
    /// Name, without `%`.
    #[schemars(regex(pattern = "^[A-Za-z][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Base64.
    #[serde(default)]
    pub value_base64_binary: Option<String>,
    /// Truth value.
    #[serde(default)]
    pub value_boolean: Option<bool>,
    /// Canonical URL.
    #[serde(default)]
    pub value_canonical: Option<String>,
    /// Code.
    #[serde(default)]
    pub value_code: Option<String>,
    /// `2024`, `2024-03` or `2024-03-01`.
    #[serde(default)]
    pub value_date: Option<String>,
    /// A date, or `2024-03-01T10:30:00+01:00`.
    #[serde(default)]
    pub value_date_time: Option<String>,
    /// Decimal, 15 digits at most.
    #[serde(default)]
    pub value_decimal: Option<Number>,
    /// Id.
    #[serde(default)]
    pub value_id: Option<String>,
    /// `2024-03-01T10:30:00.5+01:00`.
    #[serde(default)]
    pub value_instant: Option<String>,
    /// Whole number.
    #[serde(default)]
    pub value_integer: Option<i32>,
    /// Whole number of 64 bits; FHIR writes it as text.
    #[serde(default)]
    pub value_integer64: Option<String>,
    /// `urn:oid:…`.
    #[serde(default)]
    pub value_oid: Option<String>,
    /// Text.
    #[serde(default)]
    pub value_string: Option<String>,
    /// Whole number from 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub value_positive_int: Option<i32>,
    /// `10:30:00`.
    #[serde(default)]
    pub value_time: Option<String>,
    /// Whole number from 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub value_unsigned_int: Option<i32>,
    /// URI.
    #[serde(default)]
    pub value_uri: Option<String>,
    /// URL.
    #[serde(default)]
    pub value_url: Option<String>,
    /// `urn:uuid:…`.
    #[serde(default)]
    pub value_uuid: Option<String>,
    /// Ignored.
    #[serde(default)]
    pub id: Option<Value>,
    /// Ignored.
    #[serde(default)]
    pub extension: Option<Value>,
}
