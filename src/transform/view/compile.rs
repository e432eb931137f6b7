//! A view becomes a program.
//!
//! In: a `ViewDefinition`. Out: the tables of its root and its program, and all problems there
//! are. It goes on after a problem wherever the rest can still be judged; what it has built is
//! used only if there was none.

use std::collections::HashMap;
use std::sync::Arc;

use super::column_type::{self, ValueType};
use super::document::{ColumnDefinition, Select, ViewDefinition};
use super::program::{
    ColumnProgram, Count, Expression, Iteration, Managed, SelectProgram, ViewProgram,
};
use super::{DEFINITIONS, RESOURCE_TYPE, constant, is_view_type, repeat};
use crate::model::{
    Column, ColumnSource, ColumnType, Guard, RootTable, Row, Table, TableName, Value,
    is_resource_type,
};
use crate::problem::{Problem, advice};
use crate::transform::cast::Scalar;
use crate::transform::fhirpath::{Path, Variables};
use crate::transform::names::{self, TableNames};
use crate::transform::rules::PartialDate;

/// Columns that rowcast fills unless the view has one of that name, in the order of the table's
/// columns.
const MANAGED: [(&str, ColumnType, ColumnSource, Managed); 3] = [
    ("id", ColumnType::Uuid, ColumnSource::Id, Managed::Id),
    ("version", ColumnType::BigInt, ColumnSource::Version, Managed::Version),
    (SOURCE_RESOURCE_ID, ColumnType::String, ColumnSource::SourceResourceId, Managed::ResourceId),
];

/// The managed column that finds a resource's rows, so it is never the view's own.
const SOURCE_RESOURCE_ID: &str = "source_resource_id";

/// A managed column of child tables, which views have none of.
const PARENT_REFERENCE: &str = "parent_reference";

/// The table that guards the rows of views.
const GUARD_TABLE: &str = "rowcast_resource";

/// Compiles one view.
pub(in crate::transform) fn compile(
    file: &str,
    view: &ViewDefinition,
    names: &mut TableNames,
    problems: &mut Vec<Problem>,
) -> (RootTable, ViewProgram) {
    let variables = constant::variables(file, &view.constant, problems);
    let mut compiler = Compiler { file, variables, problems };
    compiler.metadata(view);
    let context = is_resource_type(&view.resource).then_some(view.resource.as_str());
    let conditions = compiler.conditions(view, context);
    let name = TableName { schema: None, name: view.name.as_str().into() };
    if let Err(fault) = names.take(&name, false, file) {
        compiler.report("/name", fault);
    }
    let (selects, outputs) = compiler.selects("/select", &view.select, context);
    compiler.unique(&outputs);

    let is_own = |name: &str| outputs.iter().any(|output| &*output.column.name == name);
    let managed: Vec<_> = MANAGED.into_iter().filter(|(name, ..)| !is_own(name)).collect();
    let mut columns: Vec<Column> = managed
        .iter()
        .map(|(name, column_type, source, _)| managed_column(name, *column_type, source))
        .collect();
    columns.extend(outputs.into_iter().map(|output| output.column));
    let root = RootTable {
        resource_type: view.resource.as_str().into(),
        guard: Guard::ResourceTable,
        tables: vec![guard_table(), Table { name, columns, parent: Some(0) }],
        history: false,
        rule: file.into(),
    };
    let program = ViewProgram {
        table: view.name.as_str().into(),
        conditions,
        managed: managed.into_iter().map(|(.., managed)| managed).collect(),
        select: SelectProgram {
            iteration: Iteration::Once,
            columns: Vec::new(),
            selects,
            union: Vec::new(),
            nothing: Row::new(),
        },
    };
    (root, program)
}

fn guard_table() -> Table {
    let column = |name: &str, column_type, source| Column {
        optional: false,
        ..managed_column(name, column_type, &source)
    };
    Table {
        name: TableName { schema: None, name: GUARD_TABLE.into() },
        columns: vec![
            column(SOURCE_RESOURCE_ID, ColumnType::String, ColumnSource::SourceResourceId),
            column("version", ColumnType::BigInt, ColumnSource::Version),
        ],
        parent: None,
    }
}

/// A column of the view's table that rowcast fills; only the resource's id must be there.
fn managed_column(name: &str, column_type: ColumnType, source: &ColumnSource) -> Column {
    Column {
        name: name.into(),
        column_type,
        maximum_size: None,
        optional: *source != ColumnSource::SourceResourceId,
        source: source.clone(),
    }
}

/// What compiling one view takes.
struct Compiler<'a> {
    file: &'a str,
    variables: Variables,
    problems: &'a mut Vec<Problem>,
}

/// A column of the view's table, and where it is written.
struct Output {
    at: String,
    column: Column,
    /// What it holds where a `forEachOrNull` yields nothing.
    nothing: Value,
}

impl Compiler<'_> {
    /// What is said about the view as a whole.
    fn metadata(&mut self, view: &ViewDefinition) {
        if !is_view_type(&view.resource_type) {
            let accepted = [&[RESOURCE_TYPE], &DEFINITIONS[..]].concat();
            let advice = advice(&view.resource_type, &accepted);
            self.report("/resourceType", format!("unknown value{advice}"));
        }
        if let Some(definition) = &view.resource_definition {
            let canonical = definition.split('|').next().unwrap_or_default();
            if !DEFINITIONS.contains(&canonical) {
                let advice = advice(canonical, &DEFINITIONS);
                self.report("/resourceDefinition", format!("unknown value{advice}"));
            }
        }
        if let Some(versions) = &view.fhir_version
            && !versions.iter().any(|version| version.split('.').next() == Some("4"))
        {
            let message = "rowcast knows the types of FHIR R4, and the view is for none of \
                           its versions (accepted: 4.0, 4.0.1, 4.3, 4.3.0, beside others)";
            self.report("/fhirVersion", message);
        }
        if let Some(fault) = names::unknown_resource_type(&view.resource) {
            self.report("/resource", fault);
        }
    }

    fn conditions(&mut self, view: &ViewDefinition, context: Option<&str>) -> Vec<Expression> {
        let conditions = view.condition.iter().enumerate();
        let conditions = conditions.filter_map(|(index, condition)| {
            let at = format!("/where/{index}/path");
            let expression = self.expression(&at, &condition.path, context)?;
            match expression.path.result_type() {
                None | Some("boolean" | "Boolean") => {}
                Some(other) => {
                    let message = format!("a condition yields a boolean, and this yields {other}");
                    self.report(&at, message);
                }
            }
            Some(expression)
        });
        conditions.collect()
    }

    /// Selects side by side, and their columns in order.
    fn selects(
        &mut self,
        at: &str,
        selects: &[Select],
        context: Option<&str>,
    ) -> (Vec<SelectProgram>, Vec<Output>) {
        let mut programs = Vec::with_capacity(selects.len());
        let mut outputs = Vec::new();
        for (index, select) in selects.iter().enumerate() {
            let (program, found) = self.select(&format!("{at}/{index}"), select, context);
            programs.push(program);
            outputs.extend(found);
        }
        (programs, outputs)
    }

    fn select(
        &mut self,
        at: &str,
        select: &Select,
        context: Option<&str>,
    ) -> (SelectProgram, Vec<Output>) {
        let (iteration, context) = self.iteration(at, select, context);
        let context = context.as_deref();
        let mut columns = Vec::with_capacity(select.column.len());
        let mut outputs = Vec::new();
        for (index, column) in select.column.iter().enumerate() {
            if let Some((program, output)) =
                self.column(&format!("{at}/column/{index}"), column, context)
            {
                columns.push(program);
                outputs.push(output);
            }
        }
        let (selects, found) = self.selects(&format!("{at}/select"), &select.select, context);
        outputs.extend(found);
        let (union, found) = self.union(&format!("{at}/unionAll"), &select.union_all, context);
        outputs.extend(found);
        if select.column.is_empty() && select.select.is_empty() && select.union_all.is_empty() {
            self.report(
                at,
                "there is nothing to select: `column`, `select` or `unionAll` is needed",
            );
        }
        let nothing = outputs.iter().map(|output| output.nothing.clone()).collect();
        (SelectProgram { iteration, columns, selects, union, nothing }, outputs)
    }

    /// The branches of a union, and the columns that all of them have.
    fn union(
        &mut self,
        at: &str,
        branches: &[Select],
        context: Option<&str>,
    ) -> (Vec<SelectProgram>, Vec<Output>) {
        let mut programs = Vec::with_capacity(branches.len());
        let mut first: Option<Vec<Output>> = None;
        for (index, branch) in branches.iter().enumerate() {
            let at = format!("{at}/{index}");
            let (program, outputs) = self.select(&at, branch, context);
            programs.push(program);
            match &first {
                None => first = Some(outputs),
                Some(first) => self.same_columns(&at, first, &outputs),
            }
        }
        (programs, first.unwrap_or_default())
    }

    fn same_columns(&mut self, at: &str, first: &[Output], other: &[Output]) {
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

    /// What a select is evaluated on, and of which type that is.
    fn iteration(
        &mut self,
        at: &str,
        select: &Select,
        context: Option<&str>,
    ) -> (Iteration, Option<String>) {
        let given =
            [select.for_each.is_some(), select.for_each_or_null.is_some(), select.repeat.is_some()];
        if given.into_iter().filter(|given| *given).count() > 1 {
            self.report(at, "`forEach`, `forEachOrNull` and `repeat` exclude each other");
        }
        if let Some(paths) = &select.repeat {
            let at = format!("{at}/repeat");
            if paths.is_empty() {
                self.report(&at, "there is no path to follow");
            }
            let compiled = repeat::compile(paths, context, &self.variables);
            let (mut expressions, mut fhir_type) = (Vec::new(), None);
            match compiled {
                Ok(repeat) => {
                    fhir_type = repeat.result_type;
                    for (index, path) in repeat.paths.into_iter().enumerate() {
                        let rule = self.rule(&format!("{at}/{index}"));
                        expressions.push(Expression { rule, path });
                    }
                }
                Err(faults) => {
                    for (index, fault) in faults {
                        self.report(&format!("{at}/{index}"), names::refused_path(&fault));
                    }
                }
            }
            return (Iteration::Repeat(expressions), fhir_type.map(str::to_owned));
        }
        let (key, written, make): (_, _, fn(Expression) -> Iteration) =
            match (&select.for_each, &select.for_each_or_null) {
                (Some(written), _) => ("forEach", written, Iteration::Each),
                (None, Some(written)) => ("forEachOrNull", written, Iteration::EachOrNull),
                (None, None) => return (Iteration::Once, context.map(str::to_owned)),
            };
        match self.expression(&format!("{at}/{key}"), written, context) {
            Some(expression) => {
                let fhir_type = expression.path.result_type().map(str::to_owned);
                (make(expression), fhir_type)
            }
            None => (Iteration::Once, None),
        }
    }

    fn column(
        &mut self,
        at: &str,
        written: &ColumnDefinition,
        context: Option<&str>,
    ) -> Option<(ColumnProgram, Output)> {
        if let Some(fault) = fault_of_name(&written.name) {
            self.report(&format!("{at}/name"), fault);
        }
        let value = self.expression(&format!("{at}/path"), &written.path, context)?;
        let count = if written.collection { Count::Collection } else { Count::One };
        let (column_type, maximum) = self.column_type(at, written, count, &value.path)?;
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

    /// The type of a column and its longest text: what its tag says, or what its values are.
    fn column_type(
        &mut self,
        at: &str,
        written: &ColumnDefinition,
        count: Count,
        path: &Path,
    ) -> Option<(ColumnType, Option<usize>)> {
        let found = path.result_type().and_then(ValueType::named);
        let declared = match &written.fhir_type {
            None => None,
            Some(name) => {
                let declared = ValueType::written(name);
                if declared.is_none() {
                    let message = "this is no type of FHIR R4, by name (`code`, `HumanName`, \
                                   `Patient.contact`) or URI (`http://hl7.org/fhir/StructureDefinition/code`)";
                    self.report(&format!("{at}/type"), message);
                    return None;
                }
                declared
            }
        };
        let yields = path.result_type().unwrap_or_default();
        match (declared, found) {
            (Some(ValueType::Primitive(_)), Some(ValueType::Object)) => {
                let message = format!("the path yields {yields}, which is an object");
                self.report(&format!("{at}/type"), message);
                return None;
            }
            (Some(ValueType::Object), Some(ValueType::Primitive(_))) => {
                let message = format!("the path yields {yields}, which is no object");
                self.report(&format!("{at}/type"), message);
                return None;
            }
            (None, Some(ValueType::Object)) if count == Count::One => {
                let message = format!(
                    "the path yields {yields}, which is an object: let it end at a primitive, or \
                     give the column the `type` {yields} for a JSON column"
                );
                self.report(&format!("{at}/path"), message);
                return None;
            }
            _ => {}
        }
        let natural = match (count, declared.or(found)) {
            (Count::Collection, _) | (_, Some(ValueType::Object)) => ColumnType::Json,
            (_, Some(ValueType::Primitive(column_type))) => column_type,
            (_, None) => ColumnType::String,
        };
        let mut tags =
            written.tag.iter().enumerate().filter(|(_, tag)| tag.name == column_type::TAG);
        let Some((index, tag)) = tags.next() else { return Some((natural, None)) };
        let tag_at = format!("{at}/tag/{index}/value");
        if let Some((second, _)) = tags.next() {
            let message = format!("the column has the tag `{}` already", column_type::TAG);
            self.report(&format!("{at}/tag/{second}"), message);
        }
        let Some((column_type, maximum)) = column_type::sql_type(&tag.value) else {
            let message = format!("unknown SQL type (accepted: {})", column_type::ACCEPTED);
            self.report(&tag_at, message);
            return None;
        };
        if natural == ColumnType::Json
            && !matches!(column_type, ColumnType::Json | ColumnType::String)
        {
            let message =
                format!("what is written as JSON goes to JSON or text, not {column_type}");
            self.report(&tag_at, message);
        }
        Some((column_type, maximum))
    }

    /// Names of columns, over all selects.
    fn unique(&mut self, outputs: &[Output]) {
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

    fn expression(
        &mut self,
        at: &str,
        expression: &str,
        context: Option<&str>,
    ) -> Option<Expression> {
        match Path::compile_with(expression, context, &self.variables) {
            Ok(path) => Some(Expression { rule: self.rule(at), path }),
            Err(error) => {
                self.report(at, names::refused_path(&error));
                None
            }
        }
    }

    fn report(&mut self, at: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(self.file, at, message));
    }

    fn rule(&self, at: &str) -> Arc<str> {
        format!("{}#{at}", self.file).into()
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

/// A column's type as a message shows it.
fn shown(column: &Column) -> String {
    match column.maximum_size {
        Some(size) => format!("{} of {size} characters", column.column_type),
        None => column.column_type.to_string(),
    }
}
