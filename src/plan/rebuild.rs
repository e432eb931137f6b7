//! The statements that only a rebuild needs.
//!
//! In: a root table, a dialect. Out: what a rebuild remembers of itself, and what empties a table.
//!
//! While it reads the topic again a rebuild keeps, per resource, the version that it has come to: a
//! row of `rowcast_resource` under a name that no table has. So of equal versions the first stays,
//! as it does in live traffic, and a delete without version removes what came before it in the
//! topic, and never what live traffic wrote meanwhile.

use std::sync::Arc;

use super::dialect::{Admission, Dialect};
use super::found_by::FoundBy;
use super::statement::Statement;
use super::target::{RootStatements, Target};

/// Under what name a rebuild remembers versions: no table of a database is resolved to it.
fn memory_name(table_name: &str) -> Arc<str> {
    format!("rebuild of {table_name}").into()
}

/// What a rebuild remembers of one root table.
#[derive(Debug)]
pub struct RebuildStatements {
    /// Remembers versions. Rows: resource, version, resource, origin (topic, partition, offset,
    /// index). Returns the resources for which that was news.
    pub seen: Statement,
    /// What is remembered. Rows: resource, a version that it is at or below. Returns resource and
    /// version.
    pub recall: Statement,
    /// Forgets all of it.
    pub forget: Emptying,
}

impl RebuildStatements {
    /// The statements for a root table, by its resolved name.
    #[must_use]
    pub fn new(dialect: &dyn Dialect, table_name: &str) -> Self {
        let name = memory_name(table_name);
        let target = Target::of_guards(dialect, &table_name.into());
        let found_by = FoundBy::TableNameAndResource;
        Self {
            seen: dialect.guarded_upsert(&target, found_by, &name, Admission::Newer),
            recall: dialect.doomed(&target, found_by, &name),
            forget: Emptying::of_own(dialect, "rowcast_resource", &name),
        }
    }
}

/// What empties a table, some rows at a time.
#[derive(Debug)]
pub struct Emptying {
    /// Deletes some rows.
    pub delete: Statement,
    /// Returns a row if there is any left.
    pub left: Statement,
}

impl Emptying {
    /// Empties a table: its quoted name.
    fn of(dialect: &dyn Dialect, quoted: &str) -> Self {
        let attempted = "emptying a table";
        let left = format!("SELECT 'left' FROM {quoted} LIMIT 1");
        Self {
            delete: Statement::fixed(attempted, Vec::new(), dialect.delete_some(quoted, None)),
            left: Statement::fixed(attempted, Vec::new(), left),
        }
    }

    /// Removes the rows of one `table_name` from a table of rowcast's own.
    fn of_own(dialect: &dyn Dialect, own: &str, table_name: &Arc<str>) -> Self {
        let attempted = "emptying a table";
        let condition = format!("table_name = {}", dialect.placeholder(1));
        let delete = dialect.delete_some(own, Some(&condition));
        let left = format!("SELECT 'left' FROM {own} WHERE {condition} LIMIT 1");
        Self {
            delete: Statement::fixed(attempted, Vec::new(), delete).about(table_name),
            left: Statement::fixed(attempted, Vec::new(), left).about(table_name),
        }
    }

    /// Everything of a root, in this order: history and rows, children before parents, then what is
    /// remembered of deletes. Tombstones go last: a delete that is read again and not remembered
    /// would remove rows that came after it.
    #[must_use]
    pub fn of_root(dialect: &dyn Dialect, statements: &RootStatements) -> Vec<Self> {
        let name = &statements.table_name;
        let tables = statements.history.iter().rev().chain(statements.tables.iter().rev());
        let mut all: Vec<_> = tables
            .map(|table| match &*table.target.quoted {
                guards if guards == dialect.quote("rowcast_resource") => {
                    Self::of_own(dialect, guards, name)
                }
                quoted => Self::of(dialect, quoted),
            })
            .collect();
        all.push(Self::of_own(dialect, "rowcast_tombstone", name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Mysql, Postgres, Sqlite, sample};

    #[test]
    fn a_rebuild_lets_in_equal_versions_and_those_that_a_where_left_out() {
        let dialects: [&dyn Dialect; 2] = [&Postgres, &Sqlite];
        for dialect in dialects {
            let root = sample::root();
            let all = RootStatements::admitting(dialect, &root, |_| None, Admission::Equal);
            let text = all.tables[0].write.text(1);
            assert!(
                text.contains(r#"WHERE r."version" <= excluded."version" RETURNING"#),
                "{text}"
            );
            let gone = "(d.version > s.c2 OR (d.version = s.c2 AND COALESCE(d.left_out, 0) = 0) \
                        OR (d.origin_topic";
            assert!(text.contains(gone), "{text}");
        }
        let all = RootStatements::admitting(&Mysql, &sample::root(), |_| None, Admission::Equal);
        let [question, _] = all.tables[0].write.steps().expect("it is two");
        let text = question.statement.text(1);
        assert!(text.contains("IS NULL OR r.`version` <= s.c2)"), "{text}");
        assert!(text.contains("(d.version > s.c2 OR (d.version = s.c2"), "{text}");
    }

    #[test]
    fn a_table_is_emptied_from_its_histories_to_its_tombstones() {
        let texts = |dialect: &dyn Dialect, root| {
            let statements = RootStatements::new(dialect, &root, |_| None);
            let all = Emptying::of_root(dialect, &statements);
            all.iter().map(|emptying| emptying.delete.text(0).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            texts(&Sqlite, sample::root()),
            [
                r#"DELETE FROM "fhir"."name_history""#,
                r#"DELETE FROM "fhir"."patient_history""#,
                r#"DELETE FROM "fhir"."name""#,
                r#"DELETE FROM "fhir"."patient""#,
                "DELETE FROM rowcast_tombstone WHERE table_name = ?",
            ]
        );
        assert_eq!(
            texts(&Mysql, sample::view()),
            [
                "DELETE FROM `fhir`.`Patient_View` LIMIT 50000",
                "DELETE FROM `rowcast_resource` WHERE table_name = ? LIMIT 50000",
                "DELETE FROM rowcast_tombstone WHERE table_name = ? LIMIT 50000",
            ]
        );
        assert_eq!(
            texts(&Postgres, sample::view())[1],
            "DELETE FROM \"rowcast_resource\" WHERE ctid = ANY (ARRAY(SELECT ctid FROM \
             \"rowcast_resource\" WHERE table_name = $1 LIMIT 50000))"
        );
    }
}
