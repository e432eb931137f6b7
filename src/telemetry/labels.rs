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
    /// Refused, and the dead-letter topic has it.
    DeadLettered,
}

impl RecordOutcome {
    /// All outcomes, lowest first.
    pub const ALL: [Self; 4] = [Self::Filtered, Self::Stale, Self::Written, Self::DeadLettered];

    /// Label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Stale => "stale",
            Self::Written => "written",
            Self::DeadLettered => "dead_lettered",
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
    /// Rules and schema: they refuse too many changes alike.
    Rules,
    /// The schema registry.
    SchemaRegistry,
}

impl Component {
    /// All components.
    pub const ALL: [Self; 5] =
        [Self::Broker, Self::Database, Self::DeadLetterTopic, Self::Rules, Self::SchemaRegistry];

    /// Label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Database => "database",
            Self::DeadLetterTopic => "dead_letter_topic",
            Self::Rules => "rules",
            Self::SchemaRegistry => "schema_registry",
        }
    }
}
