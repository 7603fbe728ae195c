"use strict";
const EVERY = 2000, PATIENCE = 5000;
const OUTCOMES = {
  forwarded: "Forwarded", observed: "Observed", rejected: "Refused",
  limited: "Over the limit", upstream_error: "Upstream failed", client_closed: "Client left",
};
const FAILED = ["rejected", "limited", "upstream_error"];
const $ = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const rate = (n) => n === 0 ? "0/s" : n < 10 ? n.toFixed(1) + "/s" : count.format(Math.round(n)) + "/s";
const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const when = (ms) => Date.now() - ms < 8.64e7 ? clock(ms) : new Date(ms).toLocaleString("en-GB");
const sum = (list) => list.reduce((a, b) => a + b, 0);
const plural = (n, one) => count.format(n) + " " + one + (n === 1 ? "" : "s");

function bytes(n) {
  const at = n < 1024 ? 0 : n < 1 << 20 ? 1 : 2;
  return +(n / 1024 ** at).toPrecision(3) + " " + ["B", "KiB", "MiB"][at];
}
function span(seconds) {
  if (seconds == null) return "-";
  if (seconds < 0.001) return Math.round(seconds * 1e6) + " µs";
  if (seconds < 1) return +(seconds * 1000).toPrecision(3) + " ms";
  if (seconds < 120) return +seconds.toPrecision(3) + " s";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"]];
  const at = parts.findIndex(([each]) => seconds >= each);
  const rest = parts[at + 1] ? Math.floor(seconds % parts[at][0] / parts[at + 1][0]) : 0;
  return Math.floor(seconds / parts[at][0]) + " " + parts[at][1] + (rest ? " " + rest + " " + parts[at + 1][1] : "");
}

// Everything that came over the wire goes through here, so it can only ever be text. What is equal is
// left alone: selections stay, and a screen reader hears changes only.
function say(node, text) {
  text = String(text);
  if (node.textContent !== text) node.textContent = text;
  return node;
}
function set(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}
function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) say(node, text);
  return node;
}
function children(parent, list, create, update) {
  while (parent.children.length > list.length) parent.lastElementChild.remove();
  list.forEach((item, at) => {
    if (!parent.children[at]) parent.append(create(at));
    update(parent.children[at], item);
  });
}

// A row is a list of cells; the first one names the row. A cell is text, a number, a member of a list of
// members, or { text, kind }.
function rows(body, list) {
  children(body, list, () => make("tr"), (tr, cells) => {
    children(tr, cells, (at) => make(at ? "td" : "th"), (node, cell) => {
      if (node.tagName === "TH") set(node, "scope", "row");
      if (cell.member) return member(node, cell.member);
      const { text, kind = "" } = typeof cell === "object" ? cell
        : typeof cell === "number" ? { text: count.format(cell), kind: "number" } : { text: cell };
      set(node, "class", kind);
      say(node, text);
    });
  });
  const section = body.closest("section");
  const none = section.querySelector("p.none");
  if (none && section.querySelector("table") === body.parentNode) {
    none.hidden = list.length > 0;
    body.closest(".scroll").hidden = list.length === 0;
  }
}
// The domain is what people know a member by, the id is what everything else wants.
function member(node, m) {
  if (!node.firstChild) node.append(make("div"), make("a", "id"));
  say(node.firstChild, m.domain || "no domain");
  say(node.lastChild, m.member_id);
  set(node.lastChild, "href", "/-/limits/" + encodeURIComponent(m.member_id));
}
function heads(table, names) {
  if (!table.tHead.rows.length) table.tHead.append(make("tr"));
  children(table.tHead.rows[0], names, () => make("th"), (th, name) => {
    set(th, "scope", "col");
    set(th, "class", Object.values(OUTCOMES).includes(name) ? "number" : "");
    say(th, name);
  });
}
function facts(list, pairs) {
  children(list, pairs, () => {
    const pair = make("div");
    pair.append(make("dt"), make("dd"));
    return pair;
  }, (pair, [name, value]) => { say(pair.firstChild, name); say(pair.lastChild, value); });
}

// The newest sample is at the right edge, whatever there is of older ones.
function points(values, steps, max) {
  const left = steps - values.length;
  return values.map((value, at) =>
    [(left + at) / (steps - 1) * 600, 98 - value / max * 92].map((n) => n.toFixed(1)).join(" "));
}
function draw(svg, name, values, steps, max, closed) {
  let path = svg.querySelector("path." + name);
  if (!path) {
    path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("class", name);
    svg.append(path);
  }
  const line = points(values, steps, max);
  const from = ((steps - values.length) / (steps - 1) * 600).toFixed(1);
  path.setAttribute("d", line.length < 2 ? "" : closed ? `M${from} 98L${line.join("L")}L600 98Z` : `M${line.join("L")}`);
}
const ceiling = (n) => {
  const unit = 10 ** Math.floor(Math.log10(Math.max(n, 1)));
  return [1, 2, 5, 10].map((m) => m * unit).find((m) => m >= n);
};
// The last 10 seconds: single steps jump about.
const present = (values) => values.length ? sum(values.slice(-5)) / Math.min(values.length, 5) : 0;
const told = (values) => values.length
  ? `now ${rate(present(values))}, at most ${rate(Math.max(...values))}, at least ${rate(Math.min(...values))}`
  : "no numbers yet";

function traffic(s) {
  const { rates, steps } = s.recent;
  const length = rates.forwarded.length;
  const by = (names) => Array.from({ length }, (_, at) => sum(names.map((name) => rates[name][at])));
  const all = by(Object.keys(OUTCOMES)), failed = by(FAILED);
  const max = ceiling(Math.max(1, ...all));
  draw($("all"), "area", all, steps, max, true);
  draw($("all"), "failed", failed, steps, max, true);
  draw($("all"), "line", all, steps, max, false);
  set($("all"), "aria-label", `Requests per second over the last 2 minutes: ${told(all)}. ` +
    `Refused, limited or failed: ${told(failed)}.`);
  say($("peak"), "top: " + rate(max));
  children($("outcomes"), Object.entries(OUTCOMES), () => {
    const figure = make("figure"), caption = make("figcaption");
    caption.append(make("span"), make("strong"));
    const svg = document.createElementNS($("all").namespaceURI, "svg");
    for (const [name, value] of [["class", "small"], ["viewBox", "0 0 600 100"], ["preserveAspectRatio", "none"], ["role", "img"]])
      svg.setAttribute(name, value);
    figure.append(caption, svg, make("small"));
    return figure;
  }, (figure, [key, label]) => {
    const values = rates[key], [caption, svg, note] = figure.children;
    const most = Math.max(0, ...values);
    say(caption.firstChild, label);
    say(caption.lastChild, rate(present(values)));
    draw(svg, "area", values, steps, most || 1, true);
    draw(svg, "line", values, steps, most || 1, false);
    set(svg, "aria-label", `${label}: ${told(values)}`);
    say(note, most ? "peak " + rate(most) : "none in 2 minutes");
    if (key === "observed") set(figure, "title", "Forwarded although a rule in observe mode would have refused it");
  });
  const took = s.recent.duration_seconds, own = s.recent.overhead_seconds;
  facts($("tiles"), [
    ["requests, mean of 10 s", rate(present(all))],
    ["refused, limited, failed", rate(present(failed))],
    ["median / 95 % of answers", took ? `${span(took.p50)} / ${span(took.p95)}` : "-"],
    ["of that in the gateway", own ? `${span(own.p50)} / ${span(own.p95)}` : "-"],
    ["in flight", count.format(s.in_flight)],
    ["connections", count.format(s.connections_open)],
    ["held bodies", `${bytes(s.held_body_bytes)} of ${bytes(s.held_bodies)}`],
  ]);
  numbers(rates, length);
}
function numbers(rates, length) {
  heads($("numbers"), ["When", ...Object.values(OUTCOMES)]);
  const list = [];
  for (let end = length; end > 0; end -= 5) {
    const ago = (length - end) * 2;
    list.push([ago ? `${ago} s ago` : "now",
      ...Object.keys(OUTCOMES).map((key) => ({ text: rate(present(rates[key].slice(0, end))), kind: "number" }))]);
  }
  rows($("numbers").tBodies[0], list);
}

function refusals(s) {
  const sorted = [...s.refusals].sort((a, b) =>
    b.recently_enforced - a.recently_enforced || b.enforced - a.enforced || b.observed - a.observed);
  // Where nothing is observed, its columns would only take room.
  const observes = sorted.some((r) => r.observed);
  $("refusals").classList.toggle("enforced-only", !observes);
  rows($("refusals").tBodies[0], sorted.map((r) =>
    [`${r.reason} (${r.status})`, r.recently_enforced, r.enforced, r.recently_observed, r.observed]));
}
function observed(s) {
  // Where nothing is observed, it would only take room.
  $("observed").hidden = s.would_refuse.length === 0;
  rows($("would-refuse").tBodies[0], s.would_refuse.map((r) =>
    [r.rule ? `${r.reason}: ${r.rule}` : r.reason, r.route, r.placement || "-", r.requests,
      { text: r.members ? "≈ " + count.format(r.members) : "-", kind: "number" }, when(r.last)]));
}
function upstreams(s) {
  rows($("servers").tBodies[0], s.upstreams.flatMap((u) => u.servers.map((server) =>
    [server.name, u.name, server.in_flight, server.up ? { text: "✔ up", kind: "state good" } : { text: "✖ DOWN", kind: "state bad" }])));
  rows($("answers").tBodies[0], s.upstreams.map((u) =>
    [u.name, u.answers["2xx"], u.answers["3xx"], u.answers["4xx"], u.answers["5xx"], u.retries]));
}
function members(s) {
  const { top } = s;
  const about = (n, over) => ({ text: (over ? "≤ " : "") + count.format(n), kind: "number" });
  rows($("busiest").tBodies[0], top.busiest.map((m) => [{ member: m }, about(m.requests, m.over), m.limited]));
  rows($("limited").tBodies[0], top.most_limited.map((m) =>
    [{ member: m }, about(m.limited, m.over), m.requests == null ? { text: "-", kind: "number" } : m.requests]));
  const covers = `Last ${span(top.covers_seconds)}`;
  say($("busiest").caption, `${covers}: ${plural(top.requests, "request")} by about ${plural(top.distinct_members, "member")}`);
  say($("limited").caption, `${covers}: ${plural(top.limited, "request")} over the limit`);
}
function percent(part, whole) {
  const share = whole ? part / whole * 100 : 0;
  return `${share > 0 && share < 1 ? "under 1" : Math.round(share)} %`;
}
function store(of) {
  if (!of) return [];
  const names = { lease: "what is leased", store: "asking it", alone: "this gateway alone", no_place: "what keys without a place share" };
  const by = Object.entries(names).map(([name, words]) => [words, of.judged[name]]);
  const all = sum(by.map(([, n]) => n.allowed + n.limited));
  const instead = { local: of.replicas > 1 ? `1 of ${of.replicas} of each quota is granted here` : "each quota is granted here, whole",
    open: "everything is granted", closed: "nothing is granted" };
  const faults = Object.entries(of.faults).map(([reason, n]) => `${reason} ${count.format(n)}`);
  return [["shared by a store", of.up ? `✔ up, up to ${plural(of.lease, "request")} away` : `✖ down: ${instead[of.on_error]}`],
    ["its answers", of.mean_seconds == null ? "none yet" : `${count.format(of.asked)}, after ${span(of.mean_seconds)} on average`],
    ["its faults", faults.join(", ") || "none"],
    ["judged by", all ? by.map(([name, n]) => `${name} ${percent(n.allowed + n.limited, all)}` +
      (n.limited ? ` (${count.format(n.limited)} refused)` : "")).join(", ") : "nothing yet"]];
}
function limiter(s) {
  const { policies, max_keys } = s.limiter;
  const per = { 1: "second", 60: "minute", 3600: "hour" };
  const judged = (p) => p.allowed + p.held_back + p.limited + p.would_limit;
  facts($("policies"), policies.length ? policies.flatMap((p) => [
    [p.match ? `${p.name} ${p.match}` : "per " + p.name,
      `${count.format(p.quota.rate)} a ${per[p.quota.per_seconds]}, ${count.format(p.quota.burst)} at once`],
    ["mode", p.mode === "observe" ? "observe (nothing is refused)" : p.mode],
    ["refused", `${percent(p.limited, judged(p))} of what it judged` +
      (p.would_limit ? `, ${percent(p.would_limit, judged(p))} observed` : "") +
      (p.held_back ? `, ${percent(p.held_back, judged(p))} held back` : "")],
    ["exceptions", count.format(p.overrides)],
  ]).concat(store(s.limiter.store)) : [["limit", "none is configured"]]);
  const fullest = policies.reduce((most, p) => p.keys > most.keys ? p : most, { keys: 0 });
  $("table").value = fullest.keys / max_keys;
  const of = (p) => `${p.name}: ${count.format(p.keys)} of ${count.format(max_keys)} places taken ` +
    `(${percent(p.keys, max_keys)}), ${count.format(p.evicted)} given back since the start, ` +
    `${plural(p.overflowed, "request")} judged together because there was no room`;
  const tables = policies.filter((p, at) => policies.findIndex((other) => other.name === p.name) === at);
  say($("table-text"), tables.length ? tables.map(of).join("; ") : "No limit, no keys");
}
const value = (v) => v === null ? "not set" : typeof v === "string" ? v : JSON.stringify(v);
const waits = (w) => `${w.key}: runs with ${value(w.running)}, waiting is ${value(w.waiting)}`;
const RESULT = { applied: ["✔ applied", "good"], unchanged: ["= unchanged", ""], refused: ["✖ REFUSED", "bad"] };
const TRIGGER = { sighup: "by SIGHUP", watch: "the file changed", api: "asked for", start: "at the start" };
function configuration(s) {
  const c = s.configuration;
  facts($("config"), [
    ["generation", c.generation], ["sha256", c.sha256.slice(0, 12)], ["file", c.file],
    ["in force since", `${when(c.since)}, ${TRIGGER[c.trigger] || c.trigger}`],
    ["waits for a restart", c.waiting.map(waits).join("; ") || "nothing"],
  ]);
  const list = $("reloads");
  list.previousElementSibling.hidden = c.reloads.length > 0;
  children(list, c.reloads, (at) => {
    const item = make("li"), faults = make("details");
    // The latest is what somebody is looking for.
    faults.open = at === 0;
    faults.append(make("summary"), make("ul"));
    item.append(make("span", "state"), make("span"), faults);
    return item;
  }, (item, reload) => {
    const [word, kind] = RESULT[reload.result], [state, about, faults] = item.children;
    say(state, word).className = "state " + kind;
    say(about, ` ${when(reload.at)}, ${TRIGGER[reload.trigger] || reload.trigger}`);
    const [count, what, list] = reload.fault_count
      ? [reload.fault_count, "fault", reload.faults]
      : [reload.change_count, "change", reload.changes.map((c) => `${c.key}: ${value(c.old)} → ${value(c.new)}`)];
    faults.hidden = count === 0;
    const shown = list.length < count ? `, the first ${list.length} of them` : "";
    say(faults.firstChild, plural(count, what) + shown);
    children(faults.lastChild, list, () => make("li", "id"), say);
  });
}
function routes(s) {
  heads($("routes"), ["Route", "Takes", "Mode", ...Object.values(OUTCOMES)]);
  rows($("routes").tBodies[0], s.routes.map((r) => [r.name, r.paths.join(", ") || "what no route takes",
    r.modes.join(", ") || "-", ...Object.keys(OUTCOMES).map((key) => r.outcomes[key])]));
}

// What a person on call has to know, the worst first. The texts hold no number that moves with every
// update: they are read out when they change.
function problems(s) {
  const list = [];
  const bad = (text) => list.push(["bad", text]), warn = (text) => list.push(["warn", text]);
  for (const u of s.upstreams) {
    const down = u.servers.filter((server) => !server.up).map((server) => server.name);
    if (down.length === u.servers.length) bad(`Upstream ${u.name}: no server is up`);
    else if (down.length) warn(`Upstream ${u.name}: ${down.join(", ")} down, ${u.servers.length - down.length} up`);
  }
  const recent = (reason) => sum(s.refusals.filter((r) => r.reason === reason).map((r) => r.recently_enforced));
  if (recent("internal_error")) bad("Internal errors in the last 2 minutes: a fault of the gateway");
  const { rates } = s.recent;
  const failing = present(rates.upstream_error);
  if (failing > 0.01 * sum(Object.keys(OUTCOMES).map((key) => present(rates[key]))))
    bad("More than 1 % of requests fail at the upstream");
  const refused = present(rates.rejected) + present(rates.limited);
  if (refused >= 1 && refused > present(rates.forwarded) + present(rates.observed))
    warn("More requests are refused or over their limit than forwarded");
  const last = (s.configuration.reloads || [])[0];
  if (last && last.result === "refused")
    warn(`The last reload (${when(last.at)}) was REFUSED: ${plural(last.fault_count, "fault")}. ` +
      `Generation ${s.configuration.generation} stays in force`);
  if (s.configuration.waiting.length)
    warn(`Waits for a restart: ${s.configuration.waiting.map((w) => w.key).join(", ")}`);
  for (const text of s.configuration.warnings) warn(`The configuration: ${text}`);
  if (s.held_body_bytes > 0.9 * s.held_bodies) warn("Held bodies are near widget.held_bodies");
  if (recent("overloaded")) warn("Requests refused as overloaded in the last 2 minutes");
  for (const p of s.limiter.policies)
    if (p.keys > 0.9 * s.limiter.max_keys) warn(`The limiter's table of keys per ${p.name} is over 90 % full`);
  if (s.limiter.store && !s.limiter.store.up) warn("The store that limits are shared by is down");
  if (s.connections_open > 0.9 * s.max_connections) warn("Connections are near server.max_connections");
  if (s.log_lines_dropped) warn("Log lines were dropped since the start");
  if (s.uptime_seconds < 60) list.push(["info", "Started less than a minute ago"]);
  return list;
}

let shown = null, lastAt = 0, lost = null, paused = false, asking = false, timer = 0;
function verdict(kind, words, list) {
  const box = $("verdict"), [headline, details] = box.children;
  if (box.className !== kind) box.className = kind;
  say(headline, words);
  children(details, list, () => make("li"), (item, [, text]) => say(item, text));
  document.title = `${words.split(" ")[0]} ${location.host} widget-gateway`;
}
function judge() {
  document.body.classList.toggle("stale", lost !== null);
  say($("latest"), lost && shown ? clock(lastAt) : "now");
  if (lost) {
    verdict("bad", `✖ Lost the gateway at ${clock(lost.since)}`, [
      ["bad", lost.why], ["bad", shown ? `Everything below is as of ${clock(lastAt)}` : "Nothing was received before"]]);
  } else if (shown) {
    const list = problems(shown);
    const is = (kind) => list.some(([of]) => of === kind);
    if (shown.draining) verdict("warn", "◐ Draining: it stops once the last request has ended", list);
    else if (is("bad")) verdict("bad", "✖ Trouble", list);
    else if (is("warn")) verdict("warn", "▲ Serving, but look at this", list);
    else verdict("good", "✔ Serving", list);
  }
}
function age() {
  const ago = (at) => span(Math.round((Date.now() - at) / 1000));
  say($("age"), lost ? `No answer for ${ago(lost.since)}. Asking again every 2 seconds.`
    : paused ? `Paused. As of ${clock(lastAt)}, ${ago(lastAt)} ago.`
    : lastAt ? `As of ${clock(lastAt)}, updates every 2 seconds.` : "Nothing received yet.");
}
function show(s) {
  say($("host"), location.host);
  say($("version"), `${s.version} (${s.revision})`);
  say($("uptime"), span(s.uptime_seconds));
  say($("generation"), s.configuration.generation);
  for (const part of [traffic, refusals, observed, upstreams, members, limiter, configuration, routes]) part(s);
}
async function ask() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const answer = await fetch("/-/status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`It answered ${answer.status}`);
    const s = await answer.json();
    // While a reload is under way there is no list; the one before is kept.
    s.configuration.reloads ||= shown ? shown.configuration.reloads : [];
    shown = s;
    lastAt = Date.now();
    lost = null;
    show(s);
  } catch (e) {
    const why = e.name === "TimeoutError" ? `It did not answer within ${PATIENCE / 1000} seconds`
      : e.message.startsWith("It ") ? e.message : "It can not be reached";
    lost = { since: lost ? lost.since : lastAt || Date.now(), why };
  }
  asking = false;
  judge();
  age();
  if (!paused) timer = setTimeout(ask, EVERY);
}
setInterval(age, 1000);
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  say($("pause"), paused ? "Go on" : "Pause updates");
  if (paused) { clearTimeout(timer); age(); } else ask();
});
// A tab in the background is slowed down; whoever comes back wants the present.
document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) ask(); });
ask();
