//! What a form is: Bitrix24 lets one address of a handler receive several kinds of message. The shape tells
//! them apart, and a form that could be taken for two of them, or that names two portals, is told so.

use super::field::{FaultCode, Field, FieldFault};
use super::form::{Form, Reading};
use super::label::labelled;

labelled! {
    /// Who sends the request, and for what: the words of `accepts`, of `X-Bitrix24-Message` and of the label `message`.
    pub enum Kind {
        /// A widget that a user opened in the portal.
        Placement = "placement";
        /// What happened in the portal: events, outgoing webhooks, settings wizards, providers.
        Event = "event";
        /// A robot or an action of a workflow.
        Robot = "robot";
        /// The handler's own page, at its own address.
        Own = "own";
    }
}

/// Some of the kinds: those that a route takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds(u8);

impl Kinds {
    /// These kinds.
    pub const fn of(mut kinds: &[Kind]) -> Kinds {
        let mut bits = 0;
        while let [first, rest @ ..] = kinds {
            bits |= 1 << *first as u8;
            kinds = rest;
        }
        Kinds(bits)
    }

    /// These and those.
    pub const fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Whether the kind is one of them.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |&kind| self.has(kind))
    }
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds::of(&[Kind::Placement])
    }
}

/// A form, and what it is.
#[derive(Clone, Copy)]
pub struct Message<'f> {
    form: &'f Form<'f>,
    kind: Kind,
}

impl<'f> Message<'f> {
    /// The first shape that fits decides. What has none of them is the page's own where the route takes that,
    /// and elsewhere a placement call that lacks something.
    pub fn of(form: &'f Form<'f>, accepted: Kinds) -> Message<'f> {
        let kind = if form.has(Field::Placement) || form.has(Field::PlacementOptions) {
            Kind::Placement
        } else if form.has_auth() && form.has(Field::EventToken) {
            Kind::Robot
        } else if form.has_auth() {
            Kind::Event
        } else if accepted.has(Kind::Own) {
            Kind::Own
        } else {
            Kind::Placement
        };
        Message { form, kind }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The form.
    pub fn form(&self) -> &'f Form<'f> {
        self.form
    }

    /// Whether a field of this message has to be what its name says. A page's own request has names of its
    /// own.
    pub fn is_judged_by(&self, field: Field) -> bool {
        match self.kind {
            Kind::Placement | Kind::Event | Kind::Robot => true,
            Kind::Own => Field::OF_IDENTITY.has(field),
        }
    }

    /// Where a reader of one shape finds another portal, or another message, than a reader of the other.
    pub fn foreign(&self) -> Vec<FieldFault> {
        let form = self.form;
        if !form.has_auth() {
            return Vec::new();
        }
        // Nobody takes nothing for an identity; white space is something to PHP.
        let value = |field| form.value(field).filter(|value| !value.is_empty());
        let differs = |field: Field, other| match (value(field), value(other)) {
            (Some(a), Some(b)) => !field.is_same(a, b),
            (Some(_) | None, _) => false,
        };
        let (is_event, is_robot) = (form.has(Field::Event), form.has(Field::EventToken));
        let is_placement = self.kind == Kind::Placement;
        [
            (Field::AuthMemberId, differs(Field::AuthMemberId, Field::MemberId)),
            (Field::AuthDomain, differs(Field::AuthDomain, Field::Domain)),
            (Field::Event, is_event && (is_placement || is_robot)),
            (Field::EventToken, is_robot && is_placement),
        ]
        .into_iter()
        .filter(|&(field, is_foreign)| is_foreign && !matches!(form.reading(field), Reading::Faulty(_)))
        .map(|(field, _)| FieldFault {
            field,
            code: FaultCode::Foreign,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Kinds = Kinds::of(&Kind::ALL);

    fn told(query: &str, body: &str, accepted: Kinds) -> (Kind, Vec<Field>) {
        let form = Form::parse(query.as_bytes(), body.as_bytes(), 1000).unwrap();
        let message = Message::of(&form, accepted);
        (
            message.kind(),
            message.foreign().iter().map(|fault| fault.field).collect(),
        )
    }

    #[test]
    fn the_first_shape_that_fits_decides() {
        use Kind::{Event, Own, Placement, Robot};
        for (query, body, kind) in [
            ("DOMAIN=a", "PLACEMENT=x", Placement),
            ("", "PLACEMENT_OPTIONS[]=x", Placement),
            ("PLACEMENT", "", Placement),
            ("", "event_token=x&auth[domain]=a", Robot),
            ("", "event=x&auth[domain]=a", Event),
            ("auth[x]=1", "", Event),
            ("", "data[x]=1&auth[member_id=1", Event),
            ("DOMAIN=a", "member_id=b&status=done", Own),
            ("", "event=x&event_token=y&workflow_id=z&auth=1", Own),
            ("", "", Own),
        ] {
            assert_eq!(told(query, body, ALL), (kind, Vec::new()), "{query} | {body}");
            let elsewhere = if kind == Own { Placement } else { kind };
            assert_eq!(
                told(query, body, Kinds::default()).0,
                elsewhere,
                "{query} | {body}"
            );
        }
    }

    #[test]
    fn what_belongs_to_another_message_is_foreign() {
        let placement = "PLACEMENT=x&member_id=a&DOMAIN=p.example";
        for (more, foreign) in [
            ("auth[member_id]=a&auth[domain]=P.example:", &[][..]),
            ("auth[member_id]=&auth[domain]", &[]),
            ("event=x&event_token=y", &[]),
            ("auth[member_id]=b", &[Field::AuthMemberId]),
            ("auth[member_id]=+", &[Field::AuthMemberId]),
            ("auth[domain]=evil.example", &[Field::AuthDomain]),
            ("auth[domain]=https://p.example/", &[Field::AuthDomain]),
            ("auth[x]=1&event=", &[Field::Event]),
            ("auth[x]=1&event_token=y", &[Field::EventToken]),
        ] {
            let (kind, found) = told("", &format!("{placement}&{more}"), ALL);
            assert_eq!((kind, &found[..]), (Kind::Placement, foreign), "{more}");
        }
        let robot = "event_token=x&auth[member_id]=a&event=y";
        assert_eq!(told("", robot, ALL), (Kind::Robot, vec![Field::Event]));
        let event = "event=x&auth[domain]=a.example&DOMAIN=b.example";
        assert_eq!(told("", event, ALL), (Kind::Event, vec![Field::AuthDomain]));
    }
}
