#!/usr/bin/env python3
"""Generates grafana/dashboards/*.json. `--check` only reports files that would change.

Edit this file, not the generated ones. Each panel is a call with its title, unit and queries. In a query,
`$filter` stands for the label matchers of the selected job and instances.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${source}"}
FILTER = 'job=~"$job",instance=~"$instance"'
GREEN, YELLOW, RED = "green", "yellow", "red"


def quantile(q, family):
    return f"histogram_quantile({q}, sum by (instance, le) (rate({family}_bucket{{$filter}}[$__rate_interval])))"


def quantiles(family):
    """Returns the median and the 99th percentile by instance."""
    return [(quantile(q, family), f"{{{{instance}}}} p{int(q * 100)}") for q in (0.5, 0.99)]


def rate(family, *by, where="", legend=None):
    """Returns the rate by instance and the labels in `by`, with its legend. `where` adds label matchers."""
    labels = ", ".join(("instance", *by))
    legend = legend or " ".join(f"{{{{{label}}}}}" for label in ("instance", *by))
    return f"sum by ({labels}) (rate({family}{{$filter{where}}}[$__rate_interval]))", legend


def current(family, where="", legend="{{instance}}"):
    """Returns the current value of each series, with its legend. `where` adds label matchers."""
    return f"{family}{{$filter{where}}}", legend


# Panels.


def field_defaults(unit, thresholds=None, minimum=0):
    """Returns the default field options. Without a threshold at None, the lowest values are green."""
    steps = [{"color": color, "value": value} for value, color in thresholds or []]
    if not steps or steps[0]["value"] is not None:
        steps.insert(0, {"color": GREEN, "value": None})
    return {"unit": unit, "min": minimum, "thresholds": {"mode": "absolute", "steps": steps}}


def targets(queries):
    return [
        {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expr.replace("$filter", FILTER), "legendFormat": legend}
        for n, (expr, legend) in enumerate(queries)
    ]


def time_series(title, unit, queries, description="", thresholds=None, stacked=False):
    custom = {"fillOpacity": 20 if stacked else 5, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal"}
    if thresholds:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    return {
        "type": "timeseries", "title": title, "description": description, "targets": targets(queries),
        "fieldConfig": {"defaults": {**field_defaults(unit, thresholds), "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "size": (8, 8),
    }


def stat(title, unit, query, thresholds, description="", value_texts=None):
    """Returns a panel with one number. `value_texts` maps values to the texts shown instead."""
    panel = {
        "type": "stat", "title": title, "description": description, "targets": targets([query]),
        "fieldConfig": {"defaults": field_defaults(unit, thresholds), "overrides": []},
        "options": {"colorMode": "background", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}},
        "size": (4, 4),
    }
    if value_texts:
        options = {str(value): {"text": text} for value, text in value_texts.items()}
        panel["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": options}]
    return panel


def heatmap(title, family, description=""):
    query = f"sum by (le) (increase({family}_bucket{{$filter}}[$__rate_interval]))", "{{le}}"
    (target,) = targets([query])
    return {
        "type": "heatmap", "title": title, "description": description, "targets": [{**target, "format": "heatmap"}],
        "options": {"yAxis": {"unit": "s"}, "color": {"scheme": "Oranges", "mode": "scheme"}, "calculate": False},
        "fieldConfig": {"defaults": {}, "overrides": []}, "size": (12, 8),
    }


def table(title, columns, description="", sort_by="limit"):
    """Returns a table with a row for each label set and a column for each query."""
    column_targets = [{**target, "format": "table", "instant": True} for target in targets([(expr, name) for name, expr in columns])]
    names = {f"Value #{target['refId']}": target["legendFormat"] for target in column_targets}
    hidden = {"Time": True, "job": True, "__name__": True}
    return {
        "type": "table", "title": title, "description": description, "targets": column_targets,
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"renameByName": names, "excludeByName": hidden}},
            {"id": "sortBy", "options": {"sort": [{"field": sort_by}]}},
        ],
        "fieldConfig": {"defaults": {"unit": "short"}, "overrides": []}, "size": (24, 10),
    }


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)}


# Thresholds: the values from which a color applies.

FANOUT_LATENCY = [(0.05, YELLOW), (0.25, RED)]
PUBLISH_LATENCY = [(0.1, YELLOW), (0.5, RED)]
USAGE = [(0.75, YELLOW), (0.9, RED)]
NONZERO_RATE = [(0.001, YELLOW), (1, RED)]
RED_FROM_1 = [(1, RED)]
GREEN_FROM_1 = [(None, RED), (1, GREEN)]


# Dashboards.


def limit_usage(limit):
    """Returns the used share of a limit."""
    return f'max(fanfare_limit_used{{$filter,limit="{limit}",streams=""}} / fanfare_limit_max{{$filter,limit="{limit}",streams=""}})', ""


REFUSED = [
    rate("fanfare_publishes_refused_total", "reason", legend="publish {{reason}}"),
    rate("fanfare_subscribers_refused_total", "reason", legend="subscribe {{reason}}"),
    rate("fanfare_credentials_refused_total", "reason", legend="credential {{reason}}"),
]

DASHBOARDS = {
    "overview": ("Overview", [
        row("Health"),
        stat("Ready", "none", ("min(fanfare_ready{$filter})", ""), GREEN_FROM_1, "Result of GET /readyz.", {0: "no", 1: "yes"}),
        stat("Sessions", "short", ("sum(fanfare_sessions{$filter})", ""), []),
        stat("Published events", "ops", ("sum(rate(fanfare_events_published_total{$filter}[$__rate_interval]))", ""), []),
        stat("Delivered events", "ops", ("sum(rate(fanfare_deliveries_total{$filter}[$__rate_interval]))", ""), []),
        stat("Fan-out latency, p99", "s", (quantile(0.99, "fanfare_fanout_seconds").replace("instance, ", ""), ""), FANOUT_LATENCY),
        stat("Publish latency, p99", "s", (quantile(0.99, "fanfare_publish_seconds").replace("instance, ", ""), ""), PUBLISH_LATENCY),
        stat("Refusals", "ops", (
            "sum(rate(fanfare_publishes_refused_total{$filter}[$__rate_interval]))"
            " + sum(rate(fanfare_subscribers_refused_total{$filter,reason!~\"finished|draining\"}[$__rate_interval]))", ""), NONZERO_RATE,
            "Refused publishes and subscribers per second. The dashboard Access and limits shows the reasons."),
        stat("Subscribers with gaps", "short", (
            "sum(increase(fanfare_session_gaps_total{$filter}[1h])) + sum(increase(fanfare_sessions_opened_total{$filter,resume=\"gap\"}[1h]))", ""), RED_FROM_1,
            "Sessions in the last hour that missed events because retention had removed them."),
        stat("Memory", "percentunit", limit_usage("memory_budget"), USAGE, "Used share of --memory-budget."),
        stat("Connections", "percentunit", limit_usage("max_connections"), USAGE, "Used share of --max-connections."),
        stat("Open files", "percentunit", ("max(process_open_fds{$filter} / process_max_fds{$filter})", ""), USAGE, "Used share of the open file limit."),
        stat("Free disk space above the reserve", "bytes", (
            "min(fanfare_journal_disk_free_bytes{$filter} - fanfare_journal_disk_reserve_bytes{$filter})", ""),
            [(None, RED), (0, YELLOW), (1 << 30, GREEN)], "Free bytes minus --min-free-bytes. Publishes are refused below 0."),
        row("Publishing and delivery"),
        time_series("Published events by type", "ops", [rate("fanfare_events_published_total", "type")], stacked=True),
        time_series("Events published by clients, by protocol", "ops", [rate("fanfare_published_by_protocol_total", "protocol")], stacked=True),
        time_series("Delivered events", "ops", [rate("fanfare_deliveries_total"), rate("fanfare_events_replayed_total", "source", legend="{{instance}} replayed from {{source}}")]),
        time_series("Latency", "s", [(quantile(0.99, f"fanfare_{stage}_seconds"), f"{{{{instance}}}} {stage} p99") for stage in ("publish", "journal_commit", "fanout")], thresholds=FANOUT_LATENCY),
        time_series("Sessions", "short", [current("fanfare_sessions"), current("fanfare_sessions_catching_up", legend="{{instance}} catching up")]),
        time_series("Refusals by reason", "ops", REFUSED, stacked=True),
        time_series("Closed sessions by reason", "ops", [rate("fanfare_sessions_closed_total", "reason")], stacked=True),
        time_series("Opened sessions by protocol", "ops", [rate("fanfare_sessions_opened_by_protocol_total", "protocol")], stacked=True),
        row("Resources"),
        time_series("Readiness", "short", [current("fanfare_ready_check", legend="{{instance}} {{check}}")], "1 for each check of /readyz that passes, else 0."),
        time_series("Memory", "bytes", [current("process_resident_memory_bytes"), current("fanfare_limit_max", ',limit="memory_budget"', "{{instance}} budget")]),
        time_series("Lost log lines and abandoned requests", "ops", [
            rate("fanfare_log_lines_lost_total", legend="{{instance}} log lines lost"),
            rate("fanfare_requests_abandoned_total", legend="{{instance}} requests abandoned")],
            "Log lines dropped because the log was not read fast enough. Requests whose client disconnected before the response.", thresholds=NONZERO_RATE),
        time_series("CPU usage", "short", [("rate(process_cpu_seconds_total{$filter}[$__rate_interval])", "{{instance}}")], "CPU cores in use."),
    ]),
    "fan-out": ("Fan-out", [
        row("Latency"),
        heatmap("Fan-out latency", "fanfare_fanout_seconds", "Time from the commit of a batch until a worker thread has written it to the sockets of all its matching live sessions."),
        heatmap("Age of the oldest undelivered event", "fanfare_undelivered_age_seconds", "Oldest event that a live session has not taken, sampled once a second by each worker thread."),
        time_series("Fan-out latency, p50 and p99", "s", quantiles("fanfare_fanout_seconds"), thresholds=FANOUT_LATENCY),
        time_series("Age of the oldest undelivered event, p50 and p99", "s", quantiles("fanfare_undelivered_age_seconds")),
        time_series("Due and delivered events", "ops", [
            rate("fanfare_deliveries_due_total", legend="{{instance}} due"), rate("fanfare_deliveries_total", legend="{{instance}} live"),
            (rate("fanfare_events_replayed_total")[0], "{{instance}} replayed")],
            "Events that are due but neither delivered nor replayed are waiting, or their subscriber has disconnected."),
        time_series("Bytes delivered to live sessions", "Bps", [rate("fanfare_delivered_bytes_total")]),
        row("Slow subscribers"),
        time_series("Sessions catching up", "short", [current("fanfare_sessions_catching_up")], "Sessions that read from history."),
        time_series("Bytes queued for live sessions", "bytes", [current("fanfare_session_queue_bytes")]),
        time_series("Full queues and buffers", "ops", [rate("fanfare_bound_hits_total", "bound")], "session_queue, shard_mailbox: sessions continued from history. disk_reads: a read waited for other reads."),
        row("Opened and closed sessions"),
        time_series("Opened sessions by resume result", "ops", [rate("fanfare_sessions_opened_total", "resume")], stacked=True),
        time_series("Closed sessions by reason", "ops", [rate("fanfare_sessions_closed_total", "reason")], stacked=True),
        time_series("Replayed events by source", "ops", [rate("fanfare_events_replayed_total", "source")], "disk: events older than those in memory (--recent-bytes)."),
        time_series("Gaps", "ops", [rate("fanfare_session_gaps_total"), rate("fanfare_sessions_opened_total", where=',resume="gap"', legend="{{instance}} on resume")], thresholds=NONZERO_RATE),
    ]),
    "journal": ("Journal", [
        row("Health"),
        stat("Poisoned", "none", ("max(fanfare_journal_poisoned{$filter})", ""), RED_FROM_1, "A write or sync has failed; publishes fail until a restart.", {0: "no", 1: "yes"}),
        stat("Commit hanging", "none", ("max(fanfare_journal_commit_hanging{$filter})", ""), RED_FROM_1, value_texts={0: "no", 1: "yes"}),
        stat("Disk full", "none", ("max(fanfare_journal_disk_full{$filter})", ""), RED_FROM_1, value_texts={0: "no", 1: "yes"}),
        stat("Loss found", "none", ("max(fanfare_journal_loss_found{$filter})", ""), RED_FROM_1, "A loss of committed events is not acknowledged.", {0: "no", 1: "yes"}),
        stat("Read failed", "none", ("max(fanfare_journal_read_failed{$filter})", ""), RED_FROM_1, "Stored data could not be read since the start.", {0: "no", 1: "yes"}),
        stat("Clock jumped", "s", ("max(fanfare_journal_clock_jump_seconds{$filter})", ""), RED_FROM_1, "Forward jump of the system clock, while retention by age is held."),
        stat("Journal size", "percentunit", ("max(fanfare_journal_bytes{$filter} / fanfare_journal_max_bytes{$filter})", ""), [], "Used share of --journal-max-bytes. Above 100 %, the oldest events are removed."),
        stat("Age of the oldest event", "s", ("max(time() - (fanfare_journal_oldest_event_timestamp_seconds{$filter} > 0) or fanfare_journal_bytes{$filter} * 0)", ""), [], "Period for which subscribers can resume; 0 if no event is stored."),
        row("Commits and publishes"),
        heatmap("Commit latency", "fanfare_journal_commit_seconds", "Time from proposing a batch until it is durable."),
        heatmap("Publish latency", "fanfare_publish_seconds", "Time from the body of a publish request to its receipt."),
        time_series("Commit latency, p50 and p99", "s", quantiles("fanfare_journal_commit_seconds"), thresholds=PUBLISH_LATENCY),
        time_series("Commits", "ops", [rate("fanfare_journal_commit_seconds_count", legend="{{instance}} commits"), rate("fanfare_journal_syncs_total", legend="{{instance}} syncs")]),
        time_series("Entries per commit", "short", quantiles("fanfare_journal_batch_entries"), "Concurrent publishes share one commit and one sync."),
        time_series("Bytes per commit", "bytes", quantiles("fanfare_journal_batch_bytes")),
        time_series("Queued publishes", "short", [current("fanfare_publish_queue_requests"), current("fanfare_dispatch_queue_batches", legend="{{instance}} batches for the connection manager")]),
        time_series("Queued publish bytes", "bytes", [current("fanfare_publish_queue_bytes"), current("fanfare_request_body_bytes", legend="{{instance}} request bodies being received")]),
        row("Stored data"),
        time_series("Size of entries and files", "bytes", [current("fanfare_journal_bytes"), current("fanfare_journal_disk_bytes", legend="{{instance}} files")]),
        time_series("Free disk space", "bytes", [current("fanfare_journal_disk_free_bytes", legend="{{instance}} free"), current("fanfare_journal_disk_reserve_bytes", legend="{{instance}} reserve")]),
        time_series("Streams", "short", [current("fanfare_journal_streams")]),
        time_series("Compaction time", "percentunit", [rate("fanfare_journal_compaction_seconds_total")], "Share of time spent in compactions."),
        time_series("Compactions", "ops", [rate("fanfare_journal_compactions_total", legend="{{instance}} finished"), rate("fanfare_journal_reclaims_total", legend="{{instance}} reclaims")]),
        time_series("Running compactions", "short", [current("fanfare_journal_compactions_running")]),
        time_series("Running disk reads", "short", [current("fanfare_disk_reads_running", legend="{{instance}} history reads"), current("fanfare_disk_lookups_running", legend="{{instance}} lookups")]),
    ]),
    "cluster": ("Cluster", [
        row("Log"),
        stat("Unreachable", "s", ("max(fanfare_cluster_unreachable_seconds{$filter})", ""), RED_FROM_1, "Time since the log last answered, if that is 10 s or more."),
        stat("Lost messages", "none", ("max(fanfare_cluster_log_lost_messages{$filter})", ""), RED_FROM_1, "The log lacks messages that a hub has applied.", {0: "no", 1: "yes"}),
        stat("Servers out of date", "none", ("max(fanfare_cluster_stale_servers{$filter})", ""), RED_FROM_1, "NATS servers that store the log and are not up to date."),
        stat("Longest lag", "s", ("max(fanfare_cluster_behind_seconds{$filter})", ""), [], "Longest time for which a hub has not caught up with the log."),
        stat("Hubs", "none", ("max(fanfare_cluster_hubs{$filter}) + 1", ""), [], "Hubs that report to each other."),
        stat("Silent hubs", "none", ("max(fanfare_cluster_silent_hubs{$filter})", ""), RED_FROM_1, "Hubs that have not reported to the others for 5 s or more."),
        stat("Has another log", "none", ("max(fanfare_cluster_differs{$filter})", ""), RED_FROM_1, "A hub has applied another log than most.", {0: "no", 1: "yes"}),
        time_series("Batches behind the log", "short", [("clamp_min(scalar(max(fanfare_cluster_log_end{$filter})) - fanfare_cluster_log_applied{$filter}, 0)", "{{instance}}")], "Batches between the last one that a hub has applied and the end of the log."),
        time_series("Time behind the log", "s", [current("fanfare_cluster_behind_seconds"), current("fanfare_cluster_unreachable_seconds", legend="{{instance}} unreachable")]),
        time_series("Append to the log, p50 and p99", "s", quantiles("fanfare_cluster_append_seconds"), description="Time from appending a batch to the log until this hub has read it."),
        time_series("Store a batch, p50 and p99", "s", quantiles("fanfare_cluster_apply_seconds")),
        time_series("Applied batches", "ops", [("rate(fanfare_cluster_log_applied{$filter}[$__rate_interval])", "{{instance}}")], "Batches of all hubs that a hub has applied."),
        time_series("Repeated appends and reads", "ops", [rate("fanfare_cluster_appends_repeated_total", legend="{{instance}} appends"), rate("fanfare_cluster_reads_restarted_total", legend="{{instance}} reads"), rate("fanfare_cluster_verified_total", legend="{{instance}} comparisons with the log"), rate("fanfare_cluster_compared_total", legend="{{instance}} comparisons with other hubs")], "Appends that were not acknowledged, and reads that began again, for example because another server leads the log."),
    ]),
    "access": ("Access and limits", [
        row("Refusals, closed sessions and downloads"),
        time_series("Refused subscribers by reason", "ops", [rate("fanfare_subscribers_refused_total", "reason")], stacked=True),
        time_series("Refused publishes by reason", "ops", [rate("fanfare_publishes_refused_total", "reason")], stacked=True),
        time_series("Refused credentials by reason", "ops", [rate("fanfare_credentials_refused_total", "reason")], stacked=True),
        time_series("Refused requests by reason", "ops", [rate("fanfare_requests_refused_total", "reason")], "Requests refused before authentication.", stacked=True),
        time_series("Refused connections by reason", "ops", [rate("fanfare_connections_refused_total", "reason")], "Connections closed before the first request.", stacked=True),
        time_series("Sessions closed by token or operator", "ops", [rate("fanfare_sessions_closed_total", "reason", where=',reason=~"token_.*|closed_by_operator"')], stacked=True),
        time_series("File downloads by outcome", "ops", [rate("fanfare_file_requests_total", "outcome")], "Requests for files by outcome.", stacked=True),
        time_series("File bytes sent", "Bps", [rate("fanfare_file_bytes_total")]),
        time_series("Searches by outcome", "ops", [rate("fanfare_searches_total", "outcome")], "Searches of stored events by outcome.", stacked=True),
        time_series("Searched events", "ops", [rate("fanfare_search_events_total")], "Events that searches examined."),
        row("Limits"),
        time_series("Limit usage", "percentunit", [("fanfare_limit_used{$filter} / fanfare_limit_max{$filter}", "{{instance}} {{limit}} {{streams}}")], "Used share of each limit; for a limit of each client, subject or stream, the highest.", thresholds=USAGE),
        time_series("Refusals by limit", "ops", [rate("fanfare_limit_refusals_total", "limit", "streams")], stacked=True),
        time_series("Open files", "short", [current("process_open_fds"), current("process_max_fds", legend="{{instance}} maximum")]),
        table("Limits, usage and refusals", [
            ("max", "sum by (instance, limit, streams) (fanfare_limit_max{$filter})"), ("used", "sum by (instance, limit, streams) (fanfare_limit_used{$filter})"),
            ("peak", "sum by (instance, limit, streams) (fanfare_limit_peak{$filter})"), ("refusals", "sum by (instance, limit, streams) (fanfare_limit_refusals_total{$filter})")]),
    ]),
    "sources": ("Sources", [
        row("Published events"),
        time_series("Published events by type", "ops", [rate("fanfare_events_published_total", "type")], stacked=True),
        time_series("Published bytes", "Bps", [rate("fanfare_published_bytes_total")]),
        time_series("Event size", "bytes", [(
            "sum by (instance) (rate(fanfare_published_bytes_total{$filter}[$__rate_interval])) / sum by (instance) (rate(fanfare_events_published_total{$filter}[$__rate_interval]))", "{{instance}}")], "Average size of a published event."),
        time_series("Published events by stream pattern", "ops", [rate("fanfare_stream_events_published_total", "streams")], "Patterns of --metrics-streams.", stacked=True),
        time_series("Deliveries by stream pattern", "ops", [rate("fanfare_stream_deliveries_total", "streams")], "Patterns of --metrics-streams.", stacked=True),
        time_series("Subscribers per event", "short", [(
            "sum by (instance) (rate(fanfare_deliveries_due_total{$filter}[$__rate_interval])) / sum by (instance) (rate(fanfare_events_published_total{$filter}[$__rate_interval]))", "{{instance}}")], "Average number of sessions that an event matches."),
        row("Built-in sources"),
        time_series("Running sources", "short", [current("fanfare_source_up", legend="{{instance}} {{source}}")], "1 while a source runs; 0 while it is off or waits to be restarted."),
        time_series("Events from sources", "ops", [rate("fanfare_source_events_total", "source"), rate("fanfare_source_events_refused_total", "source", legend="{{instance}} {{source}} refused")]),
        time_series("Source restarts", "short", [("increase(fanfare_source_restarts_total{$filter}[1h])", "{{instance}} {{source}}")], "Restarts in the last hour."),
        time_series("Followed files", "short", [current("fanfare_tail_files"), current("fanfare_tail_unreadable_files", legend="{{instance}} not followed"), ("rate(fanfare_tail_lines_replaced_total{$filter}[$__rate_interval])", "{{instance}} lines/s with invalid UTF-8")]),
        time_series("Unread bytes of followed files", "bytes", [current("fanfare_tail_behind_bytes")], "Grows while the journal accepts less than is written to the files, or nothing."),
        time_series("Running jobs", "short", [current("fanfare_job_running", legend="{{instance}} {{job}}")], stacked=True),
        time_series("Job runs by outcome", "short", [("sum by (instance, job, outcome) (increase(fanfare_job_runs_total{$filter}[1h]))", "{{instance}} {{job}} {{outcome}}")], "Runs that ended or were refused in the last hour."),
        time_series("Services by heartbeat status", "short", [current("fanfare_heartbeat_sources", legend="{{instance}} {{status}}")], "Number of services that are up, late or down. The stream heartbeats has their names.", stacked=True),
        row("Chats"),
        time_series("Running chats", "short", [current("fanfare_chats_running"), current("fanfare_chats_queued", legend="{{instance}} {{upstream}} queued")], "Chats that run or wait for their upstream."),
        time_series("Ended chats by outcome", "short", [("sum by (instance, upstream, outcome) (increase(fanfare_chats_ended_total{$filter}[1h]))", "{{instance}} {{upstream}} {{outcome}}")], "Chats that ended in the last hour.", stacked=True),
        time_series("Time to first token", "s", quantiles("fanfare_chat_first_token_seconds")),
        time_series("Tokens per second", "short", [rate("fanfare_chat_tokens_total"), (quantile(0.5, "fanfare_chat_tokens_per_second"), "{{instance}} per answer, p50")]),
        time_series("Upstream requests by result", "ops", [rate("fanfare_chat_attempts_total", "upstream", "result"), rate("fanfare_chat_stalls_total", "upstream", legend="{{instance}} {{upstream}} stalled")], "Requests to upstreams, and answers that stalled."),
        time_series("Repeated chat requests", "ops", [rate("fanfare_chat_adopted_total", legend="{{instance}} retries that took over the first run"), rate("fanfare_chat_replayed_total", legend="{{instance}} with a known idempotency key")]),
        time_series("Subscribers per chat", "short", quantiles("fanfare_chat_readers"), "Highest number of concurrent subscribers of a chat, observed at its end."),
        time_series("Refused chat requests by reason", "ops", [rate("fanfare_chats_refused_total", "reason")], "Chat requests refused, by reason.", stacked=True),
        row("Publish requests"),
        time_series("Publish latency, p50 and p99", "s", quantiles("fanfare_publish_seconds"), thresholds=PUBLISH_LATENCY),
        time_series("Publish request rate", "ops", [rate("fanfare_publish_seconds_count")]),
        time_series("Refused publishes by reason", "ops", [rate("fanfare_publishes_refused_total", "reason")], stacked=True),
        time_series("Queued publishes", "short", [current("fanfare_publish_queue_requests")]),
        time_series("Request bodies being received", "bytes", [current("fanfare_request_body_bytes")]),
    ]),
}


def variable(name, label, query, **options):
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
        "query": {"query": query, "refId": name}, "definition": query, **options,
    }


def layout(panels):
    """Places panels from left to right, and on a new line if one does not fit."""
    x = y = line_height = 0
    for n, panel in enumerate(panels):
        width, height = panel["size"]
        if x + width > 24 or panel["type"] == "row":
            x, y, line_height = 0, y + line_height, 0
        position = {"h": height, "w": width, "x": x, "y": y}
        panel = {"id": n + 1, "gridPos": position, **{k: v for k, v in panel.items() if k != "size" and v != ""}}
        yield panel if panel["type"] == "row" else {**panel, "datasource": SOURCE}
        x, line_height = x + width, max(line_height, height)


def dashboard(name, title, panels):
    restarts = {
        "name": "Restarts", "enable": True, "iconColor": "orange", "datasource": SOURCE, "useValueForTime": True,
        "expr": f"process_start_time_seconds{{{FILTER}}} * 1000", "titleFormat": "{{instance}} was started", "step": "15s",
    }
    select_all = {"includeAll": True, "multi": True, "current": {"text": "All", "value": "$__all"}}
    return {
        "uid": f"fanfare-{name}", "title": f"Fanfare / {title}", "tags": ["fanfare"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "templating": {"list": [
            {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus", "current": {}},
            variable("job", "Job", "label_values(fanfare_build_info, job)", **select_all),
            variable("instance", "Instance", 'label_values(fanfare_build_info{job=~"$job"}, instance)', **select_all),
        ]},
        "annotations": {"list": [restarts]},
        "links": [{"type": "dashboards", "title": "Fanfare", "tags": ["fanfare"], "asDropdown": False, "includeVars": True, "keepTime": True}],
        "panels": list(layout(panels)),
    }


def main():
    outdated = []
    FOLDER.mkdir(exist_ok=True)
    for name, (title, panels) in DASHBOARDS.items():
        text = json.dumps(dashboard(name, title, panels), indent=2) + "\n"
        path = FOLDER / f"{name}.json"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            outdated.append(path.name)
    if outdated:
        sys.exit(f"dashboards are outdated: {', '.join(outdated)}; run grafana/build.py")


if __name__ == "__main__":
    main()
