//! Where a store is.

use std::fmt;

use crate::request::authority::{Authority, Host};
use crate::request::byte_set::{ByteSet, byte_set};
use crate::request::label::labelled;

/// What is allowed where an address stands.
pub const ALLOWED: &str = "allowed is redis://[user@]host[:port][/db], rediss:// for TLS, unix:///path, \
                           redis-cluster://host:port,host:port or redis-sentinel://host:port,host:port/master[/db] \
                           (rediss-cluster://, rediss-sentinel:// for TLS)";

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The address of a store with the credentials in it. It can not be printed: a password may stand in it, and
/// whoever reads a log does not need to know where the store is.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreAddress {
    pub(super) place: StorePlace,
    pub(super) is_tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) db: i64,
}

/// Who is connected to.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum StorePlace {
    /// One server.
    Server(Node),
    /// A socket on this machine.
    Unix(String),
    /// Some nodes of a cluster; the others are learnt from them.
    Cluster(Vec<Node>),
    /// The master of this name, as one of these sentinels says.
    Sentinel(Vec<Node>, String),
}

/// A host and its port.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

labelled! {
    /// Why a text is no address of a store; in words to be followed by [`ALLOWED`].
    pub enum AddressFault {
        /// Another scheme, or none.
        Scheme: "has no such scheme";
        /// A host is missing or is none.
        Host: "names no host";
        /// A port is no number from 1 to 65535.
        Port: "has a port that is no number from 1 to 65535";
        /// The number of the database is none, or a cluster has one.
        Database: "has a database that is no number (a cluster has none)";
        /// The sentinels' name of the master is missing.
        Master: "does not name the master that the sentinels know";
        /// What is escaped by `%` is not UTF-8, or not escaped.
        Escape: "has a broken escape in it";
        /// There is more than an address says.
        Rest: "says more than an address does";
    }
}

impl StoreAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it.
    pub fn parse(text: &str) -> Result<StoreAddress, AddressFault> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressFault::Scheme)?;
        if rest.contains(['?', '#']) || rest.contains(char::is_whitespace) {
            return Err(AddressFault::Rest);
        }
        let (is_tls, kind) = match scheme {
            "redis" | "redis-cluster" | "redis-sentinel" | "unix" => (false, scheme),
            "rediss" | "rediss-cluster" | "rediss-sentinel" => (true, scheme),
            _ => return Err(AddressFault::Scheme),
        };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let (user, password) = credentials.map_or(Ok((None, None)), credentials_of)?;
        let (hosts, path) = match rest.split_once('/') {
            Some((hosts, path)) => (hosts, Some(path).filter(|path| !path.is_empty())),
            None => (rest, None),
        };
        let (place, db) = match kind {
            "unix" => {
                if !hosts.is_empty() {
                    return Err(AddressFault::Host);
                }
                let path = path.ok_or(AddressFault::Host)?;
                (StorePlace::Unix(format!("/{}", unescape(path)?)), 0)
            }
            "redis-cluster" | "rediss-cluster" => {
                if path.is_some() {
                    return Err(AddressFault::Database);
                }
                (StorePlace::Cluster(nodes(hosts, PORT)?), 0)
            }
            "redis-sentinel" | "rediss-sentinel" => {
                let path = path.ok_or(AddressFault::Master)?;
                let (master, db) = match path.split_once('/') {
                    Some((master, db)) => (master, database(Some(db))?),
                    None => (path, 0),
                };
                let master = Some(unescape(master)?).filter(|master| !master.is_empty());
                let master = master.ok_or(AddressFault::Master)?;
                (StorePlace::Sentinel(nodes(hosts, SENTINEL_PORT)?, master), db)
            }
            _ => (StorePlace::Server(node(hosts, PORT)?), database(path)?),
        };
        Ok(StoreAddress {
            place,
            is_tls,
            user,
            password,
            db,
        })
    }

    /// Whether a password stands in it.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreAddress(redacted)")
    }
}

fn credentials_of(text: &str) -> Result<(Option<String>, Option<String>), AddressFault> {
    let given = |text: &str| Ok(Some(unescape(text)?).filter(|text| !text.is_empty()));
    match text.split_once(':') {
        Some((user, password)) => Ok((given(user)?, given(password)?)),
        None => Ok((given(text)?, None)),
    }
}

fn nodes(list: &str, port: u16) -> Result<Vec<Node>, AddressFault> {
    list.split(',').map(|text| node(text, port)).collect()
}

fn node(text: &str, default: u16) -> Result<Node, AddressFault> {
    static IN_NAMES: ByteSet = byte_set!(b => b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    let Some(Authority { host, port }) = Authority::parse(text) else {
        let without_port = text.rsplit_once(':').map_or("", |(host, _)| host);
        return Err(match Authority::parse(without_port) {
            Some(_) => AddressFault::Port,
            None => AddressFault::Host,
        });
    };
    let host = match host {
        Host::V6(address) => address.to_string(),
        Host::Name(name) if name.len() <= 255 && IN_NAMES.has_all(name.as_bytes()) => name.to_owned(),
        Host::Name(_) => return Err(AddressFault::Host),
    };
    let port = port.unwrap_or(default);
    Ok(Node { host, port })
}

fn database(path: Option<&str>) -> Result<i64, AddressFault> {
    match path {
        None | Some("") => Ok(0),
        Some(number) => number
            .parse::<u16>()
            .map(i64::from)
            .map_err(|_| AddressFault::Database),
    }
}

fn unescape(text: &str) -> Result<String, AddressFault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                u8::try_from(value.ok_or(AddressFault::Escape)?).map_err(|_| AddressFault::Escape)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| AddressFault::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node {
            host: host.to_owned(),
            port,
        }
    }

    fn address(place: StorePlace) -> StoreAddress {
        StoreAddress {
            place,
            is_tls: false,
            user: None,
            password: None,
            db: 0,
        }
    }

    #[test]
    fn addresses_are_read() {
        let read = |text| StoreAddress::parse(text).unwrap();
        let server = || address(StorePlace::Server(node("store", 6379)));
        assert!(read("redis://store") == server());
        assert!(read("redis://store:6379/") == server());
        let full = StoreAddress {
            is_tls: true,
            user: Some("gate".to_owned()),
            password: Some("p:a/s@s".to_owned()),
            db: 3,
            ..address(StorePlace::Server(node("::1", 7000)))
        };
        assert!(read("rediss://gate:p%3Aa%2fs%40s@[::1]:7000/3") == full);
        assert!(full.has_password() && !read("redis://gate@store").has_password());
        assert!(read("unix:///run/redis.sock") == address(StorePlace::Unix("/run/redis.sock".to_owned())));
        let nodes = || vec![node("a", 1), node("b", 6379)];
        assert!(read("redis-cluster://a:1,b") == address(StorePlace::Cluster(nodes())));
        let sentinels = vec![node("a", 1), node("b", 26379)];
        let sentinel = StoreAddress {
            db: 2,
            ..address(StorePlace::Sentinel(sentinels, "main".to_owned()))
        };
        assert!(read("redis-sentinel://a:1,b/main/2") == sentinel);
        assert_eq!(format!("{full:?}"), "StoreAddress(redacted)");
    }

    #[test]
    fn what_is_none_is_told_without_a_word_of_it() {
        for (text, fault) in [
            ("", AddressFault::Scheme),
            ("store:6379", AddressFault::Scheme),
            ("http://store", AddressFault::Scheme),
            ("redis://", AddressFault::Host),
            ("redis://a,b", AddressFault::Host),
            ("redis://[::1", AddressFault::Host),
            ("redis://store:0", AddressFault::Port),
            ("redis://store:x", AddressFault::Port),
            ("redis://store/x", AddressFault::Database),
            ("redis://store/-1", AddressFault::Database),
            ("redis-cluster://a/1", AddressFault::Database),
            ("redis-sentinel://a", AddressFault::Master),
            ("redis-sentinel://a//1", AddressFault::Master),
            ("redis://a%zz@store", AddressFault::Escape),
            ("redis://store?x=1", AddressFault::Rest),
            ("unix://host/path", AddressFault::Host),
            ("unix://", AddressFault::Host),
        ] {
            assert_eq!(StoreAddress::parse(text).err(), Some(fault), "{text}");
        }
    }
}
