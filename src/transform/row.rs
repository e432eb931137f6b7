//! A document runs through a root transformer.
//!
//! In: a compiled transformer and an upsert. Out: the rows of the resource in the root table and
//! all its child tables, or a refusal. The rows of one resource are bounded, and what it takes to
//! make them.

use super::allowance::Allowance;
use super::cast::Scalar;
use super::error::{At, TransformError};
use super::expression::Expression;
use super::fhirpath::{Environment, Focus, Item, Path, convert_to_boolean};
use super::identity;
use super::rules::{
    ChildProgram, ColumnProgram, Fill, Maximum, MultipleStrategy, OverflowStrategy, PartialDate,
    PathColumn, RootProgram, TableProgram,
};
use crate::error::Refusal;
use crate::model::{Change, ColumnType, Document, Row, RowSet, Value, Version};
use sonic_rs::JsonValueTrait as _;
use std::borrow::Cow;
use uuid::Uuid;

/// Most rows that one resource may have below one root table. A thousand times what real ones
/// have; without a bound, nested child tables that begin at the resource multiply.
pub(super) const MAX_ROWS: usize = 100_000;

/// The rows of a resource below one root; `None` if the transformer's `where` does not match.
pub(super) fn row_sets(
    program: &RootProgram,
    change: &Change,
    version: Version,
    document: &Document,
) -> Result<Option<Vec<RowSet>>, Box<Refusal>> {
    let mut run = Run::new(change, version, document, program.tables);
    let mut focus = run.resource();
    if let Some(condition) = &program.condition
        && run.truth(condition, &program.table, &mut focus)? != Some(true)
    {
        return Ok(None);
    }
    let id = identity::root(&program.table.name, &change.resource);
    run.fill(&program.table, &mut focus, id, &Value::Null)?;
    let sets = run.rows.into_iter().enumerate();
    Ok(Some(sets.map(|(table, rows)| RowSet { table, rows }).collect()))
}

/// One document on its way through one root transformer.
pub(super) struct Run<'d> {
    change: &'d Change,
    version: Version,
    pub(super) environment: Environment<'d>,
    /// By table index.
    pub(super) rows: Vec<Vec<Row>>,
    rows_left: usize,
    pub(super) allowance: Allowance,
    /// What the expression at hand yielded; kept for its capacity.
    pub(super) found: Vec<Item<'d>>,
}

impl<'d> Run<'d> {
    /// The start of a document's way to `tables` tables.
    pub(super) fn new(
        change: &'d Change,
        version: Version,
        document: &'d Document,
        tables: usize,
    ) -> Self {
        Self {
            change,
            version,
            environment: Environment::of_change(change, document),
            rows: vec![Vec::new(); tables],
            rows_left: MAX_ROWS,
            allowance: Allowance::new(),
            found: Vec::new(),
        }
    }

    /// Where the expressions of root tables begin.
    pub(super) fn resource(&self) -> Focus<'d> {
        Focus::new(self.environment, Item::resource(self.environment.resource))
    }

    /// Appends the row of one element, and the rows below it.
    fn fill(
        &mut self,
        table: &TableProgram,
        focus: &mut Focus<'d>,
        id: Uuid,
        parent_reference: &Value,
    ) -> Result<(), Box<Refusal>> {
        self.take_row(table, focus)?;
        let mut row = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            if !plain_cell(column, focus, &mut row, &mut self.allowance) {
                self.cell(column, focus, id, parent_reference, &mut row)
                    .map_err(|error| self.refuse_column(table, column, &error))?;
            }
        }
        // The first column of every table is its `id`.
        let own_id = match row.first() {
            Some(own_id) if !table.children.is_empty() => own_id.clone(),
            _ => Value::Null,
        };
        self.rows[table.index].push(row);
        for child in &table.children {
            self.children(child, focus, id, &own_id)?;
        }
        Ok(())
    }

    /// Appends the rows of all elements that a child table takes from one parent.
    fn children(
        &mut self,
        child: &ChildProgram,
        parent: &mut Focus<'d>,
        parent_id: Uuid,
        parent_reference: &Value,
    ) -> Result<(), Box<Refusal>> {
        let elements = self.elements(child, parent)?;
        self.rows[child.table.index].reserve(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let mut element = Focus::new(self.environment, element);
            if let Some(condition) = &child.condition
                && self.truth(condition, &child.table, &mut element)? != Some(true)
            {
                continue;
            }
            let id = identity::child(parent_id, &child.table.name, index);
            self.fill(&child.table, &mut element, id, parent_reference)?;
        }
        Ok(())
    }

    /// The elements of one parent from which a child table has rows, its `where` aside.
    pub(super) fn elements(
        &mut self,
        child: &ChildProgram,
        parent: &mut Focus<'d>,
    ) -> Result<Vec<Item<'d>>, Box<Refusal>> {
        let mut elements = Vec::new();
        evaluate(&child.elements.path, parent, &mut elements, &mut self.allowance)
            .map_err(|error| child.elements.refuse(&error, self.change, &child.table.name, None))?;
        Ok(elements)
    }

    /// Counts a row that is made of what `focus` is on.
    pub(super) fn take_row(
        &mut self,
        table: &TableProgram,
        focus: &Focus<'d>,
    ) -> Result<(), Box<Refusal>> {
        let columns = u32::try_from(table.columns.len()).unwrap_or(u32::MAX);
        let taken = match self.rows_left.checked_sub(1) {
            Some(rows_left) => {
                self.rows_left = rows_left;
                self.allowance.spend_steps(focus.breadth().saturating_mul(columns))
            }
            None => Err(TransformError::TooManyRows { limit: MAX_ROWS }),
        };
        taken.map_err(|error| {
            let at = At { table: &table.name, column: None, rule: None, path: None };
            error.refuse(self.change, &at)
        })
    }

    /// The refusal of a value.
    pub(super) fn refuse_column(
        &self,
        table: &TableProgram,
        column: &ColumnProgram,
        error: &TransformError,
    ) -> Box<Refusal> {
        let path = match &column.fill {
            Fill::Path(filled) => Some(filled.path.expression()),
            Fill::ResourceId => Some("id"),
            Fill::Version => Some("meta.versionId"),
            Fill::Id | Fill::ParentReference | Fill::Constant(_) => None,
        };
        let (column, rule) = (Some(&column.name), column.rule.as_ref());
        error.refuse(self.change, &At { table: &table.name, column, rule, path })
    }

    /// What a `where` is.
    pub(super) fn truth(
        &mut self,
        condition: &Expression,
        table: &TableProgram,
        focus: &mut Focus<'d>,
    ) -> Result<Option<bool>, Box<Refusal>> {
        self.found.clear();
        let truth = evaluate(&condition.path, focus, &mut self.found, &mut self.allowance)
            .and_then(|()| convert_to_boolean(&self.found).map_err(TransformError::Expression));
        truth.map_err(|error| condition.refuse(&error, self.change, &table.name, None))
    }

    /// Appends the value of one column; what its path yielded is in `found` then.
    pub(super) fn cell(
        &mut self,
        column: &ColumnProgram,
        focus: &mut Focus<'d>,
        id: Uuid,
        parent_reference: &Value,
        row: &mut Row,
    ) -> Result<(), Box<TransformError>> {
        let to = column.column_type;
        match &column.fill {
            Fill::Id => append(row, || Value::Uuid(id)),
            Fill::ParentReference => row.push(parent_reference.clone()),
            Fill::Constant(value) => row.push(value.clone()),
            Fill::ResourceId if to == ColumnType::String => {
                let id = (*self.change.resource.id).into();
                append(row, || Value::Text(id));
            }
            Fill::ResourceId => {
                let id = Scalar::Text((&*self.change.resource.id).into());
                row.push(id.cast_identically(to).map_err(TransformError::TypeMismatch)?);
            }
            Fill::Version if to == ColumnType::BigInt => {
                append(row, || Value::Int(self.version.get()));
            }
            Fill::Version => {
                let version = Scalar::Number(self.version.to_string().into());
                let version = version.cast(to, PartialDate::Error);
                row.push(version.map_err(TransformError::TypeMismatch)?);
            }
            Fill::Path(filled) => {
                self.found.clear();
                evaluate(&filled.path, focus, &mut self.found, &mut self.allowance)?;
                row.push(choose(&self.found, filled, to, &mut self.allowance)?);
            }
        }
        Ok(())
    }
}

/// Appends what a path yields, and counts what it took. Where nothing is left, nothing is tried.
pub(super) fn evaluate<'d>(
    path: &Path,
    focus: &mut Focus<'d>,
    out: &mut Vec<Item<'d>>,
    allowance: &mut Allowance,
) -> Result<(), TransformError> {
    allowance.spend_steps(0)?;
    focus.evaluate(path, out).map_err(TransformError::Expression)?;
    allowance.spend_steps(focus.take_work())
}

/// Appends the value of a column whose path is plain. If it is not, or if the value does not fit,
/// appends nothing: [`Run::cell`] will, or will say why not.
fn plain_cell(
    column: &ColumnProgram,
    focus: &Focus<'_>,
    row: &mut Row,
    allowance: &mut Allowance,
) -> bool {
    let Fill::Path(filled) = &column.fill else { return false };
    let to = column.column_type;
    let Ok(found) = focus.plain(&filled.path) else { return false };
    // What most columns take: the text as it stands.
    let as_it_stands = to == ColumnType::String
        && filled.maximum.is_none()
        && filled.strategy != MultipleStrategy::Json;
    if let Some(text) = found.and_then(|node| node.as_str()).filter(|_| as_it_stands) {
        let is_allowed = allowance.spend_bytes(text.len()).is_ok();
        if is_allowed {
            append(row, || Value::Text(text.into()));
        }
        return is_allowed;
    }
    let item = found.map(Item::untyped);
    choose(item.as_slice(), filled, to, allowance).is_ok_and(|value| {
        row.push(value);
        true
    })
}

/// Appends a value that is made where it will lie: one that is made elsewhere and moved right after
/// waits for itself.
fn append(row: &mut Row, make: impl FnOnce() -> Value) {
    row.extend(std::iter::once_with(make));
}

/// One value of all that a path yielded. The allowance is spent before text is copied or read.
pub(super) fn choose(
    found: &[Item<'_>],
    filled: &PathColumn,
    to: ColumnType,
    allowance: &mut Allowance,
) -> Result<Value, Box<TransformError>> {
    let mut scalars = found.iter().filter_map(Scalar::of);
    let Some(first) = scalars.next() else { return Ok(filled.default.clone()) };
    let scalar = match filled.strategy {
        MultipleStrategy::First => first,
        MultipleStrategy::Last => scalars.next_back().unwrap_or(first),
        MultipleStrategy::Error if scalars.next().is_none() => first,
        MultipleStrategy::Error => {
            let count = found.iter().filter(|item| Scalar::is_in(item)).count();
            return Err(TransformError::MultipleValues { count }.into());
        }
        MultipleStrategy::Concat => {
            let mut joined = first.primitive(to).map_err(TransformError::TypeMismatch)?;
            for other in scalars {
                let other = other.primitive(to).map_err(TransformError::TypeMismatch)?;
                allowance.spend_bytes(filled.delimiter.len() + other.len())?;
                joined.push_str(&filled.delimiter);
                joined.push_str(&other);
            }
            Scalar::Text(joined.into())
        }
        MultipleStrategy::Json => {
            let array = json_array(std::iter::once(first).chain(scalars), allowance)?;
            if to == ColumnType::Json {
                return Ok(Value::Json(array));
            }
            Scalar::Text(array.into())
        }
    };
    if to == ColumnType::String
        && let Some(maximum) = filled.maximum
        && let Some(text) = scalar.text()
    {
        if !matches!(scalar, Scalar::Text(Cow::Borrowed(_))) {
            allowance.spend_bytes(text.len())?;
        }
        return fit(&text, maximum, allowance);
    }
    if let Some(text) = scalar.text() {
        allowance.spend_bytes(text.len())?;
    }
    let value = scalar.cast(to, filled.partial_date).map_err(TransformError::TypeMismatch)?;
    if let Value::Json(json) = &value {
        allowance.spend_bytes(json.len())?;
    }
    Ok(value)
}

/// All of them as the elements of a JSON array.
pub(super) fn json_array<'d>(
    scalars: impl Iterator<Item = Scalar<'d>>,
    allowance: &mut Allowance,
) -> Result<String, TransformError> {
    let mut array = String::from("[");
    for scalar in scalars {
        if array.len() > 1 {
            array.push(',');
        }
        let element = scalar.json();
        allowance.spend_bytes(element.len())?;
        array.push_str(&element);
    }
    array.push(']');
    Ok(array)
}

/// Text within `maximumSize`: cut before it is copied, so that a row holds no more than that.
fn fit(
    text: &str,
    maximum: Maximum,
    allowance: &mut Allowance,
) -> Result<Value, Box<TransformError>> {
    let within = match (text.char_indices().nth(maximum.size), maximum.overflow) {
        (None, _) => text,
        (Some((end, _)), OverflowStrategy::Truncate) => text.get(..end).unwrap_or(text),
        (Some(_), OverflowStrategy::Null) => return Ok(Value::Null),
        (Some(_), OverflowStrategy::Error) => {
            return Err(TransformError::ValueTooLong { limit: maximum.size }.into());
        }
    };
    allowance.spend_bytes(within.len())?;
    Ok(Value::Text(within.into()))
}
