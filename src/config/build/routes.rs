//! `[[routes]]`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use http::Method;
use toml::Spanned;

use super::selection::{Claims, selection, unreached};
use crate::config::fault::{Faults, nearest, one_of};
use crate::config::file::{File, KindWord, RouteTable};
use crate::config::values::{At, Word, quoted, word};
use crate::policy::Mode;
use crate::policy::portion::Portion;
use crate::policy::route::{Kind, PathRule, Route, Upgrade, WidgetRoute};
use crate::policy::selection::Selection;
use crate::request::field::{Field, FieldSet, MemberIdShape};
use crate::request::message::{self, Kinds};

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
            Kind::Widget(widget(table, default_mode, faults))
        }
        KindWord::Pass => {
            of_widgets_alone(table, faults);
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

/// What only a widget route has.
fn widget(table: &RouteTable, default_mode: Mode, faults: &mut Faults<'_>) -> WidgetRoute {
    let default = WidgetRoute::default();
    let accepts = match &table.accepts {
        Some(list) => accepts(list, faults),
        None => default.accepts,
    };
    let mode = word(&table.mode, default_mode);
    WidgetRoute {
        mode,
        enforce: enforce(table, mode, faults),
        accepts,
        require: required(table, accepts, faults),
        places: word(&table.places, default.places),
    }
}

/// For how many members: nothing to say where nobody is refused.
fn enforce(table: &RouteTable, mode: Mode, faults: &mut Faults<'_>) -> Portion {
    let Some(enforce) = &table.enforce else {
        return Portion::ALL;
    };
    if mode == Mode::Observe {
        faults.at(
            &enforce.span,
            "has no meaning on a route whose mode is \"observe\", allowed is it with mode = \"enforce\"",
        );
    }
    enforce.value.0
}

fn accepts(list: &Spanned<Vec<At<Word<message::Kind>>>>, faults: &mut Faults<'_>) -> Kinds {
    let mut kinds: Vec<message::Kind> = Vec::new();
    for word in list.get_ref() {
        let kind = word.value.0;
        if kinds.contains(&kind) {
            let kind = kind.label();
            faults.at(
                &word.span,
                format!("{kind:?} stands in the list twice, allowed is once"),
            );
        }
        kinds.push(kind);
    }
    if faults.is_unread_below(&faults.index().of_value(&list.span())) {
        // What is meant by the others is not known.
        return Kinds::of(&message::Kind::ALL);
    }
    if kinds.is_empty() {
        faults.at(
            &list.span(),
            "is empty, so the route takes no message, at least one kind is needed",
        );
    }
    Kinds::of(&kinds)
}

/// A field that no message of the accepted kinds is asked for would be asked of nobody.
fn required(table: &RouteTable, accepts: Kinds, faults: &mut Faults<'_>) -> FieldSet {
    let mut required = FieldSet::default();
    for word in table.require.iter().flatten() {
        let field = word.value.0;
        let (of, kinds): (_, &[message::Kind]) = if Field::OF_PLACEMENT.has(field) {
            ("placement calls have", &[message::Kind::Placement])
        } else if Field::OF_EVENT.has(field) && Field::OF_ROBOT.has(field) {
            (
                "events and robots have",
                &[message::Kind::Event, message::Kind::Robot],
            )
        } else if Field::OF_EVENT.has(field) {
            ("events have", &[message::Kind::Event])
        } else {
            ("robots have", &[message::Kind::Robot])
        };
        if kinds.iter().any(|&kind| accepts.has(kind)) {
            required.insert(field);
        } else {
            let name = field.name();
            faults.at(
                &word.span,
                format!("{name:?} is a field that {of}, which this route does not take (accepts)"),
            );
        }
    }
    required
}

fn of_widgets_alone(table: &RouteTable, faults: &mut Faults<'_>) {
    const MEANINGLESS: &str = "has no meaning on a pass route, allowed is";
    if let Some(mode) = &table.mode {
        faults.at(&mode.span, format!("{MEANINGLESS} a mode on widget routes"));
    }
    if let Some(enforce) = &table.enforce {
        faults.at(
            &enforce.span,
            format!("{MEANINGLESS} a portion of members on widget routes"),
        );
    }
    if let Some(accepts) = &table.accepts {
        faults.at(
            &accepts.span(),
            format!("{MEANINGLESS} a list of messages on widget routes"),
        );
    }
    for field in table.require.iter().flatten() {
        faults.at(
            &field.span,
            format!("{MEANINGLESS} a required field on widget routes"),
        );
    }
    if let Some(places) = &table.places {
        faults.at(
            &places.span,
            format!("{MEANINGLESS} a rule for fields on widget routes"),
        );
    }
    for list in [&table.placements, &table.domains, &table.members]
        .into_iter()
        .flatten()
    {
        faults.at(
            &list.span(),
            format!("{MEANINGLESS} a list of patterns on widget routes"),
        );
    }
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
