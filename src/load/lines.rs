//! Lines of plain, gzip or zstd text.
//!
//! In: bytes of a file, a pipe or a download; what they are is told by their first bytes, not by a
//! name. Out: lines, each up to a limit; of a longer one nothing is kept.

use std::fmt;
use std::io;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use memchr::memchr;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

/// How much is read at a time.
pub(super) const BUFFER: usize = 1 << 18;

/// The first bytes of what is packed.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// As the first bytes say; four are enough.
    pub(super) fn of(first: &[u8]) -> Self {
        if first.starts_with(&GZIP) {
            Self::Gzip
        } else if first.starts_with(&ZSTD) {
            Self::Zstd
        } else {
            Self::Plain
        }
    }
}

/// Bytes that can be waited for.
type Reader = Box<dyn AsyncBufRead + Send + Unpin>;

/// A line.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Its text, without its end.
    Text(Bytes),
    /// Longer than the limit: so many bytes.
    TooLong(u64),
}

/// Lines are payload.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::TooLong(bytes) => write!(f, "TooLong({bytes})"),
        }
    }
}

/// Lines, one after the other.
pub(super) struct Lines {
    reader: Reader,
    limit: usize,
    /// Lines that are behind.
    pub(super) line: u64,
    /// Bytes that are behind, unpacked.
    pub(super) byte: u64,
}

impl Lines {
    /// The lines of these bytes. `limit`: longest line, in bytes.
    pub(super) async fn of(
        mut reader: impl AsyncBufRead + Send + Unpin + 'static,
        limit: usize,
    ) -> io::Result<Self> {
        let mut first = Vec::with_capacity(ZSTD.len());
        (&mut reader).take(ZSTD.len() as u64).read_to_end(&mut first).await?;
        let packing = Packing::of(&first);
        Ok(Self::unpacking(io::Cursor::new(first).chain(reader), packing, limit))
    }

    /// The lines of bytes of which it is known how they are packed.
    pub(super) fn unpacking(
        reader: impl AsyncBufRead + Send + Unpin + 'static,
        packing: Packing,
        limit: usize,
    ) -> Self {
        let reader: Reader = match packing {
            Packing::Plain => Box::new(reader),
            // tools that pack in parallel, or append, write several members
            Packing::Gzip => {
                let mut decoder = GzipDecoder::new(reader);
                decoder.multiple_members(true);
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
            Packing::Zstd => {
                let mut decoder = ZstdDecoder::new(reader);
                decoder.multiple_members(true);
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
        };
        Self { reader, limit, line: 0, byte: 0 }
    }

    /// Counts as if so much was read already.
    pub(super) const fn from(mut self, line: u64, byte: u64) -> Self {
        self.line = line;
        self.byte = byte;
        self
    }

    /// Reads over everything up to this byte, which ends this line.
    ///
    /// # Errors
    /// `UnexpectedEof` if there is not so much.
    pub(super) async fn skip_to(&mut self, line: u64, byte: u64) -> io::Result<()> {
        while self.byte < byte {
            let some = self.reader.fill_buf().await?;
            if some.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let left = usize::try_from(byte - self.byte).unwrap_or(usize::MAX);
            let count = some.len().min(left);
            self.reader.consume(count);
            self.byte += count as u64;
        }
        self.line = line;
        Ok(())
    }

    /// The next line; `None` at the end. One that is not ended counts as a line, if there is anything
    /// of it.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let mut length = 0_u64;
        loop {
            let some = self.reader.fill_buf().await?;
            if some.is_empty() {
                if length == 0 {
                    return Ok(None);
                }
                break;
            }
            let end = memchr(b'\n', some);
            let part = &some[..end.unwrap_or(some.len())];
            length += part.len() as u64;
            if length <= self.limit as u64 {
                text.extend_from_slice(part);
            } else {
                // nothing of it is needed any more
                text = Vec::new();
            }
            let count = part.len() + usize::from(end.is_some());
            self.reader.consume(count);
            self.byte += count as u64;
            if end.is_some() {
                break;
            }
        }
        self.line += 1;
        let line = if length > self.limit as u64 {
            Line::TooLong(length)
        } else {
            Line::Text(text.into())
        };
        Ok(Some(line))
    }
}
