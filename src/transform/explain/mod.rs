//! Why a change becomes the rows it becomes.
//!
//! In: an upsert and what fills the tables. Out: the rows, where each column comes from, why a
//! cell is NULL or was cut, why rows are absent, and every refusal, not the first only. Slower
//! than the transform by design and never on a record's way; a test holds its rows against the
//! transform's. It holds payload: for whoever named the document, never for a log.

mod trace;

use std::sync::Arc;

use super::expression::Expression;
use super::fhirpath::TrailStep;
use super::rules::{MultipleStrategy, OverflowStrategy, PartialDate};
use crate::error::Refusal;
use crate::model::{
    Catalog, Change, ColumnSource, Operation, ResourceRows, RootTable, Row, RowSet, Table,
    TableIndex, Value,
};

pub(super) use trace::trace;

/// Rows of a table whose cells are noted upon: what anybody reads, and a bound on memory.
pub const MAX_NOTED_ROWS: usize = 1_000;

/// What one transformer makes of one upsert below one root.
#[derive(Debug)]
pub struct RootExplanation {
    /// The root, by its place in [`Catalog::roots`].
    pub root: usize,
    /// One for each of the root's tables, in their order.
    pub tables: Vec<TableExplanation>,
    /// Each table, column and cause once. The change is refused unless this is empty.
    pub refusals: Vec<Refusal>,
}

/// What one table gets.
#[derive(Debug)]
pub struct TableExplanation {
    /// Where it is declared: file and JSON path.
    pub rule: Arc<str>,
    /// Where the columns come from, in the order of the table's columns.
    pub columns: Vec<Filling>,
    /// Its rows. Where there are refusals, what they leave.
    pub rows: Vec<Row>,
    /// What is not obvious about a cell, of the first [`MAX_NOTED_ROWS`] rows.
    pub notes: Vec<Note>,
    /// Why it has no rows, or fewer than one might think.
    pub absences: Vec<Absence>,
}

/// Where a column's values come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Filling {
    /// rowcast fills it.
    Managed,
    /// The same in every row.
    Constant,
    /// A transformer written in Rust.
    Code,
    /// An expression of which no more is known, a view's for example.
    Expression(Arc<str>),
    /// A path of the rules.
    Path {
        /// The expression.
        expression: String,
        /// What happens if it yields several values.
        strategy: MultipleStrategy,
        /// What joins them, if the strategy is `CONCAT`.
        delimiter: Arc<str>,
        /// Longest value in characters, and what happens to longer ones.
        maximum: Option<(usize, OverflowStrategy)>,
        /// The value where it yields none; usually NULL.
        default: Value,
        /// What happens to dates without month or day.
        partial_date: PartialDate,
    },
}

/// What is not obvious about a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Place in [`TableExplanation::rows`].
    pub row: usize,
    /// Place in the table's columns.
    pub column: usize,
    /// What there is to say.
    pub why: Why,
}

/// Why a cell is as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// NULL: the path yields nothing.
    NoValue(Vec<TrailStep>),
    /// The default: the path yields nothing.
    Default(Vec<TrailStep>),
    /// NULL: the value is longer than this many characters.
    TooLong(usize),
    /// Cut to this many characters.
    Cut(usize),
    /// NULL: the date has no month or day.
    PartialDate,
    /// No value: the column was refused, for the reason at this place of
    /// [`RootExplanation::refusals`].
    Refused(usize),
}

/// Why rows are absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// The transformer's `where` does not match.
    NotMatched {
        /// Where it stands.
        rule: Arc<str>,
        /// The expression.
        path: String,
        /// Whether it was false; otherwise it was empty.
        was_false: bool,
    },
    /// The child table's path yields nothing.
    NoElements {
        /// Where the child table is declared.
        rule: Arc<str>,
        /// How far its path came.
        trail: Vec<TrailStep>,
    },
    /// The child table's `where` left elements out.
    Filtered {
        /// Where it stands.
        rule: Arc<str>,
        /// The expression.
        path: String,
        /// Elements that the child table's path yields.
        elements: usize,
        /// Those for which `where` was false.
        were_false: usize,
        /// Those for which it was empty.
        were_empty: usize,
    },
    /// The parent table has no rows.
    NoParent {
        /// The parent, by its place in the root's tables.
        parent: TableIndex,
    },
    /// A `where` or the path of a child table was refused.
    Refused,
    /// The transformer, which is not made of rules, made none.
    NotMade,
}

impl Absence {
    /// A `where` that is not true, but false or empty.
    pub(super) fn not_matched(condition: &Expression, truth: Option<bool>) -> Self {
        Self::NotMatched {
            rule: Arc::clone(&condition.rule),
            path: condition.path.expression().to_owned(),
            was_false: truth.is_some(),
        }
    }
}

/// The explanation that a transformer without reasons of its own has: its rows, or its refusal.
pub(super) fn plain(
    catalog: &Catalog,
    change: &Change,
    rows: Result<Vec<ResourceRows>, Box<Refusal>>,
) -> Vec<RootExplanation> {
    if matches!(change.operation, Operation::Delete { .. }) {
        return Vec::new();
    }
    match rows {
        Ok(rows) => rows
            .into_iter()
            .filter_map(|rows| {
                let root = catalog.roots.get(rows.root)?;
                Some(RootExplanation::of(rows.root, root, rows.row_sets.map(Ok)))
            })
            .collect(),
        Err(refusal) => catalog
            .roots
            .iter()
            .enumerate()
            .find(|(_, root)| {
                let tables = root.tables.iter().map(|table| table.name.to_string());
                root.resource_type == change.resource.resource_type
                    && tables.into_iter().any(|name| Some(&*name) == refusal.place.table.as_deref())
            })
            .map(|(index, root)| RootExplanation::of(index, root, Some(Err(*refusal))))
            .into_iter()
            .collect(),
    }
}

impl RootExplanation {
    /// Rows without reasons, or what refused them; `None` if the transformer made none at this
    /// version.
    pub(in crate::transform) fn of(
        index: usize,
        root: &RootTable,
        made: Option<Result<Vec<RowSet>, Refusal>>,
    ) -> Self {
        let mut tables: Vec<TableExplanation> =
            root.tables.iter().map(|table| TableExplanation::of(&root.rule, table)).collect();
        let mut refusals = Vec::new();
        match made {
            Some(Ok(sets)) => {
                for set in sets {
                    if let Some(table) = tables.get_mut(set.table) {
                        table.rows = set.rows;
                    }
                }
            }
            Some(Err(refusal)) => refusals.push(refusal),
            None => {}
        }
        let reason = if refusals.is_empty() { Absence::NotMade } else { Absence::Refused };
        for table in tables.iter_mut().filter(|table| table.rows.is_empty()) {
            table.absences.push(reason.clone());
        }
        Self { root: index, tables, refusals }
    }

    /// Gives the reasons for tables of which none was known but that no rows were made.
    pub(in crate::transform) fn because(&mut self, reasons: impl FnOnce() -> Vec<Absence>) {
        let tables = self.tables.iter_mut();
        let mut open = tables.filter(|table| table.absences == [Absence::NotMade]).peekable();
        if open.peek().is_some() {
            let reasons = reasons();
            open.for_each(|table| table.absences.clone_from(&reasons));
        }
    }

    /// Whether the transformer made no rows at this version, without refusing it: the change is
    /// filtered here.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        let root = self.tables.first();
        self.refusals.is_empty() && root.is_none_or(|root| root.rows.is_empty())
    }
}

impl TableExplanation {
    /// A table without rows yet, its columns as the catalog tells them.
    fn of(rule: &Arc<str>, table: &Table) -> Self {
        let filling = |source: &ColumnSource| match source {
            ColumnSource::Rule { path, .. } if path.is_empty() => Filling::Code,
            ColumnSource::Rule { path, .. } => Filling::Expression(Arc::clone(path)),
            ColumnSource::Id
            | ColumnSource::Version
            | ColumnSource::SourceResourceId
            | ColumnSource::ParentReference => Filling::Managed,
        };
        Self {
            rule: Arc::clone(rule),
            columns: table.columns.iter().map(|column| filling(&column.source)).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
            absences: Vec::new(),
        }
    }
}
