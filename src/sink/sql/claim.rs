//! Rule 8: a table belongs to one topology, and remembers under which rules it was filled.
//!
//! In: the hashes of what decides each root's rows. Out: whose the tables are. A claim is made once
//! and atomically; only a deliberate command changes whose a table is.

use super::SqlSink;
use crate::plan::{Cell, Rows};
use crate::sink::SinkError;
use crate::sink::database::{Reply, Transaction};
use crate::sink::transaction::Layout;

/// What is remembered of a root table, its children and their histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The root's place in the catalog.
    pub root: usize,
    /// The root table's name as the rules write it.
    pub table: String,
    /// Another topology that one of its tables belongs to, with that table's name in the database.
    pub taken: Option<(String, String)>,
    /// Under which rules it was filled.
    pub rules: Rulings,
}

impl Claim {
    /// What is wrong if it belongs to another topology than this, and what to do.
    #[must_use]
    pub fn refusal(&self, topology: &str) -> Option<String> {
        let (name, owner) = self.taken.as_ref()?;
        let table = &self.table;
        Some(format!(
            "the table `{name}` is filled by the topology `{owner}`, and this is `{topology}`: \
             fill another table, or stop `{owner}` for good and run `rowcast rebuild --table {table} \
             --take-over`"
        ))
    }

    /// What should be mended if it was filled under other rules.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let table = &self.table;
        (self.rules == Rulings::Others).then(|| {
            format!(
                "the table `{table}` was filled under other rules: rows written before keep the old \
                 rules' values until `rowcast rebuild --table {table}`"
            )
        })
    }
}

/// Under which rules a table was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rulings {
    /// Nobody claimed it yet.
    Unclaimed,
    /// Those of now.
    Current,
    /// Others, or they are not known: rows written before keep their values.
    Others,
}

impl SqlSink {
    /// What is remembered of each root; claims nothing. `hashes` tell what decides the rows of each
    /// root of the catalog.
    ///
    /// # Errors
    /// [`SinkError`] if the database cannot be read.
    pub async fn claims(&self, hashes: &[String]) -> Result<Vec<Claim>, SinkError> {
        // before the transaction: both need a connection, and there may be one
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let result = self.read_claims(&mut *transaction, &layout, hashes).await;
        self.finish(transaction, result).await
    }

    /// Claims the tables that are nobody's for this topology, as filled under these rules: all of
    /// them, or none if one belongs to another topology.
    ///
    /// # Errors
    /// [`SinkError`] if the database cannot be written.
    pub async fn claim(&self, hashes: &[String]) -> Result<Vec<Claim>, SinkError> {
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let result = self.claim_within(&mut *transaction, &layout, hashes).await;
        match result {
            Ok(claims) if claims.iter().any(|claim| claim.taken.is_some()) => {
                transaction.rollback().await;
                Ok(claims)
            }
            result => self.finish(transaction, result).await,
        }
    }

    /// Writes into the claims of these roots that they are this topology's, whosever they were, and
    /// the rules that they are filled under; `None`: not known.
    ///
    /// # Errors
    /// [`SinkError`] if the database cannot be written.
    pub async fn record_claims(
        &self,
        roots: impl IntoIterator<Item = (usize, Option<&str>)>,
    ) -> Result<(), SinkError> {
        let layout = self.layout().await?;
        let mut tables: Vec<(&str, Option<&str>)> = Vec::new();
        for (root, hash) in roots {
            let claimed = layout.roots.get(root).map(|root| root.claimed.as_slice());
            tables.extend(claimed.unwrap_or_default().iter().map(|name| (name.as_str(), hash)));
        }
        tables.sort_unstable();
        let mut transaction = self.begin().await?;
        let topology = Cell::Text(self.topology());
        let result = async {
            for (table, hash) in tables {
                let (table, hash) = (Cell::Text(table), hash.map_or(Cell::Null, Cell::Text));
                let claim = [topology, hash, table];
                transaction.run(&layout.claims.ensure, &Rows::new(0), &[table]).await?;
                transaction.run(&layout.claims.record, &Rows::new(0), &claim).await?;
            }
            Ok(())
        };
        let result = result.await;
        self.finish(transaction, result).await
    }

    /// The name under which tables are claimed: live traffic's, also by a rebuild.
    pub(super) fn topology(&self) -> &str {
        let live = self.rebuilding.as_ref().map(|rebuilding| &rebuilding.live);
        &live.unwrap_or(&self.identity).name
    }

    async fn claim_within(
        &self,
        transaction: &mut dyn Transaction,
        layout: &Layout,
        hashes: &[String],
    ) -> Result<Vec<Claim>, SinkError> {
        let mut tables: Vec<(&str, &str)> = Vec::new();
        for (root, hash) in layout.roots.iter().zip(hashes) {
            tables.extend(root.claimed.iter().map(|name| (name.as_str(), hash.as_str())));
        }
        // in one order, so that two that start at once wait for each other and no more
        tables.sort_unstable();
        let nothing = Rows::new(0);
        for (table, hash) in tables {
            let table = Cell::Text(table);
            let claim = [Cell::Text(self.topology()), Cell::Text(hash), table];
            transaction.run(&layout.claims.ensure, &nothing, &[table]).await?;
            transaction.run(&layout.claims.claim, &nothing, &claim).await?;
            transaction.run(&layout.claims.lock, &nothing, &[table]).await?;
        }
        self.read_claims(transaction, layout, hashes).await
    }

    async fn read_claims(
        &self,
        transaction: &mut dyn Transaction,
        layout: &Layout,
        hashes: &[String],
    ) -> Result<Vec<Claim>, SinkError> {
        let mut claims = Vec::with_capacity(hashes.len());
        for (index, ((root, of), hash)) in
            self.catalog.roots.iter().zip(&layout.roots).zip(hashes).enumerate()
        {
            let mut taken = None;
            let mut rules = Rulings::Unclaimed;
            for (place, name) in of.claimed.iter().enumerate() {
                let rows = transaction
                    .run(&layout.claims.read, &Rows::new(0), &[Cell::Text(name)])
                    .await?;
                let row = rows.first().map_or(&[] as &[Reply], Vec::as_slice);
                let Some(topology) = row.first().and_then(Reply::text) else { continue };
                if topology != self.topology() {
                    taken.get_or_insert_with(|| (name.clone(), topology.to_owned()));
                }
                // the root's own row tells; a child that is new has a young one
                if place == 0 {
                    let same = row.get(1).and_then(Reply::text) == Some(hash);
                    rules = if same { Rulings::Current } else { Rulings::Others };
                }
            }
            let table = root.named_table().name.to_string();
            claims.push(Claim { root: index, table, taken, rules });
        }
        Ok(claims)
    }
}
