//! Who may talk to the server. On loopback anybody on this machine may, but not a page from elsewhere that runs in
//! somebody's browser: its requests carry a foreign `Origin`, or after DNS rebinding a foreign `Host`. Elsewhere a key is asked for.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;
use crate::config::Config;
use crate::error::Error;
use crate::keys;

/// Refuses what must not pass.
pub async fn guard(State(app): State<App>, request: Request, next: Next) -> Result<Response, Error> {
    check_host(&app.config, request.headers(), request.uri().host())?;
    check_origin(request.headers(), request.method(), request.uri().path())?;
    if !app.config.is_loopback() && needs_key(request.uri().path()) {
        let secret = bearer(request.headers()).ok_or_else(|| {
            Error::Unauthorized("You didn't provide an API key. Send it as `Authorization: Bearer KEY`.".into())
        })?;
        if !keys::accepts(&app.db, secret).await? {
            return Err(Error::Unauthorized("Incorrect API key provided.".into()));
        }
    }
    Ok(next.run(request).await)
}

/// The page and the health checks show nothing of anybody's.
fn needs_key(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/v1" || path == "/metrics"
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn check_host(config: &Config, headers: &HeaderMap, uri_host: Option<&str>) -> Result<(), Error> {
    // With a key asked for, the name under which the server was reached gives nobody anything.
    if !config.is_loopback() {
        return Ok(());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or(uri_host).unwrap_or_default();
    let name = host_name(host);
    let known = is_loopback_name(name) || config.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    if known {
        return Ok(());
    }
    Err(Error::Forbidden {
        message: format!("Host `{name}` is not this server's; start it with --allowed-hosts {name} if it is."),
        code: "foreign_host",
    })
}

/// A browser says where a page is from: in `Origin`, or in `Sec-Fetch-Site` for what it sends without one.
fn check_origin(headers: &HeaderMap, method: &Method, path: &str) -> Result<(), Error> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(origin) = headers.get(ORIGIN) {
        let same =
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(|(scheme, authority)| {
                let host = text("host").unwrap_or_default();
                matches!(scheme, "http" | "https") && !host.is_empty() && authority.eq_ignore_ascii_case(host)
            });
        return if same { Ok(()) } else { Err(foreign_origin()) };
    }
    let navigation = *method == Method::GET && text("sec-fetch-mode") == Some("navigate") && !path.starts_with("/v1");
    match text("sec-fetch-site") {
        Some("cross-site" | "same-site") if !navigation => Err(foreign_origin()),
        _ => Ok(()),
    }
}

fn foreign_origin() -> Error {
    Error::Forbidden { message: "Requests from pages of other origins are refused.".into(), code: "foreign_origin" }
}

/// Without the port: `[::1]:8420` → `::1`.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn origin(pairs: &[(&'static str, &str)]) -> bool {
        check_origin(&headers(pairs), &Method::GET, "/v1/models").is_ok()
    }

    #[test]
    fn only_loopback_names_reach_a_loopback_server() {
        for good in ["localhost:8420", "127.0.0.1:8420", "[::1]:8420", "LOCALHOST", "127.9.9.9"] {
            assert!(is_loopback_name(host_name(good)), "{good}");
        }
        for bad in ["evil.example:8420", "localhost.evil.example", "", "192.168.0.5", "127.0.0.1.evil.example"] {
            assert!(!is_loopback_name(host_name(bad)), "{bad}");
        }
    }

    #[test]
    fn a_page_elsewhere_is_refused_and_our_own_is_not() {
        let host = ("host", "127.0.0.1:8420");
        assert!(origin(&[host]), "programs send no Origin");
        assert!(origin(&[host, ("origin", "http://127.0.0.1:8420"), ("sec-fetch-site", "same-origin")]));
        for foreign in ["https://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8420", "file://"] {
            assert!(!origin(&[host, ("origin", foreign)]), "{foreign}");
        }
        assert!(!origin(&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
        let link = headers(&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]);
        assert!(check_origin(&link, &Method::GET, "/").is_ok(), "following a link to the page is fine");
        assert!(check_origin(&link, &Method::POST, "/").is_err());
    }
}
