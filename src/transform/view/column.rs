//! The columns of a view.
//!
//! In: a column as it is written and where it stands. Out: the table's column with what fills it,
//! and all that is wrong with it or with the columns together. The managed columns are here too:
//! which a view may have of its own and which never.

use std::collections::HashMap;
use std::sync::Arc;

use super::column_type::{self, ValueType};
use super::compile::Compiler;
use super::document::ColumnDefinition;
use super::program::{ColumnProgram, Count, Managed};
use crate::model::{Column, ColumnSource, ColumnType, Value};
use crate::problem::advice;
use crate::transform::cast::Scalar;
use crate::transform::expression::Expression;
use crate::transform::fhirpath::Path;
use crate::transform::names;
use crate::transform::rules::PartialDate;

/// Columns that rowcast fills unless the view has one of that name, in the order of the table's
/// columns.
pub(super) const MANAGED: [(&str, ColumnType, ColumnSource, Managed); 3] = [
    ("id", ColumnType::Uuid, ColumnSource::Id, Managed::Id),
    ("version", ColumnType::BigInt, ColumnSource::Version, Managed::Version),
    (SOURCE_RESOURCE_ID, ColumnType::String, ColumnSource::SourceResourceId, Managed::ResourceId),
];

/// The managed column that finds a resource's rows, so it is never the view's own.
pub(super) const SOURCE_RESOURCE_ID: &str = "source_resource_id";

/// A managed column of child tables, which views have none of.
const PARENT_REFERENCE: &str = "parent_reference";

/// A column of the view's table that rowcast fills; only the resource's id must be there.
pub(super) fn managed_column(name: &str, column_type: ColumnType, source: &ColumnSource) -> Column {
    Column {
        name: name.into(),
        column_type,
        maximum_size: None,
        optional: *source != ColumnSource::SourceResourceId,
        source: source.clone(),
    }
}

/// A column of the view's table, and where it is written.
pub(super) struct Output {
    pub(super) at: String,
    pub(super) column: Column,
    /// What it holds where a `forEachOrNull` yields nothing.
    pub(super) nothing: Value,
}

impl Compiler<'_> {
    pub(super) fn column(
        &mut self,
        at: &str,
        written: &ColumnDefinition,
        context: Option<&str>,
    ) -> Option<(ColumnProgram, Output)> {
        if let Some(fault) = fault_of_name(&written.name) {
            self.report(&format!("{at}/name"), fault);
        }
        let value = self.expression(&format!("{at}/path"), &written.path, context)?;
        let value_type = self.value_type(at, written, &value.path);
        let (column_type, maximum) = self.column_type(at, written, value_type);
        let count = if written.collection { Count::Collection } else { Count::One };
        // `%rowIndex` is 0 where there is nothing, anything else is null
        let is_row_index = written.path.trim() == "%rowIndex";
        let zero = Scalar::Number("0".into()).cast(column_type, PartialDate::Error);
        let nothing = match zero {
            Ok(zero) if is_row_index => zero,
            _ => Value::Null,
        };
        let name: Arc<str> = written.name.as_str().into();
        let column = Column {
            name: name.clone(),
            column_type,
            maximum_size: maximum,
            source: ColumnSource::Rule { rule: self.rule(at), path: written.path.as_str().into() },
            optional: false,
        };
        let value = Expression { rule: self.rule(at), path: value.path };
        let program = ColumnProgram { name, value, column_type, count, maximum };
        Some((program, Output { at: at.to_owned(), column, nothing }))
    }

    /// What the values of a column are: what it says, or what its path yields, if that is known.
    fn value_type(
        &mut self,
        at: &str,
        written: &ColumnDefinition,
        path: &Path,
    ) -> Option<ValueType> {
        let yields = path.result_type().unwrap_or_default();
        let found = ValueType::named(yields);
        let Some(name) = &written.fhir_type else {
            if found == Some(ValueType::Object) && !written.collection {
                let message = format!(
                    "the path yields {yields}, which is an object: let it end at a primitive, or \
                     give the column the `type` {yields} for a JSON column"
                );
                self.report(&format!("{at}/path"), message);
            }
            return found;
        };
        let declared = ValueType::written(name);
        let fault = match (declared, found) {
            (None, _) => {
                let advice = advice(name, &column_type::PRIMITIVES);
                format!("unknown type{advice}; an object's is its name: `HumanName`")
            }
            (Some(ValueType::Primitive(_)), Some(ValueType::Object)) => {
                format!("the path yields {yields}, which is an object")
            }
            (Some(ValueType::Object), Some(ValueType::Primitive(_))) => {
                format!("the path yields {yields}, which is no object")
            }
            _ => return declared,
        };
        self.report(&format!("{at}/type"), fault);
        declared
    }

    /// The type of a column and its longest text: what its tag says, or what its values need.
    fn column_type(
        &mut self,
        at: &str,
        written: &ColumnDefinition,
        value_type: Option<ValueType>,
    ) -> (ColumnType, Option<usize>) {
        let needed = match value_type {
            Some(ValueType::Primitive(column_type)) if !written.collection => column_type,
            None if !written.collection => ColumnType::String,
            _ => ColumnType::Json,
        };
        let tags = written.tag.iter().enumerate();
        let mut tags = tags.filter(|(_, tag)| tag.name == column_type::TAG);
        let Some((index, tag)) = tags.next() else { return (needed, None) };
        if let Some((second, _)) = tags.next() {
            let message = format!("the column has the tag `{}` already", column_type::TAG);
            self.report(&format!("{at}/tag/{second}"), message);
        }
        let fault = match column_type::sql_type(&tag.value) {
            None => format!("unknown SQL type (accepted: {})", column_type::ACCEPTED.join(", ")),
            Some((other, _)) if written.collection && !is_json_or_text(other) => {
                format!("a collection is written as JSON, to a column of JSON or text, not {other}")
            }
            Some((other, _))
                if value_type == Some(ValueType::Object)
                    && !written.collection
                    && other != ColumnType::Json =>
            {
                format!("an object is written as JSON, to a column of JSON, not {other}")
            }
            Some(found) => return found,
        };
        self.report(&format!("{at}/tag/{index}/value"), fault);
        (needed, None)
    }

    /// Names of columns, over all selects.
    pub(super) fn unique(&mut self, outputs: &[Output]) {
        let mut first_at: HashMap<String, &str> = HashMap::new();
        for output in outputs {
            let name = output.column.name.to_lowercase();
            if let Some(first) = first_at.get(name.as_str()) {
                let message = format!("the column is given twice, first by {first}");
                self.report(&format!("{}/name", output.at), message);
            } else {
                first_at.insert(name, &output.at);
            }
        }
    }

    /// Whether a branch of a union has the columns of the first.
    pub(super) fn same_columns(&mut self, at: &str, first: &[Output], other: &[Output]) {
        let names = |outputs: &[Output]| {
            outputs.iter().map(|output| &*output.column.name).collect::<Vec<_>>().join("`, `")
        };
        if names(first) != names(other) {
            let message = format!(
                "the branches of a union have the same columns in the same order; this one has \
                 `{}`, the first has `{}`",
                names(other),
                names(first)
            );
            self.report(at, message);
            return;
        }
        for (first, other) in first.iter().zip(other) {
            let (wanted, found) = (&first.column, &other.column);
            if (wanted.column_type, wanted.maximum_size) != (found.column_type, found.maximum_size)
            {
                let message = format!(
                    "the column is {} here and {} in the first branch of the union; give both \
                     the same `type`",
                    shown(found),
                    shown(wanted)
                );
                self.report(&other.at, message);
            }
        }
    }
}

/// What is wrong with the name of a column.
fn fault_of_name(name: &str) -> Option<String> {
    let managed = MANAGED.iter().map(|(name, ..)| *name).chain([PARENT_REFERENCE]);
    let managed = managed.into_iter().find(|managed| managed.eq_ignore_ascii_case(name));
    match managed {
        Some(SOURCE_RESOURCE_ID) => {
            Some(format!("rowcast fills `{SOURCE_RESOURCE_ID}`; leave the column out"))
        }
        Some(PARENT_REFERENCE) => {
            Some(format!("rowcast keeps `{PARENT_REFERENCE}` for itself; take another name"))
        }
        Some(managed) if managed != name => {
            Some(format!("only case tells this from the managed column: write `{managed}`"))
        }
        _ => names::fault(name),
    }
}

/// Where a JSON array can be written.
const fn is_json_or_text(column_type: ColumnType) -> bool {
    matches!(column_type, ColumnType::Json | ColumnType::String)
}

/// A column's type as a message shows it.
fn shown(column: &Column) -> String {
    match column.maximum_size {
        Some(size) => format!("{} of {size} characters", column.column_type),
        None => column.column_type.to_string(),
    }
}
