//! The body of a refusal for people: a page that a browser shows inside the widget's frame, in the words of an
//! office and the language of the portal. It holds no value of the request.

mod situation;
mod template;
mod words;

use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, header};
use unic_langid::LanguageIdentifier;

use super::rejection::Rejection;
use crate::request::field::{Field, Lang};
use crate::request::form::{Form, Reading};
use situation::Situation;
pub use template::Template;
use template::Told;
use words::Words;

/// The most languages of a browser that are looked at.
const MOST_LANGUAGES: usize = 16;
/// The most parameters among which LANG is looked for.
const MOST_PARAMS: usize = 1000;

/// Who is refused, as far as the reply depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// What the client sent.
    pub headers: &'a HeaderMap,
    /// Of the target.
    pub query: &'a [u8],
    /// As far as it was held.
    pub body: &'a [u8],
    /// Whether it was a HEAD.
    pub to_head: bool,
    /// For the log.
    pub request_id: &'a str,
    /// The operator's page.
    pub page: Option<&'a Template>,
}

/// A page and what its head has to say of it.
pub struct Page {
    /// HTML in UTF-8.
    pub html: String,
    /// BCP 47.
    pub language: String,
    /// Nothing from outside, and no script but the page's own. Of forms nothing: a page that came by POST is one
    /// whose reload sends the form again, which Chromium holds to `form-action`, and so is all that its answer
    /// redirects to.
    pub policy: String,
}

/// The page of a refusal. None if there is not one template that can be shown, which a test sees.
pub fn page(rejection: &Rejection, asked: &Audience<'_>) -> Option<Page> {
    let words = Words::in_first_of(&languages(asked))?;
    let nonce = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
    let told = Told {
        reason: rejection.reason(),
        status: rejection.status(),
        situation: Situation::of(rejection),
        retry_after: rejection.retry_after(),
        request_id: asked.request_id,
        nonce: &nonce,
    };
    let templates = asked.page.into_iter().chain(Template::built_in());
    let html = templates
        .into_iter()
        .find_map(|page| page.render(words, &told).ok())?;
    Some(Page {
        html,
        language: words.language.to_string(),
        policy: format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; \
             base-uri 'none'"
        ),
    })
}

/// That of the portal, where the request says one, then those of the browser.
fn languages(asked: &Audience<'_>) -> Vec<LanguageIdentifier> {
    let of_portal = lang(asked.query, b"").or_else(|| lang(b"", asked.body));
    let of_portal = of_portal.and_then(|lang| lang.locale().parse().ok());
    let mut of_browser: Vec<(u16, LanguageIdentifier)> = ranges(asked.headers, header::ACCEPT_LANGUAGE)
        .take(MOST_LANGUAGES)
        .filter_map(|(tag, quality)| Some((quality, LanguageIdentifier::from_bytes(tag).ok()?)))
        .filter(|(quality, _)| *quality > 0)
        .collect();
    // Stable: of equals the first.
    of_browser.sort_by_key(|(quality, _)| Reverse(*quality));
    let of_browser = of_browser.into_iter().map(|(_, language)| language);
    of_portal.into_iter().chain(of_browser).collect()
}

fn lang(query: &[u8], body: &[u8]) -> Option<Lang> {
    match Form::parse(query, body, MOST_PARAMS).ok()?.reading(Field::Lang) {
        Reading::Value(value) => Lang::parse(value).ok(),
        Reading::Absent | Reading::Faulty(_) => None,
    }
}

/// What the lines of a header name, each with its quality in thousandths (RFC 9110 12.4.2).
pub(super) fn ranges(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = (&[u8], u16)> {
    let lines = headers.get_all(name).into_iter();
    let each = lines.flat_map(|line| line.as_bytes().split(|&b| b == b','));
    each.map(|range| {
        let mut parts = range.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let named = parts.next().unwrap_or_default();
        (named, parts.find_map(quality).unwrap_or(1000))
    })
}

/// `q=0.8`
fn quality(parameter: &[u8]) -> Option<u16> {
    let value = parameter
        .strip_prefix(b"q=")
        .or_else(|| parameter.strip_prefix(b"Q="))?;
    let value: f32 = std::str::from_utf8(value).ok()?.parse().ok()?;
    // Clamped to 0..=1000, so the cast can not lose anything.
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn in_language(query: &str, body: &str, accepted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in accepted {
            headers.append(header::ACCEPT_LANGUAGE, HeaderValue::from_str(line).unwrap());
        }
        let asked = Audience {
            headers: &headers,
            query: query.as_bytes(),
            body: body.as_bytes(),
            to_head: false,
            request_id: "id",
            page: None,
        };
        page(&Rejection::Overloaded, &asked).unwrap().language
    }

    #[test]
    fn the_portals_language_comes_first_then_the_browsers() {
        let browser = &["de;q=0.5, fr-CA", "sv;q=0.9,it;q=0,*;q=0.1"][..];
        for (query, body, want) in [
            ("LANG=ua", "", "uk"),
            ("", "LANG=br", "pt-BR"),
            ("x=1&LANG=tc", "LANG=ru", "zh-TW"),
            ("LANG=by", "", "fr"),
            ("LANG=%0d%0a", "", "fr"),
            ("LANG=ru&LANG=de", "", "fr"),
            ("", "", "fr"),
        ] {
            assert_eq!(in_language(query, body, browser), want, "{query} {body}");
        }
        assert_eq!(in_language("", "", &["it;q=0"]), "en");
        assert_eq!(in_language("", "", &[]), "en");
        let codes = "ru id ms de en la fr in it pl br vn tr kz ua ar th sc tc ja";
        let locales: std::collections::BTreeSet<_> = codes
            .split(' ')
            .map(|code| in_language(&format!("LANG={code}"), "", &[]))
            .collect();
        assert_eq!(locales.len(), 20, "{locales:?}");
    }
}
