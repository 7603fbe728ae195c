"""Shows that a contestant does the job, on a carrier, before it is raced: nobody is faster by doing less."""

import os
import re
import subprocess
import time

import load
from processes import fail

QUERY = "?DOMAIN=Portal.Bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=5d41402abc4b2a76b9719d911017c592"
MEMBER = "a" * 30
SPOOFED = ("X-Bitrix24-Member-Id: evil", "X-Bitrix24-Spoofed: evil")
HEALTHY = 10_000


def curl(contestant, carrier, path, target, *options):
    """Returns of each answer: status and Retry-After in seconds, 0 without; and what curl printed before the last."""
    ran = subprocess.run(
        ["curl", "-sk", "-m30", "--http2" if carrier.protocol == "h2" else "--http1.1", *options,
         "--connect-to", f"::127.0.0.1:{contestant.port(path, carrier)}",
         "-w", "\n%{http_code} %{http_version} %header{retry-after}\n", f"{carrier.scheme}://{load.HOST}{target}"],
        capture_output=True, text=True)
    told = re.findall(r"^(\d{3}) (\S+) (\d*)$", ran.stdout, re.M)
    if {version for _, version, _ in told} != {"2" if carrier.protocol == "h2" else "1.1"}:
        fail(f"curl against {contestant.title}, {carrier.title}: {ran.stdout[-1000:]}{ran.stderr}")
    text = ran.stdout.rstrip("\n").rpartition("\n")[0]
    return [(int(status), int(after or 0)) for status, _, after in told], text.strip()


def form(member, more=""):
    return f"AUTH_ID=secret&member_id={member}&PLACEMENT=CONTACT_CENTER{more}"


class Job:
    """What is wanted of one contestant on one carrier, and what was seen."""

    def __init__(self, track, contestant, carrier, connections):
        self.track, self.contestant, self.carrier, self.connections = track, contestant, carrier, connections
        # Members of their own on each carrier: the limit remembers.
        self.member = MEMBER + str(list(load.CARRIERS.values()).index(carrier))
        self.wants = []

    def want(self, what, good, saw):
        self.wants.append((what, good, saw))

    def ask(self, path, target, body=None, headers=()):
        options = [option for header in headers for option in ("-H", header)] + (["-d", body] if body is not None else [])
        [(status, _)], text = curl(self.contestant, self.carrier, path, target, *options)
        return status, text

    def forwards(self):
        status, text = self.ask("accepted", "/echo" + QUERY, form(self.member + "0"), SPOOFED)
        if self.contestant.key == "bare":
            self.want("passes a request through", status == 200, status)
        else:
            expected = f"portal.bitrix24.com|https|en|{self.member}0|CONTACT_CENTER|"
            self.want("five headers, spoofed ones gone", (status, text) == (200, expected), f"{status} {text}")
            # Only names that the gateway itself writes are taken away there.
            status, text = self.ask("pass", "/assets/echo", headers=SPOOFED[:1])
            self.want("passed on without spoofed headers", (status, text) == (200, "|||||"), f"{status} {text}")

    def refuses(self):
        status, text = self.ask("missing", "/echo" + QUERY, "AUTH_ID=secret&PLACEMENT=CONTACT_CENTER")
        self.want("missing field refused", status in (400, 422) and "member_id" in text, f"{status} {text}")
        status, text = self.ask("ambiguous", "/echo" + QUERY, form(self.member + "1", f"&member_id={self.member}2"))
        self.want("exact duplicate refused", status == 400, f"{status} {text}")

    @staticmethod
    def parted(answers):
        """Those that were taken, and the others."""
        return [[answer for answer in answers if (answer[0] == 200) == wanted] for wanted in (True, False)]

    @staticmethod
    def are_told(refused):
        return refused and all(status == 429 and retry_after >= 1 for status, retry_after in refused)

    def limits(self):
        limit = self.track.limit
        began = time.monotonic()
        answers, _ = curl(self.contestant, self.carrier, "accepted", f"/echo{QUERY}#[1-{4 * limit}]", "-d", form(self.member + "3"),
                          "--parallel", "--parallel-max", "50", "-o", os.devnull)
        seconds = time.monotonic() - began
        taken, refused = self.parted(answers)
        self.want("limit enforced", self.are_told(refused) and limit / 2 <= len(taken) <= limit * (2 + seconds),
                  f"{len(taken)} of {len(answers)} forwarded in {seconds:.1f} s, then {set(refused)}")
        status, _ = self.ask("accepted", "/echo" + QUERY, form(self.member + "4"))
        self.want("other members are not limited", status == 200, status)
        began = time.monotonic()
        answers, _ = curl(self.contestant, self.carrier, "limited", f"/echo{QUERY}#[1-10]", "-d", form(load.BUSY), "-o", os.devnull)
        taken, refused = self.parted(answers)
        self.want("one has a limit of its own", self.are_told(refused) and 1 <= len(taken) <= 2 + time.monotonic() - began < 10, answers)

    def serves(self):
        """So many healthy requests: all answered, each logged once, over few connections and without an error."""
        self.contestant.lines()
        self.contestant.forget_log()
        before = self.track.connects()
        seen = load.send(self.track.folder, "accepted", self.carrier, self.contestant.port("accepted", self.carrier),
                         self.connections, HEALTHY, self.track.others)
        connects = self.track.connects() - before
        lines, errors = self.contestant.lines(), self.contestant.error_lines()
        self.want(f"{HEALTHY} requests answered", (seen.requests, seen.refused, seen.broken) == (HEALTHY, 0, 0), seen)
        self.want("one line of log for each", HEALTHY * self.contestant.logged <= lines <= HEALTHY, lines)
        if self.carrier.scheme == "https":
            wanted = {"TLS Protocol": "TLSv1.3", "Cipher": load.CIPHER, "Server Temp Key": "X25519 253 bits",
                      "Application protocol": self.carrier.protocol}
            self.want(f"TLS 1.3, {self.carrier.protocol}", seen.spoken == wanted, seen.spoken)
        return connects / self.carrier.clients(self.connections), errors


def verify(track, contestant, carrier, connections):
    """Fails where the job is not done. Returns connects to the back end for each request in flight, and lines at
    level error, of so many healthy requests."""
    job = Job(track, contestant, carrier, connections)
    job.forwards()
    if contestant.key != "bare":
        job.refuses()
        job.limits()
    connects, errors = job.serves()
    bad = [f"  {what}: saw {saw}" for what, good, saw in job.wants if not good]
    if bad:
        fail(f"{contestant.title} does not do the job over {carrier.title}, threads {track.threads}:\n" + "\n".join(bad))
    told = f"{connects:.2f} connects a client" + ("" if errors is None else f", {errors} lines at level error")
    print(f"  {contestant.title}, {carrier.title}, threads {track.threads}: " + ", ".join(what for what, _, _ in job.wants) + f"; {told}", flush=True)
    return connects, errors
