//! How far a load is, in a file, so that it can be gone on with.
//!
//! The file names the input by what tells it from another, never by what it holds; it may hold the
//! address of a page or a job, so it is for its owner's eyes only (0600). It is written beside itself
//! and renamed: whoever reads it sees one state or the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use super::{LoadError, Position, VersionRule};
use crate::error::Cause;

/// Which form the file has.
const FORM: u32 = 1;

/// Largest state file, in bytes: that of a hundred thousand files.
const MAX_BYTES: u64 = 64 << 20;

/// What was sent and what was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Records that the broker has, deletes included.
    pub records: u64,
    /// Deletes among them.
    pub deletes: u64,
    /// What was not sent, by cause.
    pub refused: BTreeMap<String, u64>,
    /// Errors that a server told about its own export.
    pub server_errors: u64,
}

impl Counts {
    /// All that was not sent.
    #[must_use]
    pub fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(super) fn sent(&mut self, is_delete: IsDelete) {
        self.records += 1;
        self.deletes += u64::from(is_delete == IsDelete::Yes);
    }

    pub(super) fn refuse(&mut self, cause: Cause) {
        *self.refused.entry(cause.as_str().to_owned()).or_default() += 1;
    }
}

/// Whether a record is a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsDelete {
    Yes,
    No,
}

/// What tells an input from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Identity {
    /// Files, in their order.
    Files(Vec<FileIdentity>),
    /// What is asked of a server.
    Server {
        /// Its base.
        base: String,
        /// SHA-256 of the request: a search may hold what is nobody's business.
        request: String,
    },
}

/// What tells a file from another, and from itself after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileIdentity {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) modified_micros: Option<i64>,
    /// SHA-256 of its beginning.
    pub(super) first: String,
}

impl Identity {
    /// What is asked of the server at this base, given as texts in an order of their own.
    #[must_use]
    pub fn of_server(base: &str, request: &[String]) -> Self {
        Self::Server { base: base.to_owned(), request: digest(request) }
    }

    /// Eight digits that tell what is loaded from what else might be, but not from itself after a
    /// change: for the name of the state file.
    #[must_use]
    pub fn short_name(&self) -> String {
        let telling = match self {
            Self::Files(files) => files.iter().map(|file| file.path.clone()).collect(),
            Self::Server { base, request } => vec![base.clone(), request.clone()],
        };
        digest(&telling).chars().take(8).collect()
    }

    /// What differs, in words; `None` if nothing does.
    fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let (Self::Files(ours), Self::Files(theirs)) = (self, other) else {
            return Some("is of another input".to_owned());
        };
        let paths = |files: &[FileIdentity]| -> Vec<String> {
            files.iter().map(|file| file.path.clone()).collect()
        };
        if paths(ours) != paths(theirs) {
            return Some("is of other files".to_owned());
        }
        let changed = ours.iter().zip(theirs).find(|(ours, theirs)| ours != theirs);
        changed.map(|(file, _)| format!("is of {} before it was changed", file.path))
    }
}

fn digest(texts: &[String]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        // so that no two lists of texts are alike
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hexadecimal(&hash.finalize())
}

/// As two digits a byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // writing to a String does not fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The file's contents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    rowcast_load: u32,
    topic: String,
    version: String,
    input: Identity,
    position: Position,
    counts: Counts,
}

/// A state file.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    saved: Saved,
}

impl State {
    /// Opens the state of this load; there need not be one yet. It is written once, so that what cannot
    /// be remembered is found out before anything is sent.
    ///
    /// # Errors
    /// [`LoadError::Foreign`] if the file is of another load or of an input that was changed since;
    /// [`LoadError::State`] if it cannot be read or written.
    pub async fn open(
        path: PathBuf,
        topic: &str,
        version: VersionRule,
        input: Identity,
    ) -> Result<Self, LoadError> {
        let fresh = Saved {
            rowcast_load: FORM,
            topic: topic.to_owned(),
            version: version.name(),
            input,
            position: Position::Begin,
            counts: Counts::default(),
        };
        // where nothing was sent, whatever it was to be, this load is as good
        let saved = read(&path).await?.filter(|saved| saved.position != Position::Begin);
        let Some(saved) = saved else {
            let mut state = Self { path, saved: fresh };
            state.write().await?;
            return Ok(state);
        };
        let fault = if saved.topic != fresh.topic {
            Some("is of another topic".to_owned())
        } else if saved.version == fresh.version {
            fresh.input.difference(&saved.input)
        } else {
            Some("is of a load with versions from elsewhere".to_owned())
        };
        match fault {
            Some(fault) => Err(LoadError::Foreign { path, fault }),
            None => Ok(Self { path, saved }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is something to go on with.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.saved.position != Position::Begin
    }

    /// Where to go on.
    #[must_use]
    pub const fn position(&self) -> &Position {
        &self.saved.position
    }

    /// What was sent so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.saved.counts
    }

    /// Remembers how far the load is.
    pub(super) async fn save(
        &mut self,
        position: &Position,
        counts: &Counts,
    ) -> Result<(), LoadError> {
        self.saved.position.clone_from(position);
        self.saved.counts.clone_from(counts);
        self.write().await
    }

    /// Forgets it: the load is complete.
    pub(super) async fn remove(self) -> Result<(), LoadError> {
        fs::remove_file(&self.path).await.map_err(failed(&self.path, "removed"))
    }

    async fn write(&mut self) -> Result<(), LoadError> {
        let text = serde_json::to_vec(&self.saved).map_err(io::Error::from);
        let text = text.map_err(failed(&self.path, "written"))?;
        write(&self.path, &text).await.map_err(failed(&self.path, "written"))
    }
}

async fn read(path: &Path) -> Result<Option<Saved>, LoadError> {
    match fs::metadata(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "read")(error)),
        Ok(metadata) if metadata.len() > MAX_BYTES => return Err(foreign(path)),
        Ok(_) => {}
    }
    let text = fs::read(path).await.map_err(failed(path, "read"))?;
    let saved: Option<Saved> = serde_json::from_slice(&text).ok();
    saved.filter(|saved| saved.rowcast_load == FORM).map(Some).ok_or_else(|| foreign(path))
}

fn foreign(path: &Path) -> LoadError {
    LoadError::Foreign { path: path.to_owned(), fault: "is none of this rowcast".to_owned() }
}

fn failed(path: &Path, attempted: &'static str) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::State { path, attempted, source }
}

/// Writes the file whole or not at all, also if the machine stops.
async fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .await?;
    file.write_all(text).await?;
    file.sync_data().await?;
    drop(file);
    fs::rename(&beside, path).await
}
