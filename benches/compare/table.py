"""The figures of a race as tables, and what is to be reached."""

import statistics

from load import CARRIERS, PATHS

COLUMNS = [("rps", "requests/s", 0), ("p50", "p50 ms", 2), ("p99", "p99 ms", 2), ("rss", "memory MiB", 1), ("connects", "connects a client", 2)]


def rival(path):
    """Whom a ratio is taken to."""
    return "bare" if path == "pass" else "haproxy"


# CPU per request of the gateway with one thread, as a ratio to the rival's, at most.
GOALS = {("accepted", "h1"): 1.0, ("accepted", "tls"): 0.95, ("accepted", "h2"): 1.0,
         **{(path, carrier): 1.0 for path in ("missing", "limited", "ambiguous") for carrier in CARRIERS},
         **{("pass", carrier): 1.2 for carrier in CARRIERS}}
# Connections that held calls make to the back end, for each request in flight.
CONNECTS_GOAL = 1.02


def ratios(results, threads, carrier, path, key):
    """Of CPU per request, each taken within its round."""
    base = results.get((threads, carrier, path, rival(path)), [])
    return [run["cpu"] / other["cpu"] for run, other in zip(results[threads, carrier, path, key], base)]


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(results, titles):
    """`results` maps (threads, carrier, path, contestant) to the runs, `titles` the contestants to their names."""
    lines = []
    for path in PATHS:
        rows = [key for key in results if key[2] == path]
        if not rows:
            continue
        lines += [f"### {path}: {PATHS[path]}", "",
                  f"| carrier | threads | | CPU µs/request | to {titles.get(rival(path), rival(path))} | " + " | ".join(title for _, title, _ in COLUMNS) + " |",
                  "|---|---|---|---|---|" + "---|" * len(COLUMNS)]
        for threads, carrier, _, key in rows:
            runs, share = results[threads, carrier, path, key], ratios(results, threads, carrier, path, key)
            cells = [CARRIERS[carrier].title, str(threads), titles[key], spread([run["cpu"] for run in runs], 1),
                     f"**×{statistics.median(share):.2f}** ({min(share):.2f} to {max(share):.2f})" if share else ""]
            cells += [f"{statistics.median(run[name] for run in runs):.{digits}f}" for name, _, digits in COLUMNS]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def verdicts(results, healthy):
    """What is to be reached, as (whether it is, how it is told). `healthy` holds what `job.verify` found of the gateway."""
    found = []
    for (threads, carrier), (connects, errors) in healthy.items():
        place = f"healthy requests, {CARRIERS[carrier].title}, threads {threads}"
        found.append((connects <= CONNECTS_GOAL, f"{place}: {connects:.2f} connects a client, at most {CONNECTS_GOAL}"))
        found.append((errors == 0, f"{place}: {errors} lines at level error, none wanted"))
    for (threads, carrier, path, key), runs in results.items():
        if key != "gateway":
            continue
        place = f"{path}, {CARRIERS[carrier].title}, threads {threads}"
        share = ratios(results, threads, carrier, path, key)
        if threads == 1 and share:
            most, seen = GOALS[path, carrier], statistics.median(share)
            found.append((seen <= most, f"{place}: CPU ×{seen:.2f}, at most ×{most:.2f}"))
        if path == "accepted":
            seen = max(run["connects"] for run in runs)
            found.append((seen <= CONNECTS_GOAL, f"{place}: {seen:.2f} connects a client, at most {CONNECTS_GOAL}"))
    return found
