//! One test binary; a module is a subject.
mod sink;
