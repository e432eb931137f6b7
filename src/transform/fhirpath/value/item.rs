//! What expressions are evaluated on and what they yield: nodes of the document and computed
//! values.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use bigdecimal::BigDecimal;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use super::number;
use super::quantity::Quantity;
use super::reflect::TypeInfo;
use super::temporal::Temporal;
use crate::model::Node;
use crate::transform::fhirpath::error::EvaluationError;
use crate::transform::fhirpath::types::FhirType;

/// One item of a FHIRPath collection.
#[derive(Clone)]
pub enum Item<'d> {
    /// A node of the document.
    Node {
        /// The value; JSON `null` for a primitive that has extensions only.
        node: &'d Node,
        /// What `_name` holds beside a primitive: its id and extensions.
        sidecar: Option<&'d Node>,
        /// Its FHIR type, where the path to it tells.
        fhir_type: Option<FhirType>,
    },
    /// A computed boolean.
    Boolean(bool),
    /// A computed integer.
    Integer(i64),
    /// A computed decimal.
    Decimal(BigDecimal),
    /// A computed text, borrowed from the document where it is a part of one.
    String(Cow<'d, str>),
    /// A computed date.
    Date(Temporal),
    /// A computed date-time.
    DateTime(Temporal),
    /// A computed time of day.
    Time(Temporal),
    /// A computed quantity.
    Quantity(Box<Quantity>),
    /// What `type()` yields.
    Type(TypeInfo),
}

/// Types of computed values and of literals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemType {
    /// `System.Boolean`
    Boolean,
    /// `System.String`
    String,
    /// `System.Integer`
    Integer,
    /// `System.Decimal`
    Decimal,
    /// `System.Date`
    Date,
    /// `System.DateTime`
    DateTime,
    /// `System.Time`
    Time,
    /// `System.Quantity`
    Quantity,
}

impl SystemType {
    const ALL: [Self; 8] = [
        Self::Boolean,
        Self::String,
        Self::Integer,
        Self::Decimal,
        Self::Date,
        Self::DateTime,
        Self::Time,
        Self::Quantity,
    ];

    /// Its name, without `System.`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "Boolean",
            Self::String => "String",
            Self::Integer => "Integer",
            Self::Decimal => "Decimal",
            Self::Date => "Date",
            Self::DateTime => "DateTime",
            Self::Time => "Time",
            Self::Quantity => "Quantity",
        }
    }

    pub(in crate::transform::fhirpath) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|candidate| candidate.name() == name)
    }
}

/// Stands for the value of a primitive that has extensions only.
static NO_VALUE: LazyLock<Node> = LazyLock::new(Node::new_null);

pub(in crate::transform::fhirpath) fn no_value() -> &'static Node {
    &NO_VALUE
}

impl<'d> Item<'d> {
    /// A resource; its type is what `resourceType` says. The type is looked up here, so where many
    /// paths are evaluated on one resource, make it once and clone it.
    #[must_use]
    pub fn resource(node: &'d Node) -> Self {
        Self::Node { node, sidecar: None, fhir_type: resource_type(node) }
    }

    /// A node with nothing beside it, of a type that does not matter.
    pub(in crate::transform) const fn untyped(node: &'d Node) -> Self {
        Self::Node { node, sidecar: None, fhir_type: None }
    }

    /// The node, if it is one: what a JSON column takes.
    #[must_use]
    pub const fn node(&self) -> Option<&'d Node> {
        match self {
            Self::Node { node, .. } => Some(*node),
            _ => None,
        }
    }

    /// `HumanName`, `code`, `Patient.contact`; of a computed value `Boolean`, `String`, …;
    /// `None` for a node whose type is not known.
    #[must_use]
    pub fn type_name(&self) -> Option<&'static str> {
        match self {
            Self::Node { fhir_type, .. } => fhir_type.map(FhirType::name),
            Self::Type(_) => Some("TypeInfo"),
            computed => computed.system_type().map(SystemType::name),
        }
    }

    /// The type of a computed value.
    #[must_use]
    pub const fn system_type(&self) -> Option<SystemType> {
        Some(match self {
            Self::Node { .. } | Self::Type(_) => return None,
            Self::Boolean(_) => SystemType::Boolean,
            Self::Integer(_) => SystemType::Integer,
            Self::Decimal(_) => SystemType::Decimal,
            Self::String(_) => SystemType::String,
            Self::Date(_) => SystemType::Date,
            Self::DateTime(_) => SystemType::DateTime,
            Self::Time(_) => SystemType::Time,
            Self::Quantity(_) => SystemType::Quantity,
        })
    }

    /// The text of a primitive, numbers with their digits as written. `None` for an object, an
    /// array and a primitive without value.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'d, str>> {
        match self {
            Self::Node { node, .. } => node_text(node),
            Self::String(text) => Some(text.clone()),
            Self::Boolean(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Integer(value) => Some(Cow::Owned(value.to_string())),
            Self::Decimal(value) => Some(Cow::Owned(value.to_plain_string())),
            Self::Date(value) | Self::DateTime(value) => Some(Cow::Owned(value.to_string())),
            Self::Time(value) => Some(Cow::Owned(value.display_time())),
            Self::Quantity(value) => Some(Cow::Owned(value.to_string())),
            Self::Type(value) => Some(Cow::Owned(value.to_string())),
        }
    }

    pub(in crate::transform::fhirpath) fn boolean(value: Option<bool>) -> Option<Self> {
        value.map(Self::Boolean)
    }

    /// The value that operators work on.
    pub(in crate::transform::fhirpath) fn scalar(&self) -> Result<Scalar<'_>, EvaluationError> {
        Ok(match self {
            Self::Node { node, fhir_type, .. } => return node_scalar(node, *fhir_type),
            Self::Boolean(value) => Scalar::Boolean(*value),
            Self::Integer(value) => Scalar::Integer(*value),
            Self::Decimal(value) => Scalar::Decimal(Cow::Borrowed(value)),
            Self::String(text) => Scalar::String(text),
            Self::Date(value) => Scalar::Date(*value),
            Self::DateTime(value) => Scalar::DateTime(*value),
            Self::Time(value) => Scalar::Time(*value),
            Self::Quantity(value) => Scalar::Quantity(Cow::Borrowed(value)),
            Self::Type(value) => Scalar::Type(*value),
        })
    }
}

/// Items are payload: debug output shows their kind and type, never their value.
impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({})", self.type_name().unwrap_or("untyped"))
    }
}

/// An item as the operators see it.
#[derive(Debug, Clone)]
pub(in crate::transform::fhirpath) enum Scalar<'a> {
    Boolean(bool),
    Integer(i64),
    Decimal(Cow<'a, BigDecimal>),
    String(&'a str),
    /// Text of a node whose type is not known: it may be a date.
    Untyped(&'a str),
    Date(Temporal),
    DateTime(Temporal),
    Time(Temporal),
    Quantity(Cow<'a, Quantity>),
    Type(TypeInfo),
    /// An object.
    Complex(&'a Node),
    /// A primitive without value.
    Nothing,
}

impl Scalar<'_> {
    /// The value as a decimal, if it is a number.
    pub(in crate::transform::fhirpath) fn as_decimal(&self) -> Option<Cow<'_, BigDecimal>> {
        match self {
            Self::Integer(value) => Some(Cow::Owned(BigDecimal::from(*value))),
            Self::Decimal(value) => Some(Cow::Borrowed(value.as_ref())),
            _ => None,
        }
    }
}

fn node_text(node: &Node) -> Option<Cow<'_, str>> {
    if let Some(text) = node.as_str() {
        return Some(Cow::Borrowed(text));
    }
    if let Some(value) = node.as_bool() {
        return Some(Cow::Borrowed(if value { "true" } else { "false" }));
    }
    node.as_raw_number().map(|number| Cow::Owned(number.as_str().to_owned()))
}

fn node_scalar(node: &Node, fhir_type: Option<FhirType>) -> Result<Scalar<'_>, EvaluationError> {
    if let Some(text) = node.as_str() {
        let Some(fhir_type) = fhir_type else { return Ok(Scalar::Untyped(text)) };
        let temporal = match fhir_type.name() {
            "date" => Temporal::parse_date(text).map(Scalar::Date),
            "dateTime" | "instant" => Temporal::parse_date_time(text).map(Scalar::DateTime),
            "time" => Temporal::parse_time(text).map(Scalar::Time),
            _ => None,
        };
        return Ok(temporal.unwrap_or(Scalar::String(text)));
    }
    if let Some(value) = node.as_bool() {
        return Ok(Scalar::Boolean(value));
    }
    if let Some(number) = node.as_raw_number() {
        if fhir_type.is_none_or(|known| known.name() != "decimal")
            && let Ok(value) = number.as_str().parse()
        {
            return Ok(Scalar::Integer(value));
        }
        return Ok(Scalar::Decimal(Cow::Owned(number::parse_decimal(number.as_str())?)));
    }
    if node.is_object() {
        let quantity = FhirType::named("Quantity");
        if let (Some(known), Some(quantity)) = (fhir_type, quantity)
            && known.is_a(quantity)
            && let Some(value) = Quantity::of_node(node)?
        {
            return Ok(Scalar::Quantity(Cow::Owned(value)));
        }
        return Ok(Scalar::Complex(node));
    }
    Ok(Scalar::Nothing)
}

/// The type that a resource says it has.
pub(in crate::transform::fhirpath) fn resource_type(node: &Node) -> Option<FhirType> {
    node.as_object()?.get(&"resourceType")?.as_str().and_then(FhirType::named)
}

/// What a condition says: nothing for an empty collection; a boolean for itself; any other
/// single item counts as true.
///
/// # Errors
/// [`EvaluationError::Several`] for more than one item.
pub fn convert_to_boolean(items: &[Item<'_>]) -> Result<Option<bool>, EvaluationError> {
    boolean_of(items, "condition")
}

pub(in crate::transform::fhirpath) fn boolean_of(
    items: &[Item<'_>],
    operation: &'static str,
) -> Result<Option<bool>, EvaluationError> {
    match items {
        [] => Ok(None),
        [Item::Boolean(value)] => Ok(Some(*value)),
        [Item::Node { node, .. }] => Ok(Some(node.as_bool().unwrap_or(true))),
        [_] => Ok(Some(true)),
        _ => Err(EvaluationError::Several { operation }),
    }
}
