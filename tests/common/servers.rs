//! Real web servers in front of real PHP, each on a free port and in a folder of its own.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

const INSTALL: &str =
    "real web servers are part of these tests: apt-get install -y nginx php-fpm apache2-bin";
/// Nobody's user and group on Debian: no test needs more.
const NOBODY: u32 = 65_534;

/// An address where nobody listens, for a process that is told where to listen, or that comes back there. It is none that the kernel hands
/// out by itself: what is free for a while must not become another test's, which somebody may still be asking.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const LEAST: u16 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let handed_out: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let span = handed_out.min(30_000) - LEAST;
    let begin = (std::process::id() % u32::from(span)) as u16;
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(begin) % span;
        let address = SocketAddr::from(([127, 0, 0, 1], LEAST + offset));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A folder that processes of nobody's may write to.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A process that ends with the test, and takes its children along.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    fn start(mut command: Command) -> Daemon {
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}; {INSTALL}"));
        Daemon { child }
    }

    /// Until it can be connected to.
    fn wait(&mut self, what: &str, is_there: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{what} does not come up: {ended:?}; {INSTALL}"
            );
            std::thread::yield_now();
        }
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), signal).expect("it runs");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Not SIGKILL: the parent ends its workers.
        let _ = i32::try_from(self.child.id()).map(|id| kill(Pid::from_raw(id), Signal::SIGTERM));
        let _ = self.child.wait();
    }
}

/// The one file of this pattern, whose version a distribution chooses.
fn versioned(folder: &str, prefix: &str, suffix: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{folder}: {e}; {INSTALL}"));
    let found = entries
        .map_while(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix) && name.ends_with(suffix)
        });
    found.unwrap_or_else(|| panic!("no {folder}/{prefix}*{suffix}; {INSTALL}"))
}

/// php-fpm, at a socket in its folder.
pub struct Fpm {
    pub socket: PathBuf,
    _daemon: Daemon,
}

impl Fpm {
    pub fn start(folder: &Path) -> Fpm {
        let (socket, file) = (folder.join("php-fpm.sock"), folder.join("fpm.conf"));
        let path = folder.display();
        let conf = format!(
            "[global]\ndaemonize = no\nerror_log = {path}/fpm.log\n[www]\nlisten = {path}/php-fpm.sock\n\
             pm = static\npm.max_children = 4\nphp_admin_value[session.save_path] = {path}\n\
             php_admin_value[request_order] = GP\nphp_admin_flag[display_errors] = off\n"
        );
        std::fs::write(&file, conf).unwrap();
        let mut command = Command::new(versioned("/usr/sbin", "php-fpm", ""));
        command.arg("-y").arg(&file).stderr(Stdio::null());
        let mut daemon = Daemon::start(command);
        daemon.wait("php-fpm", || UnixStream::connect(&socket).is_ok());
        Fpm {
            socket,
            _daemon: daemon,
        }
    }
}

/// nginx with this in its `http` block.
pub fn nginx(folder: &Path, http: &str, listens: SocketAddr) -> Daemon {
    let path = folder.display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
        .concat();
    let conf = format!(
        "pid {path}/nginx.pid;\nerror_log {path}/nginx.log;\nworker_processes 2;\nevents {{}}\n\
         http {{\naccess_log off;\n{temp}{http}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, conf).unwrap();
    // Debian's, which configurations include by its name alone.
    std::fs::copy("/etc/nginx/fastcgi.conf", folder.join("fastcgi.conf"))
        .unwrap_or_else(|e| panic!("fastcgi.conf: {e}; {INSTALL}"));
    let mut command = Command::new("/usr/sbin/nginx");
    command
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(folder.join("nginx.log"));
    let mut daemon = Daemon::start({
        command.args(["-g", "daemon off;"]);
        command
    });
    daemon.wait("nginx", || TcpStream::connect(listens).is_ok());
    daemon
}

/// Apache that hands PHP to php-fpm.
pub fn apache(folder: &Path, root: &Path, fpm: &Fpm, listens: SocketAddr) -> Daemon {
    let modules: String = [
        "mpm_event",
        "authz_core",
        "dir",
        "proxy",
        "proxy_fcgi",
        "setenvif",
    ]
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .concat();
    let (path, root, socket) = (folder.display(), root.display(), fpm.socket.display());
    let conf = format!(
        "{modules}ServerName localhost\nServerRoot {path}\nPidFile {path}/apache.pid\nMutex file:{path} default\n\
         DefaultRuntimeDir {path}\nErrorLog {path}/apache.log\nListen {listens}\nStartServers 1\nKeepAlive On\n\
         KeepAliveTimeout 5\nDocumentRoot {root}\nDirectoryIndex index.php\n<Directory {root}>\nRequire all granted\n\
         </Directory>\n<FilesMatch \\.php$>\nSetHandler \"proxy:unix:{socket}|fcgi://localhost\"\n</FilesMatch>\n"
    );
    let file = folder.join("apache.conf");
    std::fs::write(&file, conf).unwrap();
    let mut command = Command::new("/usr/sbin/apache2");
    command
        .arg("-f")
        .arg(&file)
        .args(["-D", "FOREGROUND"])
        .stderr(Stdio::inherit());
    let mut daemon = Daemon::start(command);
    daemon.wait("apache2", || TcpStream::connect(listens).is_ok());
    daemon
}

/// A server that reads a head, which it tells, and never a byte more.
pub fn deaf() -> (SocketAddr, Receiver<()>) {
    let listener = small_listener();
    let address = listener.local_addr().unwrap();
    let (read, heads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let _ = read.send(());
            kept.push(stream);
        }
    });
    (address, heads)
}

/// Its kernel keeps little of what nobody reads.
pub fn small_listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(64).unwrap();
    socket.into()
}

/// A server that says this as soon as it has read a head, whatever comes behind that, and keeps the connection.
pub fn saying(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(answer);
                // Until the other end has enough.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
    address
}
