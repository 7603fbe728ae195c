//! The fields of a message, one after another; what is wrong with them is gathered.

use super::call::{Event, FieldRules, Own, Part, PlaceRule, Robot, Widget};
use crate::request::field::{
    AppSid, ClientEndpoint, Domain, EventName, FaultCode, Field, FieldFault, FieldSet, Invalid, Lang,
    MemberId, Placement, Protocol, Status, check_auth_expires, check_scope, check_server_endpoint,
    check_token,
};
use crate::request::form::Reading;
use crate::request::message::{Kind, Message};
use crate::request::options::Options;

pub(super) struct Read<'f, 'e> {
    message: Message<'f>,
    rules: FieldRules<'e>,
    faults: Vec<FieldFault>,
}

impl<'f, 'e> Read<'f, 'e> {
    /// Begins with what there are two opinions about.
    pub(super) fn of(message: Message<'f>, rules: FieldRules<'e>) -> Read<'f, 'e> {
        let mut faults: Vec<_> = message
            .form()
            .faults()
            .filter(|fault| message.is_judged_by(fault.field))
            .collect();
        faults.extend(message.foreign());
        Read {
            message,
            rules,
            faults,
        }
    }

    /// A widget call, or what is sound of one.
    pub(super) fn placement(&mut self) -> Result<Widget, Box<Part>> {
        let member_id = self.member_id(Field::MemberId, Need::Always);
        let domain = self.required(Field::Domain, Domain::parse);
        let protocol = self.required(Field::Protocol, Protocol::parse);
        let lang = self.required(Field::Lang, Lang::parse);
        let app_sid = self.optional(Field::AppSid, AppSid::parse);
        self.optional(Field::AuthExpires, check_auth_expires);
        self.optional(Field::ApplicationScope, check_scope);
        let status = self.optional(Field::Status, Status::parse);
        let placement = self.required(Field::Placement, Placement::parse);
        let options = self.options();
        self.secrets();
        self.under_auth(domain.as_ref());
        match (domain, protocol, lang, member_id, placement, options) {
            (Some(domain), Some(protocol), Some(lang), Some(member_id), Some(placement), Some(options)) => {
                Ok(Widget {
                    domain,
                    protocol,
                    lang,
                    member_id,
                    placement,
                    app_sid,
                    status,
                    options,
                })
            }
            (domain, protocol, lang, member_id, placement, options) => Err(Box::new(Part {
                domain,
                protocol,
                portal: protocol,
                lang,
                member_id,
                placement,
                app_sid,
                status,
                options,
                ..Part::default()
            })),
        }
    }

    /// An event, or what is sound of one.
    pub(super) fn event(&mut self) -> Result<Event, Box<Part>> {
        let name = self.optional(Field::Event, EventName::parse);
        let domain = self.required(Field::AuthDomain, Domain::parse);
        let own = self.member_id(Field::AuthMemberId, Need::IfThere);
        let flat = self.member_id(Field::MemberId, Need::IfThere);
        // Where both are there and differ, one of them is foreign, and neither is an identity.
        let member_id = match (own, flat) {
            (Some(own), Some(flat)) if own != flat => None,
            (own, flat) => own.or(flat),
        };
        let scheme = self.called_back(domain.as_ref());
        match domain {
            Some(domain) => Ok(Event {
                name,
                domain,
                scheme,
                member_id,
            }),
            None => Err(Box::new(Part {
                event: name,
                member_id,
                ..Part::default()
            })),
        }
    }

    /// A robot's call, or what is sound of one.
    pub(super) fn robot(&mut self) -> Result<Robot, Box<Part>> {
        self.required(Field::EventToken, |_| Ok(()));
        let domain = self.required(Field::AuthDomain, Domain::parse);
        let member_id = self.member_id(Field::AuthMemberId, Need::Always);
        self.member_id(Field::MemberId, Need::IfThere);
        let scheme = self.called_back(domain.as_ref());
        match (domain, member_id) {
            (Some(domain), Some(member_id)) => Ok(Robot {
                domain,
                scheme,
                member_id,
            }),
            (domain, member_id) => Err(Box::new(Part {
                portal: domain.is_some().then_some(scheme),
                domain,
                member_id,
                ..Part::default()
            })),
        }
    }

    /// The page's own request: nothing has to be there.
    pub(super) fn own(&mut self) -> Own {
        self.secrets();
        Own {
            domain: self.optional(Field::Domain, Domain::parse),
            member_id: self.member_id(Field::MemberId, Need::IfThere),
        }
    }

    /// Every fault, each once, in the order of the contract.
    pub(super) fn end(mut self) -> Vec<FieldFault> {
        self.needs_of_the_route();
        self.places();
        self.faults.sort_unstable();
        self.faults
            .dedup_by(|a, b| (a.field.told(), a.code) == (b.field.told(), b.code));
        self.faults
    }

    /// What a portal sends by itself has in common. Returns the scheme of the portal's address.
    fn called_back(&mut self, domain: Option<&Domain>) -> Protocol {
        self.secrets();
        self.optional(Field::Domain, Domain::parse);
        let client_endpoint = self.under_auth(domain);
        client_endpoint.map_or(Protocol::Https, |endpoint| endpoint.scheme)
    }

    fn secrets(&mut self) {
        let allowed = self.rules.server_endpoints;
        self.optional(Field::ServerEndpoint, |bytes| {
            check_server_endpoint(bytes, allowed)
        });
        for token in [Field::AuthId, Field::RefreshId, Field::ApplicationToken] {
            self.optional(token, check_token);
        }
    }

    fn under_auth(&mut self, domain: Option<&Domain>) -> Option<ClientEndpoint> {
        if !self.message.form().has_auth() {
            return None;
        }
        let allowed = self.rules.server_endpoints;
        self.optional(Field::AuthServerEndpoint, |bytes| {
            check_server_endpoint(bytes, allowed)
        });
        for token in Field::AUTH_TOKENS {
            self.optional(token, check_token);
        }
        self.optional(Field::AuthClientEndpoint, |bytes| {
            ClientEndpoint::parse(bytes, domain)
        })
    }

    fn member_id(&mut self, field: Field, need: Need) -> Option<MemberId> {
        let shape = self.rules.member_id;
        let parse = |bytes: &[u8]| MemberId::parse(bytes, shape);
        match need {
            Need::Always => self.required(field, parse),
            Need::IfThere => self.optional(field, parse),
        }
    }

    fn options(&mut self) -> Option<Options> {
        match self.message.form().reading(Field::PlacementOptions) {
            Reading::Faulty(_) => None,
            Reading::Value(value) => Some(Options::read(Some(value))),
            Reading::Absent => Some(Options::Absent),
        }
    }

    fn needs_of_the_route(&mut self) {
        let of_kind = match self.message.kind() {
            Kind::Placement => Field::OF_PLACEMENT,
            Kind::Event => Field::OF_EVENT,
            Kind::Robot => Field::OF_ROBOT,
            Kind::Own => FieldSet::default(),
        };
        let is_told: FieldSet = self.faults.iter().map(|fault| fault.field).collect();
        for field in self.rules.required.iter() {
            if of_kind.has(field) && !is_told.has(field) {
                self.required(field, |_| Ok(()));
            }
        }
    }

    /// Readers of one part alone would differ about what stands in the other.
    fn places(&mut self) {
        if self.rules.places == PlaceRule::Any {
            return;
        }
        let parts = self.message.form().parts();
        let is_told: FieldSet = self.faults.iter().map(|fault| fault.field).collect();
        for field in Field::ALL {
            let is_misplaced = match Field::IN_ADDRESS.has(field) {
                true => parts.in_body.has(field),
                false => parts.in_query.has(field),
            };
            if is_misplaced && self.message.is_judged_by(field) && !is_told.has(field) {
                self.fault(field, FaultCode::Conflict);
            }
        }
    }

    fn fault(&mut self, field: Field, code: FaultCode) {
        self.faults.push(FieldFault { field, code });
    }

    fn required<T>(&mut self, field: Field, parse: impl FnOnce(&[u8]) -> Result<T, Invalid>) -> Option<T> {
        match self.message.form().reading(field) {
            Reading::Absent => self.fault(field, FaultCode::Missing),
            Reading::Value(value) if value.trim_ascii().is_empty() => self.fault(field, FaultCode::Blank),
            Reading::Value(value) => match parse(value) {
                Ok(value) => return Some(value),
                Err(Invalid) => self.fault(field, FaultCode::Invalid),
            },
            // It stands among the faults already.
            Reading::Faulty(_) => {}
        }
        None
    }

    fn optional<T>(&mut self, field: Field, parse: impl FnOnce(&[u8]) -> Result<T, Invalid>) -> Option<T> {
        match self.message.form().value(field) {
            Some(value) if !value.trim_ascii().is_empty() => self.required(field, parse),
            Some(_) | None => None,
        }
    }
}

/// Whether a message is nothing without a field.
enum Need {
    Always,
    IfThere,
}
