"""A constant load of widget calls on 127.0.0.1:8080 until SIGTERM, at most ten minutes.

Eight clients, half of them on connections that are kept, half with a connection for each call. Prints a line with what
was answered as soon as something was, and one at the end; the first faults are told on standard error.
"""

import http.client
import signal
import sys
import threading
import time

TARGET = "/?DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en"
BODY = "member_id=%032x&PLACEMENT=DEFAULT"
TYPE = {"Content-Type": "application/x-www-form-urlencoded"}

stop = threading.Event()
lock = threading.Lock()
counts = {"answered": 0, "failed": 0, "slowest": 0.0}


def call(connection, client):
    connection.request("POST", TARGET, BODY % client, TYPE)
    answer = connection.getresponse()
    answer.read()
    return answer


def count(name, took, why=""):
    with lock:
        counts[name] += 1
        counts["slowest"] = max(counts["slowest"], took)
        if why and counts["failed"] <= 5:
            print(why, file=sys.stderr, flush=True)
        if counts["answered"] == 1 and name == "answered":
            print("answered", flush=True)


def work(client, keeps):
    connection = None
    while not stop.is_set():
        began = time.monotonic()
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
            answer = call(connection, client)
            fault = "" if answer.status == 200 else f"status {answer.status}"
            if not keeps or answer.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException) as e:
            fault = repr(e)
            connection = None
        count("failed" if fault else "answered", time.monotonic() - began, fault)
        time.sleep(0.005)


signal.signal(signal.SIGTERM, lambda *_: stop.set())
clients = [threading.Thread(target=work, args=(at, at % 2 == 0)) for at in range(8)]
for each in clients:
    each.start()
stop.wait(600)
stop.set()
for each in clients:
    each.join()
print(f"{counts['answered']} answered, the slowest after {counts['slowest']:.1f} s, {counts['failed']} failed")
