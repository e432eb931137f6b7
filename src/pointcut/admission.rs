//! Who may send hooks: whoever shows the token; without one, programs of this machine.
//!
//! In: the headers of a request. Out: let in or not. A page in a browser on this machine is no program
//! of it: it could write rows, and by a high version keep the true ones out for good.

use axum::http::{HeaderMap, header};

use crate::http_server::caller;
use crate::telemetry::metrics::pointcut::HookAnswer;
use crate::telemetry::token::is_same;
use crate::topology::{Secret, is_loopback};

/// Who may send hooks.
pub(super) struct Admission {
    token: Option<Secret>,
}

impl Admission {
    /// `token`: `None` only where nobody but this machine is meant to send any.
    pub(super) const fn new(token: Option<Secret>) -> Self {
        Self { token }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// The answer to one that is not.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), HookAnswer> {
        let Some(token) = &self.token else {
            let is_for_us = caller::host(headers).is_some_and(|host| is_loopback(&host));
            let admitted = is_for_us && !caller::is_from_a_browser(headers);
            return if admitted { Ok(()) } else { Err(HookAnswer::Forbidden) };
        };
        let given = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
        let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        let admitted = is_same(given, token.expose().as_bytes());
        if admitted { Ok(()) } else { Err(HookAnswer::Unauthorized) }
    }
}
