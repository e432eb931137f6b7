//! The text of an expression becomes a tree.

pub(super) mod lexer;
pub(super) mod syntax;
