//! What an answer has to say because it is shown in a frame of a portal (`[widget.frame]`).

use http::{HeaderMap, header};

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
    /// Nothing against it: its host is that of `DOMAIN`, or it says nothing.
    Agrees,
    /// Another host than `DOMAIN` says.
    Differs,
}

impl FrameRules {
    /// What is done to the answer of a message of which this is known, and whether its `Origin` is that of its
    /// portal. None where nobody shows the answer in a frame: portals send events and robots by themselves.
    pub fn decide(self, known: &Known<'_>, headers: &HeaderMap, mode: Mode) -> (Option<Frame>, Agreement) {
        let (portal, agreement) = match known.message {
            Some(Kind::Placement) if self.ancestors == AncestorsRule::Portal => portal(known, headers),
            // What the handler's page posts comes from the handler's own origin.
            Some(Kind::Placement | Kind::Own) => (None, Agreement::Agrees),
            Some(Kind::Event | Kind::Robot) | None => return (None, Agreement::Agrees),
        };
        let ancestors = match (portal.as_ref().and_then(Origin::source), mode) {
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

/// The origin of the calling portal: the browser's own word where its host is the portal's, because a portal
/// behind a proxy that ends TLS does not know its scheme and its port; else what the call says.
fn portal(known: &Known<'_>, headers: &HeaderMap) -> (Option<Origin>, Agreement) {
    let Some(domain) = known.domain else {
        return (None, Agreement::Agrees);
    };
    let told = || Some(Origin::new(known.portal?, domain.clone()));
    let mut lines = headers.get_all(header::ORIGIN).iter();
    match (lines.next().map(http::HeaderValue::as_bytes), lines.next()) {
        // A page that keeps its address to itself.
        (None | Some(b"null"), None) => (told(), Agreement::Agrees),
        (Some(line), None) => match Origin::parse(line) {
            Ok(origin) if origin.has_host_of(domain) => (Some(origin), Agreement::Agrees),
            Ok(_) | Err(_) => (told(), Agreement::Differs),
        },
        (_, Some(_)) => (told(), Agreement::Differs),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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
