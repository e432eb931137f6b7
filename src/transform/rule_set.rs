//! All rules files of a topology: one implementation of [`Transformer`].
//!
//! In: rules documents and `ViewDefinition`s, once, and changes from then on. Out: all problems of
//! all files, or the rows of each change. It runs only what was compiled at load; nothing about
//! the files can go wrong later, only documents can.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fhirpath::Environment;
use super::names::TableNames;
use super::rules::{self, RootProgram, RulesDocument};
use super::view::{self, ViewDefinition, ViewProgram};
use super::{RootExplanation, Transformer, explain, fingerprint, row};
use crate::error::Refusal;
use crate::model::{Catalog, Change, Operation, ResourceRows, RootTable};
use crate::problem::{self, Problem, Schema, pointer};

/// Compiled rules.
pub struct RuleSet {
    catalog: Catalog,
    /// One for each root of the catalog.
    programs: Vec<Program>,
    /// What decides the rows of each.
    hashes: Vec<String>,
    /// Places in `programs` by resource type.
    by_type: HashMap<Arc<str>, Vec<usize>>,
}

/// What fills the tables of one root.
enum Program {
    /// A transformer of a rules document.
    Rules(RootProgram),
    /// A view.
    View(ViewProgram),
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

impl RuleSet {
    /// Compiles rules files, given as name (as shown in messages; `*.json` is read as JSON,
    /// anything else as YAML) and text. A file whose `resourceType` is `ViewDefinition` is a view
    /// of SQL on FHIR, any other is a rules document.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load(files: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let rules_schema = Schema::of::<RulesDocument>();
        let view_schema = Schema::of::<ViewDefinition>();
        let mut names = TableNames::default();
        let mut problems = Vec::new();
        let mut roots: Vec<(RootTable, Program)> = Vec::new();
        let mut hashes = Vec::new();
        for (file, text) in files {
            let value = match problem::parse(file, text) {
                Ok(value) => value,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            if view::is_view(&value) {
                hashes.push(fingerprint::of_view(&value));
                let view = judge(&view_schema, file, value, &mut problems, |document, problems| {
                    view::compile(file, document, &mut names, problems)
                });
                roots.extend(view.map(|(root, program)| (root, Program::View(program))));
            } else {
                let compile = |rules: &RulesDocument, problems: &mut Vec<Problem>| {
                    let places = 0..rules.transformers.len();
                    hashes.extend(places.map(|place| fingerprint::of_rules(rules, place)));
                    rules::compile(file, rules, &mut names, problems)
                };
                let rules = judge(&rules_schema, file, value, &mut problems, compile);
                let rules = rules.into_iter().flatten();
                roots.extend(rules.map(|(root, program)| (root, Program::Rules(program))));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (roots, programs): (Vec<_>, _) = roots.into_iter().unzip();
        let mut by_type: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (index, root) in roots.iter().enumerate() {
            by_type.entry(root.resource_type.clone()).or_default().push(index);
        }
        Ok(Self { catalog: Catalog { roots }, programs, hashes, by_type })
    }

    /// The shape of a rules document, as JSON Schema for editors.
    #[must_use]
    pub fn schema() -> Value {
        Schema::of::<RulesDocument>().document().clone()
    }

    /// The shape of a `ViewDefinition`, as JSON Schema for editors.
    #[must_use]
    pub fn view_schema() -> Value {
        Schema::of::<ViewDefinition>().document().clone()
    }
}

/// Reads a document, mended where its shape is wrong, and compiles it. What had the wrong shape is
/// not judged for its meaning, and what is said twice is told once.
fn judge<D: DeserializeOwned, T>(
    schema: &Schema,
    file: &str,
    mut value: Value,
    problems: &mut Vec<Problem>,
    compile: impl FnOnce(&D, &mut Vec<Problem>) -> T,
) -> Option<T> {
    let mut mended = BTreeSet::new();
    problems.extend(schema.check(file, &mut value, &mut mended));
    let document = problem::read(file, value).map_err(|problem| problems.push(problem)).ok()?;
    let mut mistaken = Vec::new();
    let compiled = compile(&document, &mut mistaken);
    let mut told: HashSet<Problem> = HashSet::new();
    mistaken.retain(|problem| {
        let is_broken = mended.iter().any(|broken| pointer::is_within(&problem.path, broken));
        !is_broken && told.insert(problem.clone())
    });
    problems.append(&mut mistaken);
    Some(compiled)
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
            let row_sets = match &self.programs[root] {
                Program::Rules(program) => row::row_sets(program, change, *version, document)?,
                Program::View(program) => view::row_sets(program, change, *version, document)?,
            };
            rows.push(ResourceRows { root, row_sets });
        }
        Ok(rows)
    }

    fn rules_hash(&self, root: usize) -> String {
        self.hashes.get(root).cloned().unwrap_or_default()
    }

    fn explain(&self, change: &Change) -> Vec<RootExplanation> {
        let Operation::Upsert { version, document } = &change.operation else { return Vec::new() };
        let roots = self.by_type.get(&change.resource.resource_type);
        let explain = |&index: &usize| {
            let root = &self.catalog.roots[index];
            match &self.programs[index] {
                Program::Rules(program) => {
                    explain::trace(index, &root.rule, program, change, *version, document)
                }
                Program::View(program) => {
                    let made = view::row_sets(program, change, *version, document);
                    let made = made.map_err(|refusal| *refusal).transpose();
                    let mut explanation = RootExplanation::of(index, root, made);
                    let environment = Environment::of_change(change, document);
                    explanation.because(|| view::absences(program, environment));
                    explanation
                }
            }
        };
        roots.into_iter().flatten().map(explain).collect()
    }
}
