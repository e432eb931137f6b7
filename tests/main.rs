//! One test binary; a module is a subject.

#![allow(clippy::unwrap_used)] // a test that meets an error should stop there

mod broker;
