//! The command `reload`: asks a running gateway over its admin listener.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// A reload reads files and looks names up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Larger answers than this are none of ours.
const MAX_ANSWER: u64 = 16 << 20;

/// Prints the gateway's answer. Exit code 0 where it applied the configuration or found it unchanged, 1
/// where it refused, 2 where the token can not be read, 3 where it can not be reached.
pub fn reload(admin: SocketAddr, token_file: Option<&Path>) -> ExitCode {
    let token = match token_file.map(std::fs::read_to_string).transpose() {
        Ok(token) => token,
        Err(e) => {
            eprintln!("token file: {e}");
            return ExitCode::from(2);
        }
    };
    match ask(admin, token.as_deref()) {
        Ok((status, body)) => {
            println!("{}", body.trim_end());
            if status == 200 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(e) => {
            eprintln!("{admin}: {e}");
            ExitCode::from(3)
        }
    }
}

fn ask(admin: SocketAddr, token: Option<&str>) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let authorization = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {}\r\n", token.trim())
    });
    write!(
        stream,
        "POST /-/reload HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\nConnection: close\r\n{authorization}\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(broken)?;
    Ok((status, body.to_owned()))
}
