//! Labels whose values are a closed list.

/// How a record ended: the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordOutcome {
    /// No transformer takes it, or `where` does not match.
    Filtered,
    /// At or below the applied version.
    Stale,
    /// Rows were written or removed.
    Written,
    /// Refused for a cause that may heal, and the retry topic has it.
    Retried,
    /// Refused, and the dead-letter topic has it.
    DeadLettered,
}

impl RecordOutcome {
    /// All outcomes, lowest first.
    pub const ALL: [Self; 5] =
        [Self::Filtered, Self::Stale, Self::Written, Self::Retried, Self::DeadLettered];

    /// Label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Stale => "stale",
            Self::Written => "written",
            Self::Retried => "retried",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// What was done to rows of a table: the label `operation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableOperation {
    /// A root row was inserted, or written anew by a newer version.
    Upsert,
    /// A row of a child or history table was inserted.
    Insert,
    /// A row was removed.
    Delete,
}

impl TableOperation {
    /// Label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Insert => "insert",
            Self::Delete => "delete",
        }
    }
}

/// What takes part in a topology and can be away: the label `component`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    /// The source broker.
    Broker,
    /// The target database.
    Database,
    /// The dead-letter topic.
    DeadLetterTopic,
    /// The retry topic.
    RetryTopic,
    /// Rules and schema: they refuse too many changes alike.
    Rules,
    /// The schema registry.
    SchemaRegistry,
    /// The FHIR server that POINTCUT follows.
    FhirServer,
}

impl Component {
    /// All components.
    pub const ALL: [Self; 7] = [
        Self::Broker,
        Self::Database,
        Self::DeadLetterTopic,
        Self::RetryTopic,
        Self::Rules,
        Self::SchemaRegistry,
        Self::FhirServer,
    ];

    /// Label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Database => "database",
            Self::DeadLetterTopic => "dead_letter_topic",
            Self::RetryTopic => "retry_topic",
            Self::Rules => "rules",
            Self::SchemaRegistry => "schema_registry",
            Self::FhirServer => "fhir_server",
        }
    }
}
