//! One test binary; a module is a subject.

mod architecture;
mod services;
mod support;
