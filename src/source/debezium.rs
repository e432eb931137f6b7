//! Rows of a table with a document column, as Debezium captures them.
//!
//! In: a change event as JSON, with Connect's schema envelope or without, its key, and the names
//! of the columns. Out: what it says of the resource in the row. Log positions (LSN, SCN, binlog
//! offsets) order transactions of one server until it is restored or replaced: they are never
//! versions. What `before` holds depends on the table's replica identity, so no version is taken
//! from it either: a delete has none.

use sonic_rs::JsonValueTrait;

use crate::model::{Document, DocumentLimits, Node, ResourceKey, is_resource_type};

use super::detect::kind;
use super::identity::{self, Reference, TypeFrom};
use super::json::{present, scalar, text};
use super::statement::{Content, Statement, Statements};
use super::{DecodeError, Seen};

/// What stands for a value that did not change and is stored outside of its row.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// Which columns say what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebeziumColumns {
    /// Holds the document: JSON text or an object.
    pub document: String,
    /// Says the resource's type; absent: only the document does.
    pub resource_type: Option<TypeFrom>,
    /// Holds the logical id; absent: only the document does.
    pub id: Option<String>,
    /// Holds what orders the changes; absent: only the document does.
    pub version: Option<String>,
}

/// What the event says. `key`: the record's.
pub(super) fn read(
    event: &Document,
    key: Option<&[u8]>,
    columns: &DebeziumColumns,
    limits: DocumentLimits,
) -> Result<Statements, DecodeError> {
    let refused = |seen| Err(DecodeError::UnknownFormat { seen });
    let event = payload(event.root());
    if !event.is_object() {
        return refused(Seen::NoObject(kind(event)));
    }
    let row = |member| present(event, member).filter(JsonValueTrait::is_object);
    match text(event, "op") {
        Some("c" | "r" | "u") => {
            let Some(after) = row("after") else { return refused(Seen::DebeziumRow) };
            let upsert = upsert(after, columns, limits)?;
            // a key that is no primary key may change within one event
            let before = row("before").filter(|row| columns.is_whole(row));
            let before = before.and_then(|row| columns.named_by(&[row]).ok());
            match before.filter(|before| *before != upsert.resource) {
                Some(before) => Ok(Statements::Row(vec![Statement::deleted(before), upsert])),
                None => Ok(Statements::One(upsert)),
            }
        }
        Some("d") => {
            let key = key.and_then(|key| Document::parse(key, limits).ok());
            let key = key.as_ref().map(|key| payload(key.root()));
            let before = row("before").filter(|row| columns.is_whole(row));
            let rows: Vec<&Node> = key.into_iter().chain(before).collect();
            let named = columns.named_by(&rows).or_else(|error| {
                let before = before.ok_or_else(|| error.clone())?;
                upsert(before, columns, limits).map(|said| said.resource).map_err(|_| error)
            })?;
            Ok(Statements::One(Statement::deleted(named)))
        }
        // a message of the application's own, in the log but in no table
        Some("m") => Ok(Statements::Nothing),
        Some("t") => refused(Seen::DebeziumTruncate),
        _ => refused(Seen::DebeziumOperation),
    }
}

/// What a null value says: it follows a delete, and stands for it once the topic was compacted.
pub(super) fn tombstone(
    key: &[u8],
    columns: &DebeziumColumns,
    limits: DocumentLimits,
) -> Statements {
    let key = Document::parse(key, limits).ok();
    let named = key.and_then(|key| columns.named_by(&[payload(key.root())]).ok());
    named.map_or(Statements::Nothing, |resource| Statements::One(Statement::deleted(resource)))
}

/// Whether a key is a row's: an object of its primary key's columns.
pub(super) fn is_row_key(key: &[u8]) -> bool {
    key.trim_ascii_start().first() == Some(&b'{')
}

/// The event without Connect's schema.
fn payload(root: &Node) -> &Node {
    let has_schema = root.get("schema").is_some();
    root.get("payload").filter(|_| has_schema).unwrap_or(root)
}

fn upsert(
    row: &Node,
    columns: &DebeziumColumns,
    limits: DocumentLimits,
) -> Result<Statement, DecodeError> {
    let resource_type = columns.resource_type_in(row);
    let id = columns.id.as_ref().and_then(|column| row.get(column)).and_then(scalar);
    let stated =
        Reference { resource_type: resource_type.as_deref(), id: id.as_deref(), version: None };
    let column =
        |name| row.get(name).ok_or(DecodeError::UnknownFormat { seen: Seen::DebeziumColumn });
    let (resource, content) = match column(&columns.document)? {
        value if value.is_null() || value.as_str() == Some(UNAVAILABLE) => {
            (identity::agreed(None, &stated, "row")?, Content::Hint("the row"))
        }
        value => {
            let document = whole(document(value, limits)?, &stated, limits)?;
            let resource = identity::agreed(Some(&document), &stated, "row")?;
            (resource, Content::Document(document))
        }
    };
    let version = match &columns.version {
        // what is there and no number or text is no version
        Some(name) => Some(scalar(column(name)?).unwrap_or_default()),
        None => None,
    };
    Ok(Statement {
        version_id: version.clone(),
        last_updated: version,
        ..Statement::new(resource, content)
    })
}

/// The document in its column.
fn document(value: &Node, limits: DocumentLimits) -> Result<Document, DecodeError> {
    let document = match value.as_str() {
        Some(text) => Document::parse(text.as_bytes(), limits)
            .map_err(|source| DecodeError::Document { what: "the document's column", source })?,
        None => Document::from(value.clone()),
    };
    if document.root().is_object() {
        Ok(document)
    } else {
        let seen = Seen::DebeziumDocument(kind(document.root()));
        Err(DecodeError::UnknownFormat { seen })
    }
}

/// The document with `resourceType` and `id`, which some servers keep in columns only.
fn whole(
    document: Document,
    stated: &Reference<'_>,
    limits: DocumentLimits,
) -> Result<Document, DecodeError> {
    let lacks = |member| document.root().get(member).is_none();
    let resource_type =
        stated.resource_type.filter(|name| lacks("resourceType") && is_resource_type(name));
    let id = stated.id.filter(|id| lacks("id") && identity::is_id(id));
    if resource_type.is_none() && id.is_none() {
        return Ok(document);
    }
    let text = sonic_rs::to_string(document.root()).unwrap_or_default();
    let Some(members) = text.strip_prefix('{') else { return Ok(document) };
    let mut completed = String::with_capacity(text.len() + 128);
    completed.push('{');
    for (name, value) in [("resourceType", resource_type), ("id", id)] {
        let Some(value) = value else { continue };
        // both are of letters, digits, `-` and `.`
        completed.extend(["\"", name, "\":\"", value, "\","]);
    }
    if members.starts_with('}') {
        completed.pop();
    }
    completed.push_str(members);
    Document::parse(completed.as_bytes(), limits)
        .map_err(|source| DecodeError::Document { what: "the document's column", source })
}

impl DebeziumColumns {
    /// The resource that rows name by their columns; of each the first row that has it.
    fn named_by(&self, rows: &[&Node]) -> Result<ResourceKey, DecodeError> {
        let resource_type = rows.iter().find_map(|row| self.resource_type_in(row));
        let column = self.id.as_ref();
        let id = column.and_then(|column| rows.iter().find_map(|row| row.get(column)));
        let id = id.and_then(scalar);
        identity::resource(resource_type.as_deref(), id.as_deref(), "row")
    }

    /// Whether an earlier row is there as it was. Unless the table's replica identity is full,
    /// the columns beside its key are empty or hold the table's defaults, which say nothing.
    fn is_whole(&self, row: &Node) -> bool {
        row.get(&self.document).is_some_and(|document| match document.as_str() {
            Some(text) => !text.is_empty() && text != UNAVAILABLE,
            None => document.is_object(),
        })
    }

    fn resource_type_in(&self, row: &Node) -> Option<String> {
        match self.resource_type.as_ref()? {
            TypeFrom::Constant(name) => Some(name.to_string()),
            TypeFrom::Named(column) => text(row, column).map(str::to_owned),
        }
    }
}
