//! The message formats, and where versions come from, as the topology file names them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the records of a topic look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Decided for each record by its headers and its shape; what fits none or two of them is
    /// refused.
    #[default]
    Auto,
    /// The resource itself, keyed `Type/id`; a null value deletes.
    Fhir,
    /// HAPI FHIR's and Smile CDR's `ResourceModifiedMessage` and `ResourceOperationMessage`,
    /// wrapped or bare.
    Hapi,
    /// LinuxForHealth's (IBM's) `FHIRNotificationEvent`.
    LinuxForHealth,
    /// Bundles of topic-based subscriptions: R5 and R4B, the R4 backport, Aidbox's.
    Notification,
    /// Bundles that `_history` answers with.
    History,
    /// Debezium's change events of a table with a document column; needs `debezium`.
    Debezium,
    /// Avro that names its schema; what it holds is told as `auto` tells it. The other formats
    /// take Avro too.
    Avro,
}

impl Format {
    /// The name in the topology file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fhir => "fhir",
            Self::Hapi => "hapi",
            Self::LinuxForHealth => "linuxforhealth",
            Self::Notification => "notification",
            Self::History => "history",
            Self::Debezium => "debezium",
            Self::Avro => "avro",
        }
    }
}

/// Where a change's version comes from. Larger must mean newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionFrom {
    /// `meta.versionId`, which must be a whole number that counts up. FHIR calls it opaque; most
    /// servers count.
    #[default]
    VersionId,
    /// `meta.lastUpdated` in microseconds, for servers whose versionId is opaque or restarts.
    LastUpdated,
    /// The offset of the change's first record; only for topics keyed by resource.
    Offset,
}

impl VersionFrom {
    /// The name in the topology file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VersionId => "version_id",
            Self::LastUpdated => "last_updated",
            Self::Offset => "offset",
        }
    }
}
