//! What can go wrong, sorted by what the runtime does about it.
//!
//! Every error of a stage answers two questions: which [`ErrorClass`] it is (wait, isolate or
//! pause) and, when it is poison, which [`Cause`] an operator finds in the dead-letter header,
//! the metric label, the command line and `docs/causes.md`. Nothing here ever carries a payload
//! value: messages are our own templates.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What the runtime does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Heals by itself: wait with backoff while polling goes on. Never a dead letter.
    Retriable,
    /// Can never succeed for this record: isolate it and dead-letter it with its cause.
    Poison,
    /// Concerns every record: pause without committing until someone mends it.
    Fatal,
}

impl ErrorClass {
    /// The label `cause` of `rowcast_retries_total` where something is tried again: it is away, or it
    /// refuses.
    #[must_use]
    pub const fn retry_cause(self) -> &'static str {
        match self {
            Self::Retriable => "unavailable",
            Self::Poison | Self::Fatal => "refused",
        }
    }
}

/// The stage of the topology in which a record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Bytes to changes.
    Decode,
    /// Changes to rows.
    Transform,
    /// Rows to SQL.
    Plan,
    /// SQL to the database.
    Sink,
}

impl Stage {
    /// All stages, in the order a record travels.
    pub const ALL: [Self; 4] = [Self::Decode, Self::Transform, Self::Plan, Self::Sink];

    /// The name used in headers, labels and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Transform => "transform",
            Self::Plan => "plan",
            Self::Sink => "sink",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a record was refused: the closed list shared by the header `rowcast.error.cause`, the
/// metric label `cause`, the command line and `docs/causes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The value is not valid JSON.
    InvalidJson,
    /// The value is not valid UTF-8.
    InvalidUtf8,
    /// The value is not what its Avro schema says.
    InvalidAvro,
    /// The value is larger than `source.max_record_bytes`, or a bundle of too many entries.
    TooLarge,
    /// The document is nested deeper than `source.max_depth`.
    TooDeep,
    /// The record has none of the shapes that `source.format` allows.
    UnknownFormat,
    /// `resourceType` is absent or no FHIR resource type.
    UnknownResourceType,
    /// The record's key, its envelope and its document name different resources.
    KeyMismatch,
    /// The resource has no logical id.
    MissingId,
    /// The change has no usable version where `transform.version.from` says it is.
    MissingVersion,
    /// The document is a subset or a stub of the resource, or was left out.
    IncompleteDocument,
    /// A FHIRPath expression failed on this document.
    ExpressionError,
    /// A column's expression yields several values and its `multiplePrimitiveStrategy` is `ERROR`.
    MultipleValues,
    /// A value does not convert to its column's `columnType`.
    TypeMismatch,
    /// A value is longer than the column, or than `maximumSize` with `overflowStrategy` `ERROR`.
    ValueTooLong,
    /// A NOT NULL column got no value.
    ConstraintNotNull,
    /// A unique constraint of yours other than the key on `id` was violated.
    ConstraintUnique,
    /// A foreign key of yours was violated.
    ConstraintForeignKey,
    /// A check constraint was violated.
    ConstraintCheck,
    /// The database cannot store a value in its column's type (range, encoding, a NUL character).
    DataException,
    /// Another integrity rule of the database was violated (restrict, exclusion, trigger).
    IntegrityViolation,
    /// A delete without version that was refused before was delivered again.
    RefusedDelete,
}

impl Cause {
    /// All causes, in the order of the documentation.
    pub const ALL: [Self; 22] = [
        Self::InvalidJson,
        Self::InvalidUtf8,
        Self::InvalidAvro,
        Self::TooLarge,
        Self::TooDeep,
        Self::UnknownFormat,
        Self::UnknownResourceType,
        Self::KeyMismatch,
        Self::MissingId,
        Self::MissingVersion,
        Self::IncompleteDocument,
        Self::ExpressionError,
        Self::MultipleValues,
        Self::TypeMismatch,
        Self::ValueTooLong,
        Self::ConstraintNotNull,
        Self::ConstraintUnique,
        Self::ConstraintForeignKey,
        Self::ConstraintCheck,
        Self::DataException,
        Self::IntegrityViolation,
        Self::RefusedDelete,
    ];

    /// The name used in headers, labels and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidAvro => "invalid_avro",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::UnknownFormat => "unknown_format",
            Self::UnknownResourceType => "unknown_resource_type",
            Self::KeyMismatch => "key_mismatch",
            Self::MissingId => "missing_id",
            Self::MissingVersion => "missing_version",
            Self::IncompleteDocument => "incomplete_document",
            Self::ExpressionError => "expression_error",
            Self::MultipleValues => "multiple_values",
            Self::TypeMismatch => "type_mismatch",
            Self::ValueTooLong => "value_too_long",
            Self::ConstraintNotNull => "constraint_not_null",
            Self::ConstraintUnique => "constraint_unique",
            Self::ConstraintForeignKey => "constraint_foreign_key",
            Self::ConstraintCheck => "constraint_check",
            Self::DataException => "data_exception",
            Self::IntegrityViolation => "integrity_violation",
            Self::RefusedDelete => "refused_delete",
        }
    }

    /// The cause with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }

    /// What it means, for `docs/causes.md`.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::InvalidJson => "The value is not valid JSON.",
            Self::InvalidUtf8 => "The value is not valid UTF-8.",
            Self::InvalidAvro => "The value is not what its Avro schema says.",
            Self::TooLarge => {
                "The value is larger than `source.max_record_bytes`, or a bundle of more than 10,000 entries."
            }
            Self::TooDeep => "The document is nested deeper than `source.max_depth`.",
            Self::UnknownFormat => "The record has none of the shapes that `source.format` allows.",
            Self::UnknownResourceType => "`resourceType` is absent or no FHIR resource type.",
            Self::KeyMismatch => {
                "The record's key, its envelope and its document name different resources."
            }
            Self::MissingId => "The resource has no logical id.",
            Self::MissingVersion => {
                "The change has no usable version where `transform.version.from` says it is."
            }
            Self::IncompleteDocument => {
                "The document is a subset or a stub of the resource, or was left out: the record is only a hint."
            }
            Self::ExpressionError => "A FHIRPath expression failed on this document.",
            Self::MultipleValues => {
                "A column's expression yields several values and its `multiplePrimitiveStrategy` is `ERROR`."
            }
            Self::TypeMismatch => "A value does not convert to its column's `columnType`.",
            Self::ValueTooLong => {
                "A value is longer than the column, or than `maximumSize` with `overflowStrategy` `ERROR`."
            }
            Self::ConstraintNotNull => "A NOT NULL column got no value.",
            Self::ConstraintUnique => {
                "A unique constraint of yours other than the key on `id` was violated."
            }
            Self::ConstraintForeignKey => "A foreign key of yours was violated.",
            Self::ConstraintCheck => "A check constraint was violated.",
            Self::DataException => {
                "The database cannot store a value in its column's type (range, encoding, a NUL character)."
            }
            Self::IntegrityViolation => {
                "Another integrity rule of the database was violated (restrict, exclusion, trigger)."
            }
            Self::RefusedDelete => {
                "A delete without version that was refused before was delivered again."
            }
        }
    }

    /// How to mend it, for `docs/causes.md`.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::InvalidJson => {
                "Mend the producer; the letter's value is what it sent. Replay a corrected record or discard the letter."
            }
            Self::InvalidUtf8 => {
                "The producer writes another character encoding or binary data. Make it write UTF-8."
            }
            Self::InvalidAvro => {
                "The value was cut off, or written by another schema than the one it names. Mend the producer; check that `source.schema_registry` is the producer's own."
            }
            Self::TooLarge => "Raise the limit if such documents are expected, then replay.",
            Self::TooDeep => {
                "No FHIR resource needs this depth; look for a producer that wraps documents in themselves."
            }
            Self::UnknownFormat => "Set `source.format`, or check what the producer sends.",
            Self::UnknownResourceType => {
                "Check the producer. Types without a transformer are filtered, not refused; this is a name FHIR does not know."
            }
            Self::KeyMismatch => {
                "The producer pairs keys with the wrong documents. Nothing was guessed; mend the producer."
            }
            Self::MissingId => {
                "Only stored resources have ids; check that the producer sends what the server returned, not what a client posted."
            }
            Self::MissingVersion => {
                "Make the server send `meta.versionId`, or choose `last_updated`, or send a `rowcast.version` header."
            }
            Self::IncompleteDocument => {
                "Read the full resource from the server and produce it again."
            }
            Self::ExpressionError => {
                "`path` names the expression. Mend the rule or the document, then replay."
            }
            Self::MultipleValues => {
                "Narrow the path (`first()`, `where(...)`) or choose another strategy, in a view `collection`, then replay."
            }
            Self::TypeMismatch => {
                "`rule`, `column` and `path` say where. Choose another column type or mend the document."
            }
            Self::ValueTooLong => {
                "Widen the column and its `maximumSize` or `ansi/type`, or let it `TRUNCATE`, then replay."
            }
            Self::ConstraintNotNull => {
                "Relax the column or give the rule a path that always yields a value."
            }
            Self::ConstraintUnique => {
                "Two resources share a value that your schema says is unique."
            }
            Self::ConstraintForeignKey => {
                "Rows arrive in no order between resources; turn on `retry`, drop foreign keys between root tables, or replay once the other row is there."
            }
            Self::ConstraintCheck => "Relax the constraint or mend the document.",
            Self::DataException => {
                "The header `sqlstate` says which; widen the type or mend the document."
            }
            Self::IntegrityViolation => {
                "See the header `sqlstate` and the database's own documentation."
            }
            Self::RefusedDelete => {
                "It is never applied late by itself; replay it with `--force` once you are sure."
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where in rules, schema and document a refusal happened. Names only, never values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// FHIR type of the resource, as the document or key said it.
    pub resource_type: Option<Arc<str>>,
    /// Version of the change, where it was known.
    pub version: Option<i64>,
    /// Table that was being filled.
    pub table: Option<Arc<str>>,
    /// Column that was being filled.
    pub column: Option<Arc<str>>,
    /// Rule: file and JSON path, `rules/patient.json#/transformers/0/columns/2`.
    pub rule: Option<Arc<str>>,
    /// FHIRPath expression of the rule.
    pub path: Option<Arc<str>>,
    /// The database's own code: five characters on PostgreSQL, a number elsewhere.
    pub sqlstate: Option<Arc<str>>,
}

/// A poison error as it travels to the dead-letter topic: which stage refused, why and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused.
    pub stage: Stage,
    /// Why.
    pub cause: Cause,
    /// Name of the error type, for `__streams.errors.exception`.
    pub exception: &'static str,
    /// The messages of the error and its sources, outermost first; at least one.
    pub messages: Vec<String>,
    /// Where.
    pub place: Place,
}

impl Refusal {
    /// A refusal made from an error and what the stage knows about the place.
    #[must_use]
    pub fn new(
        stage: Stage,
        cause: Cause,
        error: &(dyn Error + 'static),
        exception: &'static str,
        place: Place,
    ) -> Self {
        Self { stage, cause, exception, messages: messages(error), place }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.messages.join(": "), self.cause)
    }
}

/// A number and what it counts, in the singular or the plural: `1 record`, `2 records`.
pub(crate) fn counted(number: impl fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The messages of an error and its sources, outermost first.
#[must_use]
pub fn messages(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut out = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        out.push(inner.to_string());
        source = inner.source();
    }
    out
}
