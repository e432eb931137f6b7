//! FHIRPath over borrowed documents.
//!
//! In: an expression, compiled once against the type it is evaluated on, and a parsed document.
//! Out: [`Item`]s, nodes of the document or computed values, in order. What is not supported is
//! refused when the expression is compiled, never when a document comes. Evaluation is bounded
//! and pure: it never asks a server, a clock or a log, and its errors never quote the document.
//!
//! The way of an expression: `parse` → `compile` (with `types`) → `program` → `evaluate` (with
//! `value`).

mod budget;
mod compile;
mod error;
mod evaluate;
mod function;
mod parse;
mod pattern;
mod program;
mod trail;
mod types;
mod value;
mod variables;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use self::budget::Budget;
use self::compile::Compiler;
use self::compile::static_type::{StaticType, Types};
use self::evaluate::navigate::Members;
use self::evaluate::plain::Reached;
use self::evaluate::{Evaluation, Scope};
use self::program::Program;
use crate::model::{Change, Document, Node};

pub use self::error::{EvaluationError, PathError, PathProblem};
pub use self::function::{refused, supported};
pub use self::trail::{Trail, TrailStep};
pub use self::types::FhirType;
pub use self::value::item::{Item, SystemType, convert_to_boolean};
pub use self::value::quantity::{Quantity, UnitKind};
pub use self::value::reflect::TypeInfo;
pub use self::value::temporal::{Precision, Temporal};
pub use self::variables::{Variables, primitive};

/// Longest expression, in bytes. The longest search parameter of FHIR has about 5,000.
pub const MAX_EXPRESSION_BYTES: usize = 16 << 10;

/// Deepest nesting of an expression: far above what anyone writes, low enough for the stack.
pub const MAX_EXPRESSION_DEPTH: usize = 100;

/// Most steps of one evaluation. A step visits a node or compares two: a resource of 2 MB has
/// some 100,000 nodes, and what takes this many runs for about a tenth of a second.
pub const MAX_STEPS: u32 = 5_000_000;

/// Most items that one evaluation holds at a time, results included.
pub const MAX_ITEMS: usize = 200_000;

/// Longest computed text in bytes: FHIR allows strings of 1 MiB.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Most digits of a number that is computed with, on either side of the point.
pub const MAX_NUMBER_DIGITS: usize = 400;

/// What an expression may ask for besides what it is evaluated on.
#[derive(Clone, Copy)]
pub struct Environment<'d> {
    /// `%resource`.
    pub resource: &'d Node,
    /// `%rowIndex`, for expressions compiled with [`Variables::of_views`]: the place of what is
    /// evaluated on in the nearest iteration, from 0; 0 outside of any.
    pub row_index: u32,
    /// `now()`: when the change was made. Without it, who asks for it gets an error.
    pub instant: Option<DateTime<Utc>>,
}

impl<'d> Environment<'d> {
    /// The surroundings of a resource.
    #[must_use]
    pub const fn of(resource: &'d Node) -> Self {
        Self { resource, row_index: 0, instant: None }
    }

    /// The surroundings of a change's document: `now()` is the change's time.
    pub(in crate::transform) fn of_change(change: &Change, document: &'d Document) -> Self {
        Self::of(document.root()).at(change.instant())
    }

    /// The same at this time.
    #[must_use]
    pub const fn at(self, instant: Option<DateTime<Utc>>) -> Self {
        Self { instant, ..self }
    }
}

/// A compiled expression. Cheap to clone.
#[derive(Clone)]
pub struct Path(Arc<Compiled>);

struct Compiled {
    expression: String,
    context: Option<FhirType>,
    types: Types,
    program: Program,
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Path").field(&self.0.expression).finish()
    }
}

impl Path {
    /// Compiles an expression that is evaluated on `context`: a resource type, a datatype, or a
    /// nested element by its path (`Patient.contact`). With `None`, or with a name that is no
    /// type, elements are taken as they come.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong and where.
    pub fn compile(expression: &str, context: Option<&str>) -> Result<Self, PathError> {
        Self::compile_with(expression, context, &Variables::default())
    }

    /// Compiles an expression that may use variables, as [`Path::compile`] does.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong and where.
    pub fn compile_with(
        expression: &str,
        context: Option<&str>,
        variables: &Variables,
    ) -> Result<Self, PathError> {
        let refused = |(at, problem)| PathError { expression: expression.to_owned(), at, problem };
        if expression.len() > MAX_EXPRESSION_BYTES {
            let problem = PathProblem::TooLong { limit: MAX_EXPRESSION_BYTES };
            return Err(PathError { expression: String::new(), at: MAX_EXPRESSION_BYTES, problem });
        }
        let syntax = parse::syntax::parse(expression).map_err(refused)?;
        let context = context.and_then(FhirType::named);
        let compiler = Compiler::new(context, variables);
        let (program, types) = compiler.compile(&syntax, &compiler.context).map_err(refused)?;
        let expression = expression.to_owned();
        Ok(Self(Arc::new(Compiled { expression, context, types, program })))
    }

    /// As it was written.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.0.expression
    }

    /// The type that all results have, if it is known: `HumanName`, `Patient.contact`, `code`, or
    /// of computed values `String`, `Boolean`, …
    #[must_use]
    pub fn result_type(&self) -> Option<&'static str> {
        self.0.types.only().map(StaticType::name)
    }

    /// Evaluates on `focus`, a part of the environment's resource, and appends the results to
    /// `out` in order. On an error `out` is as it was.
    ///
    /// # Errors
    /// [`EvaluationError`], without anything of the document.
    pub fn evaluate<'d>(
        &self,
        environment: Environment<'d>,
        focus: Item<'d>,
        out: &mut Vec<Item<'d>>,
    ) -> Result<(), EvaluationError> {
        Focus::with(environment, focus, Members::default()).evaluate(self, out)
    }
}

/// What many expressions are evaluated on, one after the other. What they share is prepared
/// once.
pub struct Focus<'d> {
    item: Item<'d>,
    evaluation: Evaluation<'d>,
    /// Steps that nobody has counted yet.
    work: u32,
}

/// A path that does not lead to one node by the short way.
pub(in crate::transform) struct NotPlain;

impl fmt::Debug for Focus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Focus").field(&self.item).finish()
    }
}

impl<'d> Focus<'d> {
    /// On an item of the environment's resource.
    #[must_use]
    pub fn new(environment: Environment<'d>, item: Item<'d>) -> Self {
        let members = Members::list(&item);
        Self::with(environment, item, members)
    }

    /// What it is to look through the members of what they are evaluated on, in steps: what a plain
    /// path takes at most. Nothing, of the size that elements have.
    pub(in crate::transform) fn breadth(&self) -> u32 {
        self.evaluation.members.steps()
    }

    /// What they are evaluated on.
    #[must_use]
    pub const fn item(&self) -> &Item<'d> {
        &self.item
    }

    fn with(environment: Environment<'d>, item: Item<'d>, members: Members<'d>) -> Self {
        let budget = Budget::new();
        let evaluation = Evaluation { environment, context: item.clone(), members, budget };
        Self { item, evaluation, work: 0 }
    }

    /// The steps that evaluations took since this was last asked.
    pub(in crate::transform) const fn take_work(&mut self) -> u32 {
        std::mem::replace(&mut self.work, 0)
    }

    /// The node that a plain path leads to, if to any: what [`Focus::evaluate`] would find, told
    /// sooner.
    ///
    /// # Errors
    /// [`NotPlain`]: it is to be evaluated.
    pub(in crate::transform) fn plain(&self, path: &Path) -> Result<Option<&'d Node>, NotPlain> {
        let Item::Node { node, sidecar: None, .. } = self.item else { return Err(NotPlain) };
        match evaluate::plain::reach(&path.0.program, node, &self.evaluation.members) {
            Some(Reached::Nothing) => Ok(None),
            Some(Reached::One(node)) => Ok(Some(node)),
            Some(Reached::Listed(_)) | None => Err(NotPlain),
        }
    }

    /// As [`Path::evaluate`]. Each evaluation has the bounds of its own.
    ///
    /// # Errors
    /// [`EvaluationError`], without anything of the document.
    pub fn evaluate(
        &mut self,
        path: &Path,
        out: &mut Vec<Item<'d>>,
    ) -> Result<(), EvaluationError> {
        let compiled = &*path.0;
        let typed;
        let mut this = &self.item;
        if let Item::Node { node, sidecar, fhir_type: None } = self.item {
            let fhir_type = value::item::resource_type(node).or(compiled.context);
            typed = Item::Node { node, sidecar, fhir_type };
            this = &typed;
            self.evaluation.context = typed.clone();
        }
        self.evaluation.budget = Budget::new();
        let scope = Scope { this, index: None, total: &[] };
        let start = out.len();
        let outcome = self.evaluation.run(&compiled.program, scope, out);
        self.work = self.work.saturating_add(self.evaluation.budget.spent());
        if outcome.is_err() {
            out.truncate(start);
        }
        outcome
    }
}
