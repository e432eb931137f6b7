//! A statement: SQL text that stays the same from batch to batch, and how its cells are bound.
//!
//! The rows of a statement come first in its text (mostly as a table `s`, columns `c1`, `c2`, ...),
//! its constants after them, each used once; a statement over rowcast's own tables
//! brings the name of the table that it is about as a constant. So the text depends on the tables
//! only, or, where rows are written out as VALUES, on their number as well: then rows go in runs
//! of a power of two, and the few texts are kept.
//!
//! A database that cannot return what it wrote is asked first what it will write: such a statement
//! is two, a question and a write (see [`Statement::asked`]).

use std::sync::{Arc, OnceLock};

use super::cell::{BindColumn, Cell};

/// How the rows get into the text.
#[derive(Debug)]
enum Source {
    /// No rows, or rows bound as a whole (an array per column, one JSON text): one text.
    Fixed(Arc<str>),
    /// One bind per cell: a text for each power of two.
    Values { head: String, tail: String, texts: Box<[OnceLock<Arc<str>>; MOST_RUNS]> },
    /// A question and a write.
    Asked(Box<[Step; 2]>),
}

/// One of the two statements that a statement may be made of.
#[derive(Debug)]
pub struct Step {
    /// What is run.
    pub statement: Statement,
    /// Which cells of a row it takes, in the order of its own columns.
    pub places: Vec<usize>,
}

/// 2^14 rows: with two columns already at SQLite's limit of 32,766 binds.
const MOST_RUNS: usize = 15;

/// What a statement does to rows of a table that the rules name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Inserts root rows or writes them anew; gives back those that it wrote.
    Upserts,
    /// Inserts all of its rows.
    Inserts,
    /// Inserts rows that are not there yet; gives back those that it inserted.
    Appends,
    /// Removes rows.
    Deletes,
}

/// A statement.
#[derive(Debug)]
pub struct Statement {
    /// What it does, for errors: "writing rows".
    pub attempted: &'static str,
    /// The table it concerns, for refusals.
    pub table: Option<Arc<str>>,
    /// The columns of its rows; empty for a statement without rows.
    pub columns: Vec<BindColumn>,
    /// What it does to rows of the table; `None` if to none that the rules name.
    pub effect: Option<Effect>,
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
            effect: None,
            table_name: None,
            source: Source::Fixed(text.into()),
            most_rows: usize::MAX,
        }
    }

    /// A statement whose rows are written as `(?, ?), (?, ?)` between `head` and `tail`: at most
    /// `most_binds` cells at once.
    #[must_use]
    pub fn values(
        attempted: &'static str,
        columns: Vec<BindColumn>,
        (head, tail): (String, String),
        most_binds: usize,
    ) -> Self {
        let most = most_binds / columns.len().max(1);
        Self {
            attempted,
            table: None,
            columns,
            effect: None,
            table_name: None,
            source: Source::Values { head, tail, texts: Box::default() },
            most_rows: power_of_two_at_most(most.min(1 << (MOST_RUNS - 1))),
        }
    }

    /// A statement of two: the question answers with the places (from 1) of the rows that are to be
    /// written, followed by what the statement returns for them; the write is then run over those
    /// rows alone.
    #[must_use]
    pub fn asked(columns: Vec<BindColumn>, question: Step, write: Step) -> Self {
        Self {
            attempted: write.statement.attempted,
            table: None,
            columns,
            effect: None,
            table_name: None,
            source: Source::Asked(Box::new([question, write])),
            most_rows: usize::MAX,
        }
    }

    /// The question and the write of a statement of two.
    #[must_use]
    pub fn steps(&self) -> Option<&[Step; 2]> {
        match &self.source {
            Source::Asked(steps) => Some(steps),
            Source::Fixed(_) | Source::Values { .. } => None,
        }
    }

    /// Whether each cell of its rows is a bind of its own.
    #[must_use]
    pub const fn binds_cells(&self) -> bool {
        matches!(self.source, Source::Values { .. })
    }

    /// The same statement, said to concern this table.
    #[must_use]
    pub fn on(mut self, table: &Arc<str>) -> Self {
        if let Source::Asked(steps) = &mut self.source {
            for step in steps.iter_mut() {
                step.statement.table = Some(Arc::clone(table));
            }
        }
        self.table = Some(Arc::clone(table));
        self
    }

    /// The same statement, said to do this to rows of the table that it concerns.
    #[must_use]
    pub const fn doing(mut self, effect: Effect) -> Self {
        self.effect = Some(effect);
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
            Source::Fixed(_) | Source::Asked(_) => left,
            Source::Values { .. } => power_of_two_at_most(left.min(self.most_rows)),
        }
    }

    /// The text for a run of `rows` rows, as [`Statement::run`] gave it; of a statement of two that
    /// of the write.
    #[must_use]
    pub fn text(&self, rows: usize) -> Arc<str> {
        match &self.source {
            Source::Fixed(text) => Arc::clone(text),
            Source::Asked(steps) => {
                let [_, write] = &**steps;
                write.statement.text(rows)
            }
            Source::Values { head, tail, texts } => {
                let make = || -> Arc<str> { self.written_out(rows, head, tail).into() };
                let kept = rows.checked_ilog2().and_then(|power| texts.get(power as usize));
                match kept {
                    Some(kept) if rows.is_power_of_two() => Arc::clone(kept.get_or_init(make)),
                    _ => make(),
                }
            }
        }
    }

    fn written_out(&self, rows: usize, head: &str, tail: &str) -> String {
        let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
        format!("{head}{}{tail}", vec![row.as_str(); rows].join(", "))
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
        let around = (String::new(), String::new());
        let statement = Statement::values("testing", columns, around, 32_765);
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
        let around = ("INSERT INTO t VALUES ".into(), " RETURNING 1".into());
        let statement = Statement::values("testing", columns, around, 100);
        let text = statement.text(2);
        assert_eq!(&*text, "INSERT INTO t VALUES (?, ?), (?, ?) RETURNING 1");
        assert!(Arc::ptr_eq(&text, &statement.text(2)));
    }
}
