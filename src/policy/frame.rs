//! What an answer has to say because it is shown in a frame of a portal (`[widget.frame]`).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Mode;
use super::validate::Known;
use crate::request::message::Kind;
use crate::request::origin::Origin;

/// `[widget.frame]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameRules {
    /// Who may show the answer in a frame.
    pub ancestors: AncestorsRule,
    /// Of the cookies that the answer sets.
    pub cookies: SetCookieRule,
    /// Whether the answer may be kept.
    pub store: StoreRule,
}

/// Who may show an answer in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AncestorsRule {
    /// The calling portal and nobody else.
    #[default]
    Portal,
    /// Whoever the handler says.
    Keep,
}

/// What becomes of the cookies that an answer sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SetCookieRule {
    /// Each portal has a jar of its own in the browser: `SameSite=None; Secure; Partitioned`.
    #[default]
    Partitioned,
    /// They stay as the handler sets them.
    Keep,
}

/// Whether an answer may be kept, and its address told to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StoreRule {
    /// It may not.
    #[default]
    NoStore,
    /// As the handler says.
    Keep,
}

/// What is done to the answer of one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Who may frame it.
    pub ancestors: Ancestors,
    /// Of its cookies.
    pub cookies: SetCookieRule,
    /// Of its keeping.
    pub store: StoreRule,
}

/// Who may show one answer in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ancestors {
    /// Whoever the handler says.
    Keep,
    /// This source expression of a Content-Security-Policy alone.
    Only(String),
    /// The same, but the browser only tells who else tries.
    Report(String),
}

/// What the browser says of the page that sent a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agreement {
    /// Nothing against it: its host is that of `DOMAIN`, or it says nothing, or that the frame loads itself again.
    Agrees,
    /// Another host than `DOMAIN` says.
    Differs,
}

impl FrameRules {
    /// What is done to the answer of a message of which this is known, and whether its `Origin` is that of its
    /// portal. None where nobody shows the answer in a frame: portals send events and robots by themselves.
    pub fn decide(self, known: &Known<'_>, headers: &HeaderMap, mode: Mode) -> (Option<Frame>, Agreement) {
        let (source, agreement) = match known.message {
            Some(Kind::Placement) if self.ancestors == AncestorsRule::Portal => portal(known, headers),
            // What the handler's page posts comes from the handler's own origin.
            Some(Kind::Placement | Kind::Own) => (None, Agreement::Agrees),
            Some(Kind::Event | Kind::Robot) | None => return (None, Agreement::Agrees),
        };
        let ancestors = match (source, mode) {
            (None, _) => Ancestors::Keep,
            (Some(source), Mode::Enforce) => Ancestors::Only(source),
            (Some(source), Mode::Observe) => Ancestors::Report(source),
        };
        let frame = Frame {
            ancestors,
            cookies: self.cookies,
            store: self.store,
        };
        (Some(frame), agreement)
    }
}

/// The calling portal as a source expression: the browser's own word where its host is the portal's, because a
/// portal behind a proxy that ends TLS does not know its scheme and its port; else what the call says.
fn portal(known: &Known<'_>, headers: &HeaderMap) -> (Option<String>, Agreement) {
    let Some(domain) = known.domain else {
        return (None, Agreement::Agrees);
    };
    let said = || Some(Origin::new(known.portal?, domain.clone()));
    let told = || said()?.source();
    let mut lines = headers.get_all(header::ORIGIN).iter().map(HeaderValue::as_bytes);
    let page = match (lines.next(), lines.next()) {
        // A page that keeps its address to itself.
        (None | Some(b"null"), None) => None,
        (Some(line), None) => Some(Origin::parse(line)),
        (_, Some(_)) => return (told(), Agreement::Differs),
    };
    match page {
        // The portal is not heard again, and what the call says of its port may not be so.
        page if loads_itself(page.as_ref().and_then(|page| page.as_ref().ok()), headers) => (
            said().and_then(|portal| portal.source_at_any_port()),
            Agreement::Agrees,
        ),
        None => (told(), Agreement::Agrees),
        Some(Ok(page)) if page.has_host_of(domain) => (page.source(), Agreement::Agrees),
        Some(Ok(_) | Err(_)) => (told(), Agreement::Differs),
    }
}

/// Whether a page was sent from where its answer goes: the user tries again after a refusal, or the widget reloads
/// itself. A proxy in front may have made another host of it, and the page may keep its address to itself, but the
/// browser says it (Fetch Metadata).
fn loads_itself(page: Option<&Origin>, headers: &HeaderMap) -> bool {
    static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let is_here = |page: &Origin| {
        let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
        host.is_some_and(|host| page.is_at(host))
    };
    page.is_some_and(is_here)
        || headers
            .get(&SEC_FETCH_SITE)
            .is_some_and(|site| site.as_bytes() == b"same-origin")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::field::{Domain, Protocol};

    fn decided(message: Kind, origins: &[&str], mode: Mode) -> (Option<Frame>, Agreement) {
        let domain = Domain::parse(b"crm.local:8080").unwrap();
        let known = Known {
            message: Some(message),
            domain: Some(&domain),
            portal: Some(Protocol::Http),
            ..Known::default()
        };
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        FrameRules::default().decide(&known, &headers, mode)
    }

    #[test]
    fn the_portal_is_where_its_page_was_seen() {
        let only = |origins: &[&str]| {
            let (frame, agreement) = decided(Kind::Placement, origins, Mode::Enforce);
            (frame.unwrap().ancestors, agreement)
        };
        let told = || Ancestors::Only("http://crm.local:8080".to_owned());
        for (origins, want) in [
            (&[][..], (told(), Agreement::Agrees)),
            (&["null"], (told(), Agreement::Agrees)),
            (
                &["https://crm.local"],
                (Ancestors::Only("https://crm.local".to_owned()), Agreement::Agrees),
            ),
            (&["https://evil.example"], (told(), Agreement::Differs)),
            (&["https://crm.local *"], (told(), Agreement::Differs)),
            (
                &["https://crm.local", "https://evil.example"],
                (told(), Agreement::Differs),
            ),
        ] {
            assert_eq!(only(origins), want, "{origins:?}");
        }
    }

    #[test]
    fn a_frame_that_loads_itself_again_is_still_its_portals() {
        let decided = |(scheme, domain): (Protocol, &str), lines: &[(&'static str, &'static str)]| {
            let domain = Domain::parse(domain.as_bytes()).unwrap();
            let known = Known {
                message: Some(Kind::Placement),
                domain: Some(&domain),
                portal: Some(scheme),
                ..Known::default()
            };
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let (frame, agreement) = FrameRules::default().decide(&known, &headers, Mode::Enforce);
            match frame.unwrap().ancestors {
                Ancestors::Only(source) => (source, agreement),
                other => panic!("{other:?}"),
            }
        };
        let own = ("origin", "https://widgets.example:8443");
        let (here, elsewhere) = (("host", "Widgets.example:8443"), ("host", "127.0.0.1:8080"));
        let cloud = (Protocol::Https, "portal.example");
        let behind_tls = (Protocol::Http, "crm.local:8888");
        for (portal, lines, source, agreement) in [
            (
                cloud,
                &[own, here][..],
                "https://portal.example",
                Agreement::Agrees,
            ),
            (behind_tls, &[own, here], "http://crm.local:*", Agreement::Agrees),
            (
                (Protocol::Http, "crm.local"),
                &[own, here],
                "http://crm.local:*",
                Agreement::Agrees,
            ),
            (
                (Protocol::Https, "crm.local:8888"),
                &[own, here],
                "https://crm.local:*",
                Agreement::Agrees,
            ),
            (
                behind_tls,
                &[own, elsewhere, ("sec-fetch-site", "same-origin")],
                "http://crm.local:*",
                Agreement::Agrees,
            ),
            (
                behind_tls,
                &[own, elsewhere, ("sec-fetch-site", "cross-site")],
                "http://crm.local:8888",
                Agreement::Differs,
            ),
            (
                behind_tls,
                &[own, ("host", "widgets.example")],
                "http://crm.local:8888",
                Agreement::Differs,
            ),
            (
                behind_tls,
                &[("origin", "null"), here, ("sec-fetch-site", "same-origin")],
                "http://crm.local:*",
                Agreement::Agrees,
            ),
            // Portal and gateway are two ports of one machine.
            (
                (Protocol::Https, "widgets.example"),
                &[own, here],
                "https://widgets.example",
                Agreement::Agrees,
            ),
        ] {
            assert_eq!(
                decided(portal, lines),
                (source.to_owned(), agreement),
                "{portal:?} {lines:?}"
            );
        }
    }

    #[test]
    fn what_no_frame_shows_is_left_alone() {
        for kind in [Kind::Event, Kind::Robot] {
            let (frame, agreement) = decided(kind, &["https://evil.example"], Mode::Enforce);
            assert_eq!((frame, agreement), (None, Agreement::Agrees));
        }
        let (own, agreement) = decided(Kind::Own, &["https://widgets.example"], Mode::Enforce);
        assert_eq!(
            (own.unwrap().ancestors, agreement),
            (Ancestors::Keep, Agreement::Agrees)
        );
        let (observed, _) = decided(Kind::Placement, &[], Mode::Observe);
        assert_eq!(
            observed.unwrap().ancestors,
            Ancestors::Report("http://crm.local:8080".to_owned())
        );
    }
}
