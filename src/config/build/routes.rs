//! `[[routes]]`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use http::Method;

use super::selection::{Claims, selection, unreached};
use super::widget_route;
use crate::config::fault::{Faults, nearest, one_of};
use crate::config::file::{File, RouteTable};
use crate::config::values::{quoted, word};
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
    let mut used: BTreeMap<&str, ()> = BTreeMap::new();
    let default_mode = word(&file.widget.mode, Mode::Enforce);
    let mut routes = Vec::new();
    for route in &file.routes {
        let (span, table) = (route.span(), route.get_ref());
        if let Some(upstream) = &table.upstream {
            used.insert(&upstream.value, ());
        }
        routes.extend(one(table, &span, default_mode, file, &mut taken, faults));
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
        faults.at(
            &route.span(),
            format!("is route number {}, allowed are {MOST}", MOST + 1),
        );
    }
    for name in file.upstreams.keys() {
        if !unread && !used.contains_key(name.value.0.as_str()) {
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
    let kind = table.kind.as_ref().map(|kind| kind.value.0);
    let name = name(table, span, kind, taken, faults);
    let methods = methods(table, kind, faults);
    let selection = match kind {
        Some(KindWord::Widget) => {
            let shape = word(&file.widget.member_id, MemberIdShape::Hex32);
            Some(selection(table, shape, faults))
        }
        Some(KindWord::Pass) | None => None,
    };
    let path = path(table, span, &methods, selection.as_ref(), taken, faults);
    let upstream = upstream(table, span, file, faults);
    if kind.is_none() && !faults.is_unread(span, "kind") {
        faults.under(span, "kind", "is missing, allowed is \"widget\" or \"pass\"");
    }
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
        faults.at(
            &upgrade.span(),
            "has no meaning on a widget route, allowed is a list of protocols on pass routes",
        );
    }
}

/// A list that changes nothing is not what somebody meant who wrote it.
fn upgrade(
    table: &RouteTable,
    methods: &[(Method, Option<Range<usize>>)],
    faults: &mut Faults<'_>,
) -> Upgrade {
    let Some(list) = &table.upgrade else {
        return Upgrade::Never;
    };
    let span = list.span();
    if faults.is_unread_below(&faults.index().of_value(&span)) {
        return Upgrade::Never;
    }
    let takes_get = methods.iter().any(|(method, _)| *method == Method::GET);
    match list.get_ref().as_slice() {
        [] => faults.at(&span, "is empty, allowed is [\"websocket\"]"),
        [_, second, ..] => faults.at(
            &second.span,
            "\"websocket\" stands in the list twice, allowed is once",
        ),
        [_] if !takes_get => faults.at(
            &span,
            "begins with a GET, which this route does not take, allowed is a route whose methods have it",
        ),
        [_] => {}
    }
    list.get_ref().first().map_or(Upgrade::Never, |word| word.value.0)
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
    let given = table.name.as_ref().map(|name| name.value.0.as_str());
    let name = given.or(kind.map(KindWord::word))?.to_owned();
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
        faults.at(
            at,
            "\"none\" stands for requests without a route in metrics, allowed is another name",
        );
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
    for word in list.get_ref() {
        let Ok(method) = word.value.0.0.parse::<Method>() else {
            continue;
        };
        if methods.iter().any(|(other, _)| *other == method) {
            faults.at(
                &word.span,
                format!("\"{method}\" stands in the list twice, allowed is once"),
            );
        } else if kind == Some(KindWord::Widget) && method != Method::POST {
            faults.at(
                &word.span,
                format!("\"{method}\" carries no widget call, allowed is \"POST\" on a widget route"),
            );
        } else {
            methods.push((method, Some(word.span.clone())));
        }
    }
    let in_list = faults.is_unread_below(&faults.index().of_value(&list.span()));
    if list.get_ref().is_empty() && !in_list {
        faults.at(
            &list.span(),
            "is empty, so the route takes no request, at least one method is needed",
        );
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
    let Some(path) = &table.path else {
        if !faults.is_unread(span, "path") {
            faults.under(
                span,
                "path",
                "is missing, allowed is \"/x\" for all below it or \"= /x\" for it alone",
            );
        }
        return None;
    };
    let rule = match PathRule::parse(&path.value) {
        Ok(rule) => rule,
        Err(allowed) => {
            faults.at(
                &path.span,
                format!("{} can never match, {allowed}", quoted(&path.value)),
            );
            return None;
        }
    };
    if path.value.contains('%') {
        faults.warn(
            &path.span,
            "'%' stands for itself here: routes see the path decoded",
        );
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
    let Some(upstream) = &table.upstream else {
        if !faults.is_unread(span, "upstream") {
            faults.under(
                span,
                "upstream",
                "is missing, allowed is the name of an [upstreams.NAME]",
            );
        }
        return None;
    };
    let given = upstream.value.as_str();
    let names = || file.upstreams.keys().map(|name| name.value.0.as_str());
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
