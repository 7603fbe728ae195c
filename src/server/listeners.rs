//! The sockets of the process: bound here, or taken over from a predecessor that hands them on.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use parking_lot::Mutex;
use pingora::server::{Fds, ListenFds};
use socket2::{Domain, SockRef, Socket, Type};

use super::pace;
use crate::config::{ListenerSettings, ServerSettings};
use crate::process::notify;

/// Connections that wait to be accepted; the system may allow fewer (net.core.somaxconn).
const BACKLOG: i32 = 4096;

/// A successor waits so long for its predecessor to hand over.
const HAND_OVER_WAIT: Duration = Duration::from_secs(60);

/// Sockets by the address that the engine knows them under.
pub struct Sockets(Fds);

/// What is listened on, in the order of the configuration.
pub struct Bound {
    /// With the address that was bound: port 0 became a real one.
    pub http: Vec<(ListenerSettings, SocketAddr)>,
    /// The operator's listener.
    pub admin: SocketAddr,
}

/// What a listener of IPv6 takes.
enum Families {
    /// IPv6 alone: the port has a listener of IPv4 beside it.
    Own,
    /// On Linux `[::]` takes IPv4 too, unless it is told otherwise.
    AsTheSystemSays,
}

fn listen(address: SocketAddr, families: Families) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    match (address, families) {
        (SocketAddr::V6(_), Families::Own) => socket.set_only_v6(true)?,
        (SocketAddr::V4(_), Families::Own) | (_, Families::AsTheSystemSays) => {}
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    pace::prepare(SockRef::from(&socket));
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listeners that the service manager passes on (sd_listen_fds(3)): of a socket unit, or those that the unit's
/// process before had it keep. What is no TCP listener is left alone.
pub fn inherited() -> Vec<TcpListener> {
    let mut given = ListenFd::from_env();
    (0..given.len())
        .filter_map(|at| given.take_tcp_listener(at).ok().flatten())
        .collect()
}

impl Sockets {
    /// Those that were there before; the configuration takes what it names.
    ///
    /// # Errors
    /// Where one of them can not be used.
    pub fn of(inherited: Vec<TcpListener>) -> io::Result<Sockets> {
        let mut sockets = Fds::new();
        for listener in inherited {
            listener.set_nonblocking(true)?;
            pace::prepare(SockRef::from(&listener));
            let address = listener.local_addr()?.to_string();
            if sockets.get(&address).is_none() {
                sockets.add(address, listener.into_raw_fd());
            }
        }
        Ok(Sockets(sockets))
    }

    /// Waits at the upgrade socket until the predecessor, told by SIGQUIT, hands its sockets over.
    ///
    /// # Errors
    /// Where none did in time.
    pub fn from_predecessor(upgrade_socket: &Path) -> io::Result<Sockets> {
        let since = Instant::now();
        loop {
            let mut fds = Fds::new();
            match fds.get_from_sock(&*upgrade_socket.to_string_lossy()) {
                Ok(()) => return Ok(Sockets(fds)),
                Err(e) if since.elapsed() > HAND_OVER_WAIT => return Err(e.into()),
                // The engine's own wait is a few seconds long.
                Err(_) => {}
            }
        }
    }

    /// Binds every address that was not taken over.
    ///
    /// # Errors
    /// The address, and why it can not be bound.
    pub fn bind_all(&mut self, server: &ServerSettings) -> Result<Bound, (String, io::Error)> {
        let addresses = server.listeners.iter().map(|listener| &listener.address);
        let of_v4: HashSet<u16> = addresses
            .chain([&server.admin])
            .filter_map(|address| address.parse::<SocketAddrV4>().ok())
            .map(|address| address.port())
            .collect();
        let mut bind = |address: &str| self.bind(address, &of_v4).map_err(|e| (address.to_owned(), e));
        let http = server
            .listeners
            .iter()
            .map(|listener| Ok((listener.clone(), bind(&listener.address)?)))
            .collect::<Result<Vec<_>, (String, io::Error)>>()?;
        let bound = Bound {
            http,
            admin: bind(&server.admin)?,
        };
        // A socket that nobody accepts from would swallow connections.
        let claimed = bound
            .http
            .iter()
            .map(|(_, address)| address)
            .chain([&bound.admin]);
        let closed = self
            .0
            .close_unclaimed(&claimed.map(ToString::to_string).collect::<HashSet<_>>());
        closed
            .iter()
            .filter_map(|address| address.parse().ok())
            .for_each(notify::forget);
        Ok(bound)
    }

    /// `of_v4` are the ports that some listener of IPv4 has.
    fn bind(&mut self, address: &str, of_v4: &HashSet<u16>) -> io::Result<SocketAddr> {
        let parsed: SocketAddr = address.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        if self.0.get(address).is_some() {
            return Ok(parsed);
        }
        let families = match of_v4.contains(&parsed.port()) {
            true => Families::Own,
            false => Families::AsTheSystemSays,
        };
        let listener = listen(parsed, families)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        notify::keep(&listener, bound);
        self.0.add(bound.to_string(), listener.into_raw_fd());
        Ok(bound)
    }

    /// As the engine takes them.
    pub fn into_fds(self) -> ListenFds {
        Arc::new(Mutex::new(self.0))
    }
}

/// Hands every socket to the successor that waits at the upgrade socket. Blocks for a few seconds where
/// none does.
///
/// # Errors
/// Where there is no successor.
pub fn hand_over(fds: &ListenFds, upgrade_socket: &Path) -> io::Result<()> {
    fds.lock()
        .send_to_sock(&*upgrade_socket.to_string_lossy())
        .map(|_| ())
        .map_err(Into::into)
}
