//! What a live schema lacks.
//!
//! In: the catalog, and the tables as the database describes them. Out: every finding at once, each
//! with what mends it. One of severity `Error` stops writing, a `Warning` costs time or some values,
//! an `Information` is only told.

use std::fmt;

use super::ddl::{
    ForeignKeys, TableKind, add_column, indexed, parent_referred_to, table_ddl, tables_of,
};
use super::dialect::Dialect;
use super::live::{LiveColumn, LiveSchema, LiveTable};
use crate::model::{Catalog, Column, ColumnSource, ColumnType, RootTable, Table, TableName};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Information,
    /// Writing works, slowly or not for all values.
    Warning,
    /// Writing cannot work, or would lose digits.
    Error,
}

impl Severity {
    /// For people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Information => "information",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What is wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A schema that a table's name names is not there.
    MissingSchema,
    /// A table is not there.
    MissingTable,
    /// A column is not there.
    MissingColumn,
    /// A column's type does not take the values of the rule.
    WrongType,
    /// A column takes less characters than the rule lets through.
    NarrowColumn,
    /// A column that finds rows takes two ids for one.
    ConfusedIds,
    /// A column refuses NULL, and nobody fills it.
    UnfilledColumn,
    /// The unique key is not there that the guard needs.
    MissingKey,
    /// An index is not there without which each write would read the whole table.
    MissingIndex,
    /// No rule fills a column.
    SuperfluousColumn,
    /// The role may not do what `run` does.
    MissingPrivilege,
}

impl ProblemKind {
    /// The name in `--output json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingSchema => "missing_schema",
            Self::MissingTable => "missing_table",
            Self::MissingColumn => "missing_column",
            Self::WrongType => "wrong_type",
            Self::NarrowColumn => "narrow_column",
            Self::ConfusedIds => "confused_ids",
            Self::UnfilledColumn => "unfilled_column",
            Self::MissingKey => "missing_key",
            Self::MissingIndex => "missing_index",
            Self::SuperfluousColumn => "superfluous_column",
            Self::MissingPrivilege => "missing_privilege",
        }
    }
}

/// What mends a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mending {
    /// Statements that create what is missing and leave what is there as it is.
    Create(Vec<String>),
    /// Statements that change what is there: somebody's decision, never done by itself.
    Change(Vec<String>),
    /// What somebody can do; there is no statement for it.
    Advice(String),
    /// Nothing needs to be done.
    Nothing,
}

impl Mending {
    /// One statement that changes what is there.
    pub(super) fn change(statement: String) -> Self {
        Self::Change(vec![statement])
    }

    /// Its statements, whether or not they may be run by themselves.
    #[must_use]
    pub fn statements(&self) -> &[String] {
        match self {
            Self::Create(statements) | Self::Change(statements) => statements,
            Self::Advice(_) | Self::Nothing => &[],
        }
    }
}

/// One thing that a live schema lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaProblem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, for programs.
    pub kind: ProblemKind,
    /// Table as the rules write it; of a missing schema its name.
    pub table: String,
    /// Column, if it is about one.
    pub column: Option<String>,
    /// What is wrong, for people.
    pub message: String,
    /// What mends it.
    pub mending: Mending,
}

impl fmt::Display for SchemaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table)?;
        if let Some(column) = &self.column {
            write!(f, ".{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Compares a catalog with the live tables. Tables that are to be created get their foreign keys as
/// asked; whether those that are there have any is their owner's business.
#[must_use]
pub fn compare(
    dialect: &dyn Dialect,
    catalog: &Catalog,
    live: &LiveSchema,
    foreign_keys: ForeignKeys,
) -> Vec<SchemaProblem> {
    let schemas = live.missing_schemas.iter().map(|schema| missing_schema(dialect, schema));
    let roots = catalog.roots.iter();
    schemas.chain(roots.flat_map(|root| compare_root(dialect, root, live, foreign_keys))).collect()
}

/// The statements that create what is missing, in the order in which they must be run.
#[must_use]
pub fn creating(problems: &[SchemaProblem]) -> Vec<String> {
    let create = |problem: &SchemaProblem| matches!(problem.mending, Mending::Create(_));
    let missing = problems.iter().filter(|problem| create(problem));
    missing.flat_map(|problem| problem.mending.statements()).cloned().collect()
}

/// The first thing about a root's tables that makes writing impossible.
#[must_use]
pub fn broken(dialect: &dyn Dialect, root: &RootTable, live: &LiveSchema) -> Option<SchemaProblem> {
    let problems = compare_root(dialect, root, live, ForeignKeys::default());
    problems.into_iter().find(|problem| problem.severity == Severity::Error)
}

fn compare_root(
    dialect: &dyn Dialect,
    root: &RootTable,
    live: &LiveSchema,
    foreign_keys: ForeignKeys,
) -> Vec<SchemaProblem> {
    let mut problems = Vec::new();
    for (table, kind) in tables_of(root) {
        Comparison { dialect, root, table, kind, live, foreign_keys }.run(&mut problems);
    }
    problems
}

fn missing_schema(dialect: &dyn Dialect, schema: &str) -> SchemaProblem {
    let mending = dialect.create_schema(schema).map_or_else(
        || Mending::Advice(format!("leave `{schema}.` out of the rules: a file is one schema")),
        |ddl| Mending::Create(vec![ddl]),
    );
    SchemaProblem {
        severity: Severity::Error,
        kind: ProblemKind::MissingSchema,
        table: schema.to_owned(),
        column: None,
        message: "the schema is missing".to_owned(),
        mending,
    }
}

struct Comparison<'a> {
    dialect: &'a dyn Dialect,
    root: &'a RootTable,
    table: &'a Table,
    kind: TableKind,
    live: &'a LiveSchema,
    foreign_keys: ForeignKeys,
}

impl Comparison<'_> {
    fn run(&self, problems: &mut Vec<SchemaProblem>) {
        let name = self.kind.name(self.table);
        let Some(live) = self.live.table(&name) else {
            problems.push(self.missing(&name));
            return;
        };
        for column in &self.table.columns {
            problems.extend(self.column(live, column));
        }
        problems.extend(self.key(live));
        for column in &live.columns {
            if self.table.position(&column.name).is_none() {
                problems.push(self.not_ours(&name, column));
            }
        }
        for column in indexed(self.root, self.table) {
            if !live.indexed.iter().any(|name| name == column) {
                problems.push(self.problem(
                    (Severity::Warning, ProblemKind::MissingIndex),
                    Some(column),
                    "no index begins with the column: every write would scan the table",
                    Mending::Create(vec![self.dialect.create_index(&name, &[column], false)]),
                ));
            }
        }
    }

    fn missing(&self, name: &TableName) -> SchemaProblem {
        let what = (Severity::Error, ProblemKind::MissingTable);
        if name.schema.as_ref().is_some_and(|schema| {
            self.dialect.create_schema(schema).is_none()
                && self.live.missing_schemas.iter().any(|missing| **missing == **schema)
        }) {
            return self.problem(what, None, "the table is missing", Mending::Nothing);
        }
        let parent = parent_referred_to(self.root, self.table, self.kind);
        let refused = parent.filter(|_| self.foreign_keys == ForeignKeys::Declared);
        let refused = refused.filter(|parent| !self.can_be_referred_to(parent));
        let (message, foreign_keys) = match refused {
            Some(parent) => (
                format!(
                    "the table is missing; its foreign key would be left out, because `id` of {} is \
                     not of our type and unique",
                    parent.name
                ),
                ForeignKeys::LeftOut,
            ),
            None => ("the table is missing".to_owned(), self.foreign_keys),
        };
        let ddl = table_ddl(self.dialect, self.root, self.table, self.kind, foreign_keys);
        self.problem(what, None, message, Mending::Create(ddl))
    }

    /// Whether a foreign key to a parent's `id` will be taken: the parent is ours to create, or its
    /// `id` is what ours would be.
    fn can_be_referred_to(&self, parent: &Table) -> bool {
        let Some(live) = self.live.table(&parent.name) else { return true };
        let ours = parent.columns.iter().find(|column| &*column.name == "id");
        let ours = ours.map(|column| self.dialect.column_type(column)).unwrap_or_default();
        let ours = ours.split(' ').next().unwrap_or_default();
        live.is_unique(&["id"])
            && live
                .column("id")
                .is_some_and(|id| id.type_name.eq_ignore_ascii_case(ours) && !id.confuses_ids)
    }

    fn column(&self, live: &LiveTable, column: &Column) -> Option<SchemaProblem> {
        let name = self.kind.name(self.table);
        let Some(found) = live.column(&column.name) else {
            return self.kind.requires(column).then(|| self.missing_column(live, column));
        };
        let altered = || self.dialect.alter_type(&name, found, column);
        let taken = self.dialect.bind_type(column.column_type, found).is_some();
        if taken && found.confuses_ids && self.finds_rows(column) {
            let message = format!(
                "the collation of {} does not tell ids apart as they are: `A` is not `a`",
                found.type_name
            );
            let what = (Severity::Error, ProblemKind::ConfusedIds);
            return Some(self.problem(what, Some(&column.name), message, altered()));
        }
        if taken {
            let narrow = found.limit.zip(column.maximum_size);
            let (limit, size) = narrow.filter(|(limit, size)| limit < size)?;
            let message = format!(
                "the column takes {limit} characters and the rule lets {size} through: longer values \
                 are refused"
            );
            let what = (Severity::Warning, ProblemKind::NarrowColumn);
            return Some(self.problem(what, Some(&column.name), message, altered()));
        }
        let is_the_databases = found.filled && !self.kind.requires(column);
        (!is_the_databases).then(|| {
            let what = (Severity::Error, ProblemKind::WrongType);
            self.problem(what, Some(&column.name), self.not_taken(found, column), altered())
        })
    }

    fn missing_column(&self, live: &LiveTable, column: &Column) -> SchemaProblem {
        let mut message = "the column is missing".to_owned();
        let similar = live.columns.iter().find(|live| live.name.eq_ignore_ascii_case(&column.name));
        if let Some(similar) = similar {
            message = format!("{message}; there is `{}`, but case counts", similar.name);
        }
        let ddl = add_column(self.dialect, self.root, self.table, self.kind, column);
        let what = (Severity::Error, ProblemKind::MissingColumn);
        self.problem(what, Some(&column.name), message, Mending::Create(ddl))
    }

    fn not_taken(&self, found: &LiveColumn, column: &Column) -> String {
        let accepted = self.dialect.accepted().iter();
        let accepted = accepted.filter(|entry| entry.column_type == column.column_type);
        let accepted: Vec<_> = accepted.map(|entry| entry.database_type).collect();
        let because = if column.column_type == ColumnType::Decimal {
            " (it would lose digits: 72.50 is not 72.5)"
        } else {
            ""
        };
        format!(
            "the type {} does not take {}{because}; accepted: {}",
            if found.type_name.is_empty() { "(none)" } else { &found.type_name },
            column.column_type,
            accepted.join(", ")
        )
    }

    /// Whether a resource's rows are found by this column.
    fn finds_rows(&self, column: &Column) -> bool {
        let by_id = self.table.parent.is_none() && self.root.resource_column() == &*column.name;
        by_id || column.source == ColumnSource::SourceResourceId
    }

    fn key(&self, live: &LiveTable) -> Option<SchemaProblem> {
        let key = self.kind.key(self.root);
        (!key.is_empty() && !live.is_unique(key)).then(|| {
            let ddl = self.dialect.create_index(&self.kind.name(self.table), key, true);
            self.problem(
                (Severity::Error, ProblemKind::MissingKey),
                Some(&key.join(", ")),
                format!("there is no unique key on ({})", key.join(", ")),
                Mending::Create(vec![ddl]),
            )
        })
    }

    /// A column that no rule fills.
    fn not_ours(&self, name: &TableName, column: &LiveColumn) -> SchemaProblem {
        if column.not_null && !column.filled {
            return self.problem(
                (Severity::Error, ProblemKind::UnfilledColumn),
                Some(&column.name),
                "the column is NOT NULL without a default, and no rule fills it",
                self.dialect.drop_not_null(name, &column.name),
            );
        }
        self.problem(
            (Severity::Information, ProblemKind::SuperfluousColumn),
            Some(&column.name),
            "no rule fills the column; it stays as it is",
            Mending::Nothing,
        )
    }

    fn problem(
        &self,
        (severity, kind): (Severity, ProblemKind),
        column: Option<&str>,
        message: impl Into<String>,
        mending: Mending,
    ) -> SchemaProblem {
        SchemaProblem {
            severity,
            kind,
            table: self.kind.name(self.table).to_string(),
            column: column.map(ToOwned::to_owned),
            message: message.into(),
            mending,
        }
    }
}
