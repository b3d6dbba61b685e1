//! The page that explains why there is no other: what happened, what it means, what to do.
//!
//! Invariants: it stands alone (nothing is loaded), it is never kept by a browser, what it shows of others is escaped, and it names nothing that a
//! site's own scripts, which share its origin, should not know.

use fogbank_betanet::client::ConnectError;
use fogbank_site::{Body, ManifestError, empty};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

/// Why there is no response.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// No fog is known.
    NoFog,
    /// The address was not opened.
    Connect(ConnectError),
    /// So many copies were caught, and no other one was found.
    Lied { copies: u32 },
    /// What the publisher signed is itself no site.
    Publisher(ManifestError),
    /// The copies speak another version.
    OtherVersion,
    /// Copies broke off again and again.
    Broke { why: String },
    /// The publisher has put something else online meanwhile.
    Changed,
    /// The app's answer can't be read, or broke off.
    App { why: String },
    /// The app does not answer.
    Slow { seconds: u64 },
    /// The name is no onion address.
    NotAnOnion,
    /// Neither CONNECT nor an absolute `http://` address.
    NotAProxyRequest,
    /// `https://` or another scheme in an absolute address.
    NotHttp,
    /// A site has one port.
    OtherPort,
    /// The user name and password can't be read.
    BadUser,
    /// The request contradicts itself.
    BadRequest,
}

struct Words {
    status: StatusCode,
    what: &'static str,
    means: String,
    todo: &'static str,
}

fn words(trouble: &Trouble) -> Words {
    use StatusCode as S;
    let words = |status, what, means: &str, todo| Words { status, what, means: means.to_owned(), todo };
    match trouble {
        Trouble::NoFog => words(
            S::SERVICE_UNAVAILABLE,
            "No address can be opened yet",
            "This Fogbank is in no fog and has not visited one, so it knows no mixes to go through.",
            "Join a fog, or open a fogbank:// link, then load this page again.",
        ),
        Trouble::Connect(error) => connect(error),
        Trouble::Lied { copies } => Words {
            status: S::BAD_GATEWAY,
            what: "The computers that serve this site tried to alter it",
            means: format!(
                "{} gave something else than its publisher signed. Nothing of it was shown, and the connection was closed.",
                if *copies == 1 { "A copy".to_owned() } else { format!("{copies} copies") }
            ),
            todo: "Try again later: another copy may be there then. If you know the publisher, tell them.",
        },
        Trouble::Publisher(error) => Words {
            status: S::BAD_GATEWAY,
            what: "This site can't be read",
            means: format!("Its publisher signed something that is no site for this version of Fogbank: {error}."),
            todo: "Update Fogbank. If that does not help, tell the publisher.",
        },
        Trouble::OtherVersion => words(
            S::BAD_GATEWAY,
            "The computers that serve this site run another version of Fogbank",
            "This one and they do not understand each other. Nobody altered anything.",
            "Update Fogbank. If it is up to date, try again later: theirs will follow.",
        ),
        Trouble::Broke { why } => Words {
            status: S::BAD_GATEWAY,
            what: "The connection to this site breaks again and again",
            means: format!("Several copies were tried. The last one: {why}."),
            todo: "Load the page again in a minute.",
        },
        Trouble::Changed => words(
            S::SERVICE_UNAVAILABLE,
            "This site was just changed",
            "Its publisher put a new version online while this page was loading. Parts of two versions are never mixed.",
            "Load the page again.",
        ),
        Trouble::App { why } => Words {
            status: S::BAD_GATEWAY,
            what: "The app at this address gave no proper answer",
            means: format!("The way to it works, but its answer can't be used: {why}."),
            todo: "Load the page again. If you sent something, look first whether it has arrived.",
        },
        Trouble::Slow { seconds } => Words {
            status: S::GATEWAY_TIMEOUT,
            what: "The app at this address does not answer",
            means: format!("The way to it works, but nothing came within {seconds} seconds."),
            todo: "Load the page again later. If you sent something, look first whether it has arrived.",
        },
        Trouble::NotAnOnion => words(
            S::FORBIDDEN,
            "Only onion addresses pass here",
            "This proxy leads into Betanet and nowhere else. Nothing was sent, and no name was looked up.",
            "Open other addresses without this proxy.",
        ),
        Trouble::NotAProxyRequest => words(
            S::FORBIDDEN,
            "This is a proxy, not a page",
            "Programs that are set to use it reach onion addresses through it. Nothing else is answered here.",
            "Set this address as SOCKS5 or HTTP proxy, and open an .onion address.",
        ),
        Trouble::NotHttp => words(
            S::FORBIDDEN,
            "Only http:// addresses pass here",
            "An onion address is its own certificate: the way to it is encrypted from end to end without https.",
            "Open the address with http:// in front.",
        ),
        Trouble::OtherPort => words(
            S::BAD_GATEWAY,
            "This site has no such port",
            "It is a site, and sites answer on port 80 alone.",
            "Open the address with http:// in front and without a port.",
        ),
        Trouble::BadUser => words(
            S::BAD_REQUEST,
            "The user name and password for the proxy can't be read",
            "They keep visits apart, so nothing was opened without them.",
            "Send them as “Basic” proxy authorization, with at most 255 bytes each.",
        ),
        Trouble::BadRequest => words(
            S::BAD_REQUEST,
            "This request can't be passed on",
            "It contradicts itself, and two readers could take it for two different requests.",
            "Load the page again; if that does not help, the program that asks is at fault.",
        ),
    }
}

fn connect(error: &ConnectError) -> Words {
    use StatusCode as S;
    let (status, what, todo) = match error {
        ConnectError::Address(_) => (S::FORBIDDEN, "This is no onion address", "Copy the address again, whole."),
        ConnectError::NotPrivate { .. } => (
            S::SERVICE_UNAVAILABLE,
            "Waiting for enough mixes",
            "Wait until more of them are there, then load the page again. Nothing was sent meanwhile.",
        ),
        ConnectError::NotFound => (
            S::SERVICE_UNAVAILABLE,
            "Nothing is published at this address",
            "Check the address. If it was published a moment ago, load the page again in a minute.",
        ),
        ConnectError::Stopped => (
            S::SERVICE_UNAVAILABLE,
            "This site was taken offline",
            "Only its publisher can bring it back. If that was done a moment ago, load the page again in a minute.",
        ),
        ConnectError::Locked => (
            S::FORBIDDEN,
            "This site is private",
            "Open the link that its publisher gave you: it has the key. An address alone does not open it.",
        ),
        ConnectError::NotDirect => (
            S::FORBIDDEN,
            "This site offers no direct connection",
            "Load it without the user name that asks for one: it then goes through mixes, as it should.",
        ),
        ConnectError::NoOwner => (
            S::FORBIDDEN,
            "No owner lets visitors come directly",
            "Ask an owner to lend with direct visits, or load the page without the user name that asks for one: it then goes through mixes.",
        ),
        ConnectError::NoAnswer { .. } => {
            (S::SERVICE_UNAVAILABLE, "No copy of this site answers", "Load the page again in a minute: copies are replaced.")
        }
        ConnectError::NoHonest => (
            S::BAD_GATEWAY,
            "The computers that serve this site tried to alter it",
            "Try again later: another copy may be there then. If you know the publisher, tell them.",
        ),
        ConnectError::TimedOut { .. } => (S::GATEWAY_TIMEOUT, "This address could not be opened in time", "Load the page again."),
        ConnectError::TooMany => {
            (S::SERVICE_UNAVAILABLE, "Too many addresses are open", "Close some pages, then load this one again.")
        }
        ConnectError::Ended => (S::SERVICE_UNAVAILABLE, "Fogbank is ending", "Start it again, then load this page again."),
    };
    let mut means = error.to_string();
    if let Some(first) = means.get(..1).map(str::to_uppercase) {
        means.replace_range(..1, &first);
    }
    means.push('.');
    Words { status, what, means, todo }
}

/// The page. `head`: without its content.
pub(crate) fn of(trouble: &Trouble, head: bool) -> Response<Body> {
    let Words { status, what, means, todo } = words(trouble);
    let (what, means, todo) = (escape(what), escape(&means), escape(todo));
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{what}</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;\
         color:#222;background:#fafafa}}small{{color:#666}}@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#161618}}\
         small{{color:#999}}}}</style></head><body><h1>{what}</h1><p>{means}</p><p>{todo}</p>\
         <p><small>This page was made by Fogbank on your own computer, not by the site.</small></p></body></html>\n"
    );
    let length = text.len() as u64;
    let body = if head { empty() } else { Full::from(text).map_err(|never| match never {}).boxed_unsync() };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers: [(HeaderName, &'static str); 6] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // A page of the web that asks this port learns nothing of the answer.
    response.headers_mut().insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Words of others are one line.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_of_others_are_words() {
        let why = "<script>alert('&\"')</script>\r\n".to_owned();
        let response = of(&Trouble::Broke { why }, false);
        assert_eq!(
            (response.status(), &response.headers()[CACHE_CONTROL]),
            (StatusCode::BAD_GATEWAY, &"no-store".parse().unwrap())
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(
            text.contains("&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;") && !text.contains("<script"),
            "{text}"
        );
        assert!(!text.contains("http://") || text.contains("http:// in front"), "nothing is loaded");
        assert_eq!(of(&Trouble::NoFog, true).into_body().collect().await.unwrap().to_bytes().len(), 0);
    }
}
