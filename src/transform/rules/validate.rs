//! Rules documents become programs.
//!
//! In: a rules document. Out: the tables and the program of each root, and all problems there
//! are. It goes on after a problem wherever the rest can still be judged; what it has built is
//! used only if there was none.

use std::sync::Arc;

use super::column::{ColumnCompiler, Level};
use super::document::{ChildTable, ColumnRule, RootTransformer, RulesDocument};
use super::program::{ChildProgram, RootProgram, TableProgram};
use crate::model::{ColumnType, Guard, RootTable, Table, TableIndex, TableName, is_resource_type};
use crate::problem::{Problem, advice, pointer};
use crate::transform::expression::Expression;
use crate::transform::fhirpath::Path;
use crate::transform::names::{self, TableNames};

/// Deepest nesting of child tables. FHIR's own elements nest to about six.
const MAX_DEPTH: usize = 16;

/// Compiles one document.
pub(in crate::transform) fn compile(
    file: &str,
    document: &RulesDocument,
    names: &mut TableNames,
    problems: &mut Vec<Problem>,
) -> Vec<(RootTable, RootProgram)> {
    Compiler { file, document, names, problems, tables: Vec::new(), open: Vec::new() }.roots()
}

/// What compiling one document takes.
struct Compiler<'a> {
    file: &'a str,
    document: &'a RulesDocument,
    names: &'a mut TableNames,
    problems: &'a mut Vec<Problem>,
    /// Tables of the root at hand, each after its parent.
    tables: Vec<Table>,
    /// The named transformers around the table at hand, outermost first.
    open: Vec<&'a str>,
}

/// Where a child table hangs.
struct Parent<'p> {
    table: TableIndex,
    id_type: ColumnType,
    context: Option<&'p str>,
    depth: usize,
}

impl<'a> Compiler<'a> {
    fn roots(&mut self) -> Vec<(RootTable, RootProgram)> {
        if self.document.transformers.is_empty() {
            self.report("/transformers", "there are no transformers, so no table would be filled");
        }
        let document = self.document;
        let transformers = document.transformers.iter().enumerate();
        transformers
            .map(|(index, transformer)| self.root(&format!("/transformers/{index}"), transformer))
            .collect()
    }

    fn root(&mut self, at: &str, rule: &'a RootTransformer) -> (RootTable, RootProgram) {
        let resource_type: Arc<str> = rule.resource_type.as_str().into();
        let context = is_resource_type(&resource_type).then_some(&*resource_type);
        if let Some(fault) = names::unknown_resource_type(&resource_type) {
            self.report(&format!("{at}/resourceType"), fault);
        }
        let name = self.table_name(at, &rule.table_name);
        let condition = self.condition(at, rule.condition.as_deref(), context);
        let (columns, programs) =
            self.columns(&format!("{at}/columns"), &rule.columns, context, &Level::Root);
        let id_type = columns.first().map_or(ColumnType::Uuid, |id| id.column_type);
        self.tables = vec![Table { name: name.clone(), columns, parent: None }];
        let parent = Parent { table: 0, id_type, context, depth: 1 };
        let children = self.children(&format!("{at}/childTables"), &rule.child_tables, &parent);
        let table =
            TableProgram { index: 0, name: name.to_string().into(), columns: programs, children };
        let tables = std::mem::take(&mut self.tables);
        let program = RootProgram { condition, table, tables: tables.len() };
        let root = RootTable {
            guard: Guard::RootRow,
            resource_type,
            tables,
            history: self.document.retain_all_history,
            rule: self.rule(at),
        };
        (root, program)
    }

    fn children(
        &mut self,
        at: &str,
        rules: &'a [ChildTable],
        parent: &Parent<'_>,
    ) -> Vec<ChildProgram> {
        let rules = rules.iter().enumerate();
        rules
            .filter_map(|(index, rule)| self.child(&format!("{at}/{index}"), rule, parent))
            .collect()
    }

    fn child(
        &mut self,
        at: &str,
        rule: &'a ChildTable,
        parent: &Parent<'_>,
    ) -> Option<ChildProgram> {
        if parent.depth > MAX_DEPTH {
            self.report(at, format!("child tables are nested deeper than {MAX_DEPTH} levels"));
            return None;
        }
        let path = self.path(&format!("{at}/fhirPath"), &rule.fhir_path, parent.context);
        let context = path.as_ref().and_then(Path::result_type).map(str::to_owned);
        let context = context.as_deref();
        let condition = self.condition(at, rule.condition.as_deref(), context);
        let before = self.problems.len();
        let name = self.table_name(at, &rule.table_name);
        if self.problems.len() > before {
            // A table met twice would be met again and again below a named transformer.
            return None;
        }
        let filling = self.filling(at, rule)?;
        if let Some(name) = filling.name {
            self.open.push(name);
        }
        let index = self.tables.len();
        let level = Level::Child { parent_id: parent.id_type };
        let (columns, programs) =
            self.columns(&filling.columns_at, filling.columns, context, &level);
        self.tables.push(Table { name: name.clone(), columns, parent: Some(parent.table) });
        let own =
            Parent { table: index, id_type: ColumnType::Uuid, context, depth: parent.depth + 1 };
        let children = self.children(&filling.children_at, filling.children, &own);
        if filling.name.is_some() {
            self.open.pop();
        }
        Some(ChildProgram {
            elements: Expression { rule: self.rule(at), path: path? },
            condition,
            table: TableProgram {
                index,
                name: name.to_string().into(),
                columns: programs,
                children,
            },
        })
    }

    /// What fills a child table: a named transformer, or its own columns.
    fn filling(&mut self, at: &str, rule: &'a ChildTable) -> Option<Filling<'a>> {
        let inline = rule.columns.is_some() || rule.child_tables.is_some();
        let Some(name) = rule.child_transformer_name.as_deref() else {
            if !inline {
                self.report(at, "either `childTransformerName` or `columns` is needed");
                return None;
            }
            return Some(Filling {
                name: None,
                columns_at: format!("{at}/columns"),
                columns: rule.columns.as_deref().unwrap_or_default(),
                children_at: format!("{at}/childTables"),
                children: rule.child_tables.as_deref().unwrap_or_default(),
            });
        };
        let at = format!("{at}/childTransformerName");
        if inline {
            self.report(
                &at,
                "`childTransformerName` and own `columns` or `childTables` exclude each other",
            );
            return None;
        }
        let document = self.document;
        let Some(named) = document.named_transformers.get(name) else {
            let known: Vec<&str> = document.named_transformers.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "; `namedTransformers` has none".to_owned()
            } else {
                advice(name, &known)
            };
            self.report(&at, format!("no named transformer is called `{name}`{known}"));
            return None;
        };
        if let Some(start) = self.open.iter().position(|open| *open == name) {
            let mut circle = self.open.split_off(start);
            self.open.extend_from_slice(&circle);
            circle.push(name);
            let circle = circle.join("` -> `");
            self.report(&at, format!("the named transformer contains itself: `{circle}`"));
            return None;
        }
        let named_at = pointer::join("/namedTransformers", name);
        Some(Filling {
            name: Some(name),
            columns_at: format!("{named_at}/columns"),
            columns: &named.columns,
            children_at: format!("{named_at}/childTables"),
            children: &named.child_tables,
        })
    }

    fn columns(
        &mut self,
        at: &str,
        rules: &[ColumnRule],
        context: Option<&str>,
        level: &Level,
    ) -> (Vec<crate::model::Column>, Vec<super::program::ColumnProgram>) {
        let mut columns = ColumnCompiler {
            file: self.file,
            document: self.document,
            context,
            level,
            problems: self.problems,
        };
        columns.compile(at, rules).into_iter().unzip()
    }

    fn condition(
        &mut self,
        at: &str,
        expression: Option<&str>,
        context: Option<&str>,
    ) -> Option<Expression> {
        let at = format!("{at}/where");
        let path = self.path(&at, expression?, context)?;
        Some(Expression { rule: self.rule(&at), path })
    }

    fn path(&mut self, at: &str, expression: &str, context: Option<&str>) -> Option<Path> {
        Path::compile(expression, context)
            .map_err(|error| self.report(at, names::refused_path(&error)))
            .ok()
    }

    fn table_name(&mut self, at: &str, text: &str) -> TableName {
        let name = TableName::parse(text);
        let place = self.rule(at);
        if let Err(fault) = self.names.take(&name, self.document.retain_all_history, &place) {
            self.report(&format!("{at}/tableName"), fault);
        }
        name
    }

    fn report(&mut self, at: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(self.file, at, message));
    }

    fn rule(&self, at: &str) -> Arc<str> {
        format!("{}#{at}", self.file).into()
    }
}

/// What fills a child table, and where that is written.
struct Filling<'a> {
    name: Option<&'a str>,
    columns_at: String,
    columns: &'a [ColumnRule],
    children_at: String,
    children: &'a [ChildTable],
}
