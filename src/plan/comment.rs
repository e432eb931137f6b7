//! What our DDL says about tables and columns: which rule fills them.
//!
//! In: a table or a column. Out: one line of text. It names rules files without their folders, so that
//! it is the same wherever the command is run, and holds nothing that is not in the rules.

use super::ddl::TableKind;
use crate::model::{Column, ColumnSource, RootTable, Table};

/// The most characters of a comment: MySQL's limit for a column.
const LONGEST: usize = 1024;

/// The most characters of an expression in it, so that the rule's place is always told.
const LONGEST_PATH: usize = 512;

/// How a database is told what a table or a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comments {
    /// By statements of their own.
    Statements,
    /// Within CREATE TABLE, after what they are about.
    Clauses,
    /// Not at all: as lines of the text of CREATE TABLE, before what they are about.
    Lines,
}

/// What a table holds, and by which rule.
pub(super) fn of_table(root: &RootTable, table: &Table, kind: TableKind) -> String {
    let rule = file_and_path(&root.rule);
    one_line(&match kind {
        TableKind::Live => format!("rows of {} ({rule})", root.resource_type),
        TableKind::History => {
            format!("every version of the rows of {} ({rule})", table.name)
        }
    })
}

/// What fills a column.
pub(super) fn of_column(
    root: &RootTable,
    table: &Table,
    kind: TableKind,
    column: &Column,
) -> String {
    let managed = |what: &str| format!("managed: {what}");
    one_line(&match &column.source {
        ColumnSource::Rule { rule, path } if path.is_empty() => file_and_path(rule).to_owned(),
        ColumnSource::Rule { rule, path } => {
            format!("{} ({})", at_most(LONGEST_PATH, path), file_and_path(rule))
        }
        ColumnSource::Id => managed("a UUID, always the same for this row"),
        ColumnSource::Version => managed("the resource's version, which guards the row"),
        ColumnSource::SourceResourceId => managed("the resource's logical id"),
        ColumnSource::ParentReference => {
            match table.parent.and_then(|parent| root.tables.get(parent)) {
                Some(parent) => managed(&format!("the id of the row in {}", kind.name(parent))),
                None => managed("the id of the parent's row"),
            }
        }
    })
}

/// A rule's place without the folders of its file.
fn file_and_path(rule: &str) -> &str {
    let file = rule.split('#').next().unwrap_or(rule);
    let folders = file.rfind(['/', '\\']).map_or(0, |last| last + 1);
    rule.get(folders..).unwrap_or(rule)
}

fn one_line(text: &str) -> String {
    let words: Vec<_> =
        text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty()).collect();
    at_most(LONGEST, &words.join(" "))
}

fn at_most(characters: usize, text: &str) -> String {
    match text.char_indices().nth(characters) {
        Some(_) => text.chars().take(characters - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_named_by_its_file_wherever_that_lies() {
        for rule in ["patient.json#/a/0", "/etc/rules/patient.json#/a/0", "../r/patient.json#/a/0"]
        {
            assert_eq!(file_and_path(rule), "patient.json#/a/0");
        }
        assert_eq!(file_and_path("src/vitals.rs:14"), "vitals.rs:14");
    }

    #[test]
    fn a_comment_is_one_line_that_every_database_takes() {
        assert_eq!(
            one_line("name.where(\n\tuse = 'official'\r\n)"),
            "name.where( use = 'official' )"
        );
        let long = one_line(&"ü".repeat(3000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (1024, true));
    }
}
