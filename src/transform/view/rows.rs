//! A document runs through a view.
//!
//! In: a compiled view and an upsert. Out: the row that guards the resource's rows and these rows,
//! possibly none, or a refusal. What one document may make and take is bounded, because selects side
//! by side multiply.

use super::program::{ColumnProgram, Count, Iteration, Managed, SelectProgram, ViewProgram};
use crate::error::Refusal;
use crate::model::{Change, ColumnType, Document, Row, RowSet, Value, Version};
use crate::transform::allowance::Allowance;
use crate::transform::cast::Scalar;
use crate::transform::error::{At, TransformError};
use crate::transform::expression::Expression;
use crate::transform::fhirpath::{Environment, Focus, Item, NotPlain};
use crate::transform::identity;
use crate::transform::row::{MAX_ROWS, evaluate, json_array};
use crate::transform::rules::PartialDate;

/// Most parts of rows that are put together on the way to [`MAX_ROWS`]: a nesting of selects makes
/// its rows anew at each level.
const MAX_PARTS: usize = 10 * MAX_ROWS;

/// Deepest rounds of `repeat`: above the nesting that a document may have.
const MAX_ROUNDS: usize = 256;

/// Places in the tables of a view's root.
const GUARD: usize = 0;
const VIEW: usize = 1;

/// The rows of a resource below the root of a view; `None` if a `where` does not match.
pub(in crate::transform) fn row_sets(
    program: &ViewProgram,
    change: &Change,
    version: Version,
    document: &Document,
) -> Result<Option<Vec<RowSet>>, Box<Refusal>> {
    let id = Value::Text((*change.resource.id).into());
    let version = Value::Int(version.get());
    let (parts_left, allowance) = (MAX_PARTS, Allowance::new());
    let mut run = Run { program, change, parts_left, allowance, found: Vec::new() };
    let Some(rows) = run.rows(document, &id, &version)? else { return Ok(None) };
    let guard = RowSet { table: GUARD, rows: vec![vec![id, version]] };
    Ok(Some(vec![guard, RowSet { table: VIEW, rows }]))
}

/// One document on its way through one view.
struct Run<'d> {
    program: &'d ViewProgram,
    change: &'d Change,
    parts_left: usize,
    allowance: Allowance,
    /// What the column at hand found; kept for its capacity.
    found: Vec<Item<'d>>,
}

impl<'d> Run<'d> {
    fn rows(
        &mut self,
        document: &'d Document,
        id: &Value,
        version: &Value,
    ) -> Result<Option<Vec<Row>>, Box<Refusal>> {
        let program = self.program;
        let environment = Environment::of_change(self.change, document);
        let mut resource = Focus::new(environment, Item::resource(document.root()));
        for condition in &program.conditions {
            if !self.holds(condition, &mut resource)? {
                return Ok(None);
            }
        }
        let mut found = Vec::new();
        self.select(&program.select, &mut resource, environment, &mut found)?;
        if found.len() > MAX_ROWS {
            return Err(self.refuse(&TransformError::TooManyRows { limit: MAX_ROWS }, None));
        }
        let root = identity::root(&program.table, &self.change.resource);
        let rows = found.into_iter().enumerate().map(|(index, values)| {
            let mut row = Vec::with_capacity(program.managed.len() + values.len());
            row.extend(program.managed.iter().map(|managed| match managed {
                Managed::Id => Value::Uuid(identity::child(root, &program.table, index)),
                Managed::Version => version.clone(),
                Managed::ResourceId => id.clone(),
            }));
            row.extend(values);
            row
        });
        Ok(Some(rows.collect()))
    }

    /// Whether a `where` is true; nothing is not.
    fn holds(
        &mut self,
        condition: &Expression,
        focus: &mut Focus<'d>,
    ) -> Result<bool, Box<Refusal>> {
        let found = self.evaluate(condition, focus)?;
        let mut values = found.iter().filter_map(Scalar::of);
        match (values.next(), values.next()) {
            (None, _) => Ok(false),
            (Some(Scalar::Boolean(truth)), None) => Ok(truth),
            _ => Err(self.refuse(&TransformError::NoCondition, Some(condition))),
        }
    }

    /// Appends the rows of all elements that a select is evaluated on.
    fn select(
        &mut self,
        select: &SelectProgram,
        focus: &mut Focus<'d>,
        environment: Environment<'d>,
        out: &mut Vec<Row>,
    ) -> Result<(), Box<Refusal>> {
        let elements = match &select.iteration {
            Iteration::Once => return self.combine(select, focus, environment, out),
            Iteration::Each(path) => self.evaluate(path, focus)?,
            Iteration::EachOrNull(path) => {
                let elements = self.evaluate(path, focus)?;
                if elements.is_empty() {
                    self.spend(&select.nothing)?;
                    out.push(select.nothing.clone());
                }
                elements
            }
            Iteration::Repeat(paths) => {
                let mut elements = Vec::new();
                self.descend(paths, focus, environment, MAX_ROUNDS, &mut elements)?;
                elements
            }
        };
        for (row_index, element) in (0..).zip(elements) {
            let environment = Environment { row_index, ..environment };
            let mut element = Focus::new(environment, element);
            self.combine(select, &mut element, environment, out)?;
        }
        Ok(())
    }

    /// Appends what the paths of a `repeat` yield: each element before what is found from it.
    fn descend(
        &mut self,
        paths: &[Expression],
        from: &mut Focus<'d>,
        environment: Environment<'d>,
        rounds_left: usize,
        out: &mut Vec<Item<'d>>,
    ) -> Result<(), Box<Refusal>> {
        for path in paths {
            for element in self.evaluate(path, from)? {
                let Some(rounds_left) = rounds_left.checked_sub(1) else {
                    let error = TransformError::TooDeep { limit: MAX_ROUNDS };
                    return Err(self.refuse(&error, Some(path)));
                };
                if out.len() == MAX_ROWS {
                    let error = TransformError::TooManyRows { limit: MAX_ROWS };
                    return Err(self.refuse(&error, Some(path)));
                }
                out.push(element.clone());
                let mut element = Focus::new(environment, element);
                self.descend(paths, &mut element, environment, rounds_left, out)?;
            }
        }
        Ok(())
    }

    /// Appends the rows of one element: its columns, with every row of each nested select, with
    /// every row of the union.
    fn combine(
        &mut self,
        select: &SelectProgram,
        focus: &mut Focus<'d>,
        environment: Environment<'d>,
        out: &mut Vec<Row>,
    ) -> Result<(), Box<Refusal>> {
        let columns = u32::try_from(select.columns.len()).unwrap_or(u32::MAX);
        let breadth = focus.breadth().saturating_mul(columns);
        self.allowance.spend_steps(breadth).map_err(|error| self.refuse(&error, None))?;
        let mut row = Row::with_capacity(select.nothing.len());
        for column in &select.columns {
            row.push(self.value(column, focus)?);
        }
        self.part()?;
        if select.selects.is_empty() && select.union.is_empty() {
            out.push(row);
            return Ok(());
        }
        let mut rows = vec![row];
        for nested in &select.selects {
            let mut found = Vec::new();
            self.select(nested, focus, environment, &mut found)?;
            rows = self.product(rows, found)?;
        }
        if !select.union.is_empty() {
            let mut found = Vec::new();
            for branch in &select.union {
                self.select(branch, focus, environment, &mut found)?;
            }
            rows = self.product(rows, found)?;
        }
        out.append(&mut rows);
        Ok(())
    }

    /// Every row of the left with every row of the right.
    fn product(&mut self, left: Vec<Row>, right: Vec<Row>) -> Result<Vec<Row>, Box<Refusal>> {
        if let [_] = left.as_slice()
            && let [_] = right.as_slice()
        {
            return Ok(vec![left.into_iter().chain(right).flatten().collect()]);
        }
        let mut rows = Vec::with_capacity(left.len().saturating_mul(right.len()).min(MAX_ROWS));
        for first in &left {
            for second in &right {
                let row: Row = first.iter().chain(second).cloned().collect();
                self.spend(&row)?;
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Counts a part of a row, whose text was counted when it was read.
    fn part(&mut self) -> Result<(), Box<Refusal>> {
        let Some(parts_left) = self.parts_left.checked_sub(1) else {
            return Err(self.refuse(&TransformError::TooManyRows { limit: MAX_ROWS }, None));
        };
        self.parts_left = parts_left;
        Ok(())
    }

    /// Counts a part of a row that is a copy.
    fn spend(&mut self, row: &Row) -> Result<(), Box<Refusal>> {
        self.part()?;
        let bytes = row.iter().map(|value| match value {
            Value::Text(text) => text.len(),
            Value::Json(text) => text.len(),
            Value::Binary(bytes) => bytes.len(),
            _ => 0,
        });
        let spent = self.allowance.spend_bytes(bytes.sum());
        spent.map_err(|error| self.refuse(&error, None))
    }

    /// The value of one column.
    fn value(
        &mut self,
        column: &ColumnProgram,
        focus: &mut Focus<'d>,
    ) -> Result<Value, Box<Refusal>> {
        self.found.clear();
        let path = &column.value.path;
        let allowance = &mut self.allowance;
        let value = match focus.plain(path) {
            Ok(found) => value_of(column, found.map(Item::untyped).as_slice(), allowance),
            Err(NotPlain) => evaluate(path, focus, &mut self.found, allowance)
                .and_then(|()| value_of(column, &self.found, allowance)),
        };
        value.map_err(|error| {
            let (table, name) = (&self.program.table, Some(&column.name));
            column.value.refuse(&error, self.change, table, name)
        })
    }

    fn evaluate(
        &mut self,
        expression: &Expression,
        focus: &mut Focus<'d>,
    ) -> Result<Vec<Item<'d>>, Box<Refusal>> {
        let mut found = Vec::new();
        evaluate(&expression.path, focus, &mut found, &mut self.allowance)
            .map_err(|error| self.refuse(&error, Some(expression)))?;
        Ok(found)
    }

    fn refuse(&self, error: &TransformError, expression: Option<&Expression>) -> Box<Refusal> {
        let table = &self.program.table;
        match expression {
            Some(expression) => expression.refuse(error, self.change, table, None),
            None => error.refuse(self.change, &At { table, column: None, rule: None, path: None }),
        }
    }
}

/// What a column holds of all that its path yielded.
fn value_of(
    column: &ColumnProgram,
    found: &[Item<'_>],
    allowance: &mut Allowance,
) -> Result<Value, TransformError> {
    let mut scalars = found.iter().filter_map(Scalar::of);
    let scalar = match column.count {
        Count::Collection => {
            let array = json_array(scalars, allowance)?;
            if column.column_type == ColumnType::Json {
                return Ok(Value::Json(array));
            }
            Scalar::Text(array.into())
        }
        Count::One => {
            let Some(first) = scalars.next() else { return Ok(Value::Null) };
            if scalars.next().is_some() {
                let count = found.iter().filter(|item| Scalar::is_in(item)).count();
                return Err(TransformError::SeveralValues { count });
            }
            first
        }
    };
    if let Some(text) = scalar.text() {
        allowance.spend_bytes(text.len())?;
    }
    let value = scalar
        .cast(column.column_type, PartialDate::Error)
        .map_err(TransformError::TypeMismatch)?;
    if let Value::Json(json) = &value {
        allowance.spend_bytes(json.len())?;
    }
    match (&value, column.maximum) {
        (Value::Text(text), Some(limit)) if text.chars().nth(limit).is_some() => {
            Err(TransformError::LongerThanType { limit })
        }
        _ => Ok(value),
    }
}
