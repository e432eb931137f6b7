//! A FHIR Bulk Data export: begun, waited for, downloaded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use tokio_util::io::StreamReader;
use url::Url;

use super::files::{add, too_long};
use super::lines::{Line, Lines};
use super::patience::Patience;
use super::portion::RefusedItem;
use super::resolve::resolve;
use super::{At, Cursor, Input, LoadError, Portion, Position, Shape};
use crate::fhir_server::{
    Download, ExportProgress, ExportRequest, FhirServer, FhirServerError, Manifest, ManifestFile,
};
use crate::retry::Backoff;
use crate::source::DecodeError;

/// How often a server is asked that does not say how often it wants to be: exports take minutes to
/// hours.
const ASKED_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// An export of a server.
pub struct ExportInput {
    source: Source,
    /// The job, once it was begun, and its export's time, once it is complete.
    job: Option<(Url, Option<String>)>,
    manifest: Option<Manifest>,
    cursor: Cursor,
    /// The file at the cursor, if it is being read.
    open: Option<Lines>,
    done: u64,
}

impl std::fmt::Debug for ExportInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportInput").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Who has the files.
#[derive(Debug)]
struct Source {
    server: FhirServer,
    request: ExportRequest,
    shape: Shape,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Resources,
    Deletes,
}

impl ExportInput {
    /// The export from this position on.
    #[must_use]
    pub fn new(
        server: FhirServer,
        request: ExportRequest,
        shape: Shape,
        position: &Position,
    ) -> Self {
        let (job, cursor) = match position {
            Position::Export { job, transaction_time, cursor } => {
                (Some((job.clone(), transaction_time.clone())), *cursor)
            }
            Position::Begin | Position::Files(_) | Position::Page { .. } => {
                (None, Cursor::default())
            }
        };
        let source = Source { server, request, shape };
        Self { source, job, manifest: None, cursor, open: None, done: 0 }
    }

    fn portion(&self, job: &Url, transaction_time: Option<&str>) -> Portion {
        let position = Position::Export {
            job: job.clone(),
            transaction_time: transaction_time.map(str::to_owned),
            cursor: self.cursor,
        };
        Portion { position, done: self.done, ..Portion::default() }
    }

    async fn begin(&mut self) -> Result<Portion, LoadError> {
        let mut patience = Patience::new();
        let job = loop {
            match self.source.server.export(&self.source.request).await {
                Ok(job) => break job,
                Err(error) => patience.wait(error).await?,
            }
        };
        self.job = Some((job.clone(), None));
        Ok(self.portion(&job, None))
    }

    /// Waits until the export is complete.
    async fn wait(&mut self, job: &Url, known: Option<&str>) -> Result<Portion, LoadError> {
        let mut backoff = Backoff::new(ASKED_EVERY.0, ASKED_EVERY.1);
        let mut patience = Patience::new();
        let manifest = loop {
            match self.source.server.export_progress(job).await {
                Ok(ExportProgress::Complete(manifest)) => break manifest,
                Ok(ExportProgress::Running { retry_after }) => {
                    patience = Patience::new();
                    let delay = backoff.next_delay();
                    tokio::time::sleep(retry_after.unwrap_or(delay).max(ASKED_EVERY.0)).await;
                }
                Err(
                    source
                    @ (FhirServerError::Refused { .. } | FhirServerError::Unsupported { .. }),
                ) => return Err(LoadError::Gone { what: "the export", source }),
                Err(error) => patience.wait(error).await?,
            }
        };
        if known.is_some_and(|known| known != manifest.transaction_time) {
            return Err(LoadError::OtherExport);
        }
        let mut server_errors = 0;
        if known.is_none() {
            for file in &manifest.error {
                server_errors += self.source.count(&manifest, file).await?;
            }
        }
        let time = manifest.transaction_time.clone();
        let portion = Portion { server_errors, ..self.portion(job, Some(&time)) };
        self.job = Some((job.clone(), Some(time)));
        self.manifest = Some(manifest);
        Ok(portion)
    }

    /// Fills a portion from the files; what breaks off is begun again and read over.
    async fn fill(&mut self, manifest: &Manifest, portion: &mut Portion) -> Result<(), LoadError> {
        let mut patience = Patience::new();
        while !portion.is_full(self.source.shape.most) {
            let Some((holds, file)) = file_at(manifest, self.cursor.file) else { break };
            let name: Arc<str> = match holds {
                Holds::Resources => format!("export file {}", self.cursor.file + 1).into(),
                Holds::Deletes => format!("export file {} of deletes", self.cursor.file + 1).into(),
            };
            match self.next_line(manifest, file).await {
                Ok(Some(line)) => {
                    let at = At { name, line: Some(self.cursor.line) };
                    match (holds, line) {
                        (Holds::Resources, line) => add(portion, at, line, &self.source.shape),
                        (Holds::Deletes, Line::Text(text)) => {
                            self.source.deletes(portion, &at, text).await?;
                        }
                        (Holds::Deletes, Line::TooLong(bytes)) => {
                            portion.add(at, Err(too_long(bytes, &self.source.shape)));
                        }
                    }
                }
                Ok(None) => {
                    self.cursor = self.cursor.next_file();
                    self.open = None;
                }
                Err(broken) => {
                    self.open = None;
                    patience.wait(served(broken, &name, self.cursor.line)?).await?;
                }
            }
        }
        Ok(())
    }

    /// The next line of the file at the cursor.
    async fn next_line(
        &mut self,
        manifest: &Manifest,
        file: &ManifestFile,
    ) -> io::Result<Option<Line>> {
        if self.open.is_none() {
            let mut lines = self.source.lines(manifest, file).await?;
            lines.skip_to(self.cursor.line, self.cursor.byte).await?;
            self.open = Some(lines);
        }
        let Some(lines) = &mut self.open else { return Ok(None) };
        let before = lines.byte;
        let line = lines.next().await?;
        self.done += lines.byte - before;
        if line.is_some() {
            self.cursor = Cursor { line: lines.line, byte: lines.byte, ..self.cursor };
        }
        Ok(line)
    }
}

impl Source {
    /// How many lines a file has; that is all that is asked of what a server says in words.
    async fn count(&self, manifest: &Manifest, file: &ManifestFile) -> Result<u64, LoadError> {
        let mut patience = Patience::new();
        loop {
            match self.count_once(manifest, file).await {
                Ok(count) => return Ok(count),
                Err(broken) => patience.wait(served(broken, "a file of errors", 0)?).await?,
            }
        }
    }

    async fn count_once(&self, manifest: &Manifest, file: &ManifestFile) -> io::Result<u64> {
        let mut lines = self.lines(manifest, file).await?;
        let mut count = 0;
        while let Some(line) = lines.next().await? {
            let is_empty = matches!(&line, Line::Text(text) if text.trim_ascii().is_empty());
            count += u64::from(!is_empty);
        }
        Ok(count)
    }

    async fn lines(&self, manifest: &Manifest, file: &ManifestFile) -> io::Result<Lines> {
        let download = self.server.download(manifest, file).await;
        let download = download.map_err(io::Error::other)?;
        let chunks = stream::try_unfold(download, |mut download: Download| async move {
            let chunk = download.chunk().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(chunk.map(|chunk| (chunk, download)))
        });
        Lines::of(StreamReader::new(Box::pin(chunks)), self.shape.max_bytes).await
    }

    /// A line of deletes is a bundle.
    async fn deletes(&self, portion: &mut Portion, at: &At, text: Bytes) -> Result<(), LoadError> {
        let trimmed = text.trim_ascii();
        if trimmed.is_empty() {
            return Ok(());
        }
        let Ok(bundle) = self.server.bundle(&text.slice_ref(trimmed)) else {
            let place = "line of deletes, which should be a Bundle,";
            portion.add(at.clone(), Err(DecodeError::UnknownResourceType { place }));
            return Ok(());
        };
        let refused = bundle.refused.iter();
        portion.refused.extend(refused.map(|error| RefusedItem::new(at.clone(), error)));
        for record in resolve(&self.server, &self.shape, bundle.entries).await? {
            portion.add(at.clone(), record);
        }
        Ok(())
    }
}

#[async_trait]
impl Input for ExportInput {
    async fn next(&mut self) -> Result<Option<Portion>, LoadError> {
        let Some((job, time)) = self.job.clone() else { return self.begin().await.map(Some) };
        let Some(manifest) = self.manifest.take() else {
            return self.wait(&job, time.as_deref()).await.map(Some);
        };
        let mut portion = Portion::default();
        let filled = self.fill(&manifest, &mut portion).await;
        self.manifest = Some(manifest);
        filled?;
        if portion.batch.is_empty() && portion.refused.is_empty() {
            return Ok(None);
        }
        let Portion { position, done, .. } = self.portion(&job, time.as_deref());
        Ok(Some(Portion { position, done, ..portion }))
    }

    /// The server need not keep the files any longer.
    async fn finish(&mut self) -> Result<(), LoadError> {
        match &self.job {
            Some((job, _)) => Ok(self.source.server.delete_export(job).await?),
            None => Ok(()),
        }
    }
}

/// The file at this place: resources first, then deletes.
fn file_at(manifest: &Manifest, place: usize) -> Option<(Holds, &ManifestFile)> {
    let resources = manifest.output.iter().map(|file| (Holds::Resources, file));
    let deletes = manifest.deleted.iter().map(|file| (Holds::Deletes, file));
    resources.chain(deletes).nth(place)
}

/// What the server did, or that its file is broken in itself.
fn served(broken: io::Error, name: &str, line: u64) -> Result<FhirServerError, LoadError> {
    broken.downcast().map_err(|source| LoadError::Read { name: name.to_owned(), line, source })
}
