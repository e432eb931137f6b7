//! A statement: SQL text that stays the same from batch to batch, and how its cells are bound.
//!
//! The rows of a statement come first in its text (as the common table expression `s`, columns
//! `c1`, `c2`, ...), its constants after them, each used once; a statement over rowcast's own tables
//! brings the name of the table that it is about as a constant. So the text depends on the tables
//! only, or, where rows are written out as VALUES, on their number as well: then rows go in runs
//! of a power of two, and the few texts are kept.

use std::sync::{Arc, OnceLock};

use super::cell::{BindColumn, Cell};

/// How the rows get into the text.
#[derive(Debug)]
enum Source {
    /// No rows, or one bind per column: one text.
    Fixed(Arc<str>),
    /// One bind per cell: a text for each power of two.
    Values { tail: String, texts: Box<[OnceLock<Arc<str>>; MOST_RUNS]> },
}

/// 2^14 rows: with two columns already at SQLite's limit of 32,766 binds.
const MOST_RUNS: usize = 15;

/// A statement.
#[derive(Debug)]
pub struct Statement {
    /// What it does, for errors: "writing rows".
    pub attempted: &'static str,
    /// The table it concerns, for refusals.
    pub table: Option<Arc<str>>,
    /// The columns of its rows; empty for a statement without rows.
    pub columns: Vec<BindColumn>,
    table_name: Option<Arc<str>>,
    source: Source,
    most_rows: usize,
}

impl Statement {
    /// A statement whose text does not depend on the number of rows.
    #[must_use]
    pub fn fixed(attempted: &'static str, columns: Vec<BindColumn>, text: String) -> Self {
        Self {
            attempted,
            table: None,
            columns,
            table_name: None,
            source: Source::Fixed(text.into()),
            most_rows: usize::MAX,
        }
    }

    /// A statement whose rows are written as VALUES: at most `most_binds` cells at once, `spare`
    /// of them for the constants.
    #[must_use]
    pub fn values(
        attempted: &'static str,
        columns: Vec<BindColumn>,
        tail: String,
        most_binds: usize,
        spare: usize,
    ) -> Self {
        let most = most_binds.saturating_sub(spare) / columns.len().max(1);
        Self {
            attempted,
            table: None,
            columns,
            table_name: None,
            source: Source::Values { tail, texts: Box::default() },
            most_rows: power_of_two_at_most(most.min(1 << (MOST_RUNS - 1))),
        }
    }

    /// The same statement, said to concern this table.
    #[must_use]
    pub fn on(mut self, table: &Arc<str>) -> Self {
        self.table = Some(Arc::clone(table));
        self
    }

    /// The same statement, about the rows of this `table_name` in rowcast's own tables.
    #[must_use]
    pub fn about(mut self, table_name: &Arc<str>) -> Self {
        self.table_name = Some(Arc::clone(table_name));
        self
    }

    /// The cells to bind after the rows: the table's name if the statement is about one, then what
    /// the run gives.
    pub fn constants<'a>(&'a self, given: &'a [Cell<'a>]) -> impl Iterator<Item = Cell<'a>> {
        self.table_name.as_deref().map(Cell::Text).into_iter().chain(given.iter().copied())
    }

    /// How many of `left` rows go into the next run.
    #[must_use]
    pub fn run(&self, left: usize) -> usize {
        match self.source {
            Source::Fixed(_) => left,
            Source::Values { .. } => power_of_two_at_most(left.min(self.most_rows)),
        }
    }

    /// The text for a run of `rows` rows, as [`Statement::run`] gave it.
    #[must_use]
    pub fn text(&self, rows: usize) -> Arc<str> {
        match &self.source {
            Source::Fixed(text) => Arc::clone(text),
            Source::Values { tail, texts } => {
                let make = || -> Arc<str> { self.written_out(rows, tail).into() };
                let kept = rows.checked_ilog2().and_then(|power| texts.get(power as usize));
                match kept {
                    Some(kept) if rows.is_power_of_two() => Arc::clone(kept.get_or_init(make)),
                    _ => make(),
                }
            }
        }
    }

    fn written_out(&self, rows: usize, tail: &str) -> String {
        let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
        let names: Vec<_> = (1..=self.columns.len()).map(|column| format!("c{column}")).collect();
        let values = vec![row.as_str(); rows].join(", ");
        format!("WITH s({}) AS (VALUES {values}) {tail}", names.join(", "))
    }
}

/// 0 for 0.
const fn power_of_two_at_most(number: usize) -> usize {
    match number.checked_ilog2() {
        Some(power) => 1 << power,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BindType;

    #[test]
    fn rows_go_in_runs_of_a_power_of_two_below_the_limit_of_binds() {
        let columns = vec![BindColumn::own(BindType::Text); 14];
        let statement = Statement::values("testing", columns, "SELECT 1".into(), 32_766, 1);
        let mut left = 5000;
        let mut runs = Vec::new();
        while left > 0 {
            let run = statement.run(left);
            runs.push(run);
            left -= run;
        }
        assert_eq!(runs, [2048, 2048, 512, 256, 128, 8]);
    }

    #[test]
    fn texts_are_written_once_per_number_of_rows() {
        let columns = vec![BindColumn::own(BindType::Text); 2];
        let statement = Statement::values("testing", columns, "SELECT c1 FROM s".into(), 100, 0);
        let text = statement.text(2);
        assert_eq!(&*text, "WITH s(c1, c2) AS (VALUES (?, ?), (?, ?)) SELECT c1 FROM s");
        assert!(Arc::ptr_eq(&text, &statement.text(2)));
    }
}
