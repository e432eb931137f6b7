//! The rules document: Smile CDR's Rules Definition and our extensions.
//!
//! In: a document as it is written. Out: the tables it fills and a program for each root, or all
//! that is wrong with it. Nothing about the rules can go wrong later, only documents can.

mod column;
mod document;
mod program;
mod validate;

pub use document::{
    ChildTable, ColumnRule, ColumnTypeName, MultipleStrategy, NamedTransformer, OverflowStrategy,
    PartialDate, RootTransformer, RulesDocument,
};
pub(super) use program::{
    ChildProgram, ColumnProgram, Fill, Maximum, PathColumn, RootProgram, TableProgram,
};
pub(super) use validate::compile;
