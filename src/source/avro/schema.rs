//! Writers' schemas, compiled for reading.
//!
//! In: a schema as JSON, and those that it refers to. Out: an [`AvroSchema`], in which every name is
//! resolved, so that a record is read without a lookup. Parsing and resolving are apache-avro's.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, Name, UuidSchema};
use thiserror::Error;

/// Most digits behind the point of a decimal: no quantity has more, and a schema that says a billion
/// would make every number a gigabyte long.
const MAX_SCALE: usize = 1000;

/// Most types in a schema. All of FHIR R4 as records has a tenth of it.
const MAX_TYPES: usize = 100_000;

/// Fields of a change of a row as Debezium captures it. There, null is the value of a column; anywhere
/// else it is what FHIR's JSON leaves out.
const ENVELOPE: [&str; 3] = ["op", "before", "after"];

/// Why a schema cannot be used. Schemas are no payload, but their texts are long: nothing is quoted.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SchemaFault {
    /// No Avro schema, or one that refers to types that nobody brought.
    #[error("it is no valid Avro schema, or a type that it refers to is missing")]
    Invalid,
    /// A JSON Schema, or one of Protocol Buffers.
    #[error("it is no Avro schema: JSON Schema and Protobuf are not read")]
    NotAvro,
    /// A scale beyond any reason.
    #[error("a decimal in it has more than {MAX_SCALE} digits behind the point")]
    Scale,
    /// More types than memory should hold.
    #[error("it has more than {MAX_TYPES} types")]
    TooLarge,
}

/// Why schemas of files cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFault {
    /// The place of the file in the list, if it is the fault of one.
    pub place: Option<usize>,
    /// What is wrong with it.
    pub fault: SchemaFault,
}

/// A schema by which values are read.
#[derive(Debug)]
pub struct AvroSchema {
    types: Vec<Type>,
    root: TypeId,
    keeps_nulls: bool,
}

/// A type by its place in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeId(usize);

/// A type, as it is read.
#[derive(Debug)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Box<[Box<str>]>),
    Array(TypeId),
    Map(TypeId),
    Union(Box<[TypeId]>),
    Record(Box<[Field]>),
    Decimal { size: Size, scale: usize },
    BigDecimal,
    Uuid(UuidAs),
    Date,
    Time(Unit),
    Timestamp(Unit, Zone),
    Duration,
}

/// A field of a record.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: Box<str>,
    /// The name as it begins a JSON member: `"name":`. Avro's names need no escapes.
    pub(super) member: Box<str>,
    pub(super) of: TypeId,
}

/// How many bytes a number has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Size {
    /// As many as are written before it.
    Told,
    Fixed(usize),
}

/// How a UUID is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum UuidAs {
    Text,
    Bytes,
    Fixed,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// Whether a timestamp is an instant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zone {
    Utc,
    Local,
}

impl AvroSchema {
    /// Compiles a schema. `references` are the schemas of the named types that it does not hold
    /// itself, in any order.
    ///
    /// # Errors
    /// [`SchemaFault`].
    pub fn parse(schema: &str, references: &[impl AsRef<str>]) -> Result<Self, SchemaFault> {
        let (schema, others) =
            Schema::parse_str_with_list(schema, references).map_err(|_| SchemaFault::Invalid)?;
        Self::compile(&schema, &others)
    }

    /// Compiles the schemas of files, which may refer to each other's types: each with the
    /// fingerprint that single-object encoding knows it by, CRC-64-AVRO in its little-endian form.
    ///
    /// # Errors
    /// [`FileFault`].
    pub fn parse_all(files: &[impl AsRef<str>]) -> Result<Vec<([u8; 8], Self)>, FileFault> {
        let schemas = Schema::parse_list(files.iter().map(AsRef::as_ref))
            .map_err(|_| FileFault { place: culprit(files), fault: SchemaFault::Invalid })?;
        let mut compiled = Vec::with_capacity(schemas.len());
        for (place, schema) in schemas.iter().enumerate() {
            let fault = |fault| FileFault { place: Some(place), fault };
            // the fingerprint is of a schema that stands alone
            let mut alone = schema.clone();
            alone.denormalize(&schemas).map_err(|_| fault(SchemaFault::Invalid))?;
            let fingerprint = alone.fingerprint::<Rabin>().bytes;
            let fingerprint = fingerprint.try_into().map_err(|_| fault(SchemaFault::Invalid))?;
            compiled.push((fingerprint, Self::compile(&alone, &[]).map_err(fault)?));
        }
        Ok(compiled)
    }

    fn compile(schema: &Schema, others: &[Schema]) -> Result<Self, SchemaFault> {
        let others = others.iter().filter_map(|other| Some((other.name()?.clone(), other)));
        let mut compiler =
            Compiler { types: Vec::new(), named: HashMap::new(), others: others.collect() };
        let root = compiler.compile(schema, None)?;
        let mut schema = Self { types: compiler.types, root, keeps_nulls: false };
        let has = |name: &&str| {
            schema.root_fields().is_some_and(|fields| fields.iter().any(|f| &*f.name == *name))
        };
        schema.keeps_nulls = ENVELOPE.iter().all(has);
        Ok(schema)
    }

    /// Whether fields that are null become members that are null.
    pub(super) const fn keeps_nulls(&self) -> bool {
        self.keeps_nulls
    }

    pub(super) const fn root(&self) -> TypeId {
        self.root
    }

    pub(super) fn get(&self, id: TypeId) -> &Type {
        self.types.get(id.0).expect("ids are given out by the compiler only")
    }

    /// The fields of the root, if it is a record.
    pub(super) fn root_fields(&self) -> Option<&[Field]> {
        match self.get(self.root) {
            Type::Record(fields) => Some(fields),
            _ => None,
        }
    }
}

/// The file without which the others are right.
fn culprit(files: &[impl AsRef<str>]) -> Option<usize> {
    (0..files.len()).find(|place| {
        let others = files.iter().enumerate().filter(|(other, _)| other != place);
        Schema::parse_list(others.map(|(_, text)| text.as_ref())).is_ok()
    })
}

struct Compiler<'s> {
    types: Vec<Type>,
    /// Named types met so far.
    named: HashMap<Name, TypeId>,
    others: HashMap<Name, &'s Schema>,
}

impl<'s> Compiler<'s> {
    fn compile(
        &mut self,
        schema: &'s Schema,
        namespace: Option<&str>,
    ) -> Result<TypeId, SchemaFault> {
        let compiled = match schema {
            Schema::Null => Type::Null,
            Schema::Boolean => Type::Boolean,
            Schema::Int => Type::Int,
            Schema::Long => Type::Long,
            Schema::Float => Type::Float,
            Schema::Double => Type::Double,
            Schema::Bytes => Type::Bytes,
            Schema::String => Type::String,
            Schema::BigDecimal => Type::BigDecimal,
            Schema::Date => Type::Date,
            Schema::TimeMillis => Type::Time(Unit::Millis),
            Schema::TimeMicros => Type::Time(Unit::Micros),
            Schema::TimestampMillis => Type::Timestamp(Unit::Millis, Zone::Utc),
            Schema::TimestampMicros => Type::Timestamp(Unit::Micros, Zone::Utc),
            Schema::TimestampNanos => Type::Timestamp(Unit::Nanos, Zone::Utc),
            Schema::LocalTimestampMillis => Type::Timestamp(Unit::Millis, Zone::Local),
            Schema::LocalTimestampMicros => Type::Timestamp(Unit::Micros, Zone::Local),
            Schema::LocalTimestampNanos => Type::Timestamp(Unit::Nanos, Zone::Local),
            Schema::Uuid(UuidSchema::String) => Type::Uuid(UuidAs::Text),
            Schema::Uuid(UuidSchema::Bytes) => Type::Uuid(UuidAs::Bytes),
            Schema::Array(array) => Type::Array(self.compile(&array.items, namespace)?),
            Schema::Map(map) => Type::Map(self.compile(&map.types, namespace)?),
            Schema::Union(union) => {
                let branches = union.variants().iter();
                let branches = branches.map(|branch| self.compile(branch, namespace));
                Type::Union(branches.collect::<Result<_, _>>()?)
            }
            Schema::Decimal(decimal) => self.decimal(decimal, namespace)?,
            Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                return self.name(&fixed.name, namespace, Type::Uuid(UuidAs::Fixed));
            }
            Schema::Duration(fixed) => return self.name(&fixed.name, namespace, Type::Duration),
            Schema::Fixed(fixed) => {
                return self.name(&fixed.name, namespace, Type::Fixed(fixed.size));
            }
            Schema::Enum(schema) => {
                let symbols = schema.symbols.iter().map(|symbol| symbol.as_str().into());
                return self.name(&schema.name, namespace, Type::Enum(symbols.collect()));
            }
            Schema::Record(schema) => {
                let name = schema.name.fully_qualified_name(namespace).into_owned();
                // known before its fields are compiled: they may refer to it
                let id = self.add(Type::Null)?;
                let inner = name.namespace().map(str::to_owned);
                self.named.insert(name, id);
                let mut fields = Vec::with_capacity(schema.fields.len());
                for field in &schema.fields {
                    fields.push(Field {
                        name: field.name.as_str().into(),
                        member: format!("\"{}\":", field.name).into(),
                        of: self.compile(&field.schema, inner.as_deref())?,
                    });
                }
                self.types[id.0] = Type::Record(fields.into());
                return Ok(id);
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace).into_owned();
                if let Some(known) = self.named.get(&name) {
                    return Ok(*known);
                }
                return self.other(&name);
            }
        };
        self.add(compiled)
    }

    /// A type that another schema defines: as a whole, or somewhere inside.
    fn other(&mut self, name: &Name) -> Result<TypeId, SchemaFault> {
        if let Some(other) = self.others.remove(name) {
            return self.compile(other, None);
        }
        for other in std::mem::take(&mut self.others).into_values() {
            self.compile(other, None)?;
        }
        self.named.get(name).copied().ok_or(SchemaFault::Invalid)
    }

    fn decimal(
        &mut self,
        decimal: &DecimalSchema,
        namespace: Option<&str>,
    ) -> Result<Type, SchemaFault> {
        if decimal.scale > MAX_SCALE {
            return Err(SchemaFault::Scale);
        }
        let size = match &decimal.inner {
            InnerDecimalSchema::Bytes => Size::Told,
            InnerDecimalSchema::Fixed(fixed) => {
                let size = Size::Fixed(fixed.size);
                let named = Type::Decimal { size, scale: decimal.scale };
                self.name(&fixed.name, namespace, named)?;
                size
            }
        };
        Ok(Type::Decimal { size, scale: decimal.scale })
    }

    /// Adds a type that others may refer to.
    fn name(
        &mut self,
        name: &Name,
        namespace: Option<&str>,
        named: Type,
    ) -> Result<TypeId, SchemaFault> {
        let id = self.add(named)?;
        self.named.insert(name.fully_qualified_name(namespace).into_owned(), id);
        Ok(id)
    }

    fn add(&mut self, added: Type) -> Result<TypeId, SchemaFault> {
        if self.types.len() == MAX_TYPES {
            return Err(SchemaFault::TooLarge);
        }
        self.types.push(added);
        Ok(TypeId(self.types.len() - 1))
    }
}
