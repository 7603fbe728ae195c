//! Values that say where something is: networks, addresses, servers, paths.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::values::{Raw, Value, quoted};
use crate::request::authority::{Authority, Host};

/// A network, or one address.
#[derive(Debug)]
pub struct Network;

impl Value for Network {
    type Means = IpNet;

    fn allowed() -> String {
        "a network or an address, such as \"10.0.0.0/8\" or \"::1\"".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<IpNet, String> {
        let text = raw.text()?;
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(|network: IpNet| network.trunc())
            .map_err(|_| format!("{} is no network", quoted(text)))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" })
    }
}

/// An address to listen on. No names: which address a name means may change, and the file would not.
#[derive(Debug)]
pub struct ListenAddress;

impl Value for ListenAddress {
    type Means = SocketAddr;

    fn allowed() -> String {
        "an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<SocketAddr, String> {
        let text = raw.text()?;
        text.parse()
            .map_err(|_| format!("{} is no address to listen on", quoted(text)))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$" })
    }
}

/// A server of an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerAddress {
    /// `host:port`; the host is a name or an address, without brackets.
    Host(String, u16),
    /// `unix:/path`
    Unix(PathBuf),
    /// `sample`
    Sample,
}

/// A server as the file spells it, which is its label, and what that means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerText {
    /// As spelled.
    pub text: String,
    /// As read.
    pub address: ServerAddress,
}

impl ServerText {
    fn parse(text: &str) -> Option<ServerAddress> {
        if text == "sample" {
            return Some(ServerAddress::Sample);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // The kernel's sun_path holds 107 bytes and a NUL.
            let sound = path.starts_with('/') && path.len() <= 107 && !path.contains('\0');
            return sound.then(|| ServerAddress::Unix(path.into()));
        }
        let Authority { host, port } = Authority::parse(text)?;
        let is_label = |label: &str| {
            let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(is_part)
        };
        let host = match host {
            Host::V6(address) => address.to_string(),
            Host::Name(name) => {
                let is_name = name.len() <= 253 && name.split('.').all(is_label);
                is_name.then(|| name.to_owned())?
            }
        };
        Some(ServerAddress::Host(host, port?))
    }
}

impl Value for ServerText {
    type Means = ServerText;

    fn allowed() -> String {
        "\"host:port\", \"unix:/path\" or \"sample\"".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<ServerText, String> {
        let text = raw.text()?;
        match ServerText::parse(text) {
            Some(address) => Ok(ServerText {
                text: text.to_owned(),
                address,
            }),
            None => Err(format!("{} is no server", quoted(text))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(sample|unix:/.+|([A-Za-z0-9_.-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5})$" })
    }
}

/// A path that is asked for: `"/health"`.
#[derive(Debug)]
pub struct HttpPath;

impl Value for HttpPath {
    type Means = String;

    fn allowed() -> String {
        "a path and maybe a query, such as \"/health\", of visible ASCII characters".to_owned()
    }

    fn read(raw: Raw<'_>) -> Result<String, String> {
        let text = raw.text()?;
        let is_path = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        match is_path && text.len() <= 1024 {
            true => Ok(text.to_owned()),
            false => Err(format!("{} is no path", quoted(text))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^/[!-\"$-~]*$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: Value>(text: &str) -> String {
        T::read(Raw::Text(text)).err().unwrap_or_default()
    }

    #[test]
    fn servers_are_addresses_names_sockets_or_the_sample() {
        let read = |text: &str| ServerText::read(Raw::Text(text)).unwrap().address;
        assert_eq!(read("sample"), ServerAddress::Sample);
        assert_eq!(
            read("unix:/run/php.sock"),
            ServerAddress::Unix("/run/php.sock".into())
        );
        assert_eq!(read("[::1]:9000"), ServerAddress::Host("::1".into(), 9000));
        assert_eq!(
            read("php_app.local:9000"),
            ServerAddress::Host("php_app.local".into(), 9000)
        );
        for bad in [
            "",
            "h",
            "h:0",
            "h:65536",
            "h:+1",
            ":80",
            "unix:x",
            "http://h:1",
            "::1:80",
            "[::1]",
            "a..b:1",
        ] {
            assert_eq!(wrong::<ServerText>(bad), format!("{bad:?} is no server"));
        }
    }

    #[test]
    fn networks_may_be_one_address() {
        let read = |text: &str| Network::read(Raw::Text(text)).unwrap().to_string();
        assert_eq!(
            (read("10.1.2.3/8"), read("::1")),
            ("10.0.0.0/8".into(), "::1/128".into())
        );
        assert_eq!(wrong::<Network>("10.0.0.0/33"), "\"10.0.0.0/33\" is no network");
    }
}
