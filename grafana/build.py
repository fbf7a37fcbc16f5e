#!/usr/bin/env python3
"""Generates grafana/dashboards/*.json; edit this file, not those. `--check` reports differences.

A panel is one line here: its kind, title, unit and queries. In a query `$on` selects the chosen job and
instances, and `by (…)` separates instances.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${source}"}
ON = 'job=~"$job",instance=~"$instance"'
GREEN, YELLOW, RED = "green", "yellow", "red"


def quantile(q, family):
    return f"histogram_quantile({q}, sum by (instance, le) (rate({family}_bucket{{$on}}[$__rate_interval])))"


def quantiles(family):
    """Returns the median and the 99th percentile by instance."""
    return [(quantile(q, family), f"{{{{instance}}}} p{int(q * 100)}") for q in (0.5, 0.99)]


def rate(family, *by, where="", legend=None):
    labels = ", ".join(("instance", *by))
    legend = legend or " ".join(f"{{{{{label}}}}}" for label in ("instance", *by))
    return f"sum by ({labels}) (rate({family}{{$on{where}}}[$__rate_interval]))", legend


def now(family, where="", legend="{{instance}}"):
    return f"{family}{{$on{where}}}", legend


# Kinds of panels.


def fields(unit, steps=None, lowest=0):
    thresholds = [{"color": GREEN, "value": None}]
    thresholds += [{"color": color, "value": value} for value, color in steps or []]
    if steps and steps[0][0] is None:
        thresholds = [{"color": color, "value": value} for value, color in steps]
    return {"unit": unit, "min": lowest, "thresholds": {"mode": "absolute", "steps": thresholds}}


def targets(queries):
    return [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expr.replace("$on", ON), "legendFormat": legend}
        for at, (expr, legend) in enumerate(queries)
    ]


def lines(title, unit, queries, about="", steps=None, stacked=False):
    custom = {"fillOpacity": 20 if stacked else 5, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal"}
    if steps:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    return {
        "type": "timeseries", "title": title, "description": about, "targets": targets(queries),
        "fieldConfig": {"defaults": {**fields(unit, steps), "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "size": (8, 8),
    }


def number(title, unit, query, steps, about="", words=None):
    panel = {
        "type": "stat", "title": title, "description": about, "targets": targets([query]),
        "fieldConfig": {"defaults": fields(unit, steps), "overrides": []},
        "options": {"colorMode": "background", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}},
        "size": (4, 4),
    }
    if words:
        options = {str(value): {"text": text} for value, text in words.items()}
        panel["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": options}]
    return panel


def heat(title, family, about=""):
    query = f"sum by (le) (increase({family}_bucket{{$on}}[$__rate_interval]))", "{{le}}"
    (target,) = targets([query])
    return {
        "type": "heatmap", "title": title, "description": about, "targets": [{**target, "format": "heatmap"}],
        "options": {"yAxis": {"unit": "s"}, "color": {"scheme": "Oranges", "mode": "scheme"}, "calculate": False},
        "fieldConfig": {"defaults": {}, "overrides": []}, "size": (12, 8),
    }


def table(title, columns, about="", by="limit"):
    """Returns a table with a row for each value of a label and a column for each query."""
    asked = [{**target, "format": "table", "instant": True} for target in targets([(expr, name) for name, expr in columns])]
    names = {f"Value #{target['refId']}": target["legendFormat"] for target in asked}
    hidden = {"Time": True, "job": True, "__name__": True}
    return {
        "type": "table", "title": title, "description": about, "targets": asked,
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"renameByName": names, "excludeByName": hidden}},
            {"id": "sortBy", "options": {"sort": [{"field": by}]}},
        ],
        "fieldConfig": {"defaults": {"unit": "short"}, "overrides": []}, "size": (24, 10),
    }


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)}


# Dashboards.

LATE = [(0.05, YELLOW), (0.25, RED)]
SLOW = [(0.1, YELLOW), (0.5, RED)]
SHARE = [(0.75, YELLOW), (0.9, RED)]
ANY = [(0.001, YELLOW), (1, RED)]
BAD = [(1, RED)]
GOOD = [(None, RED), (1, GREEN)]


def used(limit):
    return f'max(fanfare_limit_used{{$on,limit="{limit}",streams=""}} / fanfare_limit_max{{$on,limit="{limit}",streams=""}})', ""


REFUSED = [
    rate("fanfare_publishes_refused_total", "reason", legend="publish {{reason}}"),
    rate("fanfare_subscribers_refused_total", "reason", legend="subscribe {{reason}}"),
    rate("fanfare_credentials_refused_total", "reason", legend="credential {{reason}}"),
]

DASHBOARDS = {
    "overview": ("Overview", [
        row("Is it healthy?"),
        number("Ready", "none", ("min(fanfare_ready{$on})", ""), GOOD, "As GET /readyz.", {0: "no", 1: "yes"}),
        number("Sessions", "short", ("sum(fanfare_sessions{$on})", ""), []),
        number("Published", "ops", ("sum(rate(fanfare_events_published_total{$on}[$__rate_interval]))", ""), []),
        number("Delivered", "ops", ("sum(rate(fanfare_deliveries_total{$on}[$__rate_interval]))", ""), []),
        number("Commit to sockets, p99", "s", (quantile(0.99, "fanfare_fanout_seconds").replace("instance, ", ""), ""), LATE),
        number("Publish answered, p99", "s", (quantile(0.99, "fanfare_publish_seconds").replace("instance, ", ""), ""), SLOW),
        number("Refused", "ops", (
            "sum(rate(fanfare_publishes_refused_total{$on}[$__rate_interval]))"
            " + sum(rate(fanfare_subscribers_refused_total{$on,reason!~\"finished|draining\"}[$__rate_interval]))", ""), ANY,
            "Publishes and subscribers; who and why is in Access and limits."),
        number("Readers that missed something", "short", (
            "sum(increase(fanfare_session_gaps_total{$on}[1h])) + sum(increase(fanfare_sessions_opened_total{$on,resume=\"gap\"}[1h]))", ""), BAD,
            "In the last hour; retention had removed it."),
        number("Memory", "percentunit", used("memory_budget"), SHARE, "Of --memory-budget."),
        number("Connections", "percentunit", used("max_connections"), SHARE, "Of --max-connections."),
        number("Files", "percentunit", ("max(process_open_fds{$on} / process_max_fds{$on})", ""), SHARE, "Of the open file limit."),
        number("Disk left above the reserve", "bytes", (
            "min(fanfare_journal_disk_free_bytes{$on} - fanfare_journal_disk_reserve_bytes{$on})", ""),
            [(None, RED), (0, YELLOW), (1 << 30, GREEN)], "Publishes are refused below --min-free-bytes."),
        row("Do events get through?"),
        lines("Published by type", "ops", [rate("fanfare_events_published_total", "type")], stacked=True),
        lines("Delivered", "ops", [rate("fanfare_deliveries_total"), rate("fanfare_events_replayed_total", "source", legend="{{instance}} replayed from {{source}}")]),
        lines("Latency", "s", [(quantile(0.99, f"fanfare_{of}_seconds"), f"{{{{instance}}}} {of} p99") for of in ("publish", "journal_commit", "fanout")], steps=LATE),
        lines("Sessions", "short", [now("fanfare_sessions"), now("fanfare_sessions_catching_up", legend="{{instance}} catching up")]),
        lines("Refused by reason", "ops", REFUSED, stacked=True),
        lines("Sessions closed by reason", "ops", [rate("fanfare_sessions_closed_total", "reason")], stacked=True),
        row("What runs out first?"),
        lines("Readiness", "short", [now("fanfare_ready_check", legend="{{instance}} {{check}}")], "1 for each check that is fine."),
        lines("Memory", "bytes", [now("process_resident_memory_bytes"), now("fanfare_limit_max", ',limit="memory_budget"', "{{instance}} budget")]),
        lines("Lost", "ops", [
            rate("fanfare_log_lines_lost_total", legend="{{instance}} lines of the log"),
            rate("fanfare_requests_abandoned_total", legend="{{instance}} requests given up by their clients")],
            "Lines of the log that nobody took; requests whose clients went away before they were answered.", steps=ANY),
        lines("Processor time", "short", [("rate(process_cpu_seconds_total{$on}[$__rate_interval])", "{{instance}}")], "Cores."),
    ]),
    "fan-out": ("Fan-out", [
        row("How fast"),
        heat("Commit to sockets", "fanfare_fanout_seconds", "Of each batch and worker thread, until all its live sessions have it, of whatever interest."),
        heat("Age of the oldest event that a live session has not taken", "fanfare_undelivered_age_seconds", "Looked at once a second by each worker thread."),
        lines("Commit to sockets", "s", quantiles("fanfare_fanout_seconds"), steps=LATE),
        lines("Age of the oldest undelivered", "s", quantiles("fanfare_undelivered_age_seconds")),
        lines("Due and delivered", "ops", [
            rate("fanfare_deliveries_due_total", legend="{{instance}} due"), rate("fanfare_deliveries_total", legend="{{instance}} live"),
            (rate("fanfare_events_replayed_total")[0], "{{instance}} replayed")],
            "What is due and is neither delivered nor replayed waits, or its reader is gone."),
        lines("Bytes to live sessions", "Bps", [rate("fanfare_delivered_bytes_total")]),
        row("Who is behind"),
        lines("Catching up", "short", [now("fanfare_sessions_catching_up")], "Sessions that read from history."),
        lines("Bytes that wait for live sessions", "bytes", [now("fanfare_session_queue_bytes")]),
        lines("Bounds that were hit", "ops", [rate("fanfare_bound_hits_total", "bound")], "session_queue, shard_mailbox: sessions went on from history. disk_reads: one waited for others."),
        row("Opened and closed sessions"),
        lines("Opened by resume", "ops", [rate("fanfare_sessions_opened_total", "resume")], stacked=True),
        lines("Closed by reason", "ops", [rate("fanfare_sessions_closed_total", "reason")], stacked=True),
        lines("Replayed", "ops", [rate("fanfare_events_replayed_total", "source")], "disk: older than what --recent-bytes holds."),
        lines("Gaps", "ops", [rate("fanfare_session_gaps_total"), rate("fanfare_sessions_opened_total", where=',resume="gap"', legend="{{instance}} at a resume")], steps=ANY),
    ]),
    "journal": ("Journal", [
        row("Health"),
        number("Poisoned", "none", ("max(fanfare_journal_poisoned{$on})", ""), BAD, "A write or sync has failed.", {0: "no", 1: "yes"}),
        number("Commit hangs", "none", ("max(fanfare_journal_commit_hanging{$on})", ""), BAD, words={0: "no", 1: "yes"}),
        number("Disk full", "none", ("max(fanfare_journal_disk_full{$on})", ""), BAD, words={0: "no", 1: "yes"}),
        number("Loss found", "none", ("max(fanfare_journal_loss_found{$on})", ""), BAD, "Not acknowledged yet.", {0: "no", 1: "yes"}),
        number("Read failed", "none", ("max(fanfare_journal_read_failed{$on})", ""), BAD, "Since the start.", {0: "no", 1: "yes"}),
        number("Clock jumped", "s", ("max(fanfare_journal_clock_jump_seconds{$on})", ""), BAD, "Forward, while retention by age waits."),
        number("Kept", "percentunit", ("max(fanfare_journal_bytes{$on} / fanfare_journal_max_bytes{$on})", ""), [], "Of --journal-max-bytes; the oldest goes past it."),
        number("Oldest event", "s", ("max(time() - (fanfare_journal_oldest_event_timestamp_seconds{$on} > 0) or fanfare_journal_bytes{$on} * 0)", ""), [], "How far back a reader can go; 0 where nothing is kept."),
        row("How fast"),
        heat("Commit", "fanfare_journal_commit_seconds", "From handing a batch to the order until it is durable."),
        heat("Publish", "fanfare_publish_seconds", "From a request's body to its receipt."),
        lines("Commit", "s", quantiles("fanfare_journal_commit_seconds"), steps=SLOW),
        lines("Commits", "ops", [rate("fanfare_journal_commit_seconds_count", legend="{{instance}} commits"), rate("fanfare_journal_syncs_total", legend="{{instance}} synced")]),
        lines("What shares a commit", "short", quantiles("fanfare_journal_batch_entries"), "Entries: the more publishers, the more share one sync."),
        lines("Bytes of a commit", "bytes", quantiles("fanfare_journal_batch_bytes")),
        lines("Waiting publishes", "short", [now("fanfare_publish_queue_requests"), now("fanfare_dispatch_queue_batches", legend="{{instance}} batches for the manager")]),
        lines("Waiting bytes", "bytes", [now("fanfare_publish_queue_bytes"), now("fanfare_request_body_bytes", legend="{{instance}} bodies being received")]),
        row("What it holds"),
        lines("Entries", "bytes", [now("fanfare_journal_bytes"), now("fanfare_journal_disk_bytes", legend="{{instance}} files")]),
        lines("Disk", "bytes", [now("fanfare_journal_disk_free_bytes", legend="{{instance}} left"), now("fanfare_journal_disk_reserve_bytes", legend="{{instance}} reserve")]),
        lines("Streams", "short", [now("fanfare_journal_streams")]),
        lines("Compaction", "percentunit", [rate("fanfare_journal_compaction_seconds_total")], "Share of the time."),
        lines("Compactions", "ops", [rate("fanfare_journal_compactions_total", legend="{{instance}} done"), rate("fanfare_journal_reclaims_total", legend="{{instance}} rewritten")]),
        lines("Compactions that run", "short", [now("fanfare_journal_compactions_running")]),
        lines("Disk reads", "short", [now("fanfare_disk_reads_running", legend="{{instance}} of history"), now("fanfare_disk_lookups_running", legend="{{instance}} look-ups")]),
    ]),
    "access": ("Access and limits", [
        row("Who is refused"),
        lines("Subscribers", "ops", [rate("fanfare_subscribers_refused_total", "reason")], stacked=True),
        lines("Publishes", "ops", [rate("fanfare_publishes_refused_total", "reason")], stacked=True),
        lines("Credentials", "ops", [rate("fanfare_credentials_refused_total", "reason")], stacked=True),
        lines("Requests", "ops", [rate("fanfare_requests_refused_total", "reason")], "Refused before authentication.", stacked=True),
        lines("Connections", "ops", [rate("fanfare_connections_refused_total", "reason")], "Closed before the first request.", stacked=True),
        lines("Sessions closed for their credential", "ops", [rate("fanfare_sessions_closed_total", "reason", where=',reason=~"token_.*|closed_by_operator"')], stacked=True),
        lines("Files", "ops", [rate("fanfare_file_requests_total", "outcome")], "Downloads by what became of them.", stacked=True),
        lines("Bytes of files", "Bps", [rate("fanfare_file_bytes_total")]),
        row("Use of limits"),
        lines("Limits", "percentunit", [("fanfare_limit_used{$on} / fanfare_limit_max{$on}", "{{instance}} {{limit}} {{streams}}")], "Of a limit for each client, subject or stream, by the one that takes most.", steps=SHARE),
        lines("Refusals by limit", "ops", [rate("fanfare_limit_refusals_total", "limit", "streams")], stacked=True),
        lines("Open files", "short", [now("process_open_fds"), now("process_max_fds", legend="{{instance}} at most")]),
        table("Limits", [
            ("max", "sum by (instance, limit, streams) (fanfare_limit_max{$on})"), ("used", "sum by (instance, limit, streams) (fanfare_limit_used{$on})"),
            ("peak", "sum by (instance, limit, streams) (fanfare_limit_peak{$on})"), ("refusals", "sum by (instance, limit, streams) (fanfare_limit_refusals_total{$on})")]),
    ]),
    "sources": ("Sources", [
        row("What is published"),
        lines("Events by type", "ops", [rate("fanfare_events_published_total", "type")], stacked=True),
        lines("Bytes", "Bps", [rate("fanfare_published_bytes_total")]),
        lines("Size of an event", "bytes", [(
            "sum by (instance) (rate(fanfare_published_bytes_total{$on}[$__rate_interval])) / sum by (instance) (rate(fanfare_events_published_total{$on}[$__rate_interval]))", "{{instance}}")], "On average."),
        lines("Events by pattern", "ops", [rate("fanfare_stream_events_published_total", "streams")], "Of the patterns in --metrics-streams.", stacked=True),
        lines("Deliveries by pattern", "ops", [rate("fanfare_stream_deliveries_total", "streams")], "Of the patterns in --metrics-streams.", stacked=True),
        lines("Readers of an event", "short", [(
            "sum by (instance) (rate(fanfare_deliveries_due_total{$on}[$__rate_interval])) / sum by (instance) (rate(fanfare_events_published_total{$on}[$__rate_interval]))", "{{instance}}")], "On average."),
        row("What the hub publishes by itself"),
        lines("Running", "short", [now("fanfare_source_up", legend="{{instance}} {{source}}")], "0: off, or it waits to be started again."),
        lines("Events", "ops", [rate("fanfare_source_events_total", "source"), rate("fanfare_source_events_refused_total", "source", legend="{{instance}} {{source}} refused")]),
        lines("Started again", "short", [("increase(fanfare_source_restarts_total{$on}[1h])", "{{instance}} {{source}}")], "In the last hour."),
        lines("Files that are followed", "short", [now("fanfare_tail_files"), now("fanfare_tail_unreadable_files", legend="{{instance}} that cannot be"), ("rate(fanfare_tail_lines_replaced_total{$on}[$__rate_interval])", "{{instance}} lines/s with what is no UTF-8")]),
        lines("Yet to be read of files", "bytes", [now("fanfare_tail_behind_bytes")], "Grows where the journal takes nothing, or less than is written."),
        lines("Jobs that run", "short", [now("fanfare_job_running", legend="{{instance}} {{job}}")], stacked=True),
        lines("Runs of jobs", "short", [("sum by (instance, job, outcome) (increase(fanfare_job_runs_total{$on}[1h]))", "{{instance}} {{job}} {{outcome}}")], "That ended in the last hour, or were refused."),
        lines("Services by their heartbeats", "short", [now("fanfare_heartbeat_sources", legend="{{instance}} {{status}}")], "up, late, down: which, the stream heartbeats tells.", stacked=True),
        row("Chats"),
        lines("Chats that run", "short", [now("fanfare_chats_running"), now("fanfare_chats_queued", legend="{{instance}} {{upstream}} queued")], "Those that wait for their turn among them."),
        lines("Ends", "short", [("sum by (instance, upstream, outcome) (increase(fanfare_chats_ended_total{$on}[1h]))", "{{instance}} {{upstream}} {{outcome}}")], "Of the last hour, by how.", stacked=True),
        lines("First token", "s", quantiles("fanfare_chat_first_token_seconds")),
        lines("Tokens a second", "short", [rate("fanfare_chat_tokens_total"), (quantile(0.5, "fanfare_chat_tokens_per_second"), "{{instance}} of one answer, p50")]),
        lines("Upstreams asked", "ops", [rate("fanfare_chat_attempts_total", "upstream", "result"), rate("fanfare_chat_stalls_total", "upstream", legend="{{instance}} {{upstream}} stalled")], "By what they answered."),
        lines("Repeated requests served by a running or stored chat", "ops", [rate("fanfare_chat_adopted_total", legend="{{instance}} by a client that tried again"), rate("fanfare_chat_replayed_total", legend="{{instance}} by a key")]),
        lines("Readers of a chat", "short", quantiles("fanfare_chat_readers"), "At most, by its end."),
        lines("Refused", "ops", [rate("fanfare_chats_refused_total", "reason")], "Requests, by reason.", stacked=True),
        row("Publish requests"),
        lines("Publish answered", "s", quantiles("fanfare_publish_seconds"), steps=SLOW),
        lines("Requests", "ops", [rate("fanfare_publish_seconds_count")]),
        lines("Refused by reason", "ops", [rate("fanfare_publishes_refused_total", "reason")], stacked=True),
        lines("Publishes that wait", "short", [now("fanfare_publish_queue_requests")]),
        lines("Bodies being received", "bytes", [now("fanfare_request_body_bytes")]),
    ]),
}


def variable(name, label, query, **more):
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
        "query": {"query": query, "refId": name}, "definition": query, **more,
    }


def placed(panels):
    """Places panels from left to right, and in a new line if one does not fit."""
    x = y = height = 0
    for at, panel in enumerate(panels):
        width, tall = panel["size"]
        if x + width > 24 or panel["type"] == "row":
            x, y, height = 0, y + height, 0
        here = {"h": tall, "w": width, "x": x, "y": y}
        panel = {"id": at + 1, "gridPos": here, **{k: v for k, v in panel.items() if k != "size" and v != ""}}
        yield panel if panel["type"] == "row" else {**panel, "datasource": SOURCE}
        x, height = x + width, max(height, tall)


def dashboard(name, title, panels):
    restarts = {
        "name": "Restarts", "enable": True, "iconColor": "orange", "datasource": SOURCE, "useValueForTime": True,
        "expr": f"process_start_time_seconds{{{ON}}} * 1000", "titleFormat": "{{instance}} was started", "step": "15s",
    }
    everything = {"includeAll": True, "multi": True, "current": {"text": "All", "value": "$__all"}}
    return {
        "uid": f"fanfare-{name}", "title": f"Fanfare / {title}", "tags": ["fanfare"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "templating": {"list": [
            {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus", "current": {}},
            variable("job", "Job", "label_values(fanfare_build_info, job)", **everything),
            variable("instance", "Instance", 'label_values(fanfare_build_info{job=~"$job"}, instance)', **everything),
        ]},
        "annotations": {"list": [restarts]},
        "links": [{"type": "dashboards", "title": "Fanfare", "tags": ["fanfare"], "asDropdown": False, "includeVars": True, "keepTime": True}],
        "panels": list(placed(panels)),
    }


def main():
    wrong = []
    FOLDER.mkdir(exist_ok=True)
    for name, (title, panels) in DASHBOARDS.items():
        text = json.dumps(dashboard(name, title, panels), indent=2) + "\n"
        path = FOLDER / f"{name}.json"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(path.name)
    if wrong:
        sys.exit(f"run grafana/build.py: {', '.join(wrong)} would change")


if __name__ == "__main__":
    main()
