//! A value's bytes, read by its writer's schema, become JSON text.
//!
//! In: bytes from outside and a compiled schema. Out: JSON text, or the bytes of a field. Every
//! length is held against the bytes that are left before anything is allocated for it; nesting, the
//! text's length and the number of values are bounded, so that no value can take more memory or time
//! than a document of the largest size would. Whether texts are UTF-8 is left to the parser of the
//! document, which looks at all of them at once. apache-avro's own reader is not used: it takes a value
//! that is cut off for one full of nulls, has no bound of depth, and gives the members of a map in
//! an order that changes from run to run.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;

use super::schema::{AvroSchema, Size, Type, TypeId, UuidAs};
use super::text::{self, JsonText};
use crate::model::DocumentLimits;

/// Why bytes are not what their schema says. Nothing of the value is repeated.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum AvroFault {
    /// The bytes end before the value does.
    #[error("the value ends too early")]
    Truncated,
    /// The value ends before the bytes do.
    #[error("bytes are left over behind the value")]
    LeftOver,
    /// A length or a number is no integer of its size.
    #[error("a number or a length in the value is out of range")]
    OutOfRange,
    /// A union's branch, an enum's symbol or a boolean that the schema does not have.
    #[error("the value names a branch or a symbol that the schema does not have")]
    UnknownBranch,
    /// NaN or an infinity, which JSON has not.
    #[error("a number in the value is not finite")]
    NotFinite,
    /// A decimal of more bytes than any quantity needs.
    #[error("a decimal in the value is too long")]
    LongDecimal,
    /// Text that is not UTF-8.
    #[error("a text in the value is not valid UTF-8")]
    InvalidUtf8,
    /// More items, or a longer document, than the largest record could bring as JSON.
    #[error("the value would be a document of more than {limit} bytes")]
    TooLarge {
        /// Limit in force.
        limit: usize,
    },
    /// Nested deeper than the limit.
    #[error("the value is nested deeper than {limit} levels")]
    TooDeep {
        /// Limit in force.
        limit: usize,
    },
}

/// Reads one value.
pub(super) struct Reader<'v> {
    schema: &'v AvroSchema,
    rest: &'v [u8],
    limits: DocumentLimits,
    /// Levels that may still be opened.
    depth: usize,
    /// Values that may still be read: some take no bytes at all.
    values: usize,
}

impl<'v> Reader<'v> {
    pub(super) const fn new(
        schema: &'v AvroSchema,
        value: &'v [u8],
        limits: DocumentLimits,
    ) -> Self {
        Self { schema, rest: value, limits, depth: limits.depth, values: limits.bytes }
    }

    /// Nothing may be left over.
    pub(super) const fn end(&self) -> Result<(), AvroFault> {
        if self.rest.is_empty() { Ok(()) } else { Err(AvroFault::LeftOver) }
    }

    /// Bytes that are not read yet.
    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Begins a value: follows a union to the type that is really there.
    pub(super) fn branch(&mut self, of: TypeId) -> Result<&'v Type, AvroFault> {
        let too_large = AvroFault::TooLarge { limit: self.limits.bytes };
        self.values = self.values.checked_sub(1).ok_or(too_large)?;
        let schema = self.schema;
        let Type::Union(branches) = schema.get(of) else { return Ok(schema.get(of)) };
        let branch = usize::try_from(self.long()?).ok().and_then(|branch| branches.get(branch));
        Ok(schema.get(*branch.ok_or(AvroFault::UnknownBranch)?))
    }

    /// The bytes of a text, of `bytes` or of a `fixed`; of no other type.
    pub(super) fn content(&mut self, of: &Type) -> Result<Option<&'v [u8]>, AvroFault> {
        match of {
            Type::String | Type::Bytes => self.told().map(Some),
            Type::Fixed(size) => self.take(*size).map(Some),
            _ => Ok(None),
        }
    }

    /// Appends a value as JSON.
    pub(super) fn json(&mut self, of: TypeId, out: &mut JsonText) -> Result<(), AvroFault> {
        let of = self.branch(of)?;
        self.json_of(of, out)
    }

    /// Appends a value of a type that is no union.
    pub(super) fn json_of(&mut self, of: &'v Type, out: &mut JsonText) -> Result<(), AvroFault> {
        match of {
            Type::Null => out.extend(b"null"),
            Type::Boolean => out.extend(match self.take(1)? {
                [0] => b"false",
                [1] => b"true",
                _ => return Err(AvroFault::UnknownBranch),
            }),
            Type::Int => text::integer(out, self.int()?.into()),
            Type::Long => text::integer(out, self.long()?),
            Type::Float => {
                let number = f32::from_le_bytes(self.array()?);
                if !number.is_finite() {
                    return Err(AvroFault::NotFinite);
                }
                // as few digits as say it
                let _ = write!(out, "{number:?}");
            }
            Type::Double => {
                let number = f64::from_le_bytes(self.array()?);
                if !number.is_finite() {
                    return Err(AvroFault::NotFinite);
                }
                let _ = write!(out, "{number:?}");
            }
            Type::String | Type::Uuid(UuidAs::Text) => text::string(out, self.told()?),
            Type::Bytes => base64(out, self.told()?),
            Type::Fixed(size) => base64(out, self.take(*size)?),
            Type::Enum(symbols) => {
                let symbol = usize::try_from(self.int()?).ok();
                let symbol = symbol.and_then(|symbol| symbols.get(symbol));
                text::string(out, symbol.ok_or(AvroFault::UnknownBranch)?.as_bytes());
            }
            Type::Array(items) => self.array_of(*items, out)?,
            Type::Map(values) => self.map_of(*values, out)?,
            Type::Record(fields) => {
                self.open()?;
                out.push(b'{');
                let mut first = true;
                for field in fields {
                    let of = self.branch(field.of)?;
                    // FHIR's JSON says that something is absent by leaving it out
                    if matches!(of, Type::Null) && !self.schema.keeps_nulls() {
                        continue;
                    }
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    out.extend(field.member.as_bytes());
                    self.json_of(of, out)?;
                }
                out.push(b'}');
                self.close();
            }
            // a union holds no union
            Type::Union(_) => return Err(AvroFault::UnknownBranch),
            Type::Decimal { size, scale } => {
                let digits = match size {
                    Size::Told => self.told()?,
                    Size::Fixed(size) => self.take(*size)?,
                };
                text::decimal(out, digits, i64::try_from(*scale).unwrap_or(i64::MAX))?;
            }
            Type::BigDecimal => {
                let mut inner = Reader { rest: self.told()?, ..*self };
                let (digits, scale) = (inner.told()?, inner.long()?);
                inner.end()?;
                text::decimal(out, digits, scale)?;
            }
            Type::Uuid(UuidAs::Bytes) => {
                let told = self.told()?.try_into().map_err(|_| AvroFault::OutOfRange)?;
                text::uuid(out, told);
            }
            Type::Uuid(UuidAs::Fixed) => text::uuid(out, self.array()?),
            Type::Date => text::date(out, self.int()?)?,
            Type::Time(unit) => text::time(out, self.long()?, *unit)?,
            Type::Timestamp(unit, zone) => text::timestamp(out, self.long()?, *unit, *zone)?,
            Type::Duration => text::duration(out, self.array()?),
        }
        if out.as_bytes().len() > self.limits.bytes {
            return Err(AvroFault::TooLarge { limit: self.limits.bytes });
        }
        Ok(())
    }

    fn array_of(&mut self, items: TypeId, out: &mut JsonText) -> Result<(), AvroFault> {
        self.open()?;
        out.push(b'[');
        let mut first = true;
        while let Some(block) = self.block()? {
            for _ in 0..block {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                self.json(items, out)?;
            }
        }
        out.push(b']');
        self.close();
        Ok(())
    }

    fn map_of(&mut self, values: TypeId, out: &mut JsonText) -> Result<(), AvroFault> {
        self.open()?;
        out.push(b'{');
        let mut first = true;
        while let Some(block) = self.block()? {
            for _ in 0..block {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                text::string(out, self.told()?);
                out.push(b':');
                self.json(values, out)?;
            }
        }
        out.push(b'}');
        self.close();
        Ok(())
    }

    /// Goes behind a value.
    pub(super) fn skip(&mut self, of: TypeId) -> Result<(), AvroFault> {
        match self.branch(of)? {
            Type::Null => {}
            Type::Boolean => drop(self.take(1)?),
            Type::Int
            | Type::Date
            | Type::Enum(_)
            | Type::Long
            | Type::Time(_)
            | Type::Timestamp(..) => drop(self.long()?),
            Type::Float => drop(self.take(4)?),
            Type::Double => drop(self.take(8)?),
            Type::String
            | Type::Bytes
            | Type::BigDecimal
            | Type::Uuid(UuidAs::Text | UuidAs::Bytes)
            | Type::Decimal { size: Size::Told, .. } => drop(self.told()?),
            Type::Decimal { size: Size::Fixed(size), .. } | Type::Fixed(size) => {
                self.take(*size)?;
            }
            Type::Uuid(UuidAs::Fixed) => drop(self.take(16)?),
            Type::Duration => drop(self.take(12)?),
            Type::Union(_) => return Err(AvroFault::UnknownBranch),
            Type::Array(items) => {
                self.open()?;
                while let Some(block) = self.block()? {
                    (0..block).try_for_each(|_| self.skip(*items))?;
                }
                self.close();
            }
            Type::Map(values) => {
                self.open()?;
                while let Some(block) = self.block()? {
                    (0..block).try_for_each(|_| {
                        self.told()?;
                        self.skip(*values)
                    })?;
                }
                self.close();
            }
            Type::Record(fields) => {
                self.open()?;
                fields.iter().try_for_each(|field| self.skip(field.of))?;
                self.close();
            }
        }
        Ok(())
    }

    /// The number of items in the next block of an array or a map; `None` behind the last.
    fn block(&mut self) -> Result<Option<u64>, AvroFault> {
        let count = self.long()?;
        if count < 0 {
            // a negative count is followed by the block's size in bytes
            self.long()?;
        }
        Ok((count != 0).then_some(count.unsigned_abs()))
    }

    fn open(&mut self) -> Result<(), AvroFault> {
        let too_deep = AvroFault::TooDeep { limit: self.limits.depth };
        self.depth = self.depth.checked_sub(1).ok_or(too_deep)?;
        Ok(())
    }

    const fn close(&mut self) {
        self.depth += 1;
    }

    fn take(&mut self, size: usize) -> Result<&'v [u8], AvroFault> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or(AvroFault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], AvroFault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(AvroFault::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Bytes behind their length.
    fn told(&mut self) -> Result<&'v [u8], AvroFault> {
        let size = usize::try_from(self.long()?).map_err(|_| AvroFault::OutOfRange)?;
        self.take(size)
    }

    fn int(&mut self) -> Result<i32, AvroFault> {
        i32::try_from(self.long()?).map_err(|_| AvroFault::OutOfRange)
    }

    /// Seven bits a byte, lowest first, zigzag.
    pub(super) fn long(&mut self) -> Result<i64, AvroFault> {
        let mut number = 0_u64;
        for (place, byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // the tenth byte has room for one bit
            if place == 9 && bits > 1 {
                return Err(AvroFault::OutOfRange);
            }
            number |= bits << (7 * place);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[place + 1..];
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err(if self.rest.len() < 10 { AvroFault::Truncated } else { AvroFault::OutOfRange })
    }
}

/// FHIR's `base64Binary`.
fn base64(out: &mut JsonText, bytes: &[u8]) {
    out.push(b'"');
    out.extend(BASE64.encode(bytes).as_bytes());
    out.push(b'"');
}
