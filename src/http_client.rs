//! The one way to ask other machines over HTTP.
//!
//! In: authorities to trust besides the system's. Out: a client with rustls and ring that follows no
//! redirect and uses no proxy, and bodies that are read up to a limit. It never shows a URL: those of
//! errors are taken out, since they may name resources.

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Response};
use url::Url;

/// A client of the machines at `urls`, to be given its time limits. `authorities`: certificates in PEM
/// to trust besides the system's.
///
/// # Errors
/// The certificates are none.
pub(crate) fn builder<'u>(
    urls: impl IntoIterator<Item = &'u Url>,
    authorities: Option<&str>,
) -> reqwest::Result<ClientBuilder> {
    // the first of the process counts, and all of ours are the same
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authorities = Certificate::from_pem_bundle(authorities.unwrap_or_default().as_bytes())?;
    let client = reqwest::Client::builder();
    let client = if urls.into_iter().all(|url| url.scheme() == "http") {
        // a machine may have no certificates at all, which is a fault only where they are needed
        client.tls_certs_only(authorities)
    } else {
        client.tls_certs_merge(authorities)
    };
    let agent = concat!("rowcast/", env!("CARGO_PKG_VERSION"));
    Ok(client.redirect(Policy::none()).no_proxy().user_agent(agent))
}

/// Why a body could not be read.
pub(crate) enum BodyFault {
    /// The connection broke, or was silent for too long.
    Broken(reqwest::Error),
    /// It is longer than the limit.
    TooLarge,
}

/// Reads a body while it is no longer than `limit` bytes; the rest of a longer one is not waited for.
pub(crate) async fn body(mut answer: Response, limit: usize) -> Result<Bytes, BodyFault> {
    let announced = answer.content_length().and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(BodyFault::TooLarge);
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or_default());
    while let Some(some) = chunk(&mut answer).await.map_err(BodyFault::Broken)? {
        if body.len() + some.len() > limit {
            return Err(BodyFault::TooLarge);
        }
        body.extend_from_slice(&some);
    }
    Ok(body.freeze())
}

/// Some more of a body; `None` at its end.
pub(crate) async fn chunk(answer: &mut Response) -> reqwest::Result<Option<Bytes>> {
    answer.chunk().await.map_err(reqwest::Error::without_url)
}
