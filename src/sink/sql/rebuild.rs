//! A table filled anew: rewritten beside live traffic, or emptied.
//!
//! In: the roots to be rebuilt. Out: a sink that writes only those, equal versions too, under tasks of
//! its own; or empty tables. A rebuild's progress and what it has come to are in the database, so it
//! goes on after any end where it was. It never touches live traffic's epochs and offsets, save that
//! emptying a table forgets the offsets that its topology had settled.

use std::collections::BTreeSet;

use super::SqlSink;
use crate::model::TopicPartition;
use crate::plan::{Cell, Emptying, Rows};
use crate::sink::transaction::{Rebuilding, TaskIdentity};
use crate::sink::{Ownership, Sink as _, SinkError};

/// Between the topology's name, which has no space in it, and what is rebuilt.
const REBUILD: &str = " rebuild ";

/// Among a rebuild's tasks, what counts its refusals instead of offsets: no topic has this name.
const REFUSED: &str = "refused records";

/// A rebuild taken up: how far it had come.
#[derive(Debug, Clone)]
pub struct TakenUp {
    /// The right to write, and where to go on, by partition.
    pub progress: Vec<(TopicPartition, Ownership)>,
    /// Records that it could not write before.
    pub refused: u64,
}

/// Where the changes of a rebuild come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildSource {
    /// The ingest topic, partition by partition.
    Topic,
    /// A file: every partition's owner waits while a batch of it is written.
    File,
}

impl SqlSink {
    /// The same sink for a rebuild of these roots. `plan` tells this rebuild from one of other tables,
    /// rules or records: only the same goes on where it ended.
    #[must_use]
    pub fn rebuilding(
        mut self,
        source: RebuildSource,
        roots: impl IntoIterator<Item = usize>,
        plan: &str,
    ) -> Self {
        let live = self.identity.clone();
        let name = format!("{}{REBUILD}{plan}", live.name);
        self.identity = TaskIdentity { cluster_id: live.cluster_id.clone(), name };
        let roots: BTreeSet<usize> = roots.into_iter().collect();
        self.rebuilding = Some(Rebuilding { live, source, roots });
        self.layout = tokio::sync::RwLock::new(None);
        self
    }

    /// Begins the rebuild or takes it up again: gives how far it has come in each of `partitions`.
    /// `live` are those that live traffic may write from. A rebuild of this topology with another plan
    /// is given up, and fenced if it is still running.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn take_up(
        &self,
        partitions: &[TopicPartition],
        live: &[TopicPartition],
    ) -> Result<TakenUp, SinkError> {
        self.forget_others().await?;
        let known = self.next_offsets().await?;
        if known.is_empty() {
            self.forget_versions().await?;
        }
        let refused = known.iter().find(|(partition, _)| *partition.topic == *REFUSED);
        let refused = refused.and_then(|(_, count)| u64::try_from((*count)?.0).ok());
        for partition in live {
            self.ensure_live(partition).await?;
        }
        let mut progress = Vec::with_capacity(partitions.len());
        for partition in partitions {
            progress.push((partition.clone(), self.take_over(partition).await?));
        }
        Ok(TakenUp { progress, refused: refused.unwrap_or(0) })
    }

    /// Remembers how many records this rebuild could not write so far.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn remember_refusals(&self, count: u64) -> Result<(), SinkError> {
        let layout = self.layout().await?;
        let count = Cell::Int(i64::try_from(count).unwrap_or(i64::MAX));
        let TaskIdentity { cluster_id, name } = &self.identity;
        let key = [Cell::Text(cluster_id), Cell::Text(name), Cell::Text(REFUSED), Cell::Int(0)];
        let mut settled = vec![count, count];
        settled.extend(key);
        let mut transaction = self.begin().await?;
        let result = async {
            transaction.run(&layout.tasks.ensure, &Rows::new(0), &key).await?;
            transaction.run(&layout.tasks.settle, &Rows::new(0), &settled).await.map(drop)
        };
        let result = result.await;
        self.finish(transaction, result).await
    }

    /// Ends a rebuild: forgets how far it came, and, if all was well, records the rules under which
    /// the tables are filled now.
    ///
    /// # Errors
    /// [`SinkError`]. The rebuild may then be taken up again, and finds nothing left to do.
    pub async fn end_rebuild(&self, hashes: Option<&[String]>) -> Result<(), SinkError> {
        let roots = self.rebuilding.iter().flat_map(|rebuilding| &rebuilding.roots);
        if let Some(hashes) = hashes {
            let recorded =
                roots.filter_map(|root| Some((*root, Some(hashes.get(*root)?.as_str()))));
            self.record_claims(recorded).await?;
        }
        // what was come to goes first: left behind, it would keep the next rebuild from its work
        self.forget_versions().await?;
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let key = [Cell::Text(&self.identity.cluster_id), Cell::Text(&self.identity.name)];
        let result = transaction.run(&layout.tasks.forget_tasks, &Rows::new(0), &key).await;
        self.finish(transaction, result.map(drop)).await
    }

    /// Empties these roots' tables, their children's and histories, then forgets their deletes. Offsets
    /// that were settled are forgotten first. In several transactions, to be repeated if it is broken
    /// off: until it is through, what is read again from the beginning leaves the tables right.
    ///
    /// # Errors
    /// [`SinkError`].
    pub async fn clear(&self, roots: &BTreeSet<usize>) -> Result<(), SinkError> {
        self.forget_others().await?;
        let layout = self.layout().await?;
        for topic in self.next_offsets().await?.into_iter().map(|(partition, _)| partition.topic) {
            let mut transaction = self.begin().await?;
            let TaskIdentity { cluster_id, name } = &self.identity;
            let key = [Cell::Text(cluster_id), Cell::Text(name), Cell::Text(&topic)];
            let forget = &layout.tasks.forget_offsets;
            let result = transaction.run(forget, &Rows::new(0), &key).await;
            self.finish(transaction, result.map(drop)).await?;
        }
        let dialect = self.database.dialect();
        for root in roots.iter().filter_map(|root| layout.roots.get(*root)) {
            for emptying in Emptying::of_root(dialect, &root.statements) {
                self.empty(&emptying).await?;
            }
        }
        Ok(())
    }

    /// Gives up all rebuilds of this topology but this one: who still runs one finds its task gone.
    async fn forget_others(&self) -> Result<(), SinkError> {
        let layout = self.layout().await?;
        let (nothing, cluster) = (Rows::new(0), Cell::Text(&self.identity.cluster_id));
        let prefix = format!("{}{REBUILD}", self.topology());
        let mut transaction = self.begin().await?;
        let result = async {
            let names = transaction.run(&layout.tasks.names, &nothing, &[cluster]).await?;
            let others = names.iter().filter_map(|row| row.first()?.text());
            let others = others.filter(|name| name.starts_with(&prefix));
            for name in others.filter(|name| *name != self.identity.name) {
                let key = [cluster, Cell::Text(name)];
                transaction.run(&layout.tasks.forget_tasks, &nothing, &key).await?;
            }
            Ok(())
        };
        let result = result.await;
        self.finish(transaction, result).await
    }

    /// What a rebuild had come to is forgotten.
    async fn forget_versions(&self) -> Result<(), SinkError> {
        let layout = self.layout().await?;
        for rebuild in layout.roots.iter().filter_map(|root| root.rebuild.as_ref()) {
            self.empty(&rebuild.forget).await?;
        }
        Ok(())
    }

    async fn empty(&self, emptying: &Emptying) -> Result<(), SinkError> {
        loop {
            let mut transaction = self.begin().await?;
            let nothing = Rows::new(0);
            let result = async {
                transaction.run(&emptying.delete, &nothing, &[]).await?;
                transaction.run(&emptying.left, &nothing, &[]).await
            };
            let result = result.await;
            if self.finish(transaction, result).await?.is_empty() {
                return Ok(());
            }
        }
    }

    /// Makes sure that live traffic's row of a partition is there to be locked.
    async fn ensure_live(&self, partition: &TopicPartition) -> Result<(), SinkError> {
        let Some(rebuilding) = &self.rebuilding else { return Ok(()) };
        let layout = self.layout().await?;
        let TaskIdentity { cluster_id, name } = &rebuilding.live;
        let key = [
            Cell::Text(cluster_id),
            Cell::Text(name),
            Cell::Text(&partition.topic),
            Cell::Int(partition.partition.into()),
        ];
        let mut transaction = self.begin().await?;
        let result = transaction.run(&layout.tasks.ensure, &Rows::new(0), &key).await;
        self.finish(transaction, result.map(drop)).await
    }
}
