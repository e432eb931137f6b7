//! Deletes of which nobody said the version: the server is asked.
//!
//! An export tells that a resource was deleted, and not at which version. A delete without one would
//! win over everything that is known of the resource, so it is never made here.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::patience::Patience;
use super::{LoadError, Shape};
use crate::broker::OutgoingRecord;
use crate::fhir_server::{Content, Entry, FhirServer};
use crate::source::DecodeError;

/// Requests at a time: a server that is busy exporting has other work.
const TOGETHER: usize = 4;

/// The records of entries, in their order; where a delete lacks its version, that of what the server has
/// now.
pub(super) async fn resolve(
    server: &FhirServer,
    shape: &Shape,
    entries: Vec<Entry>,
) -> Result<Vec<Result<OutgoingRecord, DecodeError>>, LoadError> {
    stream::iter(entries)
        .map(|entry| async move {
            match shape.entry(&entry) {
                Err(error @ DecodeError::MissingVersion { .. })
                    if entry.content == Content::Deleted =>
                {
                    let current = current(server, &entry).await?;
                    Ok(current.map_or(Err(error), |current| shape.entry(&current)))
                }
                record => Ok(record),
            }
        })
        .buffered(TOGETHER)
        .try_collect()
        .await
}

async fn current(server: &FhirServer, entry: &Entry) -> Result<Option<Entry>, LoadError> {
    let mut patience = Patience::new();
    loop {
        match server.current(&entry.resource).await {
            Ok(current) => return Ok(current),
            Err(error) => patience.wait(error).await?,
        }
    }
}
