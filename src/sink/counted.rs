//! Transactions whose rows are counted.
//!
//! In: a transaction. Out: the same one, which tells the metrics what it wrote once the database has
//! answered its commit. A rolled back one tells nothing, nor does one whose commit nobody answered:
//! its batch is written again, and then it finds what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::SinkError;
use super::database::{Answer, Transaction};
use crate::plan::{Cell, Effect, Rows, Statement};
use crate::telemetry::metrics::{Metrics, TableOperation};

/// The transaction, counted if anybody wants to know.
pub(super) fn counted(
    transaction: Box<dyn Transaction>,
    metrics: Option<&Arc<Metrics>>,
) -> Box<dyn Transaction> {
    match metrics {
        None => transaction,
        Some(metrics) => {
            let (metrics, rows) = (Arc::clone(metrics), BTreeMap::new());
            Box::new(Counted { transaction, metrics, rows })
        }
    }
}

struct Counted {
    transaction: Box<dyn Transaction>,
    metrics: Arc<Metrics>,
    /// By table and operation.
    rows: BTreeMap<(Arc<str>, TableOperation), u64>,
}

#[async_trait]
impl Transaction for Counted {
    async fn run(
        &mut self,
        statement: &Statement,
        rows: &Rows<'_>,
        constants: &[Cell<'_>],
    ) -> Result<Answer, SinkError> {
        let came = self.transaction.run(statement, rows, constants).await?;
        if let (Some(effect), Some(table)) = (statement.effect, &statement.table) {
            let (operation, count) = match effect {
                Effect::Upserts => (TableOperation::Upsert, came.len() as u64),
                Effect::Inserts => (TableOperation::Insert, rows.len() as u64),
                Effect::Appends => (TableOperation::Insert, came.len() as u64),
                Effect::Deletes => (TableOperation::Delete, came.affected),
            };
            if count > 0 {
                *self.rows.entry((Arc::clone(table), operation)).or_default() += count;
            }
        }
        Ok(came)
    }

    async fn check_deferred(&mut self) -> Result<(), SinkError> {
        self.transaction.check_deferred().await
    }

    async fn commit(self: Box<Self>) -> Result<(), SinkError> {
        self.transaction.commit().await?;
        for ((table, operation), count) in &self.rows {
            self.metrics.rows(table, *operation, *count);
        }
        Ok(())
    }

    async fn rollback(self: Box<Self>) {
        self.transaction.rollback().await;
    }
}
