//! The commands `reload` and `health`: they ask a running gateway over its admin listener.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config;
use crate::request::authority::{Authority, Host};

/// For one connect.
const CONNECT: Duration = Duration::from_secs(5);
/// A reload reads files and looks names up.
const RELOAD: Duration = Duration::from_secs(60);
/// Readiness is known at once.
const HEALTH: Duration = Duration::from_secs(5);
/// Larger answers than this are none of ours.
const MAX_ANSWER: u64 = 16 << 20;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const NOT_REACHABLE: u8 = 3;

/// `HOST:PORT`; the host is a name or an address, one of IPv6 in brackets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HostPort, Self::Err> {
        const ALLOWED: &str =
            "allowed is HOST:PORT, such as 127.0.0.1:9901, [::1]:9901 or gateway.internal:9901";
        let Some(Authority {
            host,
            port: Some(port),
        }) = Authority::parse(text)
        else {
            return Err(ALLOWED);
        };
        let host = match host {
            Host::V6(address) => address.to_string(),
            Host::Name(name) if !name.contains(['/', ' ']) => name.to_owned(),
            Host::Name(_) => return Err(ALLOWED),
        };
        Ok(HostPort { host, port })
    }
}

/// Where a gateway is asked, and as whom.
struct Access {
    addresses: Vec<SocketAddr>,
    token: Option<String>,
}

/// Asks the gateway to read its configuration again, and prints its answer. Where it listens and the file
/// of its token are those of the configuration at `config`, unless they are given.
///
/// The exit code is 0 where the gateway applied the configuration or found it unchanged, 1 where it
/// refused, 2 where it is not known whom to ask, 3 where it can not be reached.
pub fn reload(config: &Path, admin: Option<&HostPort>, token_file: Option<&Path>) -> ExitCode {
    let token = match token_file.map(read_token).transpose() {
        Ok(token) => token,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(USAGE);
        }
    };
    print_answer(Access::find(config, admin, token), "POST /-/reload", RELOAD)
}

/// Asks the gateway whether it is ready, and prints its answer. Where it listens is what the
/// configuration at `config` says, unless it is given.
///
/// The exit code is 0 where it is ready, 1 where it is not, 2 where it is not known whom to ask, 3 where
/// it can not be reached.
pub fn health(config: &Path, admin: Option<&HostPort>) -> ExitCode {
    print_answer(Access::find(config, admin, None), "GET /-/ready", HEALTH)
}

fn print_answer(access: Result<Access, u8>, request: &str, patience: Duration) -> ExitCode {
    let answer = access.and_then(|access| access.ask(request, patience));
    match answer {
        Ok((status, body)) => {
            // Who closed standard output wants the exit code alone.
            let _ = writeln!(io::stdout(), "{}", body.trim_end());
            match status {
                200 => ExitCode::SUCCESS,
                _ => ExitCode::from(REFUSED),
            }
        }
        Err(code) => ExitCode::from(code),
    }
}

fn read_token(file: &Path) -> Result<String, String> {
    let token = std::fs::read_to_string(file);
    token.map_err(|e| format!("token file {}: {e}", file.display()))
}

impl Access {
    /// What is not given comes from the configuration. Its faults are told if they leave open where the
    /// gateway listens, and else are for the gateway to tell.
    fn find(config: &Path, admin: Option<&HostPort>, token: Option<String>) -> Result<Access, u8> {
        let configured = config::admin(config);
        let token_file = configured
            .as_ref()
            .ok()
            .and_then(|access| access.token_file.clone());
        let addresses = match (admin, configured) {
            (Some(HostPort { host, port }), _) => {
                let found = (host.as_str(), *port).to_socket_addrs().map_err(|e| {
                    eprintln!("{host}: {e}");
                    NOT_REACHABLE
                })?;
                found.collect()
            }
            (None, Ok(access)) => vec![reachable(access.address)],
            (None, Err(faults)) => {
                faults.iter().for_each(|fault| eprintln!("{fault}"));
                return Err(USAGE);
            }
        };
        let token = token.or_else(|| match read_token(&token_file?) {
            Ok(token) => Some(token),
            // From loopback none is needed, so the answer decides.
            Err(e) => {
                eprintln!("{e}, asking without a token");
                None
            }
        });
        Ok(Access { addresses, token })
    }

    /// Status and body of the answer.
    fn ask(&self, request: &str, patience: Duration) -> Result<(u16, String), u8> {
        for address in &self.addresses {
            match ask(*address, request, self.token.as_deref(), patience) {
                Ok(answer) => return Ok(answer),
                Err(e) => eprintln!("{address}: {e}"),
            }
        }
        Err(NOT_REACHABLE)
    }
}

/// A gateway that listens on every address is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(
    address: SocketAddr,
    request: &str,
    token: Option<&str>,
    patience: Duration,
) -> io::Result<(u16, String)> {
    let authorization = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {}\r\n", token.trim())
    });
    // The address as Host: every gateway answers to one, and to a name only where it is told to.
    let request = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n{authorization}\r\n"
    );
    let stream = std::net::TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exchange = async {
        let mut stream = TcpStream::from_std(stream)?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER + 1).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = runtime.block_on(async { timeout(patience, exchange).await });
    let answer = answer.map_err(|_| io::Error::new(ErrorKind::TimedOut, "no answer in time"))??;
    if answer.len() as u64 > MAX_ANSWER {
        return Err(io::Error::new(ErrorKind::InvalidData, "too large an answer"));
    }
    let text = String::from_utf8_lossy(&answer);
    let broken = || io::Error::new(ErrorKind::InvalidData, "no HTTP answer");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .ok_or_else(broken)?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_port() {
        let parsed = |text: &str| text.parse().map(|HostPort { host, port }| (host, port));
        for (text, host) in [
            ("127.0.0.1:9901", "127.0.0.1"),
            ("[::1]:9901", "::1"),
            ("gateway.internal:9901", "gateway.internal"),
        ] {
            assert_eq!(parsed(text), Ok((host.to_owned(), 9901)));
        }
        for bad in [
            "",
            ":",
            "nowhere",
            ":9901",
            "a:0",
            "a:65536",
            "a:",
            "::1:9901",
            "[::1]",
            "[a]:1",
            "[::1:1",
            "a b:1",
            "http://a:1",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_address_means_this_machine() {
        for (listens, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
