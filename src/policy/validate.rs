//! `Form` becomes `Widget`: every field read into its type, every fault found in one pass.

use crate::request::field::{
    AppSid, Domain, FaultCode, Field, FieldFault, Invalid, Lang, MemberId, MemberIdShape, Placement,
    Protocol, Status, check_auth_expires,
};
use crate::request::form::{Form, Reading};
use crate::request::options::Options;

/// A sound widget call. [`validate`] is its only maker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Widget {
    domain: Domain,
    protocol: Protocol,
    lang: Lang,
    member_id: MemberId,
    placement: Placement,
    app_sid: Option<AppSid>,
    status: Option<Status>,
    options: Options,
}

impl Widget {
    /// The key of the limit.
    pub fn member_id(&self) -> &MemberId {
        &self.member_id
    }

    /// What there is to tell the upstream.
    pub fn known(&self) -> Known<'_> {
        Known {
            domain: Some(&self.domain),
            protocol: Some(self.protocol),
            lang: Some(&self.lang),
            member_id: Some(&self.member_id),
            placement: Some(&self.placement),
            app_sid: self.app_sid.as_ref(),
            status: self.status.as_ref(),
            options: Some(&self.options),
        }
    }
}

/// The fields that are established: all of a [`Widget`], some of a faulty call.
#[derive(Clone, Copy, Default, Debug)]
pub struct Known<'a> {
    /// `DOMAIN`
    pub domain: Option<&'a Domain>,
    /// `PROTOCOL`
    pub protocol: Option<Protocol>,
    /// `LANG`
    pub lang: Option<&'a Lang>,
    /// `member_id`
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

/// A call with faults: all of them, and the fields that are sound all the same (for observe mode).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsound {
    /// Never empty, in the order of the contract.
    pub faults: Vec<FieldFault>,
    partial: Partial,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Partial {
    domain: Option<Domain>,
    protocol: Option<Protocol>,
    lang: Option<Lang>,
    member_id: Option<MemberId>,
    placement: Option<Placement>,
    app_sid: Option<AppSid>,
    status: Option<Status>,
    options: Option<Options>,
}

impl Unsound {
    /// What there is to tell the upstream in observe mode.
    pub fn known(&self) -> Known<'_> {
        let Partial {
            domain,
            protocol,
            lang,
            member_id,
            placement,
            app_sid,
            status,
            options,
        } = &self.partial;
        Known {
            domain: domain.as_ref(),
            protocol: *protocol,
            lang: lang.as_ref(),
            member_id: member_id.as_ref(),
            placement: placement.as_ref(),
            app_sid: app_sid.as_ref(),
            status: status.as_ref(),
            options: options.as_ref(),
        }
    }
}

/// Reads every known field of the form into its type.
///
/// # Errors
/// All faults at once, with whatever could be read nevertheless.
pub fn validate(form: &Form<'_>, shape: MemberIdShape) -> Result<Widget, Box<Unsound>> {
    let mut read = Read {
        form,
        faults: Vec::new(),
    };
    let domain = read.required(Field::Domain, Domain::parse);
    let protocol = read.required(Field::Protocol, Protocol::parse);
    let lang = read.required(Field::Lang, Lang::parse);
    let app_sid = read.optional(Field::AppSid, AppSid::parse);
    read.optional(Field::AuthExpires, check_auth_expires);
    // Nothing is known about the shape of these; the form reader has made sure of one text.
    for field in [
        Field::AuthId,
        Field::RefreshId,
        Field::ServerEndpoint,
        Field::ApplicationToken,
        Field::ApplicationScope,
    ] {
        read.optional(field, |_| Ok(()));
    }
    let member_id = read.required(Field::MemberId, |bytes| MemberId::parse(bytes, shape));
    let status = read.optional(Field::Status, Status::parse);
    let placement = read.required(Field::Placement, Placement::parse);
    let options = read.options();
    match (
        read.faults.is_empty(),
        domain,
        protocol,
        lang,
        member_id,
        placement,
        options,
    ) {
        (true, Some(domain), Some(protocol), Some(lang), Some(member_id), Some(placement), Some(options)) => {
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
        (_, domain, protocol, lang, member_id, placement, options) => {
            let mut faults = read.faults;
            faults.sort_unstable();
            let partial = Partial {
                domain,
                protocol,
                lang,
                member_id,
                placement,
                app_sid,
                status,
                options,
            };
            Err(Box::new(Unsound { faults, partial }))
        }
    }
}

struct Read<'f> {
    form: &'f Form<'f>,
    faults: Vec<FieldFault>,
}

impl Read<'_> {
    fn fault(&mut self, field: Field, code: FaultCode) {
        self.faults.push(FieldFault { field, code });
    }

    fn required<T>(&mut self, field: Field, parse: impl FnOnce(&[u8]) -> Result<T, Invalid>) -> Option<T> {
        let form = self.form;
        match form.reading(field) {
            Reading::Absent => self.fault(field, FaultCode::Missing),
            Reading::Value(value) if value.trim_ascii().is_empty() => self.fault(field, FaultCode::Blank),
            Reading::Value(value) => match parse(value) {
                Ok(value) => return Some(value),
                Err(Invalid) => self.fault(field, FaultCode::Invalid),
            },
            Reading::Faulty(code) => self.fault(field, *code),
        }
        None
    }

    fn optional<T>(&mut self, field: Field, parse: impl FnOnce(&[u8]) -> Result<T, Invalid>) -> Option<T> {
        match self.form.value(field) {
            Some(value) if value.trim_ascii().is_empty() => None,
            None if *self.form.reading(field) == Reading::Absent => None,
            Some(_) | None => self.required(field, parse),
        }
    }

    fn options(&mut self) -> Option<Options> {
        match self.form.reading(Field::PlacementOptions) {
            Reading::Faulty(code) => {
                self.fault(Field::PlacementOptions, *code);
                None
            }
            Reading::Value(value) => Some(Options::read(Some(value))),
            Reading::Absent => Some(Options::Absent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str =
        "DOMAIN=Portal.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=5d41402abc4b2a76b9719d911017c592";
    const BODY: &str = "member_id=3f7a90c1d2e45b68a0719cbe8d243f56&status=L&PLACEMENT=DEFAULT";

    fn check(query: &str, body: &str) -> Result<Widget, Vec<(Field, FaultCode)>> {
        let form = Form::parse(query.as_bytes(), body.as_bytes(), 1000).unwrap();
        validate(&form, MemberIdShape::Hex32)
            .map_err(|unsound| unsound.faults.iter().map(|f| (f.field, f.code)).collect())
    }

    #[test]
    fn a_sound_call_is_normalized() {
        let widget = check(QUERY, BODY).unwrap();
        assert_eq!(widget.known().domain.unwrap().as_str(), "portal.bitrix24.com");
        assert_eq!(widget.known().options, Some(&Options::Absent));
        assert!(
            check(
                QUERY,
                &format!("{BODY}&AUTH_ID=&AUTH_EXPIRES=3600&x=1&PLACEMENT_OPTIONS=%ff")
            )
            .is_ok()
        );
    }

    #[test]
    fn all_faults_come_at_once_in_the_order_of_the_names() {
        use FaultCode::*;
        assert_eq!(
            check(
                "DOMAIN=&PROTOCOL=2&LANG=en",
                "AUTH_ID=%ff&PLACEMENT[]=x&AUTH_EXPIRES=soon"
            ),
            Err(vec![
                (Field::Domain, Blank),
                (Field::Protocol, Invalid),
                (Field::AuthId, Invalid),
                (Field::AuthExpires, Invalid),
                (Field::MemberId, Missing),
                (Field::Placement, Array),
            ])
        );
        assert_eq!(
            check(QUERY, &format!("{BODY}&status=%0b")),
            Err(vec![(Field::Status, Duplicate)])
        );
        assert_eq!(
            check(&QUERY.replace("LANG=en", "LANG=%09+"), BODY),
            Err(vec![(Field::Lang, Blank)])
        );
        assert_eq!(
            check(QUERY, &format!("{BODY}&PLACEMENT_OPTIONS=1&PLACEMENT.OPTIONS=2")),
            Err(vec![(Field::PlacementOptions, Mangled)])
        );
    }

    #[test]
    fn what_is_sound_of_a_faulty_call_is_kept() {
        let form = Form::parse(QUERY.as_bytes(), b"member_id=x", 1000).unwrap();
        let unsound = validate(&form, MemberIdShape::Hex32).unwrap_err();
        assert_eq!(unsound.known().lang.unwrap().as_str(), "en");
        assert!(unsound.known().member_id.is_none());
    }
}
