//! Where a request goes: the longest matching path, then the method, then what the message is.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use http::Method;

use super::Mode;
use super::portion::Portion;
use super::selection::{Seen, Selection};
use super::validate::PlaceRule;
use crate::request::field::{FieldSet, MemberId};
use crate::request::message::Kinds;

/// What a route does with its requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Bitrix24 widget calls: the form is read, checked, limited and normalized.
    Widget(WidgetRoute),
    /// Anything else that is passed on behind the strict front door.
    Pass(Upgrade),
}

/// Whether a pass route's requests may turn into another protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Upgrade {
    /// Upgrade is ignored, as RFC 9110 7.8 allows.
    #[default]
    Never,
    /// WebSocket is spoken where both sides want to.
    WebSocket,
}

/// What a widget route takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WidgetRoute {
    /// What faults lead to.
    pub mode: Mode,
    /// Where they lead to a refusal: for how many of the members.
    pub enforce: Portion,
    /// The kinds of message; never none.
    pub accepts: Kinds,
    /// Fields that have to be there, besides those that their kind of message is nothing without.
    pub require: FieldSet,
    /// Where fields have to stand.
    pub places: PlaceRule,
}

impl WidgetRoute {
    /// What faults of this member's requests lead to; of one that says no `member_id` likewise.
    pub fn mode_of(&self, member: Option<&MemberId>) -> Mode {
        match self.mode {
            Mode::Enforce => self.enforce.mode_of(member),
            Mode::Observe => Mode::Observe,
        }
    }
}

/// One `[[routes]]` entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The label `route`.
    pub name: Arc<str>,
    /// Which paths.
    pub path: PathRule,
    /// Which methods.
    pub methods: Vec<Method>,
    /// What happens.
    pub kind: Kind,
    /// Of a widget route, which messages: those it leaves out are for the next route of the same path and method.
    pub selection: Selection,
    /// The name of the upstream.
    pub upstream: Arc<str>,
}

/// The paths of a route.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PathRule {
    /// This path and everything below it; kept without its trailing slash.
    Prefix(String),
    /// This path and no other.
    Exact(String),
}

impl PathRule {
    /// Reads `"/x"` (a prefix on a segment border) or `"= /x"` (exact).
    ///
    /// # Errors
    /// Where it does not begin with a slash, or could never match: `//`, dot segments, `?` and `#`.
    pub fn parse(text: &str) -> Result<PathRule, &'static str> {
        let (exact, path) = match text.strip_prefix('=') {
            Some(rest) => (true, rest.trim_start_matches(' ')),
            None => (false, text),
        };
        if !path.starts_with('/') {
            return Err("a path begins with a slash; \"= /x\" is exact");
        }
        if path.contains("//")
            || path.contains(['?', '#', '\\'])
            || path.bytes().any(|b| b <= b' ' || b == 0x7f)
        {
            return Err("a path has no white space, '//', '?', '#' or backslash");
        }
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err("a path has no dot segments; such requests are refused");
        }
        Ok(match exact {
            true => PathRule::Exact(path.to_owned()),
            false => PathRule::Prefix(path.trim_end_matches('/').to_owned()),
        })
    }
}

/// Why no route takes a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoRoute {
    /// No route has the path.
    NotFound,
    /// Routes have the path, but not the method; all the methods that they take, sorted.
    MethodNotAllowed(Vec<Method>),
}

/// All routes, ready for look-ups.
#[derive(Debug, Default)]
pub struct Routes {
    routes: Vec<Route>,
    /// Of each route, the later ones with its path and one of its methods.
    next: Vec<Box<[usize]>>,
    exact: Paths,
    prefixes: Paths,
    /// The length of the longest prefix: no longer cut of a path is worth a look-up.
    longest: usize,
}

/// Indexes of routes, by path. Bytes, as paths of requests are: what is no text is in no route.
type Paths = HashMap<Box<[u8]>, Vec<usize>>;

impl Routes {
    /// Keeps the order; the configuration has checked names and paths.
    pub fn new(routes: Vec<Route>) -> Routes {
        let (mut exact, mut prefixes) = (Paths::default(), Paths::default());
        for (index, route) in routes.iter().enumerate() {
            let (paths, path) = match &route.path {
                PathRule::Exact(path) => (&mut exact, path),
                PathRule::Prefix(path) => (&mut prefixes, path),
            };
            paths.entry(path.as_bytes().into()).or_default().push(index);
        }
        let longest = prefixes.keys().map(|path| path.len()).max().unwrap_or_default();
        Routes {
            next: next(&routes),
            routes,
            exact,
            prefixes,
            longest,
        }
    }

    /// The route of a path that was decoded once, and its index.
    ///
    /// # Errors
    /// Where no route has the path, or none of that path takes the method.
    pub fn find(&self, path: &[u8], method: &Method) -> Result<(usize, &Route), NoRoute> {
        let candidates = self.candidates(path);
        if candidates.is_empty() {
            return Err(NoRoute::NotFound);
        }
        let routes = || {
            candidates
                .iter()
                .filter_map(|&index| Some((index, self.routes.get(index)?)))
        };
        routes()
            .find(|(_, route)| route.methods.contains(method))
            .ok_or_else(|| {
                let methods: BTreeSet<_> = routes()
                    .flat_map(|(_, route)| route.methods.iter())
                    .map(Method::as_str)
                    .collect();
                NoRoute::MethodNotAllowed(methods.into_iter().filter_map(|m| m.parse().ok()).collect())
            })
    }

    /// Of the widget routes that have path and method of the first: the first one that is for the message.
    /// `seen` is not asked where that needs no look at the message.
    pub fn choose(&self, first: usize, seen: impl FnOnce() -> Seen) -> Option<(usize, &Route, WidgetRoute)> {
        let mut widgets = self.of_same(first).filter_map(|(at, route)| match route.kind {
            Kind::Widget(widget) => Some((at, route, widget)),
            Kind::Pass(_) => None,
        });
        let (at, route, widget) = widgets.next()?;
        if route.selection.is_everything() {
            return Some((at, route, widget));
        }
        let seen = seen();
        let mut all = [(at, route, widget)].into_iter().chain(widgets);
        all.find(|(_, route, _)| route.selection.misfit(&seen).is_none())
    }

    /// A route, and the later ones with its path and one of its methods, in the order of the file.
    pub fn of_same(&self, first: usize) -> impl Iterator<Item = (usize, &Route)> {
        let later = self.next.get(first).map(|next| &**next).unwrap_or_default();
        let all = [first].into_iter().chain(later.iter().copied());
        all.filter_map(|at| Some((at, self.routes.get(at)?)))
    }

    /// Whether two spellings of a path lead to the same routes.
    pub fn same(&self, a: &[u8], b: &[u8]) -> bool {
        self.candidates(a) == self.candidates(b)
    }

    /// Every route, in the order of the file.
    pub fn all(&self) -> &[Route] {
        &self.routes
    }

    fn candidates(&self, path: &[u8]) -> &[usize] {
        if let Some(found) = self.exact.get(path) {
            return found;
        }
        // Longest first: the whole path, then cut at each slash from the right.
        let mut prefix = path.strip_suffix(b"/").unwrap_or(path);
        loop {
            if prefix.len() <= self.longest
                && let Some(found) = self.prefixes.get(prefix)
            {
                return found;
            }
            match memchr::memrchr(b'/', prefix).and_then(|at| prefix.get(..at)) {
                Some(shorter) => prefix = shorter,
                None => return &[],
            }
        }
    }
}

fn next(routes: &[Route]) -> Vec<Box<[usize]>> {
    let same = |a: &Route, b: &Route| a.path == b.path && a.methods.iter().any(|one| b.methods.contains(one));
    let next = routes.iter().enumerate().map(|(at, route)| {
        let later = routes.iter().enumerate().skip(at + 1);
        later
            .filter(|(_, other)| same(route, other))
            .map(|(at, _)| at)
            .collect()
    });
    next.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, path: &str, methods: &[Method]) -> Route {
        Route {
            name: name.into(),
            path: PathRule::parse(path).unwrap(),
            methods: methods.to_vec(),
            kind: Kind::Pass(Upgrade::Never),
            selection: Selection::default(),
            upstream: "u".into(),
        }
    }

    fn found(routes: &Routes, path: &str, method: Method) -> String {
        match routes.find(path.as_bytes(), &method) {
            Ok((_, route)) => route.name.to_string(),
            Err(NoRoute::NotFound) => "404".to_owned(),
            Err(NoRoute::MethodNotAllowed(allow)) => format!("405 {allow:?}"),
        }
    }

    #[test]
    fn the_longest_path_wins_then_the_method() {
        let routes = Routes::new(vec![
            route("root", "/", &[Method::GET]),
            route("app", "/app", &[Method::POST]),
            route("app-get", "/app/", &[Method::GET, Method::HEAD]),
            route("exact", "= /app/x", &[Method::POST]),
        ]);
        for (path, method, want) in [
            ("/", Method::GET, "root"),
            ("/apple", Method::GET, "root"),
            ("/app", Method::POST, "app"),
            ("/app/", Method::POST, "app"),
            ("/app/y/z", Method::GET, "app-get"),
            ("/app/x", Method::POST, "exact"),
            ("/app/x/", Method::GET, "app-get"),
            ("/app/x", Method::GET, "405 [POST]"),
            ("/app", Method::PUT, "405 [GET, HEAD, POST]"),
            ("*", Method::OPTIONS, "404"),
        ] {
            assert_eq!(found(&routes, path, method), want, "{path}");
        }
        assert_eq!(
            found(
                &Routes::new(vec![route("a", "/a", &[Method::GET])]),
                "/b",
                Method::GET
            ),
            "404"
        );
        assert!(routes.same(b"/app/x", b"/app/x") && !routes.same(b"/app//x", b"/app/x"));
        assert_eq!(
            routes
                .find(b"/app/\xff/x", &Method::POST)
                .unwrap()
                .1
                .name
                .as_ref(),
            "app"
        );
    }

    #[test]
    fn paths_that_can_not_match_are_refused() {
        for bad in ["x", "", "=x", "/a//b", "/a/../b", "/a?b", "/a b", "/a#"] {
            assert!(PathRule::parse(bad).is_err(), "{bad:?}");
        }
    }
}
