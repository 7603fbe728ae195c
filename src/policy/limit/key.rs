//! What requests can be counted by.

use std::net::{IpAddr, Ipv6Addr};

use crate::policy::validate::Known;
use crate::request::field::{Domain, MemberId, MemberIdShape};
use crate::request::fingerprint::Fingerprint;

/// What requests can be counted by.
pub trait Key: Sized {
    /// What stands for the key: equal for equal keys.
    fn fingerprint(&self) -> Fingerprint;

    /// The key that an operator means by this text; none where it is no such key.
    fn read(text: &str, shape: MemberIdShape, class: Class) -> Option<Self>;
}

/// Of one member two are counted where callers are verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The member itself; everybody where nobody is verified.
    Itself,
    /// Who says to be it.
    Unproven,
}

impl Class {
    fn of(self, member: MemberId) -> MemberId {
        match self {
            Class::Itself => member,
            Class::Unproven => member.unproven(),
        }
    }
}

/// A portal.
impl Key for MemberId {
    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint()
    }

    fn read(text: &str, shape: MemberIdShape, class: Class) -> Option<MemberId> {
        let member = MemberId::parse(text.as_bytes(), shape).ok()?;
        Some(class.of(member))
    }
}

/// The address of a client: one of IPv4, or the /64 of one of IPv6, since that is what a single household or
/// machine has to choose addresses from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// What limits count this address as.
    pub fn of(address: IpAddr) -> ClientAddress {
        ClientAddress(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }

    /// The address, or the first one of the /64.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl Key for ClientAddress {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    fn read(text: &str, _: MemberIdShape, class: Class) -> Option<ClientAddress> {
        let address = text.parse().ok().filter(|_| class == Class::Itself);
        address.map(ClientAddress::of)
    }
}

/// All requests together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Everyone;

impl Key for Everyone {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&())
    }

    fn read(text: &str, _: MemberIdShape, class: Class) -> Option<Everyone> {
        (text == "gateway" && class == Class::Itself).then_some(Everyone)
    }
}

/// Who sends events and calls of robots: a member, or the portal of a message that has no member_id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sender(Fingerprint);

impl Sender {
    fn member(member: &MemberId) -> Sender {
        Sender(Fingerprint::of(&(0_u8, member.fingerprint())))
    }

    fn portal(domain: &Domain) -> Sender {
        Sender(Fingerprint::of(&(1_u8, domain.as_str())))
    }

    /// Whose message it is: a member's, or that of the portal of one without a `member_id`.
    pub fn of(known: Known<'_>) -> Option<Sender> {
        let portal = || known.domain.map(Sender::portal);
        known.member_id.map(Sender::member).or_else(portal)
    }
}

impl Key for Sender {
    fn fingerprint(&self) -> Fingerprint {
        self.0
    }

    fn read(text: &str, shape: MemberIdShape, class: Class) -> Option<Sender> {
        match MemberId::parse(text.as_bytes(), shape) {
            Ok(member) => Some(Sender::member(&class.of(member))),
            Err(_) if class == Class::Unproven => None,
            // A single word is more likely a member_id with a slip in it, and an address is a client's.
            Err(_) if !text.contains('.') || text.parse::<IpAddr>().is_ok() => None,
            Err(_) => Domain::parse(text.as_bytes())
                .ok()
                .map(|domain| Sender::portal(&domain)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_is_its_64_and_a_mapped_one_is_ipv4() {
        let of = |text: &str| ClientAddress::of(text.parse().unwrap()).address().to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
    }

    #[test]
    fn an_operator_names_each_kind_of_key() {
        let hex = MemberIdShape::Hex32;
        let id = "3f7a90c1d2e45b68a0719cbe8d243f56";
        let member = <MemberId as Key>::read(id, hex, Class::Itself).unwrap();
        assert_eq!(
            Sender::read(id, hex, Class::Itself),
            Some(Sender::member(&member))
        );
        let domain = Domain::parse(b"portal.bitrix24.com").unwrap();
        assert_eq!(
            Sender::read("Portal.bitrix24.com", hex, Class::Itself),
            Some(Sender::portal(&domain))
        );
        assert_ne!(Some(Sender::portal(&domain)), Some(Sender::member(&member)));
        assert_eq!(Sender::of(Known::default()), None);
        assert_eq!(Sender::read("192.0.2.1", hex, Class::Itself), None);
        assert_eq!(Everyone::read("gateway", hex, Class::Itself), Some(Everyone));
        assert_eq!(
            ClientAddress::read("portal.bitrix24.com", hex, Class::Itself),
            None
        );
    }
}
