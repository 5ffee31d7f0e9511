//! GET /: the page for people. One document without any outside resource; what it shows it asks
//! from the API, with the token that its reader gives it, so that it can do what the API can and
//! knows nothing by itself.
//!
//! Its policy lets the browser run this very script and no other, whatever a job prints or an event
//! is called: script and style are named by their digests.

use std::sync::LazyLock;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: [&str; 3] = [
    include_str!("page/api.js"),
    include_str!("page/tables.js"),
    include_str!("page/page.js"),
];

struct Page {
    text: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let script = SCRIPT.concat();
    let digest = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    Page {
        text: FRAME
            .replace("/*style*/", STYLE)
            .replace("/*script*/", &script),
        policy: format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'",
            digest(&script),
            digest(STYLE)
        ),
    }
});

/// GET /.
pub(super) async fn page() -> impl IntoResponse {
    const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    let head = [
        (CONTENT_SECURITY_POLICY, PAGE.policy.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
        (OPENER, "same-origin"),
    ];
    (head, Html(PAGE.text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_refers_to_nothing_outside() {
        let (head, tail) = PAGE.text.split_once("<script>").unwrap();
        assert!(
            tail.trim_end().ends_with("</script>\n</body>\n</html>"),
            "one script, at the end"
        );
        assert!(head.contains("<style>") && !PAGE.text.contains("/*s"));
        for reference in [
            "http://",
            "https://",
            " src=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            " style=",
            " onclick=",
        ] {
            assert!(!PAGE.text.contains(reference), "{reference} is in the page");
        }
    }
}
