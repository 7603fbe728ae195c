"""The contestants: how each is started so that all do the same job, and what it has logged."""

import os
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import load
from processes import Process, cpu_seconds, fail, free_ports, memory_bytes

HERE = Path(__file__).resolve().parent
# Requests of one member in a second. All members take their turn on every connection, so one of them comes as often as
# there are connections; and a fast machine gets through the drives before a measured one within the same second.
LIMIT = 400


@dataclass(frozen=True)
class Ports:
    plain: int
    tls: int


def two_ports():
    return Ports(*free_ports(2))


class Track:
    """What all contestants share: a back end, a certificate, the cores, the number of threads."""

    def __init__(self, folder, threads, limit=LIMIT, pin=True):
        self.folder, self.threads, self.limit = folder, threads, limit
        cores = sorted(os.sched_getaffinity(0))
        # Without a core that is left for the load, everybody has all.
        pinned = pin and len(cores) > threads
        self.own, self.others = (set(cores[:threads]), set(cores[threads:])) if pinned else (None, None)
        self.certificate, self.key = folder / "server.crt", folder / "server.key"
        if not self.key.exists():
            made = subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                 "-subj", "/CN=widgets.example.com", "-addext", "subjectAltName=DNS:widgets.example.com",
                 "-keyout", self.key, "-out", self.certificate], capture_output=True, text=True)
            if made.returncode:
                fail(f"openssl: {made.stderr}")
            # HAProxy wants both in one file.
            (folder / "server.pem").write_text(self.certificate.read_text() + self.key.read_text())
        self.backend, = free_ports(1)
        Process("backend", ["nginx", "-c", self.write("backend.conf"), "-e", folder / "backend.err"], [self.backend], self.others, folder)

    def fill(self, text, **values):
        values = {"DIR": self.folder, "BACKEND": self.backend, "THREADS": self.threads, "LIMIT": self.limit, "BUSY": load.BUSY,
                  "CERT": self.certificate, "KEY": self.key, **values}
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        return text

    def write(self, name, **values):
        (self.folder / name).write_text(self.fill((HERE / name).read_text(), **values))
        return self.folder / name

    def connects(self):
        """Connections that the back end has taken so far, without those that ask for it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.backend}/connects", timeout=10) as status:
            accepted = int(status.read().split()[7])
        self.asked = getattr(self, "asked", 0) + 1
        return accepted - self.asked


class Contestant:
    def __init__(self, key, title, process, log, ports, special=None, logged=1):
        """`special` holds the ports of paths that have some of their own; `logged` is the share of requests that
        must have a line."""
        self.logged = logged
        self.key, self.title, self.process, self.log = key, title, process, log
        self.ports, self.special = ports, special or {}

    def port(self, path, carrier):
        ports = self.special.get(path, self.ports)
        return ports.plain if carrier.scheme == "http" else ports.tls

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def memory_bytes(self):
        return memory_bytes(self.process.pid)

    def count(self, what):
        with open(self.log, "rb") as log:
            return sum(line.count(what) for line in log)

    def lines(self):
        """Lines that tell of a request, so far; waits until no more come, since some write in blocks."""
        size, still = -1, 0
        while still < 3:
            now = self.log.stat().st_size
            still = still + 1 if now == size else 0
            size = now
            time.sleep(0.5)
        return self.count(b'"bytes_out":')

    def error_lines(self):
        """Lines at level error; None of a contestant whose lines have no level."""
        return self.count(b'"level":"error"') if self.key == "gateway" else None

    def forget_log(self):
        os.truncate(self.log, 0)  # All append, so the next line stands at the beginning.


def haproxy(track, binary="haproxy"):
    plain, strict, through = two_ports(), two_ports(), two_ports()
    front = (HERE / "haproxy-frontend.cfg").read_text()
    bind = "bind 127.0.0.1:{0.plain} backlog 4096\n    bind 127.0.0.1:{0.tls} backlog 4096 ssl crt @DIR@/server.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3"
    rule = ("    http-request return status 400 content-type application/problem+json string "
            "'{\"title\":\"A field stands twice\",\"status\":400}' if { req.body -m reg "
            "(^|&)(?<name>DOMAIN|PROTOCOL|LANG|member_id|PLACEMENT)=[^&]*&(.*&)?\\k<name>= }\n")
    fronts = "".join(track.fill(front.replace("    @STRICT@\n", more).replace("@BIND@", bind.format(ports)), NAME=name)
                     for name, ports, more in (("plain", plain, ""), ("strict", strict, rule)))
    config = track.write("haproxy.cfg", FRONTENDS=fronts, PASS=track.fill(bind.format(through)))
    path = track.folder / "haproxy.log"
    process = Process("haproxy", [binary, "-db", "-f", config],
                      [port for ports in (plain, strict, through) for port in (ports.plain, ports.tls)],
                      track.own, track.folder, open(path, "ab"))
    # A thread of HAProxy drops its line where another one is just writing.
    return Contestant("haproxy", "HAProxy", process, path, plain, {"ambiguous": strict, "pass": through}, 1 if track.threads == 1 else 0.95)


def nginx(track, modules):
    ports = two_ports()
    config = track.write("nginx-lua.conf", MODULES=modules, PORT=ports.plain, TLS=ports.tls)
    process = Process("nginx-lua", ["nginx", "-c", config, "-e", track.folder / "nginx-lua.err"], [ports.plain, ports.tls], track.own, track.folder)
    return Contestant("nginx", "nginx + Lua", process, track.folder / "nginx-lua.log", ports)


def bare_pingora(track, binary):
    ports = two_ports()
    command = [binary, f"127.0.0.1:{ports.plain}", f"127.0.0.1:{ports.tls}", track.certificate, track.key, f"127.0.0.1:{track.backend}", str(track.threads)]
    process = Process("bare", command, [ports.plain, ports.tls], track.own, track.folder)
    return Contestant("bare", "bare Pingora", process, track.folder / "bare.stderr", ports)


def gateway(track, binary):
    ports, (admin,) = two_ports(), free_ports(1)
    config = track.write("gateway.toml", PORT=ports.plain, TLS=ports.tls, ADMIN=admin)
    process = Process("gateway", [binary, "run", "-c", config], [ports.plain, ports.tls, admin], track.own, track.folder)
    return Contestant("gateway", "widget-gateway", process, track.folder / "gateway.stderr", ports)
