//! One test binary; a module is a subject.

mod architecture;
mod proof;
mod services;
mod support;
