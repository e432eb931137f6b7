//! The columns of one table.
//!
//! In: the column rules of a transformer and where it stands. Out: the table's columns, managed
//! ones first, each with what fills it. Managed columns may be mapped only to what rowcast would
//! write there itself: they carry the guard and the keys.

use std::collections::HashMap;
use std::sync::Arc;

use super::document::{ColumnRule, MultipleStrategy, OverflowStrategy, RulesDocument};
use super::program::{ColumnProgram, Fill, Maximum, PathColumn};
use crate::model::{Column, ColumnSource, ColumnType, Value};
use crate::problem::Problem;
use crate::transform::cast::Scalar;
use crate::transform::fhirpath::Path;
use crate::transform::names;

/// Columns that rowcast fills unless a rule maps them, in the order of the tables' columns. The
/// last is a child's only.
const MANAGED: [&str; 4] = ["id", "version", "source_resource_id", "parent_reference"];

/// Longest id that FHIR allows, characters.
const MAX_ID: usize = 64;

/// Where a table stands.
pub(super) enum Level {
    /// A root table; the context is its resource type.
    Root,
    /// A child table; its parent's `id` has this type.
    Child { parent_id: ColumnType },
}

/// What compiling the columns of one table takes.
pub(super) struct ColumnCompiler<'c> {
    pub(super) file: &'c str,
    pub(super) document: &'c RulesDocument,
    /// FHIR type at which the paths begin, if known.
    pub(super) context: Option<&'c str>,
    pub(super) level: &'c Level,
    pub(super) problems: &'c mut Vec<Problem>,
}

impl ColumnCompiler<'_> {
    /// The columns of the table in their order.
    pub(super) fn compile(
        &mut self,
        at: &str,
        rules: &[ColumnRule],
    ) -> Vec<(Column, ColumnProgram)> {
        let mut mapped: Vec<(Column, ColumnProgram)> = Vec::new();
        let mut first_at: HashMap<String, usize> = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let at = format!("{at}/{index}");
            if let Some(fault) = names::fault(&rule.column_name) {
                self.report(&at, "columnName", fault);
                continue;
            }
            let first = *first_at.entry(rule.column_name.to_lowercase()).or_insert(index);
            if first != index {
                let message = format!("the column is given twice, first by columns/{first}");
                self.report(&at, "columnName", message);
                // what else is wrong with it is told as well
                self.column(&at, rule);
                continue;
            }
            mapped.extend(self.column(&at, rule));
        }
        if let Level::Root = self.level
            && let Some(at) = first_at.get("source_resource_id").map(|at_| format!("{at}/{at_}"))
            && !first_at.contains_key("id")
        {
            self.report(
                &at,
                "columnName",
                "a mapped `source_resource_id` does not find a resource's row any more; \
                 map `id` to the resource's id too",
            );
        }
        let mut columns = Vec::with_capacity(mapped.len() + MANAGED.len());
        for name in MANAGED {
            match mapped.iter().position(|(column, _)| &*column.name == name) {
                Some(position) => columns.push(mapped.remove(position)),
                None => columns.extend(self.managed(name, first_at.contains_key("id"))),
            }
        }
        columns.append(&mut mapped);
        columns
    }

    /// A column that no rule maps.
    fn managed(&self, name: &str, id_is_mapped: bool) -> Option<(Column, ColumnProgram)> {
        let is_child = matches!(self.level, Level::Child { .. });
        let (column_type, source, fill, optional) = match (name, self.level) {
            ("id", _) => (ColumnType::Uuid, ColumnSource::Id, Fill::Id, false),
            ("version", _) => (ColumnType::BigInt, ColumnSource::Version, Fill::Version, is_child),
            ("source_resource_id", _) => (
                ColumnType::String,
                ColumnSource::SourceResourceId,
                Fill::ResourceId,
                !is_child && id_is_mapped,
            ),
            ("parent_reference", Level::Child { parent_id }) => {
                (*parent_id, ColumnSource::ParentReference, Fill::ParentReference, false)
            }
            _ => return None,
        };
        let name: Arc<str> = name.into();
        let column =
            Column { name: name.clone(), column_type, maximum_size: None, source, optional };
        Some((column, ColumnProgram { name, column_type, rule: None, fill }))
    }

    /// A column as its rule says.
    fn column(&mut self, at: &str, rule: &ColumnRule) -> Option<(Column, ColumnProgram)> {
        let name = rule.column_name.as_str();
        let managed = MANAGED.into_iter().find(|managed| managed.eq_ignore_ascii_case(name));
        let fill = match (managed, self.level) {
            (Some(managed), _) if managed != name => {
                self.report(
                    at,
                    "columnName",
                    format!("only case tells this from the managed column: write `{managed}`"),
                );
                return None;
            }
            (Some(managed), Level::Child { .. }) => {
                self.report(
                    at,
                    "columnName",
                    format!("rowcast fills `{managed}` in child tables; leave it out"),
                );
                return None;
            }
            (Some("id"), Level::Root) => self.mapped_id(at, rule),
            (Some("version"), Level::Root) => self.mapped_version(at, rule),
            _ => self.data(at, rule)?,
        };
        let place: Arc<str> = format!("{}#{at}", self.file).into();
        let name: Arc<str> = name.into();
        let column_type = rule.column_type.into();
        let path = rule.fhir_path.as_deref().unwrap_or_default().into();
        let column = Column {
            name: name.clone(),
            column_type,
            maximum_size: rule.maximum_size,
            source: ColumnSource::Rule { rule: place.clone(), path },
            optional: false,
        };
        Some((column, ColumnProgram { name, column_type, rule: Some(place), fill }))
    }

    /// `id` mapped to the resource's id.
    fn mapped_id(&mut self, at: &str, rule: &ColumnRule) -> Fill {
        self.only_path(at, rule, "id");
        match rule.column_type.into() {
            ColumnType::String | ColumnType::Uuid | ColumnType::Int | ColumnType::BigInt => {}
            other => {
                let message = format!("an id is no {other} (accepted: STRING, UUID, INT, BIGINT)");
                self.report(at, "columnType", message);
            }
        }
        if rule.maximum_size.is_some_and(|size| size < MAX_ID) {
            let message = format!("ids have up to {MAX_ID} characters and must not be cut");
            self.report(at, "maximumSize", message);
        }
        Fill::ResourceId
    }

    /// `version` mapped to the resource's version.
    fn mapped_version(&mut self, at: &str, rule: &ColumnRule) -> Fill {
        self.only_path(at, rule, "meta.versionId");
        let column_type = rule.column_type.into();
        if !matches!(column_type, ColumnType::Int | ColumnType::BigInt) {
            let message = format!("a version is no {column_type} (accepted: BIGINT, INT)");
            self.report(at, "columnType", message);
        }
        Fill::Version
    }

    /// A managed column takes this path, from the resource type on if you like, and nothing that
    /// would alter the value.
    fn only_path(&mut self, at: &str, rule: &ColumnRule, accepted: &str) {
        let name = &rule.column_name;
        // a resource type that is unknown has its problem already
        let begins_well = |begin: &str| self.context.is_none_or(|known| begin == known);
        let is_accepted = |path: &str| {
            let behind_type = path.strip_suffix(accepted).and_then(|begin| begin.strip_suffix('.'));
            path == accepted || behind_type.is_some_and(begins_well)
        };
        match rule.fhir_path.as_deref() {
            Some(path) if is_accepted(path.trim()) => {}
            Some(_) => {
                let with_type = self.context.map(|known| format!(" or `{known}.{accepted}`"));
                let message = format!(
                    "`{name}` may only be mapped from `{accepted}`{}",
                    with_type.unwrap_or_default()
                );
                self.report(at, "fhirPath", message);
            }
            None => self.report(at, "fhirPath", "is required"),
        }
        for (key, given) in
            [("constant", rule.constant.is_some()), ("default", rule.default.is_some())]
        {
            if given {
                self.report(at, key, format!("`{name}` takes no `{key}`"));
            }
        }
    }

    /// A column of the user's own.
    fn data(&mut self, at: &str, rule: &ColumnRule) -> Option<Fill> {
        let column_type: ColumnType = rule.column_type.into();
        let strategy = rule.multiple_primitive_strategy.unwrap_or_default();
        let partial_date = rule.partial_date.unwrap_or_default();
        let maximum = rule.maximum_size.map(|size| Maximum {
            size,
            overflow: rule
                .overflow_strategy
                .or(self.document.overflow_strategy)
                .unwrap_or_default(),
        });
        self.fitting(at, rule, column_type, strategy, maximum);
        let default = self.literal(at, "default", rule.default.as_ref(), rule, maximum);
        let constant = self.literal(at, "constant", rule.constant.as_ref(), rule, maximum);
        match (&rule.fhir_path, &rule.constant) {
            (None, None) => {
                self.report(at, "", "either `fhirPath` or `constant` is needed");
                None
            }
            (Some(_), Some(_)) => {
                self.report(at, "constant", "`fhirPath` and `constant` exclude each other");
                None
            }
            (None, Some(_)) => {
                if rule.default.is_some() {
                    self.report(at, "default", "a constant needs no `default`");
                }
                constant.map(Fill::Constant)
            }
            (Some(expression), None) => match Path::compile(expression, self.context) {
                Ok(path) => Some(Fill::Path(PathColumn {
                    path,
                    strategy,
                    delimiter: self
                        .document
                        .concatenation_delimiter
                        .as_deref()
                        .unwrap_or(" ")
                        .into(),
                    maximum,
                    default: default.unwrap_or(Value::Null),
                    partial_date,
                })),
                Err(error) => {
                    self.report(at, "fhirPath", names::refused_path(&error));
                    None
                }
            },
        }
    }

    /// Options that mean nothing with the column's type.
    fn fitting(
        &mut self,
        at: &str,
        rule: &ColumnRule,
        column_type: ColumnType,
        strategy: MultipleStrategy,
        maximum: Option<Maximum>,
    ) {
        let is_text = column_type == ColumnType::String;
        match strategy {
            MultipleStrategy::Concat if !is_text => {
                let message = format!("CONCAT makes a STRING, not {column_type}");
                self.report(at, "multiplePrimitiveStrategy", message);
            }
            MultipleStrategy::Json if !is_text && column_type != ColumnType::Json => {
                let message = format!("JSON makes a JSON or STRING, not {column_type}");
                self.report(at, "multiplePrimitiveStrategy", message);
            }
            _ => {}
        }
        if let Some(maximum) = maximum {
            if !is_text {
                let message = format!("only a STRING has a size in characters, not {column_type}");
                self.report(at, "maximumSize", message);
            } else if strategy == MultipleStrategy::Json
                && maximum.overflow == OverflowStrategy::Truncate
            {
                self.report(at, "maximumSize", "JSON that is cut is no JSON; use ERROR or NULL");
            }
        } else if rule.overflow_strategy.is_some() {
            self.report(at, "overflowStrategy", "it has no effect without `maximumSize`");
        }
        if rule.partial_date.is_some()
            && !matches!(column_type, ColumnType::Date | ColumnType::DateTime)
        {
            let message = format!("only DATE and DATETIME have it, not {column_type}");
            self.report(at, "partialDate", message);
        }
    }

    /// A constant or default as the column's type.
    fn literal(
        &mut self,
        at: &str,
        key: &str,
        literal: Option<&serde_json::Value>,
        rule: &ColumnRule,
        maximum: Option<Maximum>,
    ) -> Option<Value> {
        let literal = literal?;
        let column_type = rule.column_type.into();
        if column_type == ColumnType::Json {
            return Some(Value::Json(literal.to_string()));
        }
        let scalar = match literal {
            serde_json::Value::String(text) => Scalar::Text(text.as_str().into()),
            serde_json::Value::Number(number) => Scalar::Number(number.to_string().into()),
            serde_json::Value::Bool(value) => Scalar::Boolean(*value),
            _ => {
                self.report(at, key, format!("a list or object is no {column_type}"));
                return None;
            }
        };
        match scalar.cast(column_type, rule.partial_date.unwrap_or_default()) {
            Ok(Value::Text(text))
                if maximum.is_some_and(|maximum| text.chars().count() > maximum.size) =>
            {
                self.report(at, key, "it is longer than `maximumSize`");
                None
            }
            Ok(value) => Some(value),
            Err(error) => {
                self.report(at, key, error.to_string());
                None
            }
        }
    }

    fn report(&mut self, at: &str, key: &str, message: impl Into<String>) {
        let at = if key.is_empty() { at.to_owned() } else { format!("{at}/{key}") };
        self.problems.push(Problem::new(self.file, at, message));
    }
}
