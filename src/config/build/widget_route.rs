//! What only a widget route of `[[routes]]` has.

use crate::config::fault::Faults;
use crate::config::file::RouteTable;
use crate::config::values::{At, Placed, Word, given_or};
use crate::policy::Mode;
use crate::policy::portion::Portion;
use crate::policy::route::{ForwardAs, WidgetRoute};
use crate::policy::validate::PlaceRule;
use crate::request::field::{Field, FieldSet};
use crate::request::message::{self, Kinds};

/// What only a widget route has.
pub(super) fn rules(table: &RouteTable, default_mode: Mode, faults: &mut Faults<'_>) -> WidgetRoute {
    let default = WidgetRoute::default();
    let accepts = match &table.accepts {
        Some(list) => accepts(list, faults),
        None => default.accepts,
    };
    let forward_as = forward_as(table, accepts, faults);
    let mode = given_or(&table.mode, default_mode);
    WidgetRoute {
        mode,
        enforce: enforce(table, mode, faults),
        accepts,
        require: required(table, accepts, faults),
        places: match forward_as {
            ForwardAs::Get => PlaceRule::Strict,
            ForwardAs::Call => given_or(&table.places, default.places),
        },
        forward_as,
    }
}

/// A page that is fetched is the one of a widget, and no token may stand in its address.
fn forward_as(table: &RouteTable, accepts: Kinds, faults: &mut Faults<'_>) -> ForwardAs {
    let Some(given) = &table.forward_as else {
        return ForwardAs::Call;
    };
    if let Some(At {
        value: PlaceRule::Any,
        span,
    }) = &table.places
    {
        faults.at(
            span,
            "\"any\" lets tokens stand in the address that forward_as fetches, allowed is \"strict\"",
        );
    }
    let others = message::Kind::ALL
        .into_iter()
        .filter(|kind| *kind != message::Kind::Placement);
    let lost: Vec<_> = others
        .filter(|kind| accepts.has(*kind))
        .map(message::Kind::label)
        .collect();
    if !lost.is_empty() && !faults.is_unread_below("routes") {
        let lost = lost.join(" and ");
        faults.at(
            &given.span,
            format!("would lose what {lost} messages say, allowed is accepts = [\"placement\"] beside it"),
        );
    }
    given.value
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
    enforce.value
}

fn accepts(
    Placed { value: list, span }: &Placed<Vec<At<Word<message::Kind>>>>,
    faults: &mut Faults<'_>,
) -> Kinds {
    let mut kinds: Vec<message::Kind> = Vec::new();
    for At { value: kind, span } in list {
        if kinds.contains(kind) {
            faults.twice(span, &format!("{:?}", kind.label()));
        }
        kinds.push(*kind);
    }
    if faults.is_unread_in(span) {
        // What is meant by the others is not known.
        return Kinds::of(&message::Kind::ALL);
    }
    if kinds.is_empty() {
        let message = "is empty, so the route takes no message, at least one kind is needed";
        faults.at(span, message);
    }
    Kinds::of(&kinds)
}

/// A field that no message of the accepted kinds is asked for would be asked of nobody.
fn required(table: &RouteTable, accepts: Kinds, faults: &mut Faults<'_>) -> FieldSet {
    let mut required = FieldSet::default();
    for word in table.require.iter().flatten() {
        let field = word.value;
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
            let message = format!("{name:?} is a field that {of}, which this route does not take (accepts)");
            faults.at(&word.span, message);
        }
    }
    required
}

/// Faults of a pass route that has them.
pub(super) fn have_no_place(table: &RouteTable, faults: &mut Faults<'_>) {
    let lists = [&table.placements, &table.domains, &table.members];
    let found = [
        (table.mode.as_ref().map(|key| &key.span), "a mode"),
        (
            table.enforce.as_ref().map(|key| &key.span),
            "a portion of members",
        ),
        (table.accepts.as_ref().map(|key| &key.span), "a list of messages"),
        (table.forward_as.as_ref().map(|key| &key.span), "another method"),
        (table.places.as_ref().map(|key| &key.span), "a rule for fields"),
    ];
    let fields = table.require.iter().flatten();
    let found = found
        .into_iter()
        .filter_map(|(span, allowed)| Some((span?, allowed)))
        .chain(fields.map(|field| (&field.span, "a required field")))
        .chain(
            lists
                .into_iter()
                .flatten()
                .map(|list| (&list.span, "a list of patterns")),
        );
    for (span, allowed) in found {
        let message = format!("has no meaning on a pass route, allowed is {allowed} on widget routes");
        faults.at(span, message);
    }
}
