//! The status page: one file that needs nothing else, under a policy that lets it do nothing else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::answer::Answer;

const PAGE: &str = include_str!("status.html");

/// Only the page's own style and script run, and only this listener is asked.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        hash(inside("<style>", "</style>")),
        hash(inside("<script>", "</script>")),
    )
});

pub(super) fn page() -> Answer {
    Answer::new("text/html; charset=utf-8", PAGE)
        .header("content-security-policy", POLICY.as_str())
        .header("referrer-policy", "no-referrer")
        .header("x-frame-options", "DENY")
}

fn inside(from: &str, to: &str) -> &'static str {
    let after = PAGE.split_once(from).map_or("", |(_, after)| after);
    after.split_once(to).map_or("", |(inside, _)| inside)
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_style_and_one_script_and_asks_nobody_else() {
        for (from, to) in [("<style>", "</style>"), ("<script>", "</script>")] {
            assert_eq!(
                (PAGE.matches(from).count(), PAGE.matches(to).count()),
                (1, 1),
                "{from}"
            );
            assert!(inside(from, to).len() > 1000);
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
