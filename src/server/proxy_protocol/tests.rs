use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What is said of bytes that are all there is: the preamble's length and the client.
fn read_all(bytes: &[u8]) -> Result<Option<(usize, Option<IpAddr>)>, Fault> {
    let Some(length) = length(bytes)? else {
        return Ok(None);
    };
    let client = client(&bytes[..length])?;
    Ok(Some((length, client)))
}

fn version_1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let (from_port, to_port) = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
}

fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap();
    [V2, &[command, family], &length.to_be_bytes(), block].concat()
}

fn addresses(source: SocketAddr, destination: SocketAddr) -> (u8, Vec<u8>) {
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let family = if source.is_ipv4() { 0x11 } else { 0x21 };
    (family, [octets(source), octets(destination), ports].concat())
}

#[test]
fn who_is_told_of() {
    const FOUR: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0xC0, 0, 0, 80];
    let six: IpAddr = "2001:db8::7".parse().unwrap();
    let four: IpAddr = "192.0.2.7".parse().unwrap();
    let unix = [b'/'; 216];
    let tlv = [FOUR, &[0x04, 0, 3, 1, 2, 3]].concat();
    let six_block = addresses("[2001:db8::7]:1".parse().unwrap(), "[::1]:2".parse().unwrap()).1;
    let told = |client| Ok(Some(client));
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    for (preamble, expected) in [
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 80\r\n".to_vec(),
            told(Some(four)),
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), told(Some(six))),
        (b"PROXY UNKNOWN\r\n".to_vec(), told(None)),
        (
            format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n").into_bytes(),
            told(None),
        ),
        (
            format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n").into_bytes(),
            told(Some(longest.parse().unwrap())),
        ),
        (version_2(0x21, 0x11, FOUR), told(Some(four))),
        (version_2(0x21, 0x11, &tlv), told(Some(four))),
        (version_2(0x21, 0x21, &six_block), told(Some(six))),
        // A health check of the balancer's own: what stands behind is of no interest.
        (version_2(0x20, 0x00, &[]), told(None)),
        (version_2(0x20, 0x11, FOUR), told(None)),
        (version_2(0x20, 0x11, &[]), told(None)),
        (version_2(0x20, 0x4F, b"xyz"), told(None)),
        (version_2(0x21, 0x00, &[]), told(None)),
        (version_2(0x21, 0x00, b"xyz"), told(None)),
        (version_2(0x21, 0x31, &unix), told(None)),
        // Datagrams over TCP: nobody's address.
        (version_2(0x21, 0x12, FOUR), told(None)),
        (version_2(0x21, 0x11, &FOUR[..11]), Err(Fault::Malformed)),
        (version_2(0x21, 0x31, &unix[..215]), Err(Fault::Malformed)),
        (version_2(0x21, 0x41, FOUR), Err(Fault::Malformed)),
        (version_2(0x21, 0x13, FOUR), Err(Fault::Malformed)),
        (version_2(0x22, 0x11, FOUR), Err(Fault::Malformed)),
        (version_2(0x11, 0x11, FOUR), Err(Fault::Malformed)),
        (
            version_2(0x21, 0x11, &[0; V2_LONGEST - V2_FIXED]),
            told(Some(Ipv4Addr::UNSPECIFIED.into())),
        ),
        (
            version_2(0x21, 0x11, &[0; V2_LONGEST - V2_FIXED + 1]),
            Err(Fault::TooLong),
        ),
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 80\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY TCP4 192.0.2.7\r10.0.0.1 49152 80\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 80 \r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY TCP4 192.0.2.7  10.0.0.1 49152 80\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 049152 80\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY TCP4 192.0.2.07 10.0.0.1 1 80\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (
            b"PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            Err(Fault::Malformed),
        ),
        (b"PROXY TCP4\r\n".to_vec(), Err(Fault::Malformed)),
        (b"PROXY UNKNOWN \xFF\r\n".to_vec(), Err(Fault::Malformed)),
        ([V1, &[b'x'; V1_LONGEST - 6]].concat(), Err(Fault::TooLong)),
        (
            b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            Err(Fault::Absent),
        ),
        (b"GET / HTTP/1.1\r\n".to_vec(), Err(Fault::Absent)),
        (b"\r\n\r\nGET / HTTP/1.1\r\n".to_vec(), Err(Fault::Absent)),
        (b"\x16\x03\x01\x02".to_vec(), Err(Fault::Absent)),
    ] {
        let read = read_all(&preamble);
        let length = preamble.len();
        let expected = expected.map(|told: Option<Option<IpAddr>>| told.map(|client| (length, client)));
        assert_eq!(read, expected, "{}", preamble.escape_ascii());
    }
}

fn sockets() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let four = |(ip, port): (u32, u16)| SocketAddr::from(SocketAddrV4::new(Ipv4Addr::from(ip), port));
    let six = |(ip, port): (u128, u16)| SocketAddr::from(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, 0));
    prop_oneof![
        (any::<(u32, u16)>(), any::<(u32, u16)>()).prop_map(move |(from, to)| (four(from), four(to))),
        (any::<(u128, u16)>(), any::<(u128, u16)>()).prop_map(move |(from, to)| (six(from), six(to))),
    ]
}

/// Bytes of which many are nearly preambles.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        Just(b"PROXY ".to_vec()),
        Just(b"TCP4 ".to_vec()),
        Just(b"TCP6 ".to_vec()),
        Just(b"UNKNOWN".to_vec()),
        Just(b"192.0.2.7 ".to_vec()),
        Just(b"::1 ".to_vec()),
        Just(b"80".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(V2.to_vec()),
        Just(vec![0x21, 0x11, 0, 12]),
        vec(any::<u8>(), 0..20),
    ];
    vec(words, 0..12).prop_map(|words| words.concat())
}

proptest! {
    /// What is sound is read whole, whatever follows.
    #[test]
    fn told_clients_are_read((from, to) in sockets(), tlv in vec(any::<u8>(), 0..300), tail in vec(any::<u8>(), 0..50)) {
        let (family, block) = addresses(from, to);
        for preamble in [version_1(from, to), version_2(0x21, family, &[block, tlv].concat())] {
            let read = read_all(&[&preamble[..], &tail].concat());
            prop_assert_eq!(read, Ok(Some((preamble.len(), Some(from.ip())))));
        }
    }

    /// No bytes panic; how they arrive in pieces changes nothing; nothing long is waited for; and a line that is
    /// believed is the one that its addresses are spelled as.
    #[test]
    fn any_bytes(bytes in nearly()) {
        match length(&bytes) {
            Ok(Some(length)) => {
                prop_assert!(length <= bytes.len() && length <= V2_LONGEST);
                for part in 0..length {
                    prop_assert_eq!(super::length(&bytes[..part]), Ok(None));
                }
                if let Ok(Some(client)) = client(&bytes[..length])
                    && bytes.starts_with(V1)
                {
                    let line = std::str::from_utf8(&bytes[..length]).unwrap();
                    let words: Vec<&str> = line.strip_suffix("\r\n").unwrap().split(' ').collect();
                    prop_assert_eq!(words.len(), 6);
                    prop_assert_eq!(words[2].parse::<IpAddr>().unwrap(), client);
                    prop_assert_eq!(words[1] == "TCP4", client.is_ipv4());
                    prop_assert!(words[3].parse::<IpAddr>().is_ok_and(|to| to.is_ipv4() == client.is_ipv4()));
                }
            }
            Ok(None) => prop_assert!(bytes.len() < V2_LONGEST),
            Err(_) => {
                let more = [&bytes[..], b"\r\n"].concat();
                prop_assert!(length(&more).is_err());
            }
        }
    }
}
