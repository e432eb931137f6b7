//! One test binary; a module is a subject.

mod decode;
mod fhirpath;
mod rules;
