//! The texts that were reviewed; `<TN>` stands for rows with a text and a number.

use super::*;
use crate::plan::cell::BindType;
use crate::plan::{RootStatements, bookkeeping_ddl, sample};

/// What it writes, in the order of [`sample::texts`]; of statements of two the second.
const STATEMENTS: [&str; 9] = [
    "INSERT INTO `fhir`.`patient` (`id`, `version`, `source_resource_id`, `born`, `raw`) \
         VALUES (?, ?, ?, ?, ?), (?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE `version` = \
         VALUES(`version`) DIV (`id` = VALUES(`id`)), `source_resource_id` = \
         VALUES(`source_resource_id`), `born` = VALUES(`born`), `raw` = VALUES(`raw`)",
    "INSERT INTO `fhir`.`name` (`id`, `source_resource_id`, `parent_reference`, `order`) \
         VALUES (?, ?, ?, ?), (?, ?, ?, ?)",
    "DELETE r FROM <T> s STRAIGHT_JOIN `fhir`.`name` r ON r.`source_resource_id` = s.c1",
    "INSERT INTO `fhir`.`patient_history` (`id`, `version`, `source_resource_id`, `born`, \
         `raw`) VALUES (?, ?, ?, ?, ?), (?, ?, ?, ?, ?)",
    "SELECT CAST(s.c1 AS char), CAST(r.`version` AS signed) FROM <TN> s STRAIGHT_JOIN \
         `fhir`.`patient` r ON r.`source_resource_id` = s.c1 WHERE r.`version` <= s.c2 FOR \
         UPDATE",
    "WITH s(c1) AS (SELECT c1 FROM <T> s) SELECT d.source_resource_id, d.origin_topic, \
         d.origin_partition, d.origin_offset, d.origin_index, d.refused_topic, \
         d.refused_partition, d.refused_offset, d.refused_index, \
         d.version FROM s JOIN rowcast_tombstone \
         d ON d.source_resource_id = s.c1 AND d.table_name = ?",
    "INSERT INTO rowcast_tombstone (table_name, source_resource_id, version, at, left_out) \
         SELECT t.name, s.c1, s.c2, UTC_TIMESTAMP(6), s.c3 FROM <TNN> s CROSS JOIN \
         (SELECT CAST(? AS binary) AS name) t WHERE true ON DUPLICATE KEY UPDATE version = \
         VALUES(version), at = VALUES(at), left_out = VALUES(left_out)",
    "INSERT INTO rowcast_tombstone (table_name, source_resource_id, version, at, \
         origin_topic, origin_partition, origin_offset, origin_index) SELECT t.name, s.c1, \
         s.c2, UTC_TIMESTAMP(6), s.c3, s.c4, s.c5, s.c6 FROM <TNTNNN> s CROSS JOIN (SELECT \
         CAST(? AS binary) AS name) t WHERE true ON DUPLICATE KEY UPDATE \
         left_out = CASE WHEN rowcast_tombstone.version > VALUES(version) THEN \
         rowcast_tombstone.left_out ELSE 0 END, version = GREATEST(rowcast_tombstone.version, VALUES(version)), at = VALUES(at), origin_index \
         = CASE WHEN rowcast_tombstone.origin_topic = VALUES(origin_topic) AND \
         rowcast_tombstone.origin_partition = VALUES(origin_partition) AND \
         (rowcast_tombstone.origin_offset, rowcast_tombstone.origin_index) > \
         (VALUES(origin_offset), VALUES(origin_index)) THEN rowcast_tombstone.origin_index \
         ELSE VALUES(origin_index) END, origin_offset = CASE WHEN \
         rowcast_tombstone.origin_topic = VALUES(origin_topic) AND \
         rowcast_tombstone.origin_partition = VALUES(origin_partition) AND \
         (rowcast_tombstone.origin_offset, rowcast_tombstone.origin_index) > \
         (VALUES(origin_offset), VALUES(origin_index)) THEN rowcast_tombstone.origin_offset \
         ELSE VALUES(origin_offset) END, origin_topic = VALUES(origin_topic), \
         origin_partition = VALUES(origin_partition), refused_topic = NULL, refused_partition \
         = NULL, refused_offset = NULL, refused_index = NULL",
    "INSERT INTO rowcast_tombstone (table_name, source_resource_id, version, at, \
         refused_topic, refused_partition, refused_offset, refused_index) SELECT t.name, \
         s.c1, -1, UTC_TIMESTAMP(6), s.c2, s.c3, s.c4, s.c5 FROM <TTNNN> s CROSS JOIN (SELECT \
         CAST(? AS binary) AS name) t WHERE true ON DUPLICATE KEY UPDATE refused_index = CASE \
         WHEN rowcast_tombstone.refused_topic = VALUES(refused_topic) AND \
         rowcast_tombstone.refused_partition = VALUES(refused_partition) AND \
         (rowcast_tombstone.refused_offset, rowcast_tombstone.refused_index) > \
         (VALUES(refused_offset), VALUES(refused_index)) THEN rowcast_tombstone.refused_index \
         ELSE VALUES(refused_index) END, refused_offset = CASE WHEN \
         rowcast_tombstone.refused_topic = VALUES(refused_topic) AND \
         rowcast_tombstone.refused_partition = VALUES(refused_partition) AND \
         (rowcast_tombstone.refused_offset, rowcast_tombstone.refused_index) > \
         (VALUES(refused_offset), VALUES(refused_index)) THEN \
         rowcast_tombstone.refused_offset ELSE VALUES(refused_offset) END, refused_topic = \
         VALUES(refused_topic), refused_partition = VALUES(refused_partition)",
];

/// What it writes for a view, in the order of [`sample::view_texts`].
const VIEW_STATEMENTS: [&str; 5] = [
    "INSERT INTO `rowcast_resource` (`table_name`, `source_resource_id`, `version`) \
         SELECT t.name, s.c1, s.c2 FROM <TN> s CROSS JOIN (SELECT CAST(? AS binary) AS name) \
         t WHERE true ON DUPLICATE KEY UPDATE `version` = VALUES(`version`)",
    "INSERT INTO `fhir`.`Patient_View` (`source_resource_id`, `id`, `given`) VALUES (?, \
         ?, ?), (?, ?, ?)",
    "DELETE r FROM <T> s STRAIGHT_JOIN `fhir`.`Patient_View` r ON r.`source_resource_id` \
         = s.c1",
    "DELETE r FROM <T> s STRAIGHT_JOIN `rowcast_resource` r FORCE INDEX (`PRIMARY`) ON r.`source_resource_id` = \
         s.c1 AND r.`table_name` = ?",
    "SELECT CAST(s.c1 AS char), CAST(r.`version` AS signed) FROM <TN> s STRAIGHT_JOIN \
         `rowcast_resource` r FORCE INDEX (`PRIMARY`) ON r.`source_resource_id` = s.c1 AND r.`table_name` = ? WHERE \
         r.`version` <= s.c2 FOR UPDATE",
];

/// What it asks before it upserts a root row, a view's guard, before it appends to the history and
/// remembers a delete.
const QUESTIONS: [&str; 4] = [
    "SELECT s.o, CAST(s.c1 AS char) FROM <TNTTNNN> s CROSS JOIN (SELECT CAST(? AS binary) \
         AS name) t LEFT JOIN `fhir`.`patient` r ON r.`source_resource_id` = s.c1 WHERE \
         (r.`source_resource_id` IS NULL OR r.`version` < s.c2) AND NOT EXISTS (SELECT 1 FROM \
         rowcast_tombstone d WHERE d.source_resource_id = s.c3 AND d.table_name = t.name AND \
         (d.version >= s.c2 OR (d.origin_topic = s.c4 AND d.origin_partition = s.c5 AND \
         (d.origin_offset, d.origin_index) > (s.c6, s.c7)))) FOR UPDATE",
    "SELECT s.o, CAST(s.c1 AS char) FROM <TNTTNNN> s CROSS JOIN (SELECT CAST(? AS binary) \
         AS name) t LEFT JOIN `rowcast_resource` r FORCE INDEX (`PRIMARY`) ON r.`source_resource_id` = s.c1 AND \
         r.`table_name` = t.name WHERE (r.`source_resource_id` IS NULL OR r.`version` < s.c2) \
         AND NOT EXISTS (SELECT 1 FROM rowcast_tombstone d WHERE d.source_resource_id = s.c3 \
         AND d.table_name = t.name AND (d.version >= s.c2 OR (d.origin_topic = s.c4 AND \
         d.origin_partition = s.c5 AND (d.origin_offset, d.origin_index) > (s.c6, s.c7)))) \
         FOR UPDATE",
    "SELECT s.o, CAST(s.c1 AS char), s.c2 FROM <TN> s LEFT JOIN `fhir`.`patient_history` \
         r ON r.`source_resource_id` = s.c1 AND r.`version` = s.c2 WHERE r.`version` IS NULL",
    "SELECT s.o, s.c1 FROM <TNN> s LEFT JOIN rowcast_tombstone d FORCE INDEX (`PRIMARY`) ON d.source_resource_id = \
         s.c1 AND d.table_name = ? WHERE d.version IS NULL OR d.version < s.c2 OR \
         (d.version = s.c2 AND d.left_out > s.c3) FOR UPDATE",
];

const TOMBSTONES: &str = "CREATE TABLE IF NOT EXISTS rowcast_tombstone (\n\
     \x20\x20`table_name` varbinary(600) NOT NULL,\n\
     \x20\x20`source_resource_id` varbinary(255) NOT NULL,\n\
     \x20\x20`version` bigint NOT NULL,\n\
     \x20\x20`at` datetime(6) NOT NULL,\n\
     \x20\x20`origin_topic` varbinary(600),\n\
     \x20\x20`origin_partition` bigint,\n\
     \x20\x20`origin_offset` bigint,\n\
     \x20\x20`origin_index` bigint,\n\
     \x20\x20`refused_topic` varbinary(600),\n\
     \x20\x20`refused_partition` bigint,\n\
     \x20\x20`refused_offset` bigint,\n\
     \x20\x20`refused_index` bigint,\n\
     \x20\x20`left_out` bigint,\n\
     \x20\x20PRIMARY KEY (`table_name`, `source_resource_id`)\n\
     ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

fn written_out(text: &str) -> String {
    let Some((before, rest)) = text.split_once('<') else { return text.to_owned() };
    let Some((columns, after)) = rest.split_once("> s") else { return text.to_owned() };
    let binds = columns.chars().map(|kind| match kind {
        'N' => BindColumn::own(BindType::Int8),
        _ => BindColumn::own(BindType::Text),
    });
    let rows = statements::rows(&binds.collect::<Vec<_>>());
    format!("{before}{rows}{after}")
}

#[test]
fn rows_of_ids_are_one_json_text() {
    let rows =
        statements::rows(&[BindColumn::own(BindType::Text), BindColumn::own(BindType::Int8)]);
    assert_eq!(
        rows,
        "JSON_TABLE(?, '$[*]' COLUMNS (o FOR ORDINALITY, \
         c1 varchar(600) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]' ERROR ON ERROR, \
         c2 bigint PATH '$[1]' ERROR ON ERROR)) s"
    );
}

#[test]
fn the_text_of_every_statement_is_as_reviewed() {
    for (text, expected) in sample::texts(&Mysql, 2).iter().zip(STATEMENTS) {
        assert_eq!(*text, written_out(expected));
    }
    for (text, expected) in sample::view_texts(&Mysql, 2).iter().zip(VIEW_STATEMENTS) {
        assert_eq!(*text, written_out(expected));
    }
}

#[test]
fn what_is_asked_before_a_write_is_as_reviewed() {
    let (root, view) = (sample::root(), sample::view());
    let root = RootStatements::new(&Mysql, &root, |_| None);
    let view = RootStatements::new(&Mysql, &view, |_| None);
    let asked = [
        &root.tables[0].write,
        &view.tables[0].write,
        &root.history[0].write,
        &root.remember_version,
    ];
    for (statement, expected) in asked.into_iter().zip(QUESTIONS) {
        let [question, _] = statement.steps().expect("it is two");
        assert_eq!(*question.statement.text(2), written_out(expected));
        assert_eq!(question.places.len(), question.statement.columns.len());
    }
}

#[test]
fn an_index_is_forced_where_its_name_is_known() {
    let live = crate::plan::LiveTable {
        schema: "fhir".into(),
        name: "name".into(),
        columns: Vec::new(),
        unique: Vec::new(),
        indexed: Vec::new(),
        index_names: vec![("source_resource_id".into(), "by`resource".into())],
    };
    let statements = RootStatements::new(&Mysql, &sample::root(), |_| Some(&live));
    let delete = statements.tables[1].delete.text(1);
    assert!(delete.contains(" r FORCE INDEX (`by``resource`) ON "), "{delete}");
}

#[test]
fn rowcasts_own_tables_compare_bytes() {
    let ddl = bookkeeping_ddl(&Mysql);
    let names: Vec<_> = ddl.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["rowcast_task", "rowcast_tombstone", "rowcast_resource", "rowcast_table"]);
    assert_eq!(ddl[1].1, TOMBSTONES);
}
