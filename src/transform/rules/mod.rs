//! The rules document: one implementation of [`Transformer`].
//!
//! In: rules files, once, and changes from then on. Out: all problems of all files, or the rows
//! of each change. It runs only what was compiled at load; nothing about the rules can go wrong
//! later, only documents can.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

mod column;
mod document;
mod names;
mod program;
mod validate;

pub use document::{
    ChildTable, ColumnRule, ColumnTypeName, MultipleStrategy, NamedTransformer, OverflowStrategy,
    PartialDate, RootTransformer, RulesDocument,
};
pub(super) use program::{
    ChildProgram, ColumnProgram, Condition, Fill, Maximum, PathColumn, RootProgram, TableProgram,
};

use super::{RootExplanation, Transformer, explain, row};
use crate::error::Refusal;
use crate::model::{Catalog, Change, Operation, ResourceRows};
use crate::problem::{Problem, Schema};

/// Compiled rules.
pub struct RuleSet {
    catalog: Catalog,
    /// One for each root of the catalog.
    programs: Vec<RootProgram>,
    /// Places in `programs` by resource type.
    by_type: HashMap<Arc<str>, Vec<usize>>,
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

impl RuleSet {
    /// Compiles rules files, given as name (as shown in messages; `*.json` is read as JSON,
    /// anything else as YAML) and text.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load(files: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let (catalog, programs) = validate::load(files)?;
        let mut by_type: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (index, root) in catalog.roots.iter().enumerate() {
            by_type.entry(root.resource_type.clone()).or_default().push(index);
        }
        Ok(Self { catalog, programs, by_type })
    }

    /// The shape of a rules file, as JSON Schema for editors.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        Schema::of::<RulesDocument>().document().clone()
    }
}

impl Transformer for RuleSet {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn transform(&self, change: &Change) -> Result<Vec<ResourceRows>, Box<Refusal>> {
        let Operation::Upsert { version, document } = &change.operation else {
            return Ok(Vec::new());
        };
        let roots = self.by_type.get(&change.resource.resource_type);
        let mut rows = Vec::with_capacity(roots.map_or(0, Vec::len));
        for &root in roots.into_iter().flatten() {
            let program = &self.programs[root];
            let row_sets = row::row_sets(program, change, *version, document)?;
            rows.push(ResourceRows { root, row_sets });
        }
        Ok(rows)
    }

    fn explain(&self, change: &Change) -> Vec<RootExplanation> {
        let Operation::Upsert { version, document } = &change.operation else { return Vec::new() };
        let roots = self.by_type.get(&change.resource.resource_type);
        let explain = |&root: &usize| {
            let rule = &self.catalog.roots[root].rule;
            explain::trace(root, rule, &self.programs[root], change, *version, document)
        };
        roots.into_iter().flatten().map(explain).collect()
    }
}
