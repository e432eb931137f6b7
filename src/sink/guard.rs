//! What one transaction does to one root table, its children and their history: DESIGN's guard
//! rules 2 to 6.
//!
//! In: the changes of the table's type, in origin order, and the table's statements. Out: raised
//! outcomes. It relies on the partition's lock (rule 1), or the table's (rule 7), being held.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::database::{Reply, ReplyRow, Transaction};
use super::{Outcome, SinkError};
use crate::model::{Origin, RowChange, RowSet, Value};
use crate::plan::{
    Cell, Folded, Leaves, RootStatements, Rows, TableStatements, fold, history_cells,
};

mod rebuild;

pub(super) use rebuild::Rebuild;

/// What a change asks of one root table.
#[derive(Clone, Copy)]
pub(super) enum Task<'a> {
    Write(i64, &'a [RowSet]),
    /// The `where` does not match at this version: no rows, no newer rows removed.
    LeaveOut(i64),
    Delete(i64),
    DeleteWhatIsThere,
    /// A delete without version that this table has had already: it ends stale.
    DoneBefore,
}

#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Place in the batch.
    pub(super) index: usize,
    pub(super) change: &'a RowChange,
    pub(super) task: Task<'a>,
}

impl<'a> Entry<'a> {
    fn id(&self) -> &'a str {
        &self.change.resource.id
    }

    const fn leaves(&self) -> Leaves {
        match self.task {
            Task::Write(..) => Leaves::Rows,
            Task::LeaveOut(_) => Leaves::LeftOut,
            Task::Delete(_) | Task::DeleteWhatIsThere | Task::DoneBefore => Leaves::Gone,
        }
    }
}

/// What one transaction does to one root table, its children and their history.
pub(super) struct Part<'a> {
    pub(super) statements: &'a RootStatements,
    /// Topics by name, as they are remembered.
    pub(super) topics: HashMap<&'a str, String>,
    /// The changes of its type, in origin order.
    pub(super) entries: Vec<Entry<'a>>,
    /// The versions at which resources that are deleted without one are remembered as gone.
    pub(super) gone_at: HashMap<&'a str, i64>,
    /// Set while the table is rebuilt.
    pub(super) rebuild: Option<Rebuild<'a>>,
}

/// One per change of the batch; `None`: refused before.
type Outcomes = [Option<Outcome>];

/// Raises an outcome: a change ends as the best of what its tables say.
fn raise(outcomes: &mut Outcomes, index: usize, to: Outcome) {
    if let Some(Some(outcome)) = outcomes.get_mut(index) {
        *outcome = (*outcome).max(to);
    }
}

impl<'a> Part<'a> {
    fn topic(&self, origin: &Origin) -> &str {
        self.topics.get(&*origin.source.topic).map_or("", String::as_str)
    }

    /// Rule 2's look back: drops the deletes without version that this table has had already, and
    /// gives the places of those that were refused before.
    pub(super) async fn recall(
        &mut self,
        transaction: &mut dyn Transaction,
    ) -> Result<Vec<usize>, SinkError> {
        let ids: BTreeSet<&str> = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.task, Task::DeleteWhatIsThere))
            .map(Entry::id)
            .collect();
        let memory = &self.statements.memory;
        let found = transaction.run(memory, &single_column(ids), &[]).await?;
        let memory: HashMap<&str, &ReplyRow> =
            found.iter().filter_map(|row| Some((row.first()?.text()?, row))).collect();
        let mut refused = Vec::new();
        let mut done = BTreeSet::new();
        let mut gone_at = HashMap::new();
        for entry in &self.entries {
            let (Task::DeleteWhatIsThere, Some(row)) = (entry.task, memory.get(entry.id())) else {
                continue;
            };
            gone_at.extend(row.get(9).and_then(Reply::int).map(|version| (entry.id(), version)));
            let topic = self.topic(&entry.change.origin);
            if reaches(row.get(1..5), topic, &entry.change.origin) {
                done.insert(entry.index);
            } else if reaches(row.get(5..9), topic, &entry.change.origin) {
                refused.push(entry.index);
            }
        }
        self.gone_at = gone_at;
        for entry in &mut self.entries {
            if done.contains(&entry.index) {
                entry.task = Task::DoneBefore;
            }
        }
        Ok(refused)
    }

    /// Applies what is left of the entries.
    pub(super) async fn apply(
        &self,
        transaction: &mut dyn Transaction,
        outcomes: &mut Outcomes,
    ) -> Result<(), SinkError> {
        for entry in &self.entries {
            if !matches!(entry.task, Task::LeaveOut(_)) {
                raise(outcomes, entry.index, Outcome::Stale);
            }
        }
        let folded = self.fold();
        self.delete_what_is_there(transaction, &folded, outcomes).await?;
        let mut newest = self.newest(&folded);
        self.delete(transaction, &newest, outcomes).await?;
        if let Some(rebuild) = &self.rebuild {
            let news = rebuild.see(transaction, &newest).await?;
            newest.retain(|entry| news.contains(entry.id()));
        }
        self.write(transaction, newest, outcomes).await?;
        self.append_history(transaction).await
    }

    /// Rule 2. The places are those among the entries, not in the batch.
    fn fold(&self) -> Vec<Folded> {
        let entries = self.entries.iter().enumerate();
        let left = entries.filter(|(_, entry)| !matches!(entry.task, Task::DoneBefore));
        fold(left.map(|(place, entry)| (place, entry.change, entry.leaves())))
    }

    /// The newest changes of the fold, in the order of their ids.
    fn newest(&self, folded: &[Folded]) -> Vec<Entry<'a>> {
        folded.iter().filter_map(|folded| self.entries.get(folded.newest?).copied()).collect()
    }

    /// Rule 5 for deletes without version: removes what is there, and remembers the highest
    /// version known and the origin. A rebuild that comes to one which live traffic passed before the
    /// table was there removes what it has come to itself: the rest was written after the delete.
    async fn delete_what_is_there(
        &self,
        transaction: &mut dyn Transaction,
        folded: &[Folded],
        outcomes: &mut Outcomes,
    ) -> Result<(), SinkError> {
        let deletes: Vec<(Entry<'a>, i64)> = folded
            .iter()
            .filter_map(|folded| {
                let delete = folded.delete_without_version?;
                Some((self.entries.get(delete.index).copied()?, delete.seen))
            })
            .collect();
        if deletes.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = deletes.iter().map(|(entry, _)| entry.id()).collect();
        let come_to = match &self.rebuild {
            Some(rebuild) => rebuild.recall(transaction, &ids).await?,
            None => HashMap::new(),
        };
        let at_most = |entry: &Entry<'_>, seen: i64| {
            let behind = self.rebuild.as_ref()?.is_behind(&entry.change.origin);
            behind.then(|| come_to.get(entry.id()).copied().unwrap_or(-1).max(seen))
        };
        let all = deletes
            .iter()
            .map(|(entry, seen)| (entry.id(), at_most(entry, *seen).unwrap_or(i64::MAX)));
        let stored = self.doomed(transaction, all).await?;
        let mut rows = Rows::new(6);
        let mut removed = Vec::with_capacity(deletes.len());
        for (entry, seen) in &deletes {
            let stored = stored.get(&*self.statements.key_text(entry.id())).copied();
            let bound = at_most(entry, *seen);
            if bound.is_none() || stored.is_some() {
                removed.push(entry.id());
            }
            let version = bound.unwrap_or_else(|| {
                let gone_at = self.gone_at.get(entry.id()).copied();
                stored.max(gone_at).unwrap_or(-1).max(*seen)
            });
            let origin = &entry.change.origin;
            rows.push(
                [Cell::Text(entry.id()), Cell::Int(version)]
                    .into_iter()
                    .chain(origin_cells(self.topic(origin), origin)),
            );
            raise(outcomes, entry.index, Outcome::Written);
        }
        transaction.run(&self.statements.remember_origin, &rows, &[]).await?;
        self.remove(transaction, &removed).await
    }

    /// Rule 5 for deletes with a version and for versions that `where` filters out.
    async fn delete(
        &self,
        transaction: &mut dyn Transaction,
        newest: &[Entry<'a>],
        outcomes: &mut Outcomes,
    ) -> Result<(), SinkError> {
        let mut gone = Vec::new();
        let mut rows = Rows::new(3);
        for entry in newest {
            if let Task::Delete(version) | Task::LeaveOut(version) = entry.task {
                let left_out = i64::from(matches!(entry.task, Task::LeaveOut(_)));
                rows.push([Cell::Text(entry.id()), Cell::Int(version), Cell::Int(left_out)]);
                gone.push((*entry, version));
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let remember = &self.statements.remember_version;
        let news = transaction.run(remember, &rows, &[]).await?;
        let news: HashSet<&str> = first_texts(&news).collect();
        let versions = gone.iter().map(|(entry, version)| (entry.id(), *version));
        let doomed = self.doomed(transaction, versions).await?;
        let mut removed = Vec::new();
        for (entry, _) in &gone {
            let there = doomed.contains_key(&*self.statements.key_text(entry.id()));
            if there {
                removed.push(entry.id());
            }
            if matches!(entry.task, Task::Delete(_)) && (there || news.contains(entry.id())) {
                raise(outcomes, entry.index, Outcome::Written);
            }
        }
        self.remove(transaction, &removed).await
    }

    /// Rules 3 and 4: the guarded upsert, then the children of what was really written.
    async fn write(
        &self,
        transaction: &mut dyn Transaction,
        mut newest: Vec<Entry<'a>>,
        outcomes: &mut Outcomes,
    ) -> Result<(), SinkError> {
        let Some((root, children)) = self.statements.tables.split_first() else { return Ok(()) };
        let mut rows = Rows::new(root.write.columns.len());
        for entry in &newest {
            let Task::Write(_, sets) = entry.task else { continue };
            let origin = &entry.change.origin;
            for row in table_rows(sets, 0) {
                rows.push(
                    live_cells(root, row)
                        .chain([Cell::Text(entry.id())])
                        .chain(origin_cells(self.topic(origin), origin)),
                );
            }
        }
        let written = transaction.run(&root.write, &rows, &[]).await?;
        let written: HashSet<&str> = first_texts(&written).collect();
        newest.retain(|entry| {
            matches!(entry.task, Task::Write(..))
                && written.contains(&*self.statements.key_text(entry.id()))
        });
        for entry in &newest {
            raise(outcomes, entry.index, Outcome::Written);
        }
        for child in children.iter().rev() {
            let ids = newest.iter().map(Entry::id);
            transaction.run(&child.delete, &single_column(ids), &[]).await?;
        }
        for (table, child) in (1..).zip(children) {
            let mut rows = Rows::new(child.write.columns.len());
            for entry in &newest {
                let Task::Write(_, sets) = entry.task else { continue };
                for row in table_rows(sets, table) {
                    rows.push(live_cells(child, row));
                }
            }
            transaction.run(&child.write, &rows, &[]).await?;
        }
        Ok(())
    }

    /// Rule 6: every matching version of the batch, stale or not, once; its children only with
    /// it.
    async fn append_history(&self, transaction: &mut dyn Transaction) -> Result<(), SinkError> {
        let Some((root, children)) = self.statements.history.split_first() else { return Ok(()) };
        let mut versions: BTreeMap<(&str, i64), &[RowSet]> = BTreeMap::new();
        for entry in &self.entries {
            if let Task::Write(version, sets) = entry.task {
                versions.entry((entry.id(), version)).or_insert(sets);
            }
        }
        let mut rows = Rows::new(root.write.columns.len());
        for ((_, version), sets) in &versions {
            for row in table_rows(sets, 0) {
                rows.push(history_cells(&root.target, row, *version));
            }
        }
        let appended = transaction.run(&root.write, &rows, &[]).await?;
        let appended: BTreeSet<(&str, i64)> = appended
            .iter()
            .filter_map(|row| Some((row.first()?.text()?, row.get(1)?.int()?)))
            .collect();
        versions.retain(|(id, version), _| {
            appended.contains(&(&*self.statements.key_text(id), *version))
        });
        for (table, child) in (1..).zip(children) {
            let mut rows = Rows::new(child.write.columns.len());
            for ((_, version), sets) in &versions {
                for row in table_rows(sets, table) {
                    rows.push(history_cells(&child.target, row, *version));
                }
            }
            transaction.run(&child.write, &rows, &[]).await?;
        }
        Ok(())
    }

    /// Locks the root rows of these resources that are at or below a version. Gives their stored
    /// versions by the key as the database writes it.
    async fn doomed(
        &self,
        transaction: &mut dyn Transaction,
        versions: impl Iterator<Item = (&'a str, i64)>,
    ) -> Result<HashMap<String, i64>, SinkError> {
        let mut rows = Rows::new(2);
        for (id, version) in versions.filter(|(id, _)| self.statements.can_hold(id)) {
            rows.push([Cell::Text(id), Cell::Int(version)]);
        }
        let found = transaction.run(&self.statements.doomed, &rows, &[]).await?;
        Ok(by_resource(&found))
    }

    /// Removes all rows of these resources, children before parents.
    async fn remove(
        &self,
        transaction: &mut dyn Transaction,
        ids: &[&'a str],
    ) -> Result<(), SinkError> {
        let ids = || ids.iter().copied().filter(|id| self.statements.can_hold(id));
        for table in self.statements.tables.iter().rev() {
            transaction.run(&table.delete, &single_column(ids()), &[]).await?;
        }
        Ok(())
    }
}

/// The four cells of an origin; `topic` as it is remembered.
pub(super) fn origin_cells<'a>(topic: &'a str, origin: &Origin) -> [Cell<'a>; 4] {
    [
        Cell::Text(topic),
        Cell::Int(origin.source.partition.into()),
        Cell::Int(origin.offset.0),
        Cell::Int(origin.index.into()),
    ]
}

/// Whether a remembered origin lies at or after this one, in the same topic partition.
fn reaches(remembered: Option<&[Reply]>, topic: &str, origin: &Origin) -> bool {
    let Some([remembered_topic, partition, offset, index]) = remembered else { return false };
    let same = remembered_topic.text() == Some(topic)
        && partition.int() == Some(origin.source.partition.into());
    same && (offset.int(), index.int()) >= (Some(origin.offset.0), Some(origin.index.into()))
}

fn first_texts(rows: &[ReplyRow]) -> impl Iterator<Item = &str> {
    rows.iter().filter_map(|row| row.first()?.text())
}

/// Resources with their versions.
fn by_resource(rows: &[ReplyRow]) -> HashMap<String, i64> {
    rows.iter()
        .filter_map(|row| Some((row.first()?.text()?.to_owned(), row.get(1)?.int()?)))
        .collect()
}

fn single_column<'a>(texts: impl IntoIterator<Item = &'a str>) -> Rows<'a> {
    let mut rows = Rows::new(1);
    for text in texts {
        rows.push([Cell::Text(text)]);
    }
    rows
}

fn table_rows(sets: &[RowSet], table: usize) -> impl Iterator<Item = &[Value]> {
    sets.iter().filter(move |set| set.table == table).flat_map(|set| &set.rows).map(Vec::as_slice)
}

fn live_cells<'a>(table: &'a TableStatements, row: &'a [Value]) -> impl Iterator<Item = Cell<'a>> {
    let columns = table.target.columns.iter();
    columns.map(|column| row.get(column.position).map_or(Cell::Null, Cell::from))
}
