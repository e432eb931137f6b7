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

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &'static [u8], limit: usize) -> Vec<(Line, u64, u64)> {
        // as a pipe brings them: a few at a time
        let reader = BufReader::with_capacity(3, bytes);
        let mut lines = Lines::of(reader, limit).await.expect("it opens");
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("it is read") {
            all.push((line, lines.line, lines.byte));
        }
        all
    }

    fn text(text: &'static str) -> Line {
        Line::Text(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn lines_come_with_what_is_behind_them() {
        let expected =
            [(text("ab"), 1, 3), (text(""), 2, 4), (text("cdefg\r"), 3, 11), (text("h"), 4, 12)];
        assert_eq!(all(b"ab\n\ncdefg\r\nh", 100).await, expected);
        assert_eq!(all(b"", 100).await, []);
        assert_eq!(all(b"\n", 100).await, [(text(""), 1, 1)]);
    }

    #[tokio::test]
    async fn of_a_line_over_the_limit_nothing_is_kept_and_the_next_is_whole() {
        let expected = [(Line::TooLong(8), 1, 9), (text("1234"), 2, 14), (Line::TooLong(5), 3, 19)];
        assert_eq!(all(b"12345678\n1234\n12345", 4).await, expected);
    }

    #[tokio::test]
    async fn what_is_behind_is_read_over() {
        let mut lines = Lines::of(&b"ab\ncd\nef\n"[..], 9).await.expect("it opens");
        lines.skip_to(2, 6).await.expect("there is as much");
        assert_eq!(lines.next().await.expect("it is read"), Some(text("ef")));
        assert_eq!((lines.line, lines.byte), (3, 9));
        assert!(lines.skip_to(9, 99).await.is_err());
    }
}
