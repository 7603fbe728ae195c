//! What the faults of a message come to. One place knows their order: what could be read in two ways is said
//! before what nobody here takes, and that before what is missing or invalid.

use super::route::WidgetRoute;
use super::validate::{Call, FieldRules, Known, Unsound, validate};
use crate::request::field::{FaultCode, Field, FieldFault, MemberIdShape, ServerEndpoints};
use crate::request::form::Form;
use crate::request::message::{Kind, Message};

/// A message that does not go on, unless it is only observed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What was read: sound, where it is refused for its kind or for what was found beside it.
    pub read: Result<Call, Box<Unsound>>,
}

/// Why a message is refused. Faults are all that it has, never none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Two readers could take two values for a field, or two messages for the whole.
    Ambiguous(Ambiguity),
    /// The route does not take messages of this kind.
    Unexpected(Kind),
    /// Fields are missing or blank.
    Missing(Vec<FieldFault>),
    /// Fields break the grammar of their type.
    Invalid(Vec<FieldFault>),
}

/// What could be read in two ways.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ambiguity {
    /// All faults.
    pub faults: Vec<FieldFault>,
    /// Of these fields, those that stand in the query although Bitrix24 does not put them there, or not
    /// twice: the handler's own address may carry them.
    pub in_address: Vec<Field>,
}

/// How all widget routes read.
#[derive(Clone, Copy, Debug)]
pub struct Grammar<'e> {
    /// How strictly `member_id` is read.
    pub member_id: MemberIdShape,
    /// Where tokens may be sent.
    pub server_endpoints: &'e ServerEndpoints,
}

/// Reads the form as a message to this route. `more` are faults that were found beside the form.
///
/// # Errors
/// Where it is not sound, or the route does not take it.
#[expect(
    clippy::result_large_err,
    reason = "both are a call that was read; neither goes further than its caller"
)]
pub fn judge(
    form: &Form<'_>,
    route: WidgetRoute,
    grammar: Grammar<'_>,
    more: &[FieldFault],
) -> Result<Call, Refused> {
    let message = Message::of(form, route.accepts);
    let rules = FieldRules {
        member_id: grammar.member_id,
        server_endpoints: grammar.server_endpoints,
        required: route.require,
        places: route.places,
    };
    let read = validate(message, rules);
    let faults = match &read {
        Ok(_) => more.to_vec(),
        Err(unsound) => [&unsound.faults, more].concat(),
    };
    match (refusal(message, route, faults), read) {
        (None, Ok(call)) => Ok(call),
        (Some(refusal), read) => Err(Refused { refusal, read }),
        // Where it is not sound there are faults, and so there is a refusal.
        (None, Err(unsound)) => Err(Refused {
            refusal: Refusal::Invalid(unsound.faults.clone()),
            read: Err(unsound),
        }),
    }
}

fn refusal(message: Message<'_>, route: WidgetRoute, faults: Vec<FieldFault>) -> Option<Refusal> {
    use FaultCode::{Blank, Missing};
    let is_missing = |fault: &FieldFault| matches!(fault.code, Missing | Blank);
    if faults.iter().any(|fault| fault.code.is_ambiguous()) {
        let in_address = in_address(message.form(), &faults);
        Some(Refusal::Ambiguous(Ambiguity { faults, in_address }))
    } else if !route.accepts.has(message.kind()) {
        Some(Refusal::Unexpected(message.kind()))
    } else if faults.iter().any(is_missing) {
        Some(Refusal::Missing(faults))
    } else {
        (!faults.is_empty()).then_some(Refusal::Invalid(faults))
    }
}

/// Whoever registered a handler with a query of its own has to be told that it is this query.
fn in_address(form: &Form<'_>, faults: &[FieldFault]) -> Vec<Field> {
    let parts = form.parts();
    let may_be_own = |field| match Field::IN_ADDRESS.has(field) {
        // Bitrix24 puts it there, once.
        true => parts.faulty_in_query.has(field),
        false => parts.in_query.has(field),
    };
    let mut fields: Vec<_> = faults
        .iter()
        .filter(|fault| {
            fault.code.is_ambiguous() && fault.code != FaultCode::Cookie && may_be_own(fault.field)
        })
        .map(|fault| fault.field)
        .collect();
    fields.dedup();
    fields
}

impl Refused {
    /// What is established all the same.
    pub fn known(&self) -> Known<'_> {
        match &self.read {
            Ok(call) => call.known(),
            Err(unsound) => unsound.known(),
        }
    }

    /// What is wrong with its fields. A message that nobody here takes is not held against the fields of
    /// one that somebody would.
    pub fn faults(&self) -> &[FieldFault] {
        match (&self.refusal, &self.read) {
            (Refusal::Ambiguous(_) | Refusal::Missing(_) | Refusal::Invalid(_), Err(unsound)) => {
                &unsound.faults
            }
            (Refusal::Unexpected(_), _) | (_, Ok(_)) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::validate::PlaceRule;
    use crate::request::field::FieldSet;
    use crate::request::message::Kinds;

    const QUERY: &str = "DOMAIN=portal.example&PROTOCOL=1&LANG=en&APP_SID=5d41402a";
    const BODY: &str = "member_id=3f7a90c1d2e45b68a0719cbe8d243f56&status=L&PLACEMENT=DEFAULT&AUTH_ID=a1";
    const EVENT: &str =
        "event=ONCRMDEALADD&auth[domain]=portal.example&auth[member_id]=3f7a90c1d2e45b68a0719cbe8d243f56";

    fn told(query: &str, body: &str, route: WidgetRoute) -> (&'static str, String) {
        let form = Form::parse(query.as_bytes(), body.as_bytes(), 1000).unwrap();
        let grammar = Grammar {
            member_id: MemberIdShape::Hex32,
            server_endpoints: &ServerEndpoints::default(),
        };
        let list = |faults: &[FieldFault]| {
            let each = faults
                .iter()
                .map(|fault| format!("{} {}", fault.field.told(), fault.code.label()));
            each.collect::<Vec<_>>().join(", ")
        };
        match judge(&form, route, grammar, &[]).map_err(|refused| refused.refusal) {
            Ok(call) => ("sound", call.kind().label().to_owned()),
            Err(Refusal::Ambiguous(ambiguity)) => ("ambiguous", list(&ambiguity.faults)),
            Err(Refusal::Unexpected(kind)) => ("unexpected", kind.label().to_owned()),
            Err(Refusal::Missing(faults)) => ("missing", list(&faults)),
            Err(Refusal::Invalid(faults)) => ("invalid", list(&faults)),
        }
    }

    #[test]
    fn ambiguous_beats_unexpected_beats_missing_beats_invalid() {
        let default = WidgetRoute::default();
        let all = WidgetRoute {
            accepts: Kinds::of(&Kind::ALL),
            ..default
        };
        for (query, body, route, verdict, what) in [
            (QUERY, BODY, default, "sound", "placement"),
            ("", EVENT, all, "sound", "event"),
            ("", EVENT, default, "unexpected", "event"),
            ("", "event=!&auth[domain]=", default, "unexpected", "event"),
            (
                "auth[domain]=evil.example",
                EVENT,
                default,
                "ambiguous",
                "auth[domain] conflict",
            ),
            (
                "",
                "event=!&auth[domain]=",
                all,
                "missing",
                "event invalid, auth[domain] blank",
            ),
            (
                "",
                "event=!&auth[domain]=a.example",
                all,
                "invalid",
                "event invalid",
            ),
            ("", "page=2", all, "sound", "own"),
            (
                "DOMAIN=https://x",
                "status=done&LANG[]=x",
                all,
                "invalid",
                "DOMAIN invalid",
            ),
            (
                "",
                "page=2",
                WidgetRoute {
                    accepts: Kinds::of(&[Kind::Event]),
                    ..default
                },
                "unexpected",
                "placement",
            ),
            (
                "",
                "event_token=x&auth[domain]=a.example",
                all,
                "missing",
                "auth[member_id] missing",
            ),
        ] {
            assert_eq!(
                told(query, body, route),
                (verdict, what.to_owned()),
                "{query} | {body}"
            );
        }
    }

    #[test]
    fn a_route_may_need_more_and_in_its_place() {
        let needs = |field| WidgetRoute {
            require: FieldSet::of(&[field]),
            accepts: Kinds::of(&Kind::ALL),
            ..WidgetRoute::default()
        };
        let missing = |field: &str| ("missing", format!("{field} missing"));
        assert_eq!(
            told(QUERY, BODY, needs(Field::AppSid)),
            ("sound", "placement".to_owned())
        );
        assert_eq!(
            told(QUERY, BODY, needs(Field::ApplicationToken)),
            missing("APPLICATION_TOKEN")
        );
        assert_eq!(
            told("", EVENT, needs(Field::ApplicationToken)),
            ("sound", "event".to_owned())
        );
        assert_eq!(
            told("", EVENT, needs(Field::AuthApplicationToken)),
            missing("auth[token]")
        );
        assert_eq!(told("", "x=1", needs(Field::AuthId)), ("sound", "own".to_owned()));
        let strict = WidgetRoute {
            places: PlaceRule::Strict,
            ..WidgetRoute::default()
        };
        assert_eq!(told(QUERY, BODY, strict), ("sound", "placement".to_owned()));
        assert_eq!(
            told(&format!("{QUERY}&{BODY}"), "", strict),
            (
                "ambiguous",
                "AUTH_ID conflict, member_id conflict, status conflict, PLACEMENT conflict".to_owned()
            )
        );
        assert_eq!(
            told("", &format!("{QUERY}&{BODY}"), strict).1,
            "DOMAIN conflict, PROTOCOL conflict, LANG conflict, APP_SID conflict"
        );
    }

    #[test]
    fn the_handlers_own_query_is_found_out() {
        let address = |query: &str, body: &str| {
            let form = Form::parse(query.as_bytes(), body.as_bytes(), 1000).unwrap();
            let grammar = Grammar {
                member_id: MemberIdShape::Hex32,
                server_endpoints: &ServerEndpoints::default(),
            };
            match judge(&form, WidgetRoute::default(), grammar, &[]).map_err(|refused| refused.refusal) {
                Err(Refusal::Ambiguous(ambiguity)) => ambiguity.in_address,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(address(&format!("LANG=de&{QUERY}"), BODY), [Field::Lang]);
        assert_eq!(address(&format!("status=new&{QUERY}"), BODY), [Field::Status]);
        assert_eq!(address(QUERY, &format!("{BODY}&LANG=de")), []);
        assert_eq!(address(QUERY, &format!("{BODY}&status=F")), []);
    }
}
