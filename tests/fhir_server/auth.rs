//! Who may ask, and the token endpoint of OAuth's client credentials.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Auth;
use super::answer::Answer;
use super::bundle::random_id;
use super::shared::Shared;

/// Whether these headers open the door.
pub(super) fn admits(shared: &Shared, headers: &HeaderMap) -> bool {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match &shared.settings.auth {
        Auth::None => true,
        Auth::Basic { user, password } => shown == Some(basic(user, password).as_str()),
        Auth::Bearer { token } => shown == Some(format!("Bearer {token}").as_str()),
        Auth::ClientCredentials { .. } => {
            let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
            token.is_some_and(|token| shared.with(|state| state.tokens.contains(token)))
        }
    }
}

/// Gives a token for credentials, in the header or in the form.
pub(super) fn token(shared: &Shared, headers: &HeaderMap, body: &str) -> Answer {
    let Auth::ClientCredentials { id, secret } = &shared.settings.auth else {
        return Answer::value(404, &json!({ "error": "invalid_request" }));
    };
    let form: Vec<_> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let said = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    if said("grant_type").map(String::as_str) != Some("client_credentials") {
        return Answer::value(400, &json!({ "error": "unsupported_grant_type" }));
    }
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let in_header = shown == Some(basic(id, secret).as_str());
    let in_form = said("client_id") == Some(id) && said("client_secret") == Some(secret);
    if !in_header && !in_form {
        return Answer::value(401, &json!({ "error": "invalid_client" }));
    }
    let token = random_id();
    shared.with(|state| state.tokens.insert(token.clone()));
    let mut given = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 300 });
    if let Some(scope) = said("scope") {
        given["scope"] = json!(scope);
    }
    Answer::value(200, &given)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
