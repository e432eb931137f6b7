//! The statements of MySQL and MariaDB.
//!
//! In: what a table looks like. Out: statements. Reads join `s`, a JSON_TABLE over one bind, whose
//! `o` counts the rows; what must be known of a write is asked before it, with the rows locked that
//! are there. Rows that are not there are not locked (READ COMMITTED: locks on gaps would make every
//! two writers of new resources wait for each other), and need not be: whoever else could write
//! them waits for the lock of the partition (rule 1) or of the table (rule 7).

use std::sync::Arc;

use super::Mysql;
use crate::plan::cell::{BindColumn, BindType};
use crate::plan::dialect::{Admission, Dialect, GONE, LOCATED, REMEMBERED, bind_columns, own};
use crate::plan::found_by::FoundBy;
use crate::plan::statement::{Statement, Step};
use crate::plan::target::Target;

/// What a prepared statement may bind.
const MOST_BINDS: usize = 65_535;

/// The table `s` over rows that are bound as one JSON text, an array of arrays.
pub(super) fn rows(columns: &[BindColumn]) -> String {
    let columns = (0_usize..).zip(columns).map(|(place, column)| {
        let json_type = match column.bind {
            BindType::Int2 | BindType::Int4 | BindType::Int8 => "bigint",
            _ => "varchar(600) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        };
        format!(", c{} {json_type} PATH '$[{place}]' ERROR ON ERROR", place + 1)
    });
    let columns: String = columns.collect();
    format!("JSON_TABLE(?, '$[*]' COLUMNS (o FOR ORDINALITY{columns})) s")
}

/// A cell of `s` as a column of this kind is compared with.
fn compared(bind: BindType, cell: &str) -> String {
    match bind {
        BindType::Uuid => format!("CAST({cell} AS uuid)"),
        BindType::UuidBytes => format!("UNHEX(REPLACE({cell}, '-', ''))"),
        _ => cell.to_owned(),
    }
}

/// What joins a table's rows `r` to those of `s` by its first column, and keeps to one table's where
/// several have theirs: then `name` stands for its name. The index is forced: of a table that is small,
/// or was when it was last counted, all rows would be read, and locked.
fn joined(target: &Target, found_by: FoundBy<'_>, name: &str) -> String {
    let column = found_by.column();
    let key = Mysql.quote(column);
    let cell = compared(target.bind_column(column).bind, "s.c1");
    let of_one_table = match found_by {
        FoundBy::Column(_) => String::new(),
        FoundBy::TableNameAndResource => format!(" AND r.{} = {name}", Mysql.quote("table_name")),
    };
    let index = match found_by {
        FoundBy::Column(_) => target.index_on(column),
        FoundBy::TableNameAndResource => Some("PRIMARY"),
    };
    let forced = index.map(|index| format!(" FORCE INDEX ({})", Mysql.quote(index)));
    let forced = forced.unwrap_or_default();
    format!("{} r{forced} ON r.{key} = {cell}{of_one_table}", target.quoted)
}

/// A constant that is needed more than once, as a table of one row.
const NAMED: &str = "CROSS JOIN (SELECT CAST(? AS binary) AS name) t";

/// An INSERT of whole rows.
pub(super) fn insert(attempted: &'static str, target: &Target, tail: &str) -> Statement {
    let head = format!("INSERT INTO {} ({}) VALUES ", target.quoted, Mysql.names(target));
    Statement::values(attempted, bind_columns(target), (head, tail.to_owned()), MOST_BINDS)
}

pub(super) fn guarded_upsert(
    target: &Target,
    found_by: FoundBy<'_>,
    table_name: &Arc<str>,
    admission: Admission,
) -> Statement {
    let attempted = "writing rows";
    let width = target.columns.len();
    let version = target.place("version").unwrap_or(1);
    let key = target.bind_column(found_by.column());
    let mut asked = vec![key, BindColumn::own(BindType::Int8)];
    asked.extend(own(&LOCATED));
    let question = format!(
        "SELECT s.o, CAST(s.c1 AS char) FROM {rows} {NAMED} LEFT JOIN {joined} \
         WHERE (r.{key} IS NULL OR r.{version} {admitted} s.c2) \
         AND NOT EXISTS (SELECT 1 FROM rowcast_tombstone d \
         WHERE d.source_resource_id = s.c3 AND d.table_name = t.name AND ({remembered} \
         OR (d.origin_topic = s.c4 AND d.origin_partition = s.c5 \
         AND (d.origin_offset, d.origin_index) > (s.c6, s.c7)))) FOR UPDATE",
        rows = rows(&asked),
        joined = joined(target, found_by, "t.name"),
        admitted = admission.stored(),
        remembered = admission.remembered("s.c2"),
        key = Mysql.quote(found_by.column()),
        version = Mysql.quote("version"),
    );
    let question = Step {
        statement: Statement::fixed(attempted, asked, question).about(table_name),
        places: vec![width, version, width, width + 1, width + 2, width + 3, width + 4],
    };
    let write = match found_by {
        FoundBy::Column(_) => insert(attempted, target, &update_own_row(target)),
        FoundBy::TableNameAndResource => insert_guards(target).about(table_name),
    };
    let mut columns = bind_columns(target);
    columns.extend(own(&LOCATED));
    let write = Step { statement: write, places: (0..width).collect() };
    Statement::asked(columns, question, write).on(&target.label)
}

/// Updates the row with the same `id`. A row that stands in the way by another unique key is
/// somebody else's: then the version is divided by zero, which refuses the statement.
fn update_own_row(target: &Target) -> String {
    let columns = target.columns.iter().filter(|column| &*column.name != "id");
    let assignments: Vec<_> = columns
        .map(|column| {
            let quoted = Mysql.quote(&column.name);
            let guard = if &*column.name == "version" { " DIV (`id` = VALUES(`id`))" } else { "" };
            format!("{quoted} = VALUES({quoted}){guard}")
        })
        .collect();
    format!(" ON DUPLICATE KEY UPDATE {}", assignments.join(", "))
}

/// Rows of `rowcast_resource`.
fn insert_guards(target: &Target) -> Statement {
    let columns = bind_columns(target);
    let cells: Vec<_> = (1..=columns.len()).map(|column| format!("s.c{column}")).collect();
    let text = format!(
        "INSERT INTO {} (`table_name`, {}) SELECT t.name, {} FROM {} {NAMED} WHERE true \
         ON DUPLICATE KEY UPDATE `version` = VALUES(`version`)",
        target.quoted,
        Mysql.names(target),
        cells.join(", "),
        rows(&columns)
    );
    Statement::fixed("writing rows", columns, text)
}

/// History's rows are found by resource and version, which are one with `id` and version: `id` is
/// made of them, or is the resource's.
pub(super) fn append(target: &Target, resource_column: &str) -> Statement {
    let attempted = "appending history rows";
    let key = target.bind_column(resource_column);
    let asked = vec![key, BindColumn::own(BindType::Int8)];
    let question = format!(
        "SELECT s.o, CAST(s.c1 AS char), s.c2 FROM {rows} LEFT JOIN {joined} \
         AND r.{version} = s.c2 WHERE r.{version} IS NULL",
        rows = rows(&asked),
        joined = joined(target, FoundBy::Column(resource_column), ""),
        version = Mysql.quote("version"),
    );
    let place = |name: &str, usual| target.place(name).unwrap_or(usual);
    let question = Step {
        statement: Statement::fixed(attempted, asked, question),
        places: vec![place(resource_column, 0), place("version", 1)],
    };
    let write = Step {
        statement: insert(attempted, target, ""),
        places: (0..target.columns.len()).collect(),
    };
    Statement::asked(bind_columns(target), question, write).on(&target.label)
}

pub(super) fn delete(target: &Target, found_by: FoundBy<'_>, table_name: &Arc<str>) -> Statement {
    let columns = vec![target.bind_column(found_by.column())];
    // STRAIGHT_JOIN: through the rows, and never through the table instead
    let text =
        format!("DELETE r FROM {} STRAIGHT_JOIN {}", rows(&columns), joined(target, found_by, "?"));
    let statement = Statement::fixed("removing rows", columns, text).on(&target.label);
    found_by.bound(statement, table_name)
}

pub(super) fn doomed(target: &Target, found_by: FoundBy<'_>, table_name: &Arc<str>) -> Statement {
    let columns = vec![target.bind_column(found_by.column()), BindColumn::own(BindType::Int8)];
    let version = Mysql.quote("version");
    let text = format!(
        "SELECT CAST(s.c1 AS char), CAST(r.{version} AS signed) FROM {} STRAIGHT_JOIN {} \
         WHERE r.{version} <= s.c2 FOR UPDATE",
        rows(&columns),
        joined(target, found_by, "?")
    );
    let statement = Statement::fixed("finding rows to remove", columns, text).on(&target.label);
    found_by.bound(statement, table_name)
}

pub(super) fn remember_version(table_name: &Arc<str>) -> Statement {
    let attempted = "remembering deletes";
    let columns = own(&GONE);
    let rows = rows(&columns);
    let question = format!(
        "SELECT s.o, s.c1 FROM {rows} LEFT JOIN rowcast_tombstone d FORCE INDEX (`PRIMARY`) \
         ON d.source_resource_id = s.c1 AND d.table_name = ? \
         WHERE d.version IS NULL OR d.version < s.c2 \
         OR (d.version = s.c2 AND d.left_out > s.c3) FOR UPDATE"
    );
    let write = format!(
        "INSERT INTO rowcast_tombstone (table_name, source_resource_id, version, at, left_out) \
         SELECT t.name, s.c1, s.c2, UTC_TIMESTAMP(6), s.c3 FROM {rows} {NAMED} WHERE true \
         ON DUPLICATE KEY UPDATE version = VALUES(version), at = VALUES(at), \
         left_out = VALUES(left_out)"
    );
    let step = |text| Step {
        statement: Statement::fixed(attempted, columns.clone(), text).about(table_name),
        places: vec![0, 1, 2],
    };
    Statement::asked(columns.clone(), step(question), step(write))
}

pub(super) fn remember_origin(table_name: &Arc<str>) -> Statement {
    let columns = own(&REMEMBERED);
    let text = format!(
        "INSERT INTO rowcast_tombstone (table_name, source_resource_id, version, at, \
         origin_topic, origin_partition, origin_offset, origin_index) \
         SELECT t.name, s.c1, s.c2, UTC_TIMESTAMP(6), s.c3, s.c4, s.c5, s.c6 \
         FROM {rows} {NAMED} WHERE true ON DUPLICATE KEY UPDATE \
         left_out = CASE WHEN rowcast_tombstone.version > VALUES(version) \
         THEN rowcast_tombstone.left_out ELSE 0 END, \
         version = GREATEST(rowcast_tombstone.version, VALUES(version)), at = VALUES(at), \
         {origin}, refused_topic = NULL, refused_partition = NULL, refused_offset = NULL, \
         refused_index = NULL",
        rows = rows(&columns),
        origin = later("origin"),
    );
    Statement::fixed("remembering deletes", columns, text).about(table_name)
}

pub(super) fn remember_refused(table_name: &Arc<str>) -> Statement {
    let columns = own(&LOCATED);
    let text = format!(
        "INSERT INTO rowcast_tombstone (table_name, source_resource_id, version, at, \
         refused_topic, refused_partition, refused_offset, refused_index) \
         SELECT t.name, s.c1, -1, UTC_TIMESTAMP(6), s.c2, s.c3, s.c4, s.c5 \
         FROM {rows} {NAMED} WHERE true ON DUPLICATE KEY UPDATE {refused}",
        rows = rows(&columns),
        refused = later("refused"),
    );
    Statement::fixed("remembering a refused delete", columns, text).about(table_name)
}

/// Assigns the later of two positions in one topic partition; the new one if they are of different
/// ones. Assignments run from left to right and see each other: the index first, which leaves the
/// comparison as it was (if the new position won, its offset is not below the old one), topic and
/// partition last.
fn later(what: &str) -> String {
    let stays = format!(
        "rowcast_tombstone.{what}_topic = VALUES({what}_topic) \
         AND rowcast_tombstone.{what}_partition = VALUES({what}_partition) \
         AND (rowcast_tombstone.{what}_offset, rowcast_tombstone.{what}_index) \
         > (VALUES({what}_offset), VALUES({what}_index))"
    );
    let part = |part: &str| {
        format!(
            "{what}_{part} = CASE WHEN {stays} THEN rowcast_tombstone.{what}_{part} \
             ELSE VALUES({what}_{part}) END"
        )
    };
    format!(
        "{}, {}, {what}_topic = VALUES({what}_topic), \
         {what}_partition = VALUES({what}_partition)",
        part("index"),
        part("offset")
    )
}
