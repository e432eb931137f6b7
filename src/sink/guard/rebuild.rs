//! What is different while a table is rebuilt beside live traffic.
//!
//! In: the changes of a batch that was read again. Out: which of them a rebuild comes to for the first
//! time, and what was there when a delete without version was read. It relies on the partition's lock
//! being held, as the guard does.

use std::collections::{BTreeSet, HashMap};

use super::{Entry, Task, by_resource, first_texts};
use crate::model::{Offset, Origin, TopicPartition};
use crate::plan::{Cell, RebuildStatements, Rows};
use crate::sink::SinkError;
use crate::sink::database::Transaction;

/// A rebuild, as it comes to one root table.
pub(in crate::sink) struct Rebuild<'a> {
    pub(in crate::sink) statements: &'a RebuildStatements,
    /// The partition that is read again.
    pub(in crate::sink) partition: &'a TopicPartition,
    /// How far live traffic has settled it.
    pub(in crate::sink) settled: Option<Offset>,
}

impl Rebuild<'_> {
    /// Whether live traffic has gone past this place, so that it may have written what came after.
    pub(super) fn is_behind(&self, origin: &Origin) -> bool {
        origin.source != *self.partition
            || self.settled.is_some_and(|settled| origin.offset < settled)
    }

    /// Remembers the versions that are written or left out. Gives the resources that it has not come
    /// to at such a version before: of equal ones the first stays.
    pub(super) async fn see(
        &self,
        transaction: &mut dyn Transaction,
        entries: &[Entry<'_>],
    ) -> Result<BTreeSet<String>, SinkError> {
        let mut rows = Rows::new(self.statements.seen.columns.len());
        for entry in entries {
            let (Task::Write(version, _) | Task::LeaveOut(version)) = entry.task else { continue };
            let id = Cell::Text(entry.id());
            let nowhere = [Cell::Text(""), Cell::Int(0), Cell::Int(0), Cell::Int(0)];
            rows.push([id, Cell::Int(version), id].into_iter().chain(nowhere));
        }
        let news = transaction.run(&self.statements.seen, &rows, &[]).await?;
        Ok(first_texts(&news).map(ToOwned::to_owned).collect())
    }

    /// The versions that it had come to in the batches before.
    pub(super) async fn recall(
        &self,
        transaction: &mut dyn Transaction,
        ids: &[&str],
    ) -> Result<HashMap<String, i64>, SinkError> {
        let mut rows = Rows::new(2);
        for id in ids {
            rows.push([Cell::Text(id), Cell::Int(i64::MAX)]);
        }
        let found = transaction.run(&self.statements.recall, &rows, &[]).await?;
        Ok(by_resource(&found))
    }
}
