//! The client before servers of every kind.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::Request as AxumRequest;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::Response as AxumResponse;
use chrono::TimeZone as _;
use serde_json::json;

use super::request::retry_after;
use super::*;
use crate::error::{Cause, ErrorClass, messages};
use crate::model::Version;
use crate::source::{DecodeError, HEADER_VERSION, VersionFrom, resource_key};
use crate::topology::Secret;

/// What a server was asked: method, path with query, `Authorization`.
type Heard = Arc<Mutex<Vec<(String, String, String)>>>;

/// A server that answers by this function; ends with the test's runtime.
async fn serve(
    answer: impl Fn(&str, &str, &str, u16) -> AxumResponse + Clone + Send + Sync + 'static,
) -> (Url, Heard) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let told = Heard::default();
    let hears = Arc::clone(&told);
    let routes = Router::new().fallback(move |request: AxumRequest| {
        let text = |headers: &HeaderMap| {
            let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let asked = (request.method().to_string(), path, text(request.headers()));
        let answered = answer(&asked.0, &asked.1, &asked.2, port);
        hears.lock().expect("nobody panics holding it").push(asked);
        async move { answered }
    });
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (format!("http://127.0.0.1:{port}/fhir").parse().expect("a URL"), told)
}

fn says(status: u16, body: impl Into<AxumBody>) -> AxumResponse {
    AxumResponse::builder().status(status).body(body.into()).expect("an answer")
}

fn client(base: Url) -> FhirServer {
    FhirServer::new(FhirServerSettings::new(base)).expect("a client")
}

fn patient() -> ResourceKey {
    resource_key("Patient", "labpat1").expect("a key")
}

fn heard(heard: &Heard) -> Vec<(String, String, String)> {
    heard.lock().expect("nobody panics holding it").clone()
}

/// All that an error may show.
fn shown(error: &FhirServerError) -> String {
    format!("{} {error:?}", messages(error).join(": "))
}

/// What HAPI FHIR answers, cut short.
const HISTORY: &str = r#"{"resourceType": "Bundle", "type": "history", "total": 4,
  "meta": {"lastUpdated": "2026-11-22T23:37:59.633+00:00"},
  "entry": [
  {"fullUrl": "http://127.0.0.1:18080/fhir/Patient/labpat1",
   "request": {"method": "DELETE", "url": "Patient/labpat1/_history/3"},
   "response": {"status": "200 OK", "etag": "W/\"3\"", "lastModified": "2026-11-22T23:37:29.503Z"}},
  {"fullUrl": "http://127.0.0.1:18080/fhir/Observation/1009",
   "resource": {"resourceType": "Observation", "id": "1009",
      "meta": {"versionId": "1", "lastUpdated": "2026-11-22T23:37:54.010+00:00"},
      "valueQuantity": {"value": 72.50, "unit": "kg"}},
   "request": {"method": "POST", "url": "Observation/1009/_history/1"},
   "response": {"status": "201 Created", "etag": "W/\"1\""}},
  {"resource": {"resourceType": "Patient", "id": "bare"}, "request": {"method": "PUT", "url": "Patient/bare"},
   "response": {"etag": "W/\"8\""}},
  {"fullUrl": "http://x/Patient/SECRET", "resource": {"resourceType": "Patient", "id": "other"}},
  {"request": {"method": "PUT", "url": "Patient/SECRET/_history/2"}},
  {"request": {"method": "GET", "url": "Patient/1"}}]}"#;

async fn a_page() -> Page {
    let (base, _) = serve(|_, _, _, _| says(200, HISTORY)).await;
    let mut pages = client(base).history(&Scope::System, None, 100);
    pages.next().await.expect("an answer").expect("a page")
}

#[tokio::test]
async fn a_delete_has_the_version_of_its_etag_and_its_instant() {
    let page = a_page().await;
    let deleted = &page.entries[0];
    assert_eq!(deleted.resource, patient());
    assert_eq!((&deleted.content, deleted.version_id.as_deref()), (&Content::Deleted, Some("3")));
    let record = record(deleted, &"t".into(), VersionFrom::VersionId).expect("a version");
    assert_eq!((record.key.as_deref(), record.value), (Some(&b"Patient/labpat1"[..]), None));
    assert_eq!(record.headers, [crate::model::Header::text(HEADER_VERSION, "3")]);
    let by_instant =
        super::record(deleted, &"t".into(), VersionFrom::LastUpdated).expect("a version");
    assert_eq!(by_instant.headers[0].value.as_deref(), Some(&b"1795390649503000"[..]));
}

#[tokio::test]
async fn a_document_is_passed_on_as_it_was_sent() {
    let page = a_page().await;
    let record = record(&page.entries[1], &"t".into(), VersionFrom::VersionId).expect("a version");
    let text = String::from_utf8(record.value.expect("a document").to_vec()).expect("UTF-8");
    assert!(text.contains(r#""valueQuantity": {"value": 72.50, "unit": "kg"}"#), "{text}");
    assert!(record.headers.is_empty(), "the document says its version");
    assert_eq!((page.total, page.last_updated.is_some()), (Some(4), true));
}

#[tokio::test]
async fn a_version_that_only_the_entry_has_becomes_a_header() {
    let page = a_page().await;
    let record = record(&page.entries[2], &"t".into(), VersionFrom::VersionId).expect("a version");
    assert_eq!(record.headers, [crate::model::Header::text(HEADER_VERSION, "8")]);
}

#[tokio::test]
async fn entries_that_say_no_state_are_told_apart_and_read_ones_skipped() {
    let page = a_page().await;
    assert_eq!(page.entries.len(), 3);
    let causes: Vec<_> = page.refused.iter().map(DecodeError::cause).collect();
    assert_eq!(causes, [Cause::KeyMismatch, Cause::IncompleteDocument]);
}

#[test]
fn a_version_that_is_not_there_is_never_guessed() {
    let none = Entry::of_document(Bytes::from_static(br#"{"resourceType":"Patient","id":"1"}"#));
    let none = none.expect("a resource");
    for from in [VersionFrom::VersionId, VersionFrom::LastUpdated] {
        let error = record(&none, &"t".into(), from).expect_err("no version");
        assert_eq!(error.cause(), Cause::MissingVersion);
        assert!(record(&Entry::deleted(patient(), None, None), &"t".into(), from).is_err());
    }
    assert!(record(&none, &"t".into(), VersionFrom::Offset).is_ok());
    let opaque = none.clone().with_version_id(Some("a1b2".into()));
    assert!(record(&opaque, &"t".into(), VersionFrom::VersionId).is_err());
    let stated = record_at(&none, &"t".into(), Version::new(7).expect("a version"));
    assert_eq!(stated.headers[0].value.as_deref(), Some(&b"7"[..]));
}

#[tokio::test]
async fn the_newest_version_is_the_first_of_its_history() {
    let (base, heard_of) = serve(|_, path, _, _| match path {
        "/fhir/Patient/labpat1/_history?_count=1" => says(200, HISTORY),
        _ => says(404, r#"{"resourceType":"OperationOutcome"}"#),
    })
    .await;
    let server = client(base);
    let current = server.current(&patient()).await.expect("an answer").expect("an entry");
    assert_eq!((current.content, current.version_id.as_deref()), (Content::Deleted, Some("3")));
    let never = resource_key("Patient", "never").expect("a key");
    assert!(server.current(&never).await.expect("an answer").is_none());
    assert_eq!(heard(&heard_of).len(), 2);
}

#[tokio::test]
async fn a_wrong_address_is_not_taken_for_a_resource_that_never_was() {
    let (base, _) = serve(|_, _, _, _| says(404, "<html>")).await;
    let error = client(base).current(&patient()).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Fatal);
}

#[tokio::test]
async fn pages_are_followed_below_the_base_and_at_the_base_itself() {
    let (base, heard_of) = serve(|_, path, _, port| {
        let next = |link: String| {
            let bundle =
                json!({"resourceType": "Bundle", "link": [{"relation": "next", "url": link}]});
            says(200, bundle.to_string())
        };
        match path {
            "/fhir/Patient/_history?_count=2&_since=2026-01-02T03%3A04%3A05.006Z" => {
                next(format!("http://127.0.0.1:{port}/fhir?_getpages=1"))
            }
            "/fhir?_getpages=1" => next("Patient/_history?page=3".into()),
            _ => says(200, r#"{"resourceType":"Bundle"}"#),
        }
    })
    .await;
    let since = Utc.timestamp_micros(1_767_323_045_006_789).single();
    let server = client(base);
    let mut pages = server.history(&Scope::Type("Patient".into()), since, 2);
    let first = pages.next().await.expect("an answer").expect("a page");
    let kept = first.next.expect("there is more");
    while pages.next().await.expect("an answer").is_some() {}
    assert_eq!(heard(&heard_of)[2].1, "/fhir/Patient/_history?page=3");
    let mut again = server.pages(&kept).expect("below the base");
    while again.next().await.expect("an answer").is_some() {}
    assert_eq!(heard(&heard_of).len(), 5);
}

#[tokio::test]
async fn a_next_link_to_anywhere_else_is_refused() {
    for link in [
        "http://127.0.0.1:1/fhir/Patient",
        "https://127.0.0.1/fhir/Patient",
        "//elsewhere/fhir/Patient",
        "/admin?secret=SECRET",
        "../admin",
        "/fhirother",
        "%2e%2e/admin",
    ] {
        let (base, heard_of) = serve(move |_, _, _, _| {
            let link = json!([{"relation": "next", "url": link}]);
            says(200, json!({"resourceType": "Bundle", "link": link}).to_string())
        })
        .await;
        let mut pages = client(base).search("Patient", &[], 10);
        let error = pages.next().await.expect_err("refused");
        assert!(matches!(error, FhirServerError::Link { .. }), "{link}: {error}");
        assert!(!shown(&error).contains("SECRET"));
        assert_eq!(heard(&heard_of).len(), 1);
    }
}

#[tokio::test]
async fn pages_that_lead_round_in_a_circle_end() {
    let (base, _) = serve(|_, path, _, _| {
        let next = if path.contains("page=1") { "Patient?page=2" } else { "Patient?page=1" };
        let link = json!([{"relation": "next", "url": next}]);
        says(200, json!({"resourceType": "Bundle", "link": link}).to_string())
    })
    .await;
    let mut pages = client(base).search("Patient", &[], 10);
    for _ in 0..8 {
        if let Err(error) = pages.next().await {
            assert!(matches!(error, FhirServerError::Link { .. }));
            return;
        }
    }
    panic!("it goes on");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (base, heard_of) = serve(|_, _, _, _| {
        let to = AxumResponse::builder().status(302).header("location", "/elsewhere");
        to.body(AxumBody::empty()).expect("an answer")
    })
    .await;
    let error = client(base).fhir_version().await.expect_err("refused");
    assert!(matches!(error, FhirServerError::Redirected { status: 302, .. }));
    assert_eq!((error.class(), heard(&heard_of).len()), (ErrorClass::Fatal, 1));
}

fn with_token(base: Url) -> FhirServer {
    let token_url = base.join("/token").expect("a URL");
    let auth = Auth::ClientCredentials {
        token_url,
        client_id: "me".into(),
        client_secret: Secret::new("hush:hush"),
        scope: Some("system/*.read".into()),
    };
    FhirServer::new(FhirServerSettings { auth, ..FhirServerSettings::new(base) }).expect("a client")
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_is_fetched_anew_once() {
    let fetched = Arc::new(Mutex::new(0));
    let (base, heard_of) = serve(move |_, path, shown, _| match (path, shown) {
        ("/token", _) => {
            let mut fetched = fetched.lock().expect("nobody panics holding it");
            *fetched += 1;
            let token = format!(
                r#"{{"access_token":"t{fetched}","token_type":"bearer","expires_in":3600}}"#
            );
            says(200, token)
        }
        (_, "Bearer t2") => says(200, r#"{"fhirVersion":"4.0.1"}"#),
        _ => says(401, ""),
    })
    .await;
    let server = with_token(base);
    assert_eq!(server.fhir_version().await.expect("an answer"), FhirVersion::R4);
    server.fhir_version().await.expect("an answer");
    let asked: Vec<_> =
        heard(&heard_of).into_iter().map(|(_, path, shown)| (path, shown)).collect();
    let basic = "Basic bWU6aHVzaCUzQWh1c2g=".to_owned();
    assert_eq!(asked[0], ("/token".into(), basic.clone()));
    assert_eq!(asked[1], ("/fhir/metadata".into(), "Bearer t1".into()));
    assert_eq!(asked[2], ("/token".into(), basic));
    assert_eq!(asked[3..].iter().filter(|(_, shown)| shown == "Bearer t2").count(), 2);
    assert_eq!(asked.len(), 5);
}

#[tokio::test]
async fn a_server_that_takes_no_token_is_not_asked_for_ever() {
    let (base, heard_of) = serve(|_, path, _, _| match path {
        "/token" => says(200, r#"{"access_token":"t"}"#),
        _ => says(401, ""),
    })
    .await;
    let error = with_token(base).fhir_version().await.expect_err("refused");
    assert!(matches!(error, FhirServerError::Credentials { status: 401, .. }));
    assert_eq!(heard(&heard_of).len(), 4);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_while_it_streams() {
    let (base, _) = serve(|_, _, _, _| {
        let endless = futures_util::stream::repeat_with(|| {
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 1000]))
        });
        says(200, AxumBody::from_stream(endless))
    })
    .await;
    let settings = FhirServerSettings { max_body_bytes: 10_000, ..FhirServerSettings::new(base) };
    let server = FhirServer::new(settings).expect("a client");
    let error = server.fhir_version().await.expect_err("refused");
    assert!(matches!(error, FhirServerError::TooLarge { limit: 10_000, .. }));
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_says_how_long() {
    let (base, _) = serve(|_, _, _, _| {
        let busy = AxumResponse::builder().status(429).header("retry-after", "17");
        busy.body(AxumBody::from("SECRET")).expect("an answer")
    })
    .await;
    let error = client(base).fhir_version().await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Retriable);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "Sun, 22 Nov 2026 23:37:59 GMT".parse().expect("a value"));
    let now = Utc.with_ymd_and_hms(2026, 11, 22, 23, 37, 30).single().expect("an instant");
    assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(29)));
}

#[tokio::test]
async fn no_error_shows_an_id_an_address_or_a_body() {
    let mut errors = Vec::new();
    for status in [200, 302, 400, 401, 403, 404, 409, 410, 422, 429, 500, 503] {
        let (base, _) = serve(move |_, _, _, _| says(status, r#"{"SECRET":"#)).await;
        let server = client(base);
        let secret = resource_key("Patient", "SECRET").expect("a key");
        errors.extend(server.current(&secret).await.err());
        errors.extend(server.get(&["Patient", "SECRET"]).await.err());
        let body = Bytes::from_static(b"SECRET");
        errors.extend(server.put(&["SECRET", "SECRET"], body).await.err());
        errors.extend(
            server.search("SECRET", &[("SECRET".into(), "1".into())], 1).next().await.err(),
        );
    }
    let nobody = client("http://127.0.0.1:1/fhir".parse().expect("a URL"));
    let secret = resource_key("Patient", "SECRET").expect("a key");
    errors.extend(nobody.current(&secret).await.err());
    assert!(errors.len() > 40, "{}", errors.len());
    for error in &errors {
        assert!(!shown(error).contains("SECRET"), "{error:?}");
    }
    assert_eq!(errors.last().map(FhirServerError::class), Some(ErrorClass::Retriable));
}

#[tokio::test]
async fn a_path_that_would_lead_elsewhere_is_not_asked_for() {
    let (base, heard_of) = serve(|_, _, _, _| says(200, "")).await;
    let server = client(base);
    for part in ["..", ".", ""] {
        let error = server.delete(&["Subscription", part]).await.expect_err("refused");
        assert!(matches!(error, FhirServerError::Path { .. }));
    }
    server.delete(&["Subscription", "a/b?c"]).await.expect("an answer");
    assert_eq!(heard(&heard_of)[0].1, "/fhir/Subscription/a%2Fb%3Fc");
}

#[tokio::test]
async fn versions_of_fhir_are_told_apart() {
    for (text, version) in [
        ("4.0.1", Some(FhirVersion::R4)),
        ("4.3.0", Some(FhirVersion::R4B)),
        ("5.0.0", Some(FhirVersion::R5)),
        ("3.0.2", None),
    ] {
        let (base, _) =
            serve(move |_, _, _, _| says(200, json!({"fhirVersion": text}).to_string())).await;
        assert_eq!(client(base).fhir_version().await.ok(), version, "{text}");
    }
}

#[tokio::test]
async fn what_is_written_comes_with_its_version_and_what_is_gone_is_deleted() {
    let (base, heard_of) = serve(|method, path, _, _| match (method, path) {
        ("PUT", _) => {
            let made = AxumResponse::builder().status(201).header("etag", "W/\"1\"");
            made.body(AxumBody::from("{}")).expect("an answer")
        }
        ("DELETE", _) => says(410, ""),
        _ => says(404, r#"{"resourceType":"OperationOutcome"}"#),
    })
    .await;
    let server = client(base);
    let put = server.put(&["Subscription", "a"], Bytes::from_static(b"{}")).await.expect("put");
    assert_eq!((put.status, put.version_id.as_deref()), (201, Some("1")));
    server.delete(&["Subscription", "a"]).await.expect("gone already");
    assert!(server.get(&["Subscription", "a"]).await.expect("an answer").is_none());
    assert_eq!(heard(&heard_of).len(), 3);
}
