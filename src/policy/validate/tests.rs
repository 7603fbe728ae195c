use super::*;
use crate::request::field::{FaultCode, Field};
use crate::request::field::{FieldSet, MemberIdShape, Protocol, ServerEndpoints};
use crate::request::form::Form;
use crate::request::message::Kinds;
use crate::request::options::Options;

const QUERY: &str = "DOMAIN=Portal.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=5d41402abc4b2a76b9719d911017c592";
const BODY: &str = "member_id=3f7a90c1d2e45b68a0719cbe8d243f56&status=L&PLACEMENT=DEFAULT";
const EVENT: &str =
    "event=ONCRMDEALADD&auth[domain]=Portal.bitrix24.com&auth[member_id]=3f7a90c1d2e45b68a0719cbe8d243f56";

fn read(query: &str, body: &str) -> Result<Call, Box<Unsound>> {
    let form = Form::parse(query.as_bytes(), body.as_bytes(), 1000).unwrap();
    let rules = FieldRules {
        member_id: MemberIdShape::Hex32,
        server_endpoints: &ServerEndpoints::default(),
        required: FieldSet::default(),
        places: PlaceRule::Any,
    };
    validate(Message::of(&form, Kinds::of(&Kind::ALL)), rules)
}

fn check(query: &str, body: &str) -> Result<Call, Vec<(Field, FaultCode)>> {
    read(query, body).map_err(|unsound| unsound.faults.iter().map(|f| (f.field, f.code)).collect())
}

#[test]
fn a_sound_call_is_normalized() {
    let call = check(QUERY, BODY).unwrap();
    assert_eq!(call.known().domain.unwrap().as_str(), "portal.bitrix24.com");
    assert_eq!(call.known().options, Some(&Options::Absent));
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
fn values_that_handlers_act_on_are_judged_in_every_message() {
    use FaultCode::Invalid;
    let own = "page=2";
    for (body, fault) in [
        (
            format!("{BODY}&SERVER_ENDPOINT=http://169.254.169.254/"),
            Field::ServerEndpoint,
        ),
        (format!("{BODY}&AUTH_ID=a%0d%0aX:+y"), Field::AuthId),
        (
            format!("{BODY}&APPLICATION_SCOPE=%3Cb%3E"),
            Field::ApplicationScope,
        ),
        (
            format!("{BODY}&auth[server_endpoint]=https://evil.example/"),
            Field::AuthServerEndpoint,
        ),
        (
            format!("{BODY}&auth[client_endpoint]=https://evil.example/"),
            Field::AuthClientEndpoint,
        ),
        (
            format!("{EVENT}&auth[client_endpoint]=https://evil.example/"),
            Field::AuthClientEndpoint,
        ),
        (
            format!("{EVENT}&auth[client_endpoint]=//portal.bitrix24.com/"),
            Field::AuthClientEndpoint,
        ),
        (
            format!("{EVENT}&auth[server_endpoint]=https://evil.example/"),
            Field::AuthServerEndpoint,
        ),
        // One word for the tokens under `auth`.
        (
            format!("{EVENT}&auth[access_token]=a+b&auth[refresh_token]=<b>"),
            Field::AuthAccessToken,
        ),
        (
            format!("{EVENT}&SERVER_ENDPOINT=https://evil.example/"),
            Field::ServerEndpoint,
        ),
        (
            format!("event_token=x&{EVENT}&auth[access_token]=%22").replace("event=", "e="),
            Field::AuthAccessToken,
        ),
        (
            format!("{own}&SERVER_ENDPOINT=https://evil.example/"),
            Field::ServerEndpoint,
        ),
        (format!("{own}&REFRESH_ID=<b>"), Field::RefreshId),
        (format!("{own}&member_id=x"), Field::MemberId),
        (format!("{own}&DOMAIN=x/y"), Field::Domain),
    ] {
        let query = if body.starts_with(BODY) { QUERY } else { "" };
        assert_eq!(check(query, &body), Err(vec![(fault, Invalid)]), "{body}");
    }
}

#[test]
fn what_is_sound_of_a_faulty_call_is_kept() {
    let unsound = read(QUERY, "member_id=x&PLACEMENT=").unwrap_err();
    assert_eq!(unsound.known().lang.unwrap().as_str(), "en");
    assert_eq!(unsound.known().message, Some(Kind::Placement));
    assert!(unsound.known().member_id.is_none());
    let unsound = read("", &EVENT.replace("auth[domain]", "auth[x]")).unwrap_err();
    assert_eq!(unsound.known().event.unwrap().as_str(), "ONCRMDEALADD");
    assert!(unsound.known().member_id.is_some() && unsound.known().domain.is_none());
    // Only a field that nothing depends on is at fault.
    let unsound = read("", &format!("{EVENT}&auth[x]=1&auth[x]=2")).unwrap_err();
    assert_eq!(unsound.known().domain.unwrap().as_str(), "portal.bitrix24.com");
}

#[test]
fn a_message_is_its_members_or_its_portals() {
    let id = "3f7a90c1d2e45b68a0719cbe8d243f56";
    let caller = |body: &str| {
        let call = check("", body).unwrap();
        let known = call.known();
        let member = known.member_id.map(ToString::to_string);
        member.or(known.domain.map(|domain| domain.as_str().to_owned()))
    };
    assert_eq!(caller(&format!("{QUERY}&{BODY}")).unwrap(), id);
    assert_eq!(caller(EVENT).unwrap(), id);
    assert_eq!(
        caller(&EVENT.replace("event=ONCRMDEALADD", "event_token=x")).unwrap(),
        id
    );
    assert_eq!(
        caller("event=ONIMBOTMESSAGEADD&auth[domain]=Bot.example").unwrap(),
        "bot.example"
    );
    assert_eq!(
        caller(&format!("auth[domain]=a.example&member_id={id}")).unwrap(),
        id
    );
    assert_eq!(caller(&format!("page=2&member_id={id}")).unwrap(), id);
    assert_eq!(caller("page=2"), None);
}

#[test]
fn the_portals_address_has_the_scheme_of_its_endpoint() {
    let portal = |body: String| check("", &body).unwrap().known().portal.map(Protocol::scheme);
    assert_eq!(portal(EVENT.to_owned()), Some("https"));
    let plain = format!("{EVENT}&auth[client_endpoint]=http://portal.bitrix24.com/rest/");
    assert_eq!(portal(plain), Some("http"));
    assert_eq!(portal("page=2&DOMAIN=a.example&PROTOCOL=0".to_owned()), None);
}
