//! The schema registry: brings the schemas that records name, before the records are decoded.
//!
//! In: records, and a registry that speaks Confluent's protocol. Out: their schemas, in the
//! [`Schemas`] that decode reads. Each is asked for once and kept: a registry never gives an id to
//! another schema. It never looks into a record beyond its frame, never writes to the registry, and
//! never takes a registry that is away for one that does not know a schema.

mod client;
mod error;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

pub use error::RegistryError;

use crate::error::ErrorClass;
use crate::model::Record;
use crate::retry::Backoff;
use crate::source::{SchemaId, Schemas};
use crate::topology::SchemaRegistrySettings;
use client::{Answer, Client};

/// How long an id that the registry does not know is not asked for again: a registry that follows
/// another may learn of it later.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// Most ids that are remembered as unknown; anybody who may write to the topic can make up more.
const MOST_UNKNOWN: usize = 10_000;

/// Requests at a time.
const TOGETHER: usize = 4;

/// Attempts of a command that somebody waits for: about half a minute.
const ATTEMPTS: u32 = 8;

/// A schema registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    schemas: Arc<Schemas>,
    /// Ids that the registry did not know, and when it said so.
    unknown: Mutex<HashMap<SchemaId, Instant>>,
    /// Held while schemas are asked for: partitions that miss the same one ask once.
    turn: tokio::sync::Mutex<()>,
}

impl Registry {
    /// A registry that brings its schemas into `schemas`; not contacted yet.
    ///
    /// # Errors
    /// [`RegistryError::Client`] if the certificates cannot be used.
    pub fn new(
        settings: &SchemaRegistrySettings,
        schemas: Arc<Schemas>,
    ) -> Result<Self, RegistryError> {
        Ok(Self {
            client: Client::new(settings)?,
            schemas,
            unknown: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Brings the schemas that these records name. Once it is done, they can be decoded: what is not
    /// known then, the registry does not have.
    ///
    /// # Errors
    /// [`RegistryError`]; what came before it is kept.
    pub async fn bring(&self, records: &[Record]) -> Result<(), RegistryError> {
        if self.schemas.missing(records).is_empty() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        // somebody else may have brought them meanwhile
        let mut missing = self.schemas.missing(records);
        {
            let mut unknown = self.unknown();
            unknown.retain(|_, since| since.elapsed() < UNKNOWN_FOR);
            missing.retain(|id| !unknown.contains_key(id));
        }
        let mut answers = stream::iter(missing)
            .map(|id| async move { (id, self.client.schema(id).await) })
            .buffer_unordered(TOGETHER);
        while let Some((id, answer)) = answers.next().await {
            match answer? {
                Answer::Schema(schema) => self.schemas.bring(id, schema),
                Answer::Unknown => {
                    let mut unknown = self.unknown();
                    if unknown.len() == MOST_UNKNOWN {
                        unknown.clear();
                    }
                    unknown.insert(id, Instant::now());
                }
            }
        }
        Ok(())
    }

    /// The same for a command that somebody waits for: tries for half a minute while the registry is
    /// away.
    ///
    /// # Errors
    /// As [`Registry::bring`].
    pub async fn bring_or_give_up(&self, records: &[Record]) -> Result<(), RegistryError> {
        let mut backoff = Backoff::default();
        loop {
            match self.bring(records).await {
                Err(error)
                    if error.class() == ErrorClass::Retriable && backoff.attempts() < ATTEMPTS =>
                {
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                done => return done,
            }
        }
    }

    fn unknown(&self) -> MutexGuard<'_, HashMap<SchemaId, Instant>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
