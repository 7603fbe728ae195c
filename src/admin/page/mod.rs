//! The status page: one answer that needs nothing else, under a policy that lets it do nothing else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::answer::Answer;

const HTML: &str = include_str!("status.html");
const STYLE: &str = include_str!("status.css");
const SCRIPT: &str = include_str!("status.js");

/// The three in one.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    HTML.replacen("<style></style>", &format!("<style>{STYLE}</style>"), 1)
        .replacen("<script></script>", &format!("<script>{SCRIPT}</script>"), 1)
});

/// Only the page's own style and script run, and only this listener is asked.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        hash(STYLE),
        hash(SCRIPT),
    )
});

pub(super) fn page() -> Answer {
    Answer::new("text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()))
        .header("content-security-policy", POLICY.as_str())
        .header("referrer-policy", "no-referrer")
        .header("x-frame-options", "DENY")
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_style_and_one_script_and_asks_nobody_else() {
        for (part, element) in [(STYLE, "style"), (SCRIPT, "script")] {
            assert!(PAGE.contains(&format!("<{element}>{part}</{element}>")));
            assert_eq!(PAGE.matches(&format!("</{element}>")).count(), 1, "{element}");
        }
        for never in [
            " style=",
            " onclick",
            " src=",
            "innerHTML",
            "@import",
            "https://",
            "eval(",
        ] {
            assert!(!PAGE.contains(never), "{never}");
        }
    }
}
