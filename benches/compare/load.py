"""What is sent, over which carrier, and what h2load saw of the answers."""

import os
import re
import subprocess
from dataclasses import dataclass

from processes import fail

HOST = "widgets.example.com"
MEMBERS = 10_000


@dataclass(frozen=True)
class Carrier:
    title: str
    scheme: str
    protocol: str  # as ALPN spells it
    share: float   # connections, as a share of those asked for
    streams: int   # requests in flight on each connection

    def connections(self, asked):
        return max(1, int(asked * self.share))

    def clients(self, asked):
        """How many requests are in flight at once."""
        return self.connections(asked) * self.streams


CARRIERS = {
    "h1": Carrier("HTTP/1.1", "http", "http/1.1", 1, 1),
    "tls": Carrier("HTTP/1.1, TLS 1.3", "https", "http/1.1", 1, 1),
    "h2": Carrier("HTTP/2, TLS 1.3", "https", "h2", 0.5, 10),
}

# What browsers prefer. Offered alone, since servers differ in whose order of ciphers counts.
CIPHER, GROUP = "TLS_AES_128_GCM_SHA256", "X25519"

PATHS = {
    "accepted": "forwarded, 10 000 members in turn",
    "missing": "member_id is missing",
    "limited": "one member far over its limit of one a second",
    "ambiguous": "member_id twice, different values",
    "pass": "GET on a pass route",
}
# The paths that end at the back end; bare Pingora, which refuses nothing, runs on these alone.
FORWARDED = ("accepted", "pass")

QUERY = "DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=5d41402abc4b2a76b9719d911017c592"
HEADERS = (
    "Origin: https://portal.bitrix24.com",
    "Referer: https://portal.bitrix24.com/",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0 Safari/537.36",
)
FORM = "Content-Type: application/x-www-form-urlencoded"


def member(number):
    return f"3f7a90c1d2e45b68a0719cbe{number:08x}"


# Who is far over a limit that is nearly nothing, so that what is measured are refusals. It takes no turn elsewhere.
BUSY = member(MEMBERS)


def genuine(more):
    return ("AUTH_ID=8f21aa66007b3c110058f18a00000001f0f1075c0e9d3b7a1f2e4d6c8b0a9f1e3d5c7b&AUTH_EXPIRES=3600"
            "&REFRESH_ID=7fa0d166007b3c110058f18a00000001f0f107e1d2c3b4a5968778695a4b3c2d1e0f91"
            "&SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info%2Frest%2F"
            "&APPLICATION_TOKEN=c4ca4238a0b923820dcc509a6f75849b"
            "&APPLICATION_SCOPE=contact_center%2Cimopenlines%2Cplacement"
            f"{more}&status=L&PLACEMENT=CONTACT_CENTER"
            "&PLACEMENT_OPTIONS=%7B%22ID%22%3A%22717%22%2C%22URI%22%3A%22%5C%2Fcontact_center%5C%2F%22%7D")


def body(path):
    """The one body of all requests of a path; None where they are GETs."""
    match path:
        case "accepted" | "missing":
            return genuine("")
        case "limited":
            return genuine(f"&member_id={BUSY}")
        case "ambiguous":
            return genuine(f"&member_id={member(1)}&member_id={member(2)}")
        case "pass":
            return None


def targets(path):
    """h2load sends one body, so the members that take turns stand in the query."""
    match path:
        case "accepted":
            return [f"/widgets/contact-center?{QUERY}&member_id={member(number)}" for number in range(MEMBERS)]
        case "missing" | "limited" | "ambiguous":
            return [f"/widgets/contact-center?{QUERY}"]
        case "pass":
            return ["/assets/widget.js?v=139"]


def write(folder):
    """Leaves in `folder` what h2load reads."""
    for path in PATHS:
        for scheme in ("http", "https"):
            (folder / f"{path}.{scheme}").write_text("".join(f"{scheme}://{HOST}{target}\n" for target in targets(path)))
        if (text := body(path)) is not None:
            (folder / f"{path}.body").write_text(text)


@dataclass(frozen=True)
class Seen:
    """What the load generator saw."""

    requests: int  # answered
    refused: int   # answered with 4xx
    broken: int    # answered with 5xx, or not at all
    rps: float
    p50: float     # milliseconds
    p99: float
    spoken: dict   # what was agreed upon in the handshake


def send(folder, path, carrier, port, asked, requests, cores=None):
    """Sends so many requests to 127.0.0.1:`port`, over the carrier's share of the `asked` connections."""
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", f"-c{carrier.connections(asked)}", f"-m{carrier.streams}", f"-n{requests}", "-N30",
               f"--npn-list={carrier.protocol}", f"--connect-to=127.0.0.1:{port}", f"--log-file={log}",
               f"--tls13-ciphers={CIPHER}", f"--groups={GROUP}", "-i", folder / f"{path}.{carrier.scheme}"]
    if carrier.protocol == "http/1.1":
        command.append("--no-tls-proto=http/1.1")
    for header in HEADERS:
        command += ["-H", header]
    if body(path) is not None:
        command += ["-d", folder / f"{path}.body", "-H", FORM]
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores is not None else None
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=pin)
    except subprocess.TimeoutExpired:
        fail(f"h2load, {path}, {carrier.title}: {requests} requests took more than five minutes")
    rate = re.search(r"^finished in .*?, ([\d.]+) req/s", ran.stdout, re.M)
    codes = re.search(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", ran.stdout, re.M)
    lost = re.search(r"(\d+) errored, (\d+) timeout$", ran.stdout, re.M)
    if not (rate and codes and lost):
        fail(f"h2load, {path}, {carrier.title}: {ran.stdout}{ran.stderr}")
    good, _, refused, wrong = map(int, codes.groups())
    times = sorted(int(line.rpartition(b"\t")[2]) for line in log.read_bytes().splitlines())
    if not times:
        fail(f"h2load, {path}, {carrier.title}: no answer: {ran.stdout}{ran.stderr}")
    return Seen(requests=good + refused + wrong, refused=refused, broken=wrong + sum(map(int, lost.groups())),
                rps=float(rate[1]), p50=times[len(times) // 2] / 1000, p99=times[len(times) * 99 // 100] / 1000,
                spoken=dict(re.findall(r"^(TLS Protocol|Cipher|Server Temp Key|Application protocol): (.*)$", ran.stdout, re.M)))
