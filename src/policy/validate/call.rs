//! What a sound message is, and what is known of one that is not.

use crate::request::field::{
    AppSid, Domain, EventName, FieldFault, FieldSet, Lang, MemberId, MemberIdShape, Placement, Protocol,
    ServerEndpoints, Status,
};
use crate::request::message::Kind;
use crate::request::options::Options;

/// What fields are judged by, besides their own grammar.
#[derive(Clone, Copy, Debug)]
pub struct FieldRules<'e> {
    /// How strictly `member_id` is read.
    pub member_id: MemberIdShape,
    /// Where tokens may be sent.
    pub server_endpoints: &'e ServerEndpoints,
    /// What the route needs besides what every message of its kind has.
    pub required: FieldSet,
    /// Where fields have to stand.
    pub places: PlaceRule,
}

/// Where fields have to stand (`[[routes]] places`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PlaceRule {
    /// In the query or in the body.
    #[default]
    Any,
    /// Those of the handler's address in the query, the others in the body.
    Strict,
}

/// A sound message. [`validate`](super::validate()) is its only maker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// A widget that a user opened.
    Placement(Widget),
    /// Something that happened in a portal.
    Event(Event),
    /// A robot of a portal.
    Robot(Robot),
    /// The handler's own page.
    Own(Own),
}

/// A sound widget call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Widget {
    pub(super) domain: Domain,
    pub(super) protocol: Protocol,
    pub(super) lang: Lang,
    pub(super) member_id: MemberId,
    pub(super) placement: Placement,
    pub(super) app_sid: Option<AppSid>,
    pub(super) status: Option<Status>,
    pub(super) options: Options,
}

/// A sound event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub(super) name: Option<EventName>,
    pub(super) domain: Domain,
    pub(super) scheme: Protocol,
    /// Chat bots' events have none.
    pub(super) member_id: Option<MemberId>,
}

/// A sound call of a robot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Robot {
    pub(super) domain: Domain,
    pub(super) scheme: Protocol,
    pub(super) member_id: MemberId,
}

/// A sound request of the handler's page: what it says of the portal, if it says anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Own {
    pub(super) domain: Option<Domain>,
    pub(super) member_id: Option<MemberId>,
}

impl Call {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Call::Placement(_) => Kind::Placement,
            Call::Event(_) => Kind::Event,
            Call::Robot(_) => Kind::Robot,
            Call::Own(_) => Kind::Own,
        }
    }

    /// The member whose quota it takes from. What portals send by themselves takes from none.
    pub const fn limited_member(&self) -> Option<&MemberId> {
        match self {
            Call::Placement(Widget { member_id, .. }) => Some(member_id),
            Call::Own(Own { member_id, .. }) => member_id.as_ref(),
            Call::Event(_) | Call::Robot(_) => None,
        }
    }

    /// The same call of somebody for whom nobody vouches: what is counted of its member is counted apart.
    #[must_use]
    pub fn unproven(mut self) -> Call {
        let member = match &mut self {
            Call::Placement(Widget { member_id, .. }) | Call::Robot(Robot { member_id, .. }) => {
                Some(member_id)
            }
            Call::Event(Event { member_id, .. }) | Call::Own(Own { member_id, .. }) => member_id.as_mut(),
        };
        if let Some(member) = member {
            *member = member.clone().unproven();
        }
        self
    }

    /// What there is to tell the upstream.
    pub fn known(&self) -> Known<'_> {
        let nothing = Known {
            message: Some(self.kind()),
            ..Known::default()
        };
        match self {
            Call::Placement(widget) => Known {
                domain: Some(&widget.domain),
                protocol: Some(widget.protocol),
                portal: Some(widget.protocol),
                lang: Some(&widget.lang),
                member_id: Some(&widget.member_id),
                placement: Some(&widget.placement),
                app_sid: widget.app_sid.as_ref(),
                status: widget.status.as_ref(),
                options: Some(&widget.options),
                ..nothing
            },
            Call::Event(event) => Known {
                event: event.name.as_ref(),
                domain: Some(&event.domain),
                portal: Some(event.scheme),
                member_id: event.member_id.as_ref(),
                ..nothing
            },
            Call::Robot(robot) => Known {
                domain: Some(&robot.domain),
                portal: Some(robot.scheme),
                member_id: Some(&robot.member_id),
                ..nothing
            },
            Call::Own(own) => Known {
                domain: own.domain.as_ref(),
                member_id: own.member_id.as_ref(),
                ..nothing
            },
        }
    }
}

/// What is established: all of a [`Call`], some of a faulty message.
#[derive(Clone, Copy, Default, Debug)]
pub struct Known<'a> {
    /// What the message is; none where the form could not be read.
    pub message: Option<Kind>,
    /// `event`
    pub event: Option<&'a EventName>,
    /// `DOMAIN` or `auth[domain]`
    pub domain: Option<&'a Domain>,
    /// `PROTOCOL`
    pub protocol: Option<Protocol>,
    /// The scheme of the portal's address.
    pub portal: Option<Protocol>,
    /// `LANG`
    pub lang: Option<&'a Lang>,
    /// `member_id` or `auth[member_id]`
    pub member_id: Option<&'a MemberId>,
    /// `PLACEMENT`
    pub placement: Option<&'a Placement>,
    /// `APP_SID`
    pub app_sid: Option<&'a AppSid>,
    /// `status`
    pub status: Option<&'a Status>,
    /// `PLACEMENT_OPTIONS`; none where there are two opinions about it.
    pub options: Option<&'a Options>,
}

impl Known<'_> {
    /// What of it stands in the address, where fields stand as Bitrix24 sends them.
    pub fn of_address(self) -> Self {
        Known {
            message: self.message,
            domain: self.domain,
            protocol: self.protocol,
            portal: self.portal,
            lang: self.lang,
            app_sid: self.app_sid,
            ..Known::default()
        }
    }
}

/// A message with faults: all of them, and what is sound all the same (for observe mode).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsound {
    /// Never empty, in the order of the contract.
    pub faults: Vec<FieldFault>,
    pub(super) message: Kind,
    /// The call where nothing that it needs is at fault.
    pub(super) rest: Result<Call, Box<Part>>,
}

/// What is sound of a message, whatever it is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Part {
    pub(super) event: Option<EventName>,
    pub(super) domain: Option<Domain>,
    pub(super) protocol: Option<Protocol>,
    pub(super) portal: Option<Protocol>,
    pub(super) lang: Option<Lang>,
    pub(super) member_id: Option<MemberId>,
    pub(super) placement: Option<Placement>,
    pub(super) app_sid: Option<AppSid>,
    pub(super) status: Option<Status>,
    pub(super) options: Option<Options>,
}

impl Unsound {
    /// What there is to tell the upstream in observe mode.
    pub fn known(&self) -> Known<'_> {
        match &self.rest {
            Ok(call) => call.known(),
            Err(part) => Known {
                message: Some(self.message),
                ..part.known()
            },
        }
    }
}

impl Part {
    fn known(&self) -> Known<'_> {
        let Part {
            event,
            domain,
            protocol,
            portal,
            lang,
            member_id,
            placement,
            app_sid,
            status,
            options,
        } = self;
        Known {
            message: None,
            event: event.as_ref(),
            domain: domain.as_ref(),
            protocol: *protocol,
            portal: *portal,
            lang: lang.as_ref(),
            member_id: member_id.as_ref(),
            placement: placement.as_ref(),
            app_sid: app_sid.as_ref(),
            status: status.as_ref(),
            options: options.as_ref(),
        }
    }
}
