//! A small root table and a small view for the tests of the dialects.

use super::RootStatements;
use super::dialect::Dialect;
use crate::model::{Column, ColumnSource, ColumnType, Guard, RootTable, Table, TableName};

fn column(name: &str, column_type: ColumnType, source: ColumnSource) -> Column {
    Column { name: name.into(), column_type, maximum_size: None, source, optional: false }
}

fn rule(name: &str, column_type: ColumnType, maximum_size: Option<usize>) -> Column {
    let source = ColumnSource::Rule { rule: "rules/patient.json#/0".into(), path: name.into() };
    Column { maximum_size, ..column(name, column_type, source) }
}

fn managed(parent: Option<usize>) -> Vec<Column> {
    let mut columns = vec![
        column("id", ColumnType::Uuid, ColumnSource::Id),
        column("version", ColumnType::BigInt, ColumnSource::Version),
        column("source_resource_id", ColumnType::String, ColumnSource::SourceResourceId),
    ];
    if parent.is_some() {
        columns[1].optional = true;
        columns.push(column("parent_reference", ColumnType::Uuid, ColumnSource::ParentReference));
    }
    columns
}

/// Patients with a JSON column, and their names; with history.
pub(super) fn root() -> RootTable {
    let table = |name: &str, parent, rules: Vec<Column>| {
        let mut columns = managed(parent);
        columns.extend(rules);
        Table { name: TableName::parse(name), columns, parent }
    };
    RootTable {
        guard: Guard::RootRow,
        resource_type: "Patient".into(),
        tables: vec![
            table(
                "fhir.patient",
                None,
                vec![rule("born", ColumnType::Date, None), rule("raw", ColumnType::Json, None)],
            ),
            table("fhir.name", Some(0), vec![rule("order", ColumnType::String, Some(10))]),
        ],
        history: true,
        rule: "rules/patient.json#/0".into(),
    }
}

/// Patients as rows of a view that brings an `id` of its own.
pub(super) fn view() -> RootTable {
    let version = column("version", ColumnType::BigInt, ColumnSource::Version);
    let resource = column("source_resource_id", ColumnType::String, ColumnSource::SourceResourceId);
    let guard = Table {
        name: TableName::parse("rowcast_resource"),
        columns: vec![resource.clone(), version.clone()],
        parent: None,
    };
    let columns = vec![
        Column { optional: true, ..version },
        resource,
        rule("id", ColumnType::String, None),
        rule("given", ColumnType::String, None),
    ];
    let name = TableName::parse("fhir.Patient_View");
    RootTable {
        guard: Guard::ResourceTable,
        tables: vec![guard, Table { name, columns, parent: Some(0) }],
        history: false,
        ..root()
    }
}

/// The statements that a view does not share with [`texts`].
pub(super) fn view_texts(dialect: &dyn Dialect, rows: usize) -> Vec<String> {
    let root = view();
    let all = RootStatements::new(dialect, &root, |_| None);
    let (guard, child) = (&all.tables[0], &all.tables[1]);
    [&guard.write, &child.write, &child.delete, &guard.delete, &all.doomed]
        .map(|statement| statement.text(rows).to_string())
        .to_vec()
}

/// The statements of [`root`] in a dialect, by what they do.
pub(super) fn texts(dialect: &dyn Dialect, rows: usize) -> Vec<String> {
    let root = root();
    let all = RootStatements::new(dialect, &root, |_| None);
    [
        &all.tables[0].write,
        &all.tables[1].write,
        &all.tables[1].delete,
        &all.history[0].write,
        &all.doomed,
        &all.memory,
        &all.remember_version,
        &all.remember_origin,
        &all.remember_refused,
    ]
    .map(|statement| statement.text(rows).to_string())
    .to_vec()
}
