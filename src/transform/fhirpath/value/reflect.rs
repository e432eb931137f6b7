//! `type()`: what FHIRPath says of a type.

use std::fmt;

use super::item::{Item, SystemType};
use crate::transform::fhirpath::types::FhirType;

/// A type as `type()` yields it; it has `name`, `namespace` and `baseType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeInfo {
    /// A type of FHIR.
    Fhir(FhirType),
    /// A type of computed values.
    System(SystemType),
}

impl TypeInfo {
    /// The elements that it has.
    pub(in crate::transform::fhirpath) const ELEMENTS: [&'static str; 3] =
        ["baseType", "name", "namespace"];

    /// The type of an item, if it is known.
    pub(in crate::transform::fhirpath) fn of(item: &Item<'_>) -> Option<Self> {
        match item {
            Item::Node { fhir_type, .. } => fhir_type.map(Self::Fhir),
            computed => computed.system_type().map(Self::System),
        }
    }

    /// `FHIR` or `System`.
    #[must_use]
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Fhir(_) => "FHIR",
            Self::System(_) => "System",
        }
    }

    /// `Patient`, `boolean`, `Boolean`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fhir(fhir) => fhir.name(),
            Self::System(system) => system.name(),
        }
    }

    /// One of its elements.
    pub(in crate::transform::fhirpath) fn element(self, name: &str) -> Option<String> {
        match name {
            "name" => Some(self.name().to_owned()),
            "namespace" => Some(self.namespace().to_owned()),
            "baseType" => match self {
                Self::Fhir(fhir) => Some(Self::Fhir(fhir.parent()?).to_string()),
                Self::System(_) => Some("System.Any".to_owned()),
            },
            _ => None,
        }
    }
}

/// `FHIR.Patient`.
impl fmt::Display for TypeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace(), self.name())
    }
}
