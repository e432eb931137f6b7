//! What an expression is compiled to: names, types and functions resolved, nothing left to look
//! up but the document.

use regex::Regex;

use super::function::Signature;
use super::parse::syntax::Operator;
use super::types::{Element, FhirType};
use super::value::item::{Item, SystemType};

/// A part of a program. Its value is a collection.
#[derive(Debug)]
pub(super) enum Program {
    Empty,
    This,
    Index,
    Total,
    Resource,
    Context,
    RowIndex,
    Literal(Item<'static>),
    /// What it is evaluated on, if that has the type.
    OfType(FhirType),
    Navigate {
        from: Box<Program>,
        steps: Vec<Step>,
    },
    Call {
        input: Box<Program>,
        /// Of the table, so that its name need not be looked up.
        signature: &'static Signature,
        arguments: Vec<Program>,
        pattern: Option<Regex>,
    },
    TypeTest {
        input: Box<Program>,
        test: TypeTest,
        mode: TypeMode,
    },
    ReferenceKey {
        input: Box<Program>,
        target: Option<FhirType>,
    },
    /// `resolve() is Type`, told by the reference alone.
    RefersTo {
        input: Box<Program>,
        target: FhirType,
    },
    Indexed {
        input: Box<Program>,
        index: Box<Program>,
    },
    /// A key of `sort` whose order is turned round.
    Descending(Box<Program>),
    Negative(Box<Program>),
    Positive(Box<Program>),
    Binary {
        operator: Operator,
        left: Box<Program>,
        right: Box<Program>,
    },
}

/// One element further into the document.
#[derive(Debug)]
pub(super) enum Step {
    /// The type it starts from is known.
    Known(&'static Element),
    /// It is known at run time only, if at all.
    Named(String),
}

/// `is`, `as` or `ofType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeMode {
    Is,
    As,
    OfType,
}

/// A type that an expression names. `Quantity` names two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeTest {
    pub(super) fhir: Option<FhirType>,
    pub(super) system: Option<SystemType>,
}
