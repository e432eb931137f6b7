//! Changes become rows.
//!
//! In: a change and the compiled rules. Out: typed rows per table, or a refusal that names rule,
//! column and path, never the value. Pure: no I/O, no clock, no randomness, so the same change
//! always makes the same rows, ids included.

use crate::error::Refusal;
use crate::model::{Catalog, Change, ResourceRows};

mod allowance;
mod cast;
mod error;
mod explain;
mod expression;
pub mod fhirpath;
mod fingerprint;
mod identity;
mod names;
mod row;
mod rows;
mod rule_set;
pub mod rules;
mod several;
pub mod view;

pub use explain::{Absence, Filling, MAX_NOTED_ROWS, Note, RootExplanation, TableExplanation, Why};
pub use rows::Rows;
pub use rule_set::RuleSet;
pub use several::Transformers;

/// Makes rows of documents. A [`RuleSet`] is one implementation; a program that embeds rowcast may
/// bring its own.
pub trait Transformer: Send + Sync {
    /// The tables it fills. Fixed for the life of the transformer.
    fn catalog(&self) -> &Catalog;

    /// The rows of an upsert: one [`ResourceRows`] for each root of the catalog with the change's
    /// resource type, in that order; empty if there is none. Deletes need no transformer and
    /// yield nothing.
    ///
    /// # Errors
    /// A [`Refusal`] of stage `transform`; the same document will always be refused again.
    fn transform(&self, change: &Change) -> Result<Vec<ResourceRows>, Box<Refusal>>;

    /// A hash of what decides the rows of the root at this place of the catalog: where it changes, rows
    /// that were written before are of the old rules until they are rebuilt. Of a transformer that does
    /// not say more, that of its tables; return another text when your code makes other rows.
    fn rules_hash(&self, root: usize) -> String {
        self.catalog().roots.get(root).map(fingerprint::of_tables).unwrap_or_default()
    }

    /// The same rows with reasons, for people: one [`RootExplanation`] for each root of the
    /// change's resource type. Of a transformer that does not say more, the rows alone.
    fn explain(&self, change: &Change) -> Vec<RootExplanation> {
        explain::plain(self.catalog(), change, self.transform(change))
    }
}
