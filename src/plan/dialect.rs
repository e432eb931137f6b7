//! A dialect: how one database writes what a plan does.
//!
//! In: what a table looks like. Out: statements. A database brings a file that implements
//! [`Dialect`]; the statements that PostgreSQL and SQLite write alike (`ON CONFLICT`,
//! `RETURNING`) are written here once, and MySQL, which has neither, overrides them.
//!
//! Every statement keeps the order "rows, then constants" (see [`Statement`]). Identifiers are
//! always quoted, values always bound.

use std::sync::Arc;

use super::bookkeeping::OwnType;
use super::cell::{BindColumn, BindType};
use super::comment::Comments;
use super::found_by::FoundBy;
use super::live::LiveColumn;
use super::names::{self, Named};
use super::schema::Mending;
use super::statement::Statement;
use super::target::{Target, TargetColumn};
use crate::model::{Column, ColumnType, TableName};

/// A row of the normative table of accepted column types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// `columnType` of the rules.
    pub column_type: ColumnType,
    /// The database's own name of a type (PostgreSQL, MySQL) or affinity (SQLite) that takes it.
    pub database_type: &'static str,
    /// How values are bound to it.
    pub bind: BindType,
}

impl Accepted {
    /// A row of the table.
    #[must_use]
    pub const fn new(column_type: ColumnType, database_type: &'static str, bind: BindType) -> Self {
        Self { column_type, database_type, bind }
    }
}

/// What a writer of unkeyed topics shares a root table with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Other writers that only upsert: the guard orders those.
    Shared,
    /// Nobody: a delete must not slip between an upsert's look at the tombstones and its commit.
    Exclusive,
}

/// Rows deleted at once where a whole table is: a second or two of work.
pub(super) const SOME: usize = 50_000;

/// Which versions a guarded upsert lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Those above what is stored and what is remembered as gone.
    Newer,
    /// What is stored as well, and what is remembered as left out by a `where`: a rebuild's.
    Equal,
}

impl Admission {
    /// How the stored version compares with one that is let in.
    pub(super) const fn stored(self) -> &'static str {
        match self {
            Self::Newer => "<",
            Self::Equal => "<=",
        }
    }

    /// When the version that a tombstone `d` remembers keeps this one out.
    pub(super) fn remembered(self, version: &str) -> String {
        match self {
            Self::Newer => format!("d.version >= {version}"),
            Self::Equal => format!(
                "d.version > {version} OR (d.version = {version} AND COALESCE(d.left_out, 0) = 0)"
            ),
        }
    }
}

/// How one database writes it.
pub trait Dialect: Send + Sync {
    /// Quotes an identifier.
    fn quote(&self, identifier: &str) -> String {
        format!("\"{}\"", identifier.replace('"', "\"\""))
    }

    /// The `number`th bind of a text, from 1.
    fn placeholder(&self, number: usize) -> String;

    /// A statement over rows, `tail` being what follows the rows `s(c1, c2, ...)`; `constants` is
    /// the number of binds in the tail.
    fn over_rows(
        &self,
        attempted: &'static str,
        columns: Vec<BindColumn>,
        constants: usize,
        tail: &str,
    ) -> Statement;

    /// What is accepted for each `columnType`; the first entry of a type is the usual one.
    fn accepted(&self) -> &'static [Accepted];

    /// The type that our DDL gives a column.
    fn column_type(&self, column: &Column) -> String;

    /// The type of a column of the tables that rowcast keeps for itself.
    fn own_type(&self, own_type: OwnType) -> &'static str;

    /// What follows the columns of a table in our DDL.
    fn table_options(&self) -> &'static str {
        ""
    }

    /// What follows the columns of a table that rowcast keeps for itself.
    fn own_table_options(&self) -> &'static str {
        self.table_options()
    }

    /// How our DDL says what a table or a column is for.
    fn comments(&self) -> Comments;

    /// Whether an identifier may be this long.
    fn takes_name(&self, name: &str) -> bool;

    /// A text constant of our DDL.
    fn text(&self, text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }

    /// DDL of a schema unless it is there, where the database has schemas to create.
    fn create_schema(&self, schema: &str) -> Option<String> {
        Some(format!("CREATE SCHEMA IF NOT EXISTS {}", self.quote(schema)))
    }

    /// What makes an index on a column within CREATE TABLE, where the dialect can.
    fn index_clause(&self, _table: &TableName, _column: &str) -> Option<String> {
        None
    }

    /// DDL of an index on one or several columns.
    fn create_index(&self, table: &TableName, columns: &[&str], unique: bool) -> String {
        let (named, kind) =
            if unique { (Named::UniqueIndex, "UNIQUE INDEX") } else { (Named::Index, "INDEX") };
        let name =
            self.quote(&names::name(|name| self.takes_name(name), &table.name, columns, named));
        format!("CREATE {kind} {name} ON {} ({})", self.table(table), self.list(columns))
    }

    /// What gives a live column the type of ours.
    fn alter_type(&self, table: &TableName, found: &LiveColumn, ours: &Column) -> Mending;

    /// What lets a column be NULL.
    fn drop_not_null(&self, table: &TableName, column: &str) -> Mending;

    /// The present moment, in the type of `rowcast_tombstone.at`.
    fn now(&self) -> &'static str;

    /// What makes a SELECT lock the rows of `table` (an alias, or nothing for the only table).
    fn locking(&self, table: &str) -> String;

    /// Locks a root table for the rest of the transaction, for topics that are not keyed by
    /// resource. Constant: the table's name. `None` where the transaction has locked
    /// everything already.
    fn lock_root(&self, access: Access) -> Option<Statement>;

    /// Deletes rows of a table, so many that it may be repeated until none is left and no server gives
    /// it up for its length.
    fn delete_some(&self, quoted: &str, condition: Option<&str>) -> String {
        let condition = condition.map(|condition| format!(" WHERE {condition}"));
        format!("DELETE FROM {quoted}{}", condition.unwrap_or_default())
    }

    /// What an INSERT does instead where a row with this key is there: the assignment, which knows
    /// the row by the table's name, or nothing at all.
    fn on_conflict(&self, key: &str, assignment: Option<&str>) -> String {
        match assignment {
            Some(assignment) => format!("ON CONFLICT ({key}) DO UPDATE SET {assignment}"),
            None => format!("ON CONFLICT ({key}) DO NOTHING"),
        }
    }

    /// How values of a column type are bound to a live column; `None` if it does not take them.
    fn bind_type(&self, column_type: ColumnType, live: &LiveColumn) -> Option<BindType> {
        let mut accepted = self.accepted().iter();
        accepted
            .find(|entry| {
                entry.column_type == column_type
                    && entry.database_type.eq_ignore_ascii_case(&live.kind)
            })
            .map(|entry| entry.bind)
    }

    /// How values of a column type are bound where the live column is not known.
    fn usual_bind(&self, column_type: ColumnType) -> BindType {
        let mut accepted = self.accepted().iter();
        accepted
            .find(|entry| entry.column_type == column_type)
            .map_or(BindType::Text, |entry| entry.bind)
    }

    /// A table's name, quoted.
    fn table(&self, table: &TableName) -> String {
        match &table.schema {
            Some(schema) => format!("{}.{}", self.quote(schema), self.quote(&table.name)),
            None => self.quote(&table.name),
        }
    }

    /// A table's name where a foreign key refers to it.
    fn reference(&self, table: &TableName) -> String {
        self.table(table)
    }

    /// Writes root rows where they are newer than what is stored (or as `admission` says), unless a
    /// tombstone says that the resource is gone. Rows: the table's columns, then the resource and its change's origin
    /// (topic, partition, offset, index). Returns the resources really written.
    fn guarded_upsert(
        &self,
        target: &Target,
        found_by: FoundBy<'_>,
        table_name: &Arc<str>,
        admission: Admission,
    ) -> Statement {
        let width = target.columns.len();
        let version = target.place("version").map_or(2, |place| place + 1);
        let mut columns = bind_columns(target);
        columns.extend(own(&LOCATED));
        let constant = self.placeholder(columns.len() + 1);
        let (names, cells) = (self.names(target), cells(width));
        // a constant is bound once: what needs it twice has it as a column
        let (names, cells, rows, name) = match found_by {
            FoundBy::Column(_) => (names, cells, "s".to_owned(), constant.as_str()),
            FoundBy::TableNameAndResource => (
                format!("{}, {names}", self.quote("table_name")),
                format!("t.name, {cells}"),
                format!("s CROSS JOIN (SELECT CAST({constant} AS text) AS name) t"),
                "t.name",
            ),
        };
        let unique = found_by.unique_key();
        let updates: Vec<_> = target
            .columns
            .iter()
            .filter(|column| !unique.contains(&&*column.name))
            .map(|column| format!("{0} = excluded.{0}", self.quote(&column.name)))
            .collect();
        let tail = format!(
            "INSERT INTO {table} AS r ({names}) SELECT {cells} FROM {rows} \
             WHERE NOT EXISTS (SELECT 1 FROM rowcast_tombstone d \
             WHERE d.source_resource_id = s.c{resource} AND d.table_name = {name} \
             AND ({remembered} \
             OR (d.origin_topic = s.c{topic} AND d.origin_partition = s.c{partition} \
             AND (d.origin_offset, d.origin_index) > (s.c{offset}, s.c{index})))) \
             ON CONFLICT ({unique}) DO UPDATE SET {updates} \
             WHERE r.{stored} {admitted} excluded.{stored} \
             RETURNING CAST({key} AS text)",
            table = target.quoted,
            resource = width + 1,
            topic = width + 2,
            partition = width + 3,
            offset = width + 4,
            index = width + 5,
            unique = self.list(unique),
            updates = updates.join(", "),
            remembered = admission.remembered(&format!("s.c{version}")),
            admitted = admission.stored(),
            stored = self.quote("version"),
            key = self.quote(found_by.column()),
        );
        self.over_rows("writing rows", columns, 1, &tail).on(&target.label).about(table_name)
    }

    /// Inserts rows of a child table.
    fn insert(&self, target: &Target) -> Statement {
        let tail = format!(
            "INSERT INTO {} ({}) SELECT {} FROM s",
            target.quoted,
            self.names(target),
            cells(target.columns.len())
        );
        self.over_rows("writing child rows", bind_columns(target), 0, &tail).on(&target.label)
    }

    /// Appends history rows unless that `id` and `version` are there. Returns the resources and
    /// versions really appended.
    fn append(&self, target: &Target, resource_column: &str) -> Statement {
        let tail = format!(
            "INSERT INTO {table} ({names}) SELECT {cells} FROM s WHERE true \
             ON CONFLICT ({id}, {version}) DO NOTHING \
             RETURNING CAST({key} AS text), CAST({version} AS bigint)",
            table = target.quoted,
            names = self.names(target),
            cells = cells(target.columns.len()),
            id = self.quote("id"),
            version = self.quote("version"),
            key = self.quote(resource_column),
        );
        self.over_rows("appending history rows", bind_columns(target), 0, &tail).on(&target.label)
    }

    /// Deletes what is found. Rows: the column's values.
    fn delete(&self, target: &Target, found_by: FoundBy<'_>, table_name: &Arc<str>) -> Statement {
        let tail = format!(
            "DELETE FROM {} WHERE {} IN (SELECT c1 FROM s){}",
            target.quoted,
            self.quote(found_by.column()),
            self.of_one_table(found_by, "", 2),
        );
        let columns = vec![target.bind_column(found_by.column())];
        let constants = found_by.constants();
        let statement = self.over_rows("removing rows", columns, constants, &tail);
        found_by.bound(statement.on(&target.label), table_name)
    }

    /// Locks the root rows that are at or below a version. Rows: resource, version. Returns resource
    /// and stored version.
    fn doomed(&self, target: &Target, found_by: FoundBy<'_>, table_name: &Arc<str>) -> Statement {
        let key = self.quote(found_by.column());
        let version = self.quote("version");
        // CROSS: SQLite then goes through the rows, and never through the table instead
        let tail = format!(
            "SELECT CAST(r.{key} AS text), CAST(r.{version} AS bigint) \
             FROM s CROSS JOIN {table} r \
             WHERE r.{key} = s.c1 AND r.{version} <= s.c2{of_one_table} \
             ORDER BY r.{key}{lock}",
            table = target.quoted,
            of_one_table = self.of_one_table(found_by, "r.", 3),
            lock = self.locking("r"),
        );
        let columns = vec![target.bind_column(found_by.column()), BindColumn::own(BindType::Int8)];
        let constants = found_by.constants();
        let statement = self.over_rows("finding rows to remove", columns, constants, &tail);
        found_by.bound(statement.on(&target.label), table_name)
    }

    /// Reads what is remembered of deletes without version. Rows: resource. Returns resource, the four
    /// parts of the origin, the four parts of the refused origin, the version.
    fn memory(&self, table_name: &Arc<str>) -> Statement {
        let tail = format!(
            "SELECT d.source_resource_id, d.origin_topic, d.origin_partition, d.origin_offset, \
             d.origin_index, d.refused_topic, d.refused_partition, d.refused_offset, \
             d.refused_index, d.version FROM s JOIN rowcast_tombstone d \
             ON d.source_resource_id = s.c1 AND d.table_name = {}",
            self.placeholder(2)
        );
        let columns = own(&[BindType::Text]);
        self.over_rows("reading remembered deletes", columns, 1, &tail).about(table_name)
    }

    /// Remembers resources as gone at a version. Rows: resource, version, 1 if a `where` left it out
    /// and 0 if it was deleted, which wins. Returns the resources for which that was news.
    fn remember_version(&self, table_name: &Arc<str>) -> Statement {
        let tail = format!(
            "INSERT INTO rowcast_tombstone AS d \
             (table_name, source_resource_id, version, at, left_out) \
             SELECT {name}, s.c1, s.c2, {now}, s.c3 FROM s WHERE true \
             ON CONFLICT (table_name, source_resource_id) DO UPDATE \
             SET version = excluded.version, at = excluded.at, left_out = excluded.left_out \
             WHERE d.version < excluded.version OR (d.version = excluded.version \
             AND d.left_out > excluded.left_out) RETURNING source_resource_id",
            name = self.placeholder(4),
            now = self.now(),
        );
        let columns = own(&GONE);
        self.over_rows("remembering deletes", columns, 1, &tail).about(table_name)
    }

    /// Remembers deletes without version, at the highest version known and at their origin. Rows:
    /// resource, version, origin (topic, partition, offset, index).
    fn remember_origin(&self, table_name: &Arc<str>) -> Statement {
        let tail = format!(
            "INSERT INTO rowcast_tombstone AS d (table_name, source_resource_id, version, at, \
             origin_topic, origin_partition, origin_offset, origin_index) \
             SELECT {name}, s.c1, s.c2, {now}, s.c3, s.c4, s.c5, s.c6 FROM s WHERE true \
             ON CONFLICT (table_name, source_resource_id) DO UPDATE SET \
             version = CASE WHEN d.version > excluded.version THEN d.version ELSE excluded.version END, \
             left_out = CASE WHEN d.version > excluded.version THEN d.left_out ELSE 0 END, \
             at = excluded.at, origin_topic = excluded.origin_topic, \
             origin_partition = excluded.origin_partition, \
             origin_offset = {offset}, origin_index = {index}, refused_topic = NULL, \
             refused_partition = NULL, refused_offset = NULL, refused_index = NULL",
            name = self.placeholder(7),
            now = self.now(),
            offset = later("origin", "offset"),
            index = later("origin", "index"),
        );
        self.over_rows("remembering deletes", own(&REMEMBERED), 1, &tail).about(table_name)
    }

    /// Remembers that a delete without version was refused. Rows: resource, origin (topic,
    /// partition, offset, index).
    fn remember_refused(&self, table_name: &Arc<str>) -> Statement {
        let tail = format!(
            "INSERT INTO rowcast_tombstone AS d (table_name, source_resource_id, version, at, \
             refused_topic, refused_partition, refused_offset, refused_index) \
             SELECT {name}, s.c1, -1, {now}, s.c2, s.c3, s.c4, s.c5 FROM s WHERE true \
             ON CONFLICT (table_name, source_resource_id) DO UPDATE SET \
             refused_topic = excluded.refused_topic, \
             refused_partition = excluded.refused_partition, \
             refused_offset = {offset}, refused_index = {index}",
            name = self.placeholder(6),
            now = self.now(),
            offset = later("refused", "offset"),
            index = later("refused", "index"),
        );
        self.over_rows("remembering a refused delete", own(&LOCATED), 1, &tail).about(table_name)
    }

    /// What keeps a statement to the rows of one table where several have theirs: the `number`th
    /// bind is its name.
    fn of_one_table(&self, found_by: FoundBy<'_>, alias: &str, number: usize) -> String {
        match found_by {
            FoundBy::Column(_) => String::new(),
            FoundBy::TableNameAndResource => {
                let name = self.quote("table_name");
                format!(" AND {alias}{name} = {}", self.placeholder(number))
            }
        }
    }

    /// The quoted names of a target's columns.
    fn names(&self, target: &Target) -> String {
        let names: Vec<&str> = target.columns.iter().map(|column| &*column.name).collect();
        self.list(&names)
    }

    /// Quoted names, separated by commas.
    fn list(&self, names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|name| self.quote(name)).collect();
        names.join(", ")
    }
}

/// The later of two positions in one topic partition; the new one if they are of different ones.
fn later(what: &str, part: &str) -> String {
    format!(
        "CASE WHEN d.{what}_topic = excluded.{what}_topic \
         AND d.{what}_partition = excluded.{what}_partition \
         AND (d.{what}_offset, d.{what}_index) > (excluded.{what}_offset, excluded.{what}_index) \
         THEN d.{what}_{part} ELSE excluded.{what}_{part} END"
    )
}

/// A resource, a version, and whether a `where` left it out.
pub(super) const GONE: [BindType; 3] = [BindType::Text, BindType::Int8, BindType::Int8];

/// A resource and an origin.
pub(super) const LOCATED: [BindType; 5] =
    [BindType::Text, BindType::Text, BindType::Int8, BindType::Int8, BindType::Int8];

/// A resource, a version and an origin.
pub(super) const REMEMBERED: [BindType; 6] = [
    BindType::Text,
    BindType::Int8,
    BindType::Text,
    BindType::Int8,
    BindType::Int8,
    BindType::Int8,
];

pub(super) fn own(binds: &[BindType]) -> Vec<BindColumn> {
    binds.iter().map(|bind| BindColumn::own(*bind)).collect()
}

pub(super) fn bind_columns(target: &Target) -> Vec<BindColumn> {
    target.columns.iter().map(TargetColumn::bind_column).collect()
}

fn cells(width: usize) -> String {
    let cells: Vec<_> = (1..=width).map(|column| format!("s.c{column}")).collect();
    cells.join(", ")
}
