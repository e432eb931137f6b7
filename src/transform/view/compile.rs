//! A view becomes a program.
//!
//! In: a `ViewDefinition`. Out: the tables of its root and its program, and all problems there
//! are. It goes on after a problem wherever the rest can still be judged; what it has built is
//! used only if there was none.

use std::sync::Arc;

use super::column::{MANAGED, Output, SOURCE_RESOURCE_ID, managed_column};
use super::document::{Select, ViewDefinition};
use super::program::{Iteration, SelectProgram, ViewProgram};
use super::{DEFINITIONS, RESOURCE_TYPE, constant, is_view_type, repeat};
use crate::model::{
    Column, ColumnSource, ColumnType, Guard, RootTable, Row, Table, TableName, is_resource_type,
};
use crate::problem::{Problem, advice};
use crate::transform::expression::Expression;
use crate::transform::fhirpath::{Path, Variables};
use crate::transform::names::{self, TableNames};

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

/// What compiling one view takes.
pub(super) struct Compiler<'a> {
    file: &'a str,
    variables: Variables,
    problems: &'a mut Vec<Problem>,
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
        let before = self.problems.len();
        for (index, branch) in branches.iter().enumerate() {
            let at = format!("{at}/{index}");
            let (program, outputs) = self.select(&at, branch, context);
            programs.push(program);
            match &first {
                None => first = Some(outputs),
                // a column that was refused would be missed
                Some(_) if self.problems.len() > before => {}
                Some(first) => self.same_columns(&at, first, &outputs),
            }
        }
        (programs, first.unwrap_or_default())
    }

    /// What a select is evaluated on, and of which type that is.
    fn iteration<'c>(
        &mut self,
        at: &str,
        select: &Select,
        context: Option<&'c str>,
    ) -> (Iteration, Option<&'c str>) {
        let given =
            [select.for_each.is_some(), select.for_each_or_null.is_some(), select.repeat.is_some()];
        if given.into_iter().filter(|given| *given).count() > 1 {
            self.report(at, "`forEach`, `forEachOrNull` and `repeat` exclude each other");
        }
        if let Some(paths) = &select.repeat {
            return self.repeat(&format!("{at}/repeat"), paths, context);
        }
        let (key, written, make): (_, _, fn(Expression) -> Iteration) =
            match (&select.for_each, &select.for_each_or_null) {
                (Some(written), _) => ("forEach", written, Iteration::Each),
                (None, Some(written)) => ("forEachOrNull", written, Iteration::EachOrNull),
                (None, None) => return (Iteration::Once, context),
            };
        match self.expression(&format!("{at}/{key}"), written, context) {
            Some(expression) => {
                let fhir_type = expression.path.result_type();
                (make(expression), fhir_type)
            }
            None => (Iteration::Once, None),
        }
    }

    fn repeat(
        &mut self,
        at: &str,
        paths: &[String],
        context: Option<&str>,
    ) -> (Iteration, Option<&'static str>) {
        if paths.is_empty() {
            self.report(at, "there is no path to follow");
        }
        match repeat::compile(paths, context, &self.variables) {
            Ok(compiled) => {
                let paths = compiled.paths.into_iter().enumerate();
                let paths = paths.map(|(index, path)| Expression {
                    rule: self.rule(&format!("{at}/{index}")),
                    path,
                });
                (Iteration::Repeat(paths.collect()), compiled.result_type)
            }
            Err(faults) => {
                for (index, fault) in faults {
                    self.report(&format!("{at}/{index}"), names::refused_path(&fault));
                }
                (Iteration::Once, None)
            }
        }
    }

    pub(super) fn expression(
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

    pub(super) fn report(&mut self, at: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(self.file, at, message));
    }

    pub(super) fn rule(&self, at: &str) -> Arc<str> {
        format!("{}#{at}", self.file).into()
    }
}
