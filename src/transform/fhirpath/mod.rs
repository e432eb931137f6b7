//! The FHIRPath evaluator.
