//! `[[routes]]`.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use http::Method;

use super::selection::{Claims, selection, unreached};
use super::widget_route;
use crate::config::fault::{Faults, nearest, one_of};
use crate::config::file::{File, RouteTable};
use crate::config::values::{At, Placed, Words, given_or, quoted};
use crate::config::words::KindWord;
use crate::policy::Mode;
use crate::policy::route::{Kind, PathRule, Route, Upgrade};
use crate::policy::selection::Selection;
use crate::request::field::MemberIdShape;

/// The most route names, so that the metrics stay small.
const MOST: usize = 64;

/// What the routes before have taken.
#[derive(Default)]
struct Taken {
    names: HashMap<String, usize>,
    methods: Claims,
}

pub(super) fn build(file: &File, faults: &mut Faults<'_>) -> Vec<Route> {
    let mut taken = Taken::default();
    let mut used: HashSet<&str> = HashSet::new();
    let default_mode = given_or(&file.widget.mode, Mode::Enforce);
    let mut routes = Vec::new();
    for Placed { value: table, span } in &file.routes {
        used.extend(table.upstream.as_ref().map(|upstream| upstream.value.as_str()));
        routes.extend(one(table, span, default_mode, file, &mut taken, faults));
    }
    let unread = faults.is_unread_below("routes");
    if file.routes.is_empty() && !unread {
        faults.push(
            0,
            "routes".into(),
            "is missing, at least one [[routes]] is needed".into(),
            false,
        );
    }
    if let Some(route) = file.routes.get(MOST) {
        let message = format!("is route number {}, allowed are {MOST}", MOST + 1);
        faults.at(&route.span, message);
    }
    for name in file.upstreams.keys() {
        if !unread && !used.contains(name.value.as_str()) {
            faults.warn(&name.span, "is used by no route");
        }
    }
    routes
}

fn one(
    table: &RouteTable,
    span: &Range<usize>,
    default_mode: Mode,
    file: &File,
    taken: &mut Taken,
    faults: &mut Faults<'_>,
) -> Option<Route> {
    let kind = table.kind.as_ref().map(|kind| kind.value);
    let name = name(table, span, kind, taken, faults);
    let methods = methods(table, kind, faults);
    let selection = match kind {
        Some(KindWord::Widget) => {
            let shape = given_or(&file.widget.member_id, MemberIdShape::Hex32);
            Some(selection(table, shape, faults))
        }
        Some(KindWord::Pass) | None => None,
    };
    let path = path(table, span, &methods, selection.as_ref(), taken, faults);
    let upstream = upstream(table, span, file, faults);
    faults.required(&kind, span, "kind", "allowed is \"widget\" or \"pass\"");
    let kind = match kind? {
        KindWord::Widget => {
            of_pass_routes_alone(table, faults);
            Kind::Widget(widget_route::rules(table, default_mode, faults))
        }
        KindWord::Pass => {
            widget_route::have_no_place(table, faults);
            Kind::Pass(upgrade(table, &methods, faults))
        }
    };
    let methods = methods.into_iter().map(|(method, _)| method).collect();
    Some(Route {
        name: name?.into(),
        path: path?,
        methods,
        kind,
        selection: selection.unwrap_or_default(),
        upstream: upstream?,
    })
}

fn of_pass_routes_alone(table: &RouteTable, faults: &mut Faults<'_>) {
    if let Some(upgrade) = &table.upgrade {
        let message = "has no meaning on a widget route, allowed is a list of protocols on pass routes";
        faults.at(&upgrade.span, message);
    }
}

/// A list that changes nothing is not what somebody meant who wrote it.
fn upgrade(
    table: &RouteTable,
    methods: &[(Method, Option<Range<usize>>)],
    faults: &mut Faults<'_>,
) -> Upgrade {
    let Some(Placed { value: list, span }) = &table.upgrade else {
        return Upgrade::Never;
    };
    if faults.is_unread_in(span) {
        return Upgrade::Never;
    }
    let takes_get = methods.iter().any(|(method, _)| *method == Method::GET);
    match list.as_slice() {
        [] => faults.at(span, "is empty, allowed is [\"websocket\"]"),
        [_, second, ..] => faults.twice(&second.span, "\"websocket\""),
        [_] if !takes_get => faults.at(
            span,
            "begins with a GET, which this route does not take, allowed is a route whose methods have it",
        ),
        [_] => {}
    }
    list.first().map_or(Upgrade::Never, |word| word.value)
}

fn name(
    table: &RouteTable,
    span: &Range<usize>,
    kind: Option<KindWord>,
    taken: &mut Taken,
    faults: &mut Faults<'_>,
) -> Option<String> {
    if table.name.is_none() && faults.is_unread(span, "name") {
        return None;
    }
    let given = table.name.as_ref().map(|name| name.value.as_str());
    let name = given.or(kind.as_ref().map(Words::word))?.to_owned();
    let at = table.name.as_ref().map_or(span, |name| &name.span);
    if let Some(line) = taken.names.get(&name) {
        match &table.name {
            Some(_) => faults.at(
                at,
                format!("{name:?} is the name of the route in line {line} too, allowed is a name of its own"),
            ),
            None => faults.under(
                span,
                "name",
                format!("is left out, so it is {name:?} as in line {line}, allowed is a name of its own"),
            ),
        }
        return None;
    }
    if name == "none" {
        let message = "\"none\" stands for requests without a route in metrics, allowed is another name";
        faults.at(at, message);
    }
    taken.names.insert(name.clone(), faults.line(span));
    Some(name)
}

/// The methods, each with its place if it is written down.
fn methods(
    table: &RouteTable,
    kind: Option<KindWord>,
    faults: &mut Faults<'_>,
) -> Vec<(Method, Option<Range<usize>>)> {
    let Some(list) = &table.methods else {
        return match kind {
            Some(KindWord::Widget) => vec![(Method::POST, None)],
            Some(KindWord::Pass) => vec![(Method::GET, None), (Method::HEAD, None)],
            None => Vec::new(),
        };
    };
    let mut methods: Vec<(Method, Option<Range<usize>>)> = Vec::new();
    for At { value: method, span } in &list.value {
        if methods.iter().any(|(other, _)| other == method) {
            faults.twice(span, &format!("\"{method}\""));
        } else if kind == Some(KindWord::Widget) && method != Method::POST {
            faults.at(
                span,
                format!("\"{method}\" carries no widget call, allowed is \"POST\" on a widget route"),
            );
        } else {
            methods.push((method.clone(), Some(span.clone())));
        }
    }
    if list.value.is_empty() {
        let message = "is empty, so the route takes no request, at least one method is needed";
        faults.empty(&list.span, message);
    }
    methods
}

/// Two routes may share a path; of one method of it the earlier has to leave something to the later.
fn path(
    table: &RouteTable,
    span: &Range<usize>,
    methods: &[(Method, Option<Range<usize>>)],
    selection: Option<&Selection>,
    taken: &mut Taken,
    faults: &mut Faults<'_>,
) -> Option<PathRule> {
    let allowed = "allowed is \"/x\" for all below it or \"= /x\" for it alone";
    let path = faults.required(&table.path, span, "path", allowed)?;
    let rule = match PathRule::parse(&path.value) {
        Ok(rule) => rule,
        Err(allowed) => {
            let given = quoted(&path.value);
            faults.at(&path.span, format!("{given} can never match, {allowed}"));
            return None;
        }
    };
    if path.value.contains('%') {
        let message = "'%' stands for itself here: routes see the path decoded";
        faults.warn(&path.span, message);
    }
    let line = faults.line(span);
    let (mut shadowed, mut by): (Vec<&str>, _) = (Vec::new(), Vec::new());
    for (method, at) in methods {
        let lines = taken.methods.take(&rule, method, line, selection);
        match at {
            _ if lines.is_empty() => {}
            Some(at) => unreached(&format!("\"{method}\""), &path.value, &lines, at, faults),
            None => {
                shadowed.push(method.as_str());
                by = lines;
            }
        }
    }
    if !shadowed.is_empty() {
        unreached(&shadowed.join(" and "), &path.value, &by, &path.span, faults);
    }
    Some(rule)
}

fn upstream(
    table: &RouteTable,
    span: &Range<usize>,
    file: &File,
    faults: &mut Faults<'_>,
) -> Option<Arc<str>> {
    let allowed = "allowed is the name of an [upstreams.NAME]";
    let upstream = faults.required(&table.upstream, span, "upstream", allowed)?;
    let given = upstream.value.as_str();
    let names = || file.upstreams.keys().map(|name| name.value.as_str());
    if !names().any(|name| name == given) && !faults.is_unread_below("upstreams") {
        let given = quoted(given);
        let allowed = match (nearest(&upstream.value, names()), names().count()) {
            (Some(near), _) => format!("did you mean {near:?}?"),
            (None, 0) => "there is none yet: [upstreams.NAME] makes one".to_owned(),
            (None, _) => format!("allowed is {}", one_of(names().take(10))),
        };
        faults.at(&upstream.span, format!("{given} is no upstream, {allowed}"));
    }
    Some(given.into())
}
