"""Servers that are started, watched and stopped again, and what the kernel says about them."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def fail(message):
    sys.exit(f"{Path(sys.argv[0]).resolve().parent.name}: {message}")


def descendants(pid):
    """The process and all that it started, at this moment."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # Ended while we looked.
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        at = queue.pop()
        found.append(at)
        queue += parents.get(at, [])
    return found


def cpu_seconds(pid):
    total = 0
    for each in descendants(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])  # utime, stime: of all threads of the process
    return total / TICK


def memory_bytes(pid):
    total = 0
    for each in descendants(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) * 1024
        except (OSError, TypeError):
            text = Path(f"/proc/{each}/status").read_text()
            total += int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)[1]) * 1024
    return total


def free_ports(count):
    """Ports that nobody listens on, below those that the kernel gives to connections: none is taken before it is used."""
    ports = []
    while len(ports) < count:
        port = random.randrange(16000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


class Process:
    """A server that is stopped at the end, whatever happens."""

    all = []

    def __init__(self, name, command, ports, cores, directory, out=None):
        """Waits until it listens on all `ports`. `cores` is the set it may use, None leaves that to the kernel."""
        self.name = name
        err = open(directory / f"{name}.stderr", "ab")
        pin = (lambda: os.sched_setaffinity(0, cores)) if cores is not None else None
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out or err, stderr=err,
            preexec_fn=pin, start_new_session=True, cwd=directory)
        Process.all.append(self)
        deadline = time.monotonic() + 10
        while not all(listening(port) for port in ports):
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (directory / f"{name}.stderr").read_text(errors="replace")[-2000:]
                fail(f"{name} did not start: {' '.join(map(str, command))}\n{text}")
            time.sleep(0.05)

    @property
    def pid(self):
        return self.process.pid

    @classmethod
    def stop_all(cls):
        for each in reversed(cls.all):
            if each.process.poll() is None:
                # SIGINT stops all of them at once; nginx and HAProxy take their workers along.
                each.process.send_signal(signal.SIGINT)
        for each in cls.all:
            try:
                each.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(each.pid, signal.SIGKILL)
        cls.all.clear()
