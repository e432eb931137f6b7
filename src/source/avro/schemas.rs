//! The schemas that values name.
//!
//! In: schemas from files, known from the start, and from a registry, brought before a record that
//! names them is decoded. Out: the schema of a value. It asks nobody: whoever reads records sees to
//! it that [`Schemas::missing`] is empty, so that the same record always says the same.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::frame::frame;
use super::schema::{AvroSchema, SchemaFault};
use crate::model::Record;

/// What a schema registry knows a schema by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaId {
    /// Confluent's number, in front of a value.
    Number(u32),
    /// Confluent's GUID, in a header.
    Guid([u8; 16]),
}

/// What is known of schemas. Filled by one side, read by the other; what is known stays.
#[derive(Debug, Default)]
pub struct Schemas {
    /// From files, by the fingerprint that single-object encoding names them by.
    files: HashMap<[u8; 8], Arc<AvroSchema>>,
    /// From a registry; `None` if there is none. A registry never gives an id to another schema.
    registry: Option<RwLock<HashMap<SchemaId, Known>>>,
}

type Known = Result<Arc<AvroSchema>, SchemaFault>;

/// What is to be said of a schema that is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// No registry is named in the settings.
    NoRegistry,
    /// The registry does not know it.
    Unknown,
    /// It cannot be used.
    Unusable(SchemaFault),
}

impl Schemas {
    /// Schemas from files, with their fingerprints.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = ([u8; 8], AvroSchema)>) -> Self {
        let files = files.into_iter().map(|(name, schema)| (name, Arc::new(schema)));
        Self { files: files.collect(), registry: None }
    }

    /// The same, with a registry that brings more.
    #[must_use]
    pub fn with_registry(self) -> Self {
        Self { registry: Some(RwLock::default()), ..self }
    }

    /// The schemas that these records name and that the registry has not brought yet, each once.
    #[must_use]
    pub fn missing(&self, records: &[Record]) -> BTreeSet<SchemaId> {
        let Some(registry) = &self.registry else { return BTreeSet::new() };
        let known = registry.read().unwrap_or_else(PoisonError::into_inner);
        let named = records.iter().filter_map(|record| {
            frame(record, record.value.as_deref()?).ok().flatten()?.registered()
        });
        named.filter(|id| !known.contains_key(id)).collect()
    }

    /// Takes what the registry has by this id.
    pub fn bring(&self, id: SchemaId, schema: Result<AvroSchema, SchemaFault>) {
        if let Some(registry) = &self.registry {
            let mut known = registry.write().unwrap_or_else(PoisonError::into_inner);
            known.insert(id, schema.map(Arc::new));
        }
    }

    pub(super) fn registered(&self, id: SchemaId) -> Result<Arc<AvroSchema>, Absent> {
        let registry = self.registry.as_ref().ok_or(Absent::NoRegistry)?;
        let known = registry.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).ok_or(Absent::Unknown)?.clone().map_err(Absent::Unusable)
    }

    pub(super) fn of_file(&self, fingerprint: [u8; 8]) -> Result<Arc<AvroSchema>, Absent> {
        self.files.get(&fingerprint).cloned().ok_or(Absent::Unknown)
    }
}
