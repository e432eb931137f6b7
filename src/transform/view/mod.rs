//! SQL on FHIR v2: a `ViewDefinition` fills one table.
//!
//! In: a definition as it is written. Out: the table it fills and a program, or all that is wrong
//! with it; then the rows of each change. A view has no root row: a resource may have any number
//! of rows in its table, none included, so `rowcast_resource` carries the guard and the view's
//! table hangs below it.
//!
//! The way of a view: `document` → `compile` (with `constant`, `column`, `repeat`) →
//! `program` → `rows`.

use serde_json::Value;

use crate::problem::closest;

mod column;
mod column_type;
mod compile;
mod constant;
mod document;
mod explain;
mod program;
mod repeat;
mod rows;

pub(super) use compile::compile;
pub use document::{
    ColumnDefinition, Constant, PublicationStatus, Select, Tag, ViewDefinition, Where,
};
pub(super) use explain::absences;
pub(super) use program::ViewProgram;
pub(super) use rows::row_sets;

/// Canonical URLs of the definition of `ViewDefinition`: of the 3.0 ballot, of the drafts before
/// it, and of 2.0.
const DEFINITIONS: [&str; 3] = [
    "http://hl7.org/fhir/StructureDefinition/ViewDefinition",
    "http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/ViewDefinition",
    "https://sql-on-fhir.org/ig/StructureDefinition/ViewDefinition",
];

/// `resourceType` of a view; 2.0 writes one of the [`DEFINITIONS`].
const RESOURCE_TYPE: &str = "ViewDefinition";

/// Whether a file is meant as a view: its `resourceType` says so, if perhaps misspelt.
pub(super) fn is_view(file: &Value) -> bool {
    let named = file.get("resourceType").and_then(Value::as_str);
    named.is_some_and(|name| is_view_type(name) || closest(name, [RESOURCE_TYPE]).is_some())
}

fn is_view_type(name: &str) -> bool {
    name == RESOURCE_TYPE || DEFINITIONS.contains(&name)
}
