//! Several transformers as one.
//!
//! In: transformers, each with its catalog. Out: one [`Transformer`] over all their tables, in
//! their order. It never looks into what they make.

use std::fmt;
use std::sync::Arc;

use super::{RootExplanation, Transformer};
use crate::error::Refusal;
use crate::model::{Catalog, Change, ResourceRows};

/// Several transformers as one: rules, say, and one written in Rust.
pub struct Transformers {
    catalog: Catalog,
    /// Each with the place of its first root in the catalog.
    parts: Vec<(usize, Arc<dyn Transformer>)>,
}

impl Transformers {
    /// All of them; what one resource becomes is what each makes of it.
    #[must_use]
    pub fn new(transformers: impl IntoIterator<Item = Arc<dyn Transformer>>) -> Self {
        let mut catalog = Catalog::default();
        let mut parts = Vec::new();
        for part in transformers {
            parts.push((catalog.roots.len(), Arc::clone(&part)));
            catalog.roots.extend_from_slice(&part.catalog().roots);
        }
        Self { catalog, parts }
    }
}

impl fmt::Debug for Transformers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transformers").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

impl Transformer for Transformers {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn transform(&self, change: &Change) -> Result<Vec<ResourceRows>, Box<Refusal>> {
        let mut all = Vec::new();
        for (first, part) in &self.parts {
            let rows = part.transform(change)?.into_iter();
            all.extend(rows.map(|rows| ResourceRows { root: first + rows.root, ..rows }));
        }
        Ok(all)
    }

    fn rules_hash(&self, root: usize) -> String {
        let part = self.parts.iter().rev().find(|(first, _)| *first <= root);
        part.map(|(first, part)| part.rules_hash(root - first)).unwrap_or_default()
    }

    fn explain(&self, change: &Change) -> Vec<RootExplanation> {
        let mut all = Vec::new();
        for (first, part) in &self.parts {
            let explained = part.explain(change).into_iter();
            all.extend(explained.map(|of| RootExplanation { root: first + of.root, ..of }));
        }
        all
    }
}
