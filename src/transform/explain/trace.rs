//! A document's way through compiled rules, with reasons.
//!
//! In: a compiled transformer and an upsert. Out: its explanation. Values, conditions and ids are
//! those of `row`; here is only what asks again why they are so. A refusal ends nothing: its cell
//! stays empty and the rest is still told.

use std::sync::Arc;

use uuid::Uuid;

use super::{Absence, Filling, MAX_NOTED_ROWS, Note, RootExplanation, TableExplanation, Why};
use crate::error::Refusal;
use crate::model::{Change, ColumnType, Document, Value, Version};
use crate::transform::allowance::Allowance;
use crate::transform::cast::Scalar;
use crate::transform::fhirpath::{Focus, Item, Trail};
use crate::transform::identity;
use crate::transform::row::{Run, choose};
use crate::transform::rules::{
    ChildProgram, ColumnProgram, Fill, OverflowStrategy, PartialDate, PathColumn, RootProgram,
    TableProgram,
};

/// Explains what a root transformer, declared at `rule` as the root at `index`, makes of an
/// upsert.
pub(in crate::transform) fn trace(
    index: usize,
    rule: &Arc<str>,
    program: &RootProgram,
    change: &Change,
    version: Version,
    document: &Document,
) -> RootExplanation {
    let mut trace = Trace {
        run: Run::new(change, version, document, program.tables),
        met: (0..program.tables).map(|_| None).collect(),
        refusals: Vec::new(),
        is_full: false,
    };
    trace.meet(&program.table, rule, None);
    let mut focus = trace.run.resource();
    let matches = program.condition.as_ref().is_none_or(|condition| {
        match trace.run.truth(condition, &program.table, &mut focus) {
            Ok(Some(true)) => true,
            Ok(truth) => {
                trace.absent(program.table.index, Absence::not_matched(condition, truth));
                false
            }
            Err(refusal) => {
                trace.refused(*refusal);
                trace.absent(program.table.index, Absence::Refused);
                false
            }
        }
    });
    if matches {
        let id = identity::root(&program.table.name, &change.resource);
        trace.fill(&program.table, &mut focus, id, &Value::Null);
    }
    trace.finish(index)
}

struct Trace<'p, 'd> {
    run: Run<'d>,
    /// By table index; all of them at the end.
    met: Vec<Option<Met<'p, 'd>>>,
    refusals: Vec<Refusal>,
    /// No row more.
    is_full: bool,
}

/// What was learnt of one table.
struct Met<'p, 'd> {
    explanation: TableExplanation,
    /// Steps of the columns' paths, made when first asked for.
    trails: Vec<Option<Trail>>,
    child: Option<(&'p ChildProgram, usize)>,
    /// From where the child's path was followed.
    parents: Vec<Item<'d>>,
    elements: usize,
    were_false: usize,
    were_empty: usize,
}

impl<'p, 'd> Trace<'p, 'd> {
    /// Notes that there is this table, and those below it.
    fn meet(
        &mut self,
        table: &'p TableProgram,
        rule: &Arc<str>,
        child: Option<(&'p ChildProgram, usize)>,
    ) {
        let explanation = TableExplanation {
            rule: Arc::clone(rule),
            columns: table.columns.iter().map(filling).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
            absences: Vec::new(),
        };
        let trails = table.columns.iter().map(|_| None).collect();
        self.met[table.index] = Some(Met {
            explanation,
            trails,
            child,
            parents: Vec::new(),
            elements: 0,
            were_false: 0,
            were_empty: 0,
        });
        for child in &table.children {
            self.meet(&child.table, &child.elements.rule, Some((child, table.index)));
        }
    }

    fn met(&mut self, table: usize) -> &mut Met<'p, 'd> {
        self.met[table].as_mut().expect("every table was met first")
    }

    fn absent(&mut self, table: usize, absence: Absence) {
        self.met(table).explanation.absences.push(absence);
    }

    /// The place of a refusal among those of its kind.
    fn refused(&mut self, refusal: Refusal) -> usize {
        let is_alike =
            |known: &Refusal| known.place == refusal.place && known.cause == refusal.cause;
        self.refusals.iter().position(is_alike).unwrap_or_else(|| {
            self.refusals.push(refusal);
            self.refusals.len() - 1
        })
    }

    fn fill(&mut self, table: &'p TableProgram, focus: &mut Focus<'d>, id: Uuid, parent: &Value) {
        if let Err(refusal) = self.run.take_row(table, focus) {
            self.is_full = true;
            self.refused(*refusal);
        }
        if self.is_full {
            return;
        }
        let place = self.met(table.index).explanation.rows.len();
        let mut row = Vec::with_capacity(table.columns.len());
        for (index, column) in table.columns.iter().enumerate() {
            let why = match self.run.cell(column, focus, id, parent, &mut row) {
                Ok(()) if place >= MAX_NOTED_ROWS => None,
                Ok(()) => {
                    row.last().and_then(|value| self.why(table.index, index, column, focus, value))
                }
                Err(error) => {
                    let refusal = self.run.refuse_column(table, column, &error);
                    row.push(Value::Null);
                    Some(Why::Refused(self.refused(*refusal)))
                }
            };
            let note = why.filter(|_| place < MAX_NOTED_ROWS);
            let note = note.map(|why| Note { row: place, column: index, why });
            self.met(table.index).explanation.notes.extend(note);
        }
        let own_id = row.first().cloned().unwrap_or(Value::Null);
        self.met(table.index).explanation.rows.push(row);
        for child in &table.children {
            self.children(child, focus, id, &own_id);
        }
    }

    fn children(
        &mut self,
        child: &'p ChildProgram,
        parent: &mut Focus<'d>,
        id: Uuid,
        own_id: &Value,
    ) {
        let table = child.table.index;
        let elements = match self.run.elements(child, parent) {
            Ok(elements) => elements,
            Err(refusal) => {
                self.refused(*refusal);
                return self.absent(table, Absence::Refused);
            }
        };
        let met = self.met(table);
        met.parents.push(parent.item().clone());
        met.elements += elements.len();
        for (index, element) in elements.into_iter().enumerate() {
            let mut element = Focus::new(self.run.environment, element);
            if let Some(condition) = &child.condition {
                match self.run.truth(condition, &child.table, &mut element) {
                    Ok(Some(true)) => {}
                    Ok(Some(false)) => {
                        self.met(table).were_false += 1;
                        continue;
                    }
                    Ok(None) => {
                        self.met(table).were_empty += 1;
                        continue;
                    }
                    Err(refusal) => {
                        self.refused(*refusal);
                        self.absent(table, Absence::Refused);
                        continue;
                    }
                }
            }
            let child_id = identity::child(id, &child.table.name, index);
            self.fill(&child.table, &mut element, child_id, own_id);
        }
    }

    /// What is not obvious about a value just made.
    fn why(
        &mut self,
        table: usize,
        index: usize,
        column: &ColumnProgram,
        focus: &Focus<'d>,
        value: &Value,
    ) -> Option<Why> {
        let Fill::Path(filled) = &column.fill else { return None };
        if self.run.found.iter().any(|item| Scalar::of(item).is_some()) {
            return altered(&self.run.found, filled, column.column_type, value);
        }
        let environment = self.run.environment;
        let trail = self.met(table).trails.get_mut(index)?;
        let trail = trail.get_or_insert_with(|| Trail::of(&filled.path));
        let steps = trail.follow(environment, std::slice::from_ref(focus.item()));
        Some(if *value == Value::Null { Why::NoValue(steps) } else { Why::Default(steps) })
    }

    fn finish(mut self, root: usize) -> RootExplanation {
        let rows: Vec<usize> =
            (self.met.iter().flatten()).map(|met| met.explanation.rows.len()).collect();
        let environment = self.run.environment;
        let tables = self.met.drain(..).flatten().map(|met| {
            let mut explanation = met.explanation;
            let Some((child, parent)) = met.child else { return explanation };
            let rule = Arc::clone(&child.elements.rule);
            if rows.get(parent) == Some(&0) {
                explanation.absences.push(Absence::NoParent { parent });
            } else if met.elements == 0 && explanation.absences.is_empty() {
                let trail = Trail::of(&child.elements.path).follow(environment, &met.parents);
                explanation.absences.push(Absence::NoElements { rule, trail });
            }
            if let Some(condition) = &child.condition
                && met.were_false + met.were_empty > 0
            {
                explanation.absences.push(Absence::Filtered {
                    rule: Arc::clone(&condition.rule),
                    path: condition.path.expression().to_owned(),
                    elements: met.elements,
                    were_false: met.were_false,
                    were_empty: met.were_empty,
                });
            }
            explanation.absences.dedup();
            explanation
        });
        RootExplanation { root, tables: tables.collect(), refusals: self.refusals }
    }
}

/// Whether a value was cut or left out: made once more, without what may do that.
fn altered(found: &[Item<'_>], filled: &PathColumn, to: ColumnType, value: &Value) -> Option<Why> {
    let lenient = PathColumn {
        path: filled.path.clone(),
        strategy: filled.strategy,
        delimiter: Arc::clone(&filled.delimiter),
        maximum: None,
        default: Value::Null,
        partial_date: PartialDate::Start,
    };
    let whole = choose(found, &lenient, to, &mut Allowance::new()).ok()?;
    if whole == *value {
        return None;
    }
    match filled.maximum {
        Some(maximum) if maximum.overflow == OverflowStrategy::Truncate => {
            Some(Why::Cut(maximum.size))
        }
        Some(maximum) if maximum.overflow == OverflowStrategy::Null => {
            Some(Why::TooLong(maximum.size))
        }
        _ => Some(Why::PartialDate),
    }
}

fn filling(column: &ColumnProgram) -> Filling {
    match &column.fill {
        Fill::Path(filled) => Filling::Path {
            expression: filled.path.expression().to_owned(),
            strategy: filled.strategy,
            delimiter: Arc::clone(&filled.delimiter),
            maximum: filled.maximum.map(|maximum| (maximum.size, maximum.overflow)),
            default: filled.default.clone(),
            partial_date: filled.partial_date,
        },
        Fill::Constant(_) => Filling::Constant,
        Fill::Id | Fill::ResourceId | Fill::Version | Fill::ParentReference => Filling::Managed,
    }
}
