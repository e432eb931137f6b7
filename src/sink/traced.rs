//! Transactions that tell the troubleshooting log what they run.
//!
//! In: a transaction. Out: the same one if nobody listens, else one that tells of each statement:
//! its text, table and number of rows, and, at TRACE, what is bound, as far as may be shown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;

use super::SinkError;
use super::database::{Answer, Transaction};
use crate::model::Reveal;
use crate::plan::{Cell, Rows, Statement, listed};
use crate::telemetry::troubleshooting::{self, TARGET};

/// The transaction, told about if anybody listens.
pub(super) fn traced(transaction: Box<dyn Transaction>, reveal: Reveal) -> Box<dyn Transaction> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if !troubleshooting::is_on() {
        return transaction;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(target: TARGET, transaction = number, "begun");
    Box::new(Traced { transaction, number, reveal })
}

struct Traced {
    transaction: Box<dyn Transaction>,
    /// Tells it from the transactions of other partitions.
    number: u64,
    reveal: Reveal,
}

impl Traced {
    fn tell(&self, statement: &Statement, rows: &Rows<'_>, constants: &[Cell<'_>]) {
        let texts: Vec<_> = match statement.steps() {
            Some(steps) => steps.iter().map(|step| step.statement.text(1)).collect(),
            // written out for one row: for more it is the same, only longer
            None => vec![statement.text(1)],
        };
        for sql in texts {
            tracing::debug!(
                target: TARGET, transaction = self.number, doing = statement.attempted,
                table = statement.table.as_deref(), rows = rows.len(), %sql, "statement"
            );
        }
        if !troubleshooting::shows_rows() {
            return;
        }
        for row in 0..rows.len() {
            let cells = listed(rows.row(row), self.reveal);
            tracing::trace!(target: TARGET, transaction = self.number, row, cells, "bound");
        }
        let constants = listed(statement.constants(constants), self.reveal);
        if !constants.is_empty() {
            tracing::trace!(target: TARGET, transaction = self.number, constants, "bound");
        }
    }
}

#[async_trait]
impl Transaction for Traced {
    async fn run(
        &mut self,
        statement: &Statement,
        rows: &Rows<'_>,
        constants: &[Cell<'_>],
    ) -> Result<Answer, SinkError> {
        let is_sent = statement.columns.is_empty() || !rows.is_empty();
        if is_sent {
            self.tell(statement, rows, constants);
        }
        let started = Instant::now();
        let answer = self.transaction.run(statement, rows, constants).await;
        if is_sent {
            let transaction = self.number;
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            match &answer {
                Ok(rows) => {
                    let returned = rows.len();
                    tracing::debug!(target: TARGET, transaction, returned, micros, "answered");
                }
                Err(error) => {
                    let error = crate::error::messages(error).join(": ");
                    tracing::debug!(target: TARGET, transaction, error, micros, "refused by the database");
                }
            }
        }
        answer
    }

    async fn check_deferred(&mut self) -> Result<(), SinkError> {
        let checked = self.transaction.check_deferred().await;
        tracing::debug!(
            target: TARGET, transaction = self.number, holds = checked.is_ok(), "deferred constraints"
        );
        checked
    }

    async fn commit(self: Box<Self>) -> Result<(), SinkError> {
        let committed = self.transaction.commit().await;
        let is_certain = committed.is_ok();
        tracing::debug!(target: TARGET, transaction = self.number, is_certain, "commit");
        committed
    }

    async fn rollback(self: Box<Self>) {
        self.transaction.rollback().await;
        tracing::debug!(target: TARGET, transaction = self.number, "rolled back");
    }
}
