//! The script of one transaction: DESIGN's guard rules in their order. Here are those about who may
//! write (1, 7) and the order of the whole; what happens to a table is in `guard`.
//!
//! In: an open transaction, the statements of the tables, changes in origin order. Out: one
//! outcome per change; the caller commits. Written once for all databases.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::database::{Reply, Transaction};
use super::guard::{Entry, Part, Rebuild, Task, origin_cells};
use super::{Outcome, Owner, Ownership, RebuildSource, SinkError};
use crate::model::{Catalog, Offset, RowChange, RowOperation, TopicPartition};
use crate::plan::{Cell, ClaimStatements, RebuildStatements, RootStatements, Rows, TaskStatements};

/// Under what name this topology's offsets are remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskIdentity {
    /// Kafka's cluster id: offsets of another cluster mean nothing here.
    pub cluster_id: String,
    /// The topology's name.
    pub name: String,
}

impl TaskIdentity {
    /// How a topic is told from its namesake in another cluster.
    pub(super) fn topic(&self, topic: &str) -> String {
        format!("{}/{topic}", self.cluster_id)
    }
}

/// Whether the records of a topic are keyed by resource, so that all changes of a resource are in
/// one partition and the partition's lock orders them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keying {
    /// By resource.
    #[default]
    Keyed,
    /// Anyhow: writers lock root tables too.
    Unkeyed,
}

/// What a sink rebuilds, beside live traffic.
pub(super) struct Rebuilding {
    /// The topology's own tasks: their partitions are locked, and else left alone.
    pub(super) live: TaskIdentity,
    /// Where the changes come from.
    pub(super) source: RebuildSource,
    /// Places of the roots in the catalog; no other is written.
    pub(super) roots: BTreeSet<usize>,
}

/// The tables as they really are.
pub(super) struct Layout {
    pub(super) tasks: TaskStatements,
    pub(super) claims: ClaimStatements,
    /// When the live schema was read.
    pub(super) read_at: Instant,
    /// One per root of the catalog.
    pub(super) roots: Vec<RootLayout>,
}

/// A root table as it really is.
pub(super) struct RootLayout {
    pub(super) statements: RootStatements,
    /// Whether this sink writes to it at all.
    pub(super) is_written: bool,
    /// What a rebuild needs, if it is being rebuilt.
    pub(super) rebuild: Option<RebuildStatements>,
    /// The names under which its tables and their histories are claimed; the root's first.
    pub(super) claimed: Vec<String>,
    /// The first thing that makes writing impossible.
    pub(super) broken: Option<String>,
}

/// One transaction over the tables of a catalog.
pub(super) struct Script<'a> {
    pub(super) transaction: &'a mut dyn Transaction,
    pub(super) catalog: &'a Catalog,
    pub(super) layout: &'a Layout,
    pub(super) identity: &'a TaskIdentity,
    pub(super) keying: Keying,
    pub(super) rebuilding: Option<&'a Rebuilding>,
}

impl Script<'_> {
    /// Raises the epoch of a partition.
    pub(super) async fn take_over(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<Ownership, SinkError> {
        let key = task_key(self.identity, partition);
        let TaskStatements { raise, lock, .. } = &self.layout.tasks;
        self.transaction.run(raise, &Rows::new(0), &key).await?;
        let rows = self.transaction.run(lock, &Rows::new(0), &key).await?;
        let row = rows.first().map_or(&[] as &[Reply], Vec::as_slice);
        match row.first().and_then(Reply::int) {
            Some(epoch) => {
                let next_offset = row.get(1).and_then(Reply::int).map(Offset);
                Ok(Ownership { epoch, next_offset })
            }
            None => Err(SinkError::Fatal {
                attempted: raise.attempted,
                reason: "rowcast_task gave no epoch back".to_owned(),
            }),
        }
    }

    /// Rule 1: locks the partition's row before anything else is read, and stops a writer that no
    /// longer owns it. A rebuild locks live traffic's row first. Gives how far live traffic has
    /// settled the partition, to a rebuild.
    async fn own(&mut self, owner: &Owner) -> Result<Option<Offset>, SinkError> {
        let tasks = &self.layout.tasks;
        let (partition, expected) = match owner {
            Owner::Task { partition, epoch } => (partition, Some(*epoch)),
            Owner::Replay { partition, .. } => (partition, None),
        };
        let settled = self.lock_live(partition).await?;
        let key = task_key(self.identity, partition);
        let nothing = Rows::new(0);
        if expected.is_none() {
            self.transaction.run(&tasks.ensure, &nothing, &key).await?;
        }
        let rows = self.transaction.run(&tasks.lock, &nothing, &key).await?;
        let epoch = rows.first().and_then(|row| row.first()).and_then(Reply::int);
        if expected.is_some() && epoch != expected { Err(SinkError::Fenced) } else { Ok(settled) }
    }

    /// Locks what live traffic locks, so that a rebuild and it take turns; epoch and next offset
    /// stay as they are.
    async fn lock_live(&mut self, partition: &TopicPartition) -> Result<Option<Offset>, SinkError> {
        let Some(rebuilding) = self.rebuilding else { return Ok(None) };
        let (tasks, nothing) = (&self.layout.tasks, Rows::new(0));
        match rebuilding.source {
            RebuildSource::Topic => {
                let key = task_key(&rebuilding.live, partition);
                self.transaction.run(&tasks.ensure, &nothing, &key).await?;
                let rows = self.transaction.run(&tasks.lock, &nothing, &key).await?;
                let settled = rows.first().and_then(|row| row.get(1)).and_then(Reply::int);
                Ok(settled.map(Offset))
            }
            // which partition holds a resource is not known
            RebuildSource::File => {
                let TaskIdentity { cluster_id, name } = &rebuilding.live;
                let key = [Cell::Text(cluster_id), Cell::Text(name)];
                self.transaction.run(&tasks.lock_all, &nothing, &key).await?;
                Ok(None)
            }
        }
    }

    /// Applies changes.
    pub(super) async fn apply(
        &mut self,
        owner: &Owner,
        changes: &[&RowChange],
        next: Option<Offset>,
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        let settled = self.own(owner).await?;
        let mut parts = Vec::new();
        for (root, layout) in self.layout.roots.iter().enumerate() {
            if !layout.is_written {
                continue;
            }
            let mut part = self.part(root, layout, changes);
            part.rebuild = layout.rebuild.as_ref().map(|statements| {
                let (Owner::Task { partition, .. } | Owner::Replay { partition, .. }) = owner;
                Rebuild { statements, partition, settled }
            });
            if part.entries.is_empty() {
                continue;
            }
            if let Some(reason) = &layout.broken {
                let reason = format!("{reason}; see `rowcast check`");
                return Err(SinkError::Fatal { attempted: "writing rows", reason });
            }
            parts.push(part);
        }

        if self.keying == Keying::Unkeyed {
            self.lock(&parts).await?;
        }
        let force = matches!(owner, Owner::Replay { force: true, .. });
        let mut outcomes = vec![Some(Outcome::Filtered); changes.len()];
        if !force {
            for part in &mut parts {
                for refused in part.recall(self.transaction).await? {
                    if let Some(outcome) = outcomes.get_mut(refused) {
                        *outcome = None;
                    }
                }
            }
        }
        for part in &mut parts {
            part.entries.retain(|entry| outcomes.get(entry.index).is_some_and(Option::is_some));
            part.apply(self.transaction, &mut outcomes).await?;
        }
        self.settle(owner, next).await?;
        Ok(outcomes)
    }

    /// Rule 7: locks the root tables in the order of their names, before anything of them is read.
    async fn lock(&mut self, parts: &[Part<'_>]) -> Result<(), SinkError> {
        let mut parts: Vec<_> = parts.iter().collect();
        parts.sort_by_key(|part| &part.statements.table_name);
        for part in parts {
            let only_upserts =
                part.entries.iter().all(|entry| matches!(entry.task, Task::Write(..)));
            let statements = part.statements;
            let lock =
                if only_upserts { &statements.lock_shared } else { &statements.lock_exclusive };
            if let Some(lock) = lock {
                self.transaction.run(lock, &Rows::new(0), &[]).await?;
            }
        }
        Ok(())
    }

    /// Remembers that a delete without version was refused. A rebuild does not: what it writes to
    /// is live traffic's memory, and it writes no letter that could be forced. It comes to the delete
    /// again next time, and removes no more than what it wrote itself.
    pub(super) async fn note_refused(
        &mut self,
        owner: &Owner,
        change: &RowChange,
    ) -> Result<(), SinkError> {
        if self.rebuilding.is_some() {
            return Ok(());
        }
        self.own(owner).await?;
        let topic = self.identity.topic(&change.origin.source.topic);
        for (root, layout) in self.catalog.roots.iter().zip(&self.layout.roots) {
            if root.resource_type != change.resource.resource_type {
                continue;
            }
            let statements = &layout.statements;
            let mut rows = Rows::new(5);
            let id = Cell::Text(&change.resource.id);
            rows.push([id].into_iter().chain(origin_cells(&topic, &change.origin)));
            self.transaction.run(&statements.remember_refused, &rows, &[]).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, owner: &Owner, next: Option<Offset>) -> Result<(), SinkError> {
        let (Owner::Task { partition, .. }, Some(next)) = (owner, next) else { return Ok(()) };
        let mut constants = vec![Cell::Int(next.0), Cell::Int(next.0)];
        constants.extend(task_key(self.identity, partition));
        self.transaction.run(&self.layout.tasks.settle, &Rows::new(0), &constants).await?;
        Ok(())
    }

    fn part<'c>(&self, root: usize, layout: &'c RootLayout, changes: &[&'c RowChange]) -> Part<'c> {
        let resource_type = self.catalog.roots.get(root).map(|root| &*root.resource_type);
        let mut topics = HashMap::new();
        let mut entries = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            if Some(&*change.resource.resource_type) != resource_type {
                continue;
            }
            let task = match &change.operation {
                RowOperation::Delete { version: None } => Task::DeleteWhatIsThere,
                RowOperation::Delete { version: Some(version) } => Task::Delete(version.get()),
                RowOperation::Upsert { version, rows } => {
                    let rows = rows.iter().find(|rows| rows.root == root);
                    match rows.and_then(|rows| rows.row_sets.as_deref()) {
                        Some(sets) if sets.iter().any(|set| !set.rows.is_empty()) => {
                            Task::Write(version.get(), sets)
                        }
                        _ => Task::LeaveOut(version.get()),
                    }
                }
            };
            topics
                .entry(&*change.origin.source.topic)
                .or_insert_with(|| self.identity.topic(&change.origin.source.topic));
            entries.push(Entry { index, change, task });
        }
        Part {
            statements: &layout.statements,
            topics,
            entries,
            gone_at: HashMap::new(),
            rebuild: None,
        }
    }
}

fn task_key<'a>(identity: &'a TaskIdentity, partition: &'a TopicPartition) -> [Cell<'a>; 4] {
    [
        Cell::Text(&identity.cluster_id),
        Cell::Text(&identity.name),
        Cell::Text(&partition.topic),
        Cell::Int(partition.partition.into()),
    ]
}
