//! Targets: the catalog's tables as they really are, with their statements.
//!
//! In: the catalog and the live tables. Out: per root table every statement that a transaction
//! may need, its text fixed once. Columns that a table may do without and does not have are left
//! out.

use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

use super::cell::{BindColumn, BindType};
use super::dialect::{Access, Admission, Dialect};
use super::found_by::FoundBy;
use super::live::LiveTable;
use super::statement::{Effect, Statement};
use crate::model::{ColumnSource, Guard, RootTable, Table, TableName};

/// A column that is filled.
#[derive(Debug, Clone)]
pub struct TargetColumn {
    /// Name.
    pub name: Arc<str>,
    /// Its value's place in a row.
    pub position: usize,
    /// How it is bound.
    pub bind: BindType,
    /// The most characters that it takes.
    pub limit: Option<usize>,
    /// Who fills it.
    pub source: ColumnSource,
    /// Whether the parent's `id` is managed: then history derives its `parent_reference`.
    pub parent_id_is_managed: bool,
}

impl TargetColumn {
    /// How it is bound, for a statement.
    #[must_use]
    pub fn bind_column(&self) -> BindColumn {
        BindColumn { name: Some(Arc::clone(&self.name)), bind: self.bind, limit: self.limit }
    }
}

/// A table that is filled.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name, quoted.
    pub quoted: String,
    /// Its name as the rules write it, for refusals and metrics; of `rowcast_resource`, that of the
    /// table whose rows it guards.
    pub label: Arc<str>,
    /// Its columns.
    pub columns: Vec<TargetColumn>,
    /// First columns and names of its indexes, where that is known and matters.
    index_names: Vec<(String, String)>,
}

impl Target {
    /// A table of a root: itself, or its history.
    #[must_use]
    pub fn new(
        dialect: &dyn Dialect,
        root: &RootTable,
        table: &Table,
        name: &TableName,
        live: Option<&LiveTable>,
    ) -> Self {
        let parent = table.parent.and_then(|parent| root.tables.get(parent));
        let parent_id_is_managed = parent.is_some_and(id_is_managed);
        let columns = table
            .columns
            .iter()
            .enumerate()
            .filter_map(|(position, column)| {
                let found = live.and_then(|live| live.column(&column.name));
                let bind = found.and_then(|found| dialect.bind_type(column.column_type, found));
                // not there, or a namesake that the database fills in its own way
                let without = found.is_none_or(|found| found.filled && bind.is_none());
                if column.optional && without {
                    return None;
                }
                Some(TargetColumn {
                    name: Arc::clone(&column.name),
                    position,
                    bind: bind.unwrap_or_else(|| dialect.usual_bind(column.column_type)),
                    limit: found.and_then(|found| found.limit),
                    source: column.source.clone(),
                    parent_id_is_managed,
                })
            })
            .collect();
        let declared = table.parent.is_some() || root.guard == Guard::RootRow;
        let label = if declared { name } else { &root.named_table().name };
        let index_names = live.map(|live| live.index_names.clone()).unwrap_or_default();
        Self { quoted: dialect.table(name), label: label.to_string().into(), columns, index_names }
    }

    /// `rowcast_resource`, for rows that are no view's; `label` is what they concern.
    #[must_use]
    pub fn of_guards(dialect: &dyn Dialect, label: &Arc<str>) -> Self {
        let column = |name: &str, position, bind, source| TargetColumn {
            name: name.into(),
            position,
            bind,
            limit: None,
            source,
            parent_id_is_managed: false,
        };
        let resource = ColumnSource::SourceResourceId;
        Self {
            quoted: dialect.quote("rowcast_resource"),
            label: Arc::clone(label),
            columns: vec![
                column("source_resource_id", 0, BindType::Text, resource),
                column("version", 1, BindType::Int8, ColumnSource::Version),
            ],
            index_names: Vec::new(),
        }
    }

    /// Place of a column among those filled.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }

    /// The name of an index that begins with a column.
    #[must_use]
    pub fn index_on(&self, column: &str) -> Option<&str> {
        let found = self.index_names.iter().find(|(first, _)| first == column);
        found.map(|(_, name)| name.as_str())
    }

    /// How a column is bound; as text if it is not filled.
    #[must_use]
    pub fn bind_column(&self, name: &str) -> BindColumn {
        self.place(name)
            .and_then(|place| self.columns.get(place))
            .map_or(BindColumn::own(BindType::Text), TargetColumn::bind_column)
    }
}

/// Under what name rowcast's own tables know a table: with the schema that it resolves to.
#[must_use]
pub fn resolved(name: &TableName, live: Option<&LiveTable>) -> String {
    live.map_or_else(|| name.to_string(), |live| format!("{}.{}", live.schema, live.name))
}

/// Whether rowcast makes a table's ids.
#[must_use]
fn id_is_managed(table: &Table) -> bool {
    table.columns.iter().any(|column| column.source == ColumnSource::Id)
}

/// A table with the statements that fill and clear it.
#[derive(Debug)]
pub struct TableStatements {
    /// The table.
    pub target: Target,
    /// Inserts rows; for a root table the guarded upsert, for history the append.
    pub write: Statement,
    /// Removes a resource's rows: by `source_resource_id`, or what else finds the root row.
    pub delete: Statement,
}

/// All statements of one root table and its children. Those over rowcast's own tables bind
/// `table_name` themselves.
#[derive(Debug)]
pub struct RootStatements {
    /// Under what name rowcast's own tables and locks know the root: its named table, resolved with
    /// its schema.
    pub table_name: Arc<str>,
    /// How the column is bound that finds a resource's root row.
    pub key: BindType,
    /// The root first, then children, each after its parent.
    pub tables: Vec<TableStatements>,
    /// Their history tables in the same order; empty without history.
    pub history: Vec<TableStatements>,
    /// Locks the root table against deletes, for topics that are not keyed.
    pub lock_shared: Option<Statement>,
    /// Locks the root table against everybody, for topics that are not keyed.
    pub lock_exclusive: Option<Statement>,
    /// Locks root rows at or below a version.
    pub doomed: Statement,
    /// Reads what is remembered of deletes without version.
    pub memory: Statement,
    /// Remembers resources as gone at a version.
    pub remember_version: Statement,
    /// Remembers deletes without version.
    pub remember_origin: Statement,
    /// Remembers that a delete without version was refused.
    pub remember_refused: Statement,
}

impl RootStatements {
    /// The statements of a root. `live` gives a table as it is, if it is.
    #[must_use]
    pub fn new<'a>(
        dialect: &dyn Dialect,
        root: &RootTable,
        live: impl Fn(&TableName) -> Option<&'a LiveTable>,
    ) -> Self {
        Self::admitting(dialect, root, live, Admission::Newer)
    }

    /// The same for versions that `admission` lets in.
    #[must_use]
    pub fn admitting<'a>(
        dialect: &dyn Dialect,
        root: &RootTable,
        live: impl Fn(&TableName) -> Option<&'a LiveTable>,
        admission: Admission,
    ) -> Self {
        let named = root.named_table();
        let table_name: Arc<str> = resolved(&named.name, live(&named.name)).into();
        let about = |statement: Statement| statement.about(&table_name);
        let guard = FoundBy::of_guard(root);
        let mut tables: Vec<TableStatements> = Vec::with_capacity(root.tables.len());
        let mut history = Vec::new();
        for table in &root.tables {
            let target = Target::new(dialect, root, table, &table.name, live(&table.name));
            let (found_by, mut write) = if table.parent.is_none() {
                let write = dialect.guarded_upsert(&target, guard, &table_name, admission);
                (guard, write.doing(Effect::Upserts))
            } else {
                let write = dialect.insert(&target).doing(Effect::Inserts);
                (FoundBy::Column("source_resource_id"), write)
            };
            let mut delete = dialect.delete(&target, found_by, &table_name).doing(Effect::Deletes);
            // `rowcast_resource` is no table of the rules
            if table.parent.is_none() && root.guard == Guard::ResourceTable {
                (write.effect, delete.effect) = (None, None);
            }
            tables.push(TableStatements { target, write, delete });
            if root.history {
                let name = table.name.history();
                let target = Target::new(dialect, root, table, &name, live(&name));
                let write = dialect.append(&target, found_by.column()).doing(Effect::Appends);
                let delete = dialect.delete(&target, found_by, &table_name);
                history.push(TableStatements { target, write, delete });
            }
        }
        let root_target =
            Target::new(dialect, root, root.root(), &root.root().name, live(&root.root().name));
        let label = &root_target.label;
        Self {
            key: root_target.bind_column(guard.column()).bind,
            lock_shared: dialect.lock_root(Access::Shared).map(about),
            lock_exclusive: dialect.lock_root(Access::Exclusive).map(about),
            doomed: dialect.doomed(&root_target, guard, &table_name),
            memory: dialect.memory(&table_name),
            remember_version: dialect.remember_version(&table_name).on(label),
            remember_origin: dialect.remember_origin(&table_name).on(label),
            remember_refused: dialect.remember_refused(&table_name).on(label),
            table_name,
            tables,
            history,
        }
    }

    /// Whether the column that finds a resource's root row can hold this id at all: an `id` that
    /// is no UUID is in no UUID column.
    #[must_use]
    pub fn can_hold(&self, id: &str) -> bool {
        match self.key {
            BindType::Uuid | BindType::UuidBytes => Uuid::parse_str(id).is_ok(),
            BindType::Int2 => id.parse::<i16>().is_ok(),
            BindType::Int4 => id.parse::<i32>().is_ok(),
            BindType::Int8 => id.parse::<i64>().is_ok(),
            _ => true,
        }
    }

    /// A resource id as the database gives it back as text.
    #[must_use]
    pub fn key_text<'a>(&self, id: &'a str) -> Cow<'a, str> {
        match self.key {
            BindType::Uuid | BindType::UuidBytes => match Uuid::parse_str(id) {
                Ok(uuid) => uuid.to_string().into(),
                Err(_) => id.into(),
            },
            BindType::Int2 | BindType::Int4 | BindType::Int8 => match id.parse::<i64>() {
                Ok(number) => number.to_string().into(),
                Err(_) => id.into(),
            },
            _ => id.into(),
        }
    }
}

/// The statements over `rowcast_task`, and those that forget offsets.
#[derive(Debug)]
pub struct TaskStatements {
    /// Raises the epoch. Constants: cluster, name, topic, partition.
    pub raise: Statement,
    /// Makes sure that there is a row. Constants: as above.
    pub ensure: Statement,
    /// Locks the row. Constants: as above. Returns epoch, next offset.
    pub lock: Statement,
    /// Raises the next offset. Constants: the offset twice, then as above.
    pub settle: Statement,
    /// Lists what is remembered. Constants: cluster, name. Returns topic, partition, next offset.
    pub offsets: Statement,
    /// Locks the rows of all partitions, in order. Constants: cluster, name.
    pub lock_all: Statement,
    /// Lists the names of tasks. Constant: cluster.
    pub names: Statement,
    /// Forgets the tasks of a name. Constants: cluster, name.
    pub forget_tasks: Statement,
    /// Forgets the next offsets of a topic. Constants: cluster, name, topic.
    pub forget_offsets: Statement,
    /// Forgets the origins that lie in a topic. Constant: the topic's identity.
    pub forget_origins: Statement,
    /// Forgets the refused origins that lie in a topic. Constant: the topic's identity.
    pub forget_refused: Statement,
}

impl TaskStatements {
    /// The statements of a dialect.
    #[must_use]
    pub fn new(dialect: &dyn Dialect) -> Self {
        let bind = |number: usize| dialect.placeholder(number);
        let partition = dialect.quote("partition");
        let key = |from: usize| {
            format!(
                "cluster_id = {} AND name = {} AND topic = {} AND {partition} = {}",
                bind(from),
                bind(from + 1),
                bind(from + 2),
                bind(from + 3)
            )
        };
        let insert = |epoch: i64, assignment: Option<&str>| {
            format!(
                "INSERT INTO rowcast_task (cluster_id, name, topic, {partition}, epoch) \
                 VALUES ({}, {}, {}, {}, {epoch}) {}",
                bind(1),
                bind(2),
                bind(3),
                bind(4),
                dialect.on_conflict(&format!("cluster_id, name, topic, {partition}"), assignment)
            )
        };
        let forget = |what: &str| {
            format!(
                "UPDATE rowcast_tombstone SET {what}_topic = NULL, {what}_partition = NULL, \
                 {what}_offset = NULL, {what}_index = NULL WHERE {what}_topic = {}",
                bind(1)
            )
        };
        Self {
            raise: Statement::fixed(
                "taking a partition over",
                Vec::new(),
                insert(1, Some("epoch = rowcast_task.epoch + 1")),
            ),
            ensure: Statement::fixed("checking ownership", Vec::new(), insert(0, None)),
            lock: Statement::fixed(
                "checking ownership",
                Vec::new(),
                format!(
                    "SELECT epoch, next_offset FROM rowcast_task WHERE {}{}",
                    key(1),
                    dialect.locking("")
                ),
            ),
            settle: Statement::fixed(
                "remembering the next offset",
                Vec::new(),
                format!(
                    "UPDATE rowcast_task SET next_offset = {} \
                     WHERE (next_offset IS NULL OR next_offset < {}) AND {}",
                    bind(1),
                    bind(2),
                    key(3)
                ),
            ),
            offsets: Statement::fixed(
                "reading remembered offsets",
                Vec::new(),
                format!(
                    "SELECT topic, {partition}, next_offset FROM rowcast_task \
                     WHERE cluster_id = {} AND name = {} ORDER BY topic, {partition}",
                    bind(1),
                    bind(2)
                ),
            ),
            lock_all: Statement::fixed(
                "locking all partitions",
                Vec::new(),
                format!(
                    "SELECT epoch FROM rowcast_task WHERE cluster_id = {} AND name = {} \
                     ORDER BY topic, {partition}{}",
                    bind(1),
                    bind(2),
                    dialect.locking("")
                ),
            ),
            names: Statement::fixed(
                "looking for rebuilds",
                Vec::new(),
                format!("SELECT DISTINCT name FROM rowcast_task WHERE cluster_id = {}", bind(1)),
            ),
            forget_tasks: Statement::fixed(
                "forgetting a rebuild",
                Vec::new(),
                format!(
                    "DELETE FROM rowcast_task WHERE cluster_id = {} AND name = {}",
                    bind(1),
                    bind(2)
                ),
            ),
            forget_offsets: Statement::fixed(
                "forgetting offsets",
                Vec::new(),
                format!(
                    "UPDATE rowcast_task SET next_offset = NULL \
                     WHERE cluster_id = {} AND name = {} AND topic = {}",
                    bind(1),
                    bind(2),
                    bind(3)
                ),
            ),
            forget_origins: Statement::fixed("forgetting offsets", Vec::new(), forget("origin")),
            forget_refused: Statement::fixed("forgetting offsets", Vec::new(), forget("refused")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Postgres, sample};

    #[test]
    fn whatever_concerns_a_view_bears_the_name_of_its_table() {
        let all = RootStatements::new(&Postgres, &sample::view(), |_| None);
        assert_eq!(&*all.table_name, "fhir.Patient_View");
        let over_tables = all.tables.iter().flat_map(|table| [&table.write, &table.delete]);
        let others =
            [&all.doomed, &all.remember_version, &all.remember_origin, &all.remember_refused];
        for statement in over_tables.chain(others) {
            assert_eq!(statement.table.as_deref(), Some("fhir.Patient_View"));
        }
    }
}
