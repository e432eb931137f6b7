//! NDJSON files, one after the other.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, BufReader, ReadBuf};

use super::lines::{BUFFER, Line, Lines, Packing};
use super::state::{FileIdentity, hexadecimal};
use super::{At, Cursor, Identity, Input, LoadError, Portion, Position, Shape};
use crate::model::DocumentError;
use crate::source::DecodeError;

/// What stands for stdin.
const STDIN: &str = "-";

/// How much of a file tells it from another.
const TELLING: u64 = 64 << 10;

/// NDJSON files, plain, gzip or zstd.
pub struct FilesInput {
    files: Vec<PathBuf>,
    shape: Shape,
    cursor: Cursor,
    /// The file at the cursor, if it is open.
    open: Option<(Arc<str>, Lines)>,
    /// Bytes of files that are behind, as they lie on the disk.
    done: Arc<AtomicU64>,
    of: Option<u64>,
}

impl std::fmt::Debug for FilesInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesInput").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl FilesInput {
    /// The files from this position on. `-`: stdin.
    ///
    /// # Errors
    /// [`LoadError::Read`] if one of them is not there.
    pub async fn open(
        files: Vec<PathBuf>,
        shape: Shape,
        position: &Position,
    ) -> Result<Self, LoadError> {
        let cursor = match position {
            Position::Files(cursor) => *cursor,
            Position::Begin | Position::Page { .. } | Position::Export { .. } => Cursor::default(),
        };
        let (mut done, mut of) = (0, Some(0));
        for (place, file) in files.iter().enumerate() {
            if is_stdin(file) {
                of = None;
                continue;
            }
            let length = metadata(file).await?.len();
            of = of.map(|of| of + length);
            if place < cursor.file {
                done += length;
            }
        }
        let done = Arc::new(AtomicU64::new(done));
        Ok(Self { files, shape, cursor, open: None, done, of })
    }

    /// What tells these files from others, and from themselves after a change; `None`: one is stdin,
    /// which cannot be gone on with.
    ///
    /// # Errors
    /// [`LoadError::Read`] if one of them cannot be read.
    pub async fn identity(files: &[PathBuf]) -> Result<Option<Identity>, LoadError> {
        let mut identities = Vec::with_capacity(files.len());
        for file in files {
            if is_stdin(file) {
                return Ok(None);
            }
            let metadata = metadata(file).await?;
            let modified = metadata.modified().ok();
            let modified = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let mut first = Vec::new();
            let opened = File::open(file).await.map_err(unreadable(file))?;
            opened.take(TELLING).read_to_end(&mut first).await.map_err(unreadable(file))?;
            let absolute = std::path::absolute(file).map_err(unreadable(file))?;
            identities.push(FileIdentity {
                path: absolute.display().to_string(),
                bytes: metadata.len(),
                modified_micros: modified.and_then(|at| i64::try_from(at.as_micros()).ok()),
                first: hexadecimal(&Sha256::digest(&first)),
            });
        }
        Ok(Some(Identity::Files(identities)))
    }

    /// Opens the file at the cursor; `None`: there are no more.
    async fn lines(&mut self) -> Result<Option<&mut (Arc<str>, Lines)>, LoadError> {
        if self.open.is_none() {
            let Some(file) = self.files.get(self.cursor.file) else { return Ok(None) };
            let lines = open(file, self.cursor, self.shape.max_bytes, &self.done).await;
            let lines = lines.map_err(unreadable(file))?;
            self.open = Some((file.display().to_string().into(), lines));
        }
        Ok(self.open.as_mut())
    }
}

#[async_trait]
impl Input for FilesInput {
    async fn next(&mut self) -> Result<Option<Portion>, LoadError> {
        let mut portion = Portion::default();
        while !portion.is_full(self.shape.most) {
            let Some((name, lines)) = self.lines().await? else { break };
            let line = lines.next().await.map_err(|source| LoadError::Read {
                name: name.to_string(),
                line: lines.line,
                source,
            })?;
            let at = At { name: Arc::clone(name), line: Some(lines.line) };
            let (line_number, byte) = (lines.line, lines.byte);
            if let Some(line) = line {
                self.cursor = Cursor { line: line_number, byte, ..self.cursor };
                add(&mut portion, at, line, &self.shape);
            } else {
                self.cursor = self.cursor.next_file();
                self.open = None;
            }
        }
        if portion.batch.is_empty() && portion.refused.is_empty() {
            return Ok(None);
        }
        portion.position = Position::Files(self.cursor);
        portion.done = self.done.load(Ordering::Relaxed);
        portion.of = self.of;
        Ok(Some(portion))
    }
}

/// Adds what a line says; an empty one says nothing.
pub(super) fn add(portion: &mut Portion, at: At, line: Line, shape: &Shape) {
    let record = match line {
        Line::Text(text) => {
            let trimmed = text.trim_ascii();
            if trimmed.is_empty() {
                return;
            }
            shape.line(text.slice_ref(trimmed))
        }
        Line::TooLong(bytes) => Err(too_long(bytes, shape)),
    };
    portion.add(at, record);
}

pub(super) fn too_long(bytes: u64, shape: &Shape) -> DecodeError {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let source = DocumentError::TooLarge { bytes, limit: shape.max_bytes };
    DecodeError::Document { what: "the line", source }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == STDIN
}

async fn metadata(file: &Path) -> Result<std::fs::Metadata, LoadError> {
    tokio::fs::metadata(file).await.map_err(unreadable(file))
}

fn unreadable(file: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let name = file.display().to_string();
    move |source| LoadError::Read { name, line: 0, source }
}

/// Opens a file at a place. Of plain text what is before it is not read again.
async fn open(
    file: &Path,
    cursor: Cursor,
    limit: usize,
    done: &Arc<AtomicU64>,
) -> io::Result<Lines> {
    let read = Arc::clone(done);
    if is_stdin(file) {
        let counted = Counted { inner: tokio::io::stdin(), read };
        return Lines::of(BufReader::with_capacity(BUFFER, counted), limit).await;
    }
    let mut opened = File::open(file).await?;
    let mut first = Vec::new();
    (&mut opened).take(4).read_to_end(&mut first).await?;
    let packing = Packing::of(&first);
    let begin = if packing == Packing::Plain { cursor.byte } else { 0 };
    opened.seek(io::SeekFrom::Start(begin)).await?;
    done.fetch_add(begin, Ordering::Relaxed);
    let reader = BufReader::with_capacity(BUFFER, Counted { inner: opened, read });
    let lines = Lines::unpacking(reader, packing, limit);
    if packing == Packing::Plain {
        return Ok(lines.from(cursor.line, cursor.byte));
    }
    let mut lines = lines;
    lines.skip_to(cursor.line, cursor.byte).await?;
    Ok(lines)
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        polled
    }
}
