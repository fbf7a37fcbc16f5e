"""Tests the real binary with real clients: curl, httpx-sse, sseclient-py and a browser's EventSource.

usage: check.py BINARY. The first check that fails ends the run.
"""

import contextlib
import csv
import http.server
import io
import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import httpx
import httpx_sse
import requests
import sseclient

from running import PAYLOADS, TIMEOUT_S, Hub, call_later, running_hub


def httpx_sse_reads_all_events_and_ignores_heartbeats():
    with running_hub("--heartbeat", "1s") as hub, httpx.Client(timeout=TIMEOUT_S) as client:
        with httpx_sse.connect_sse(client, "GET", f"{hub.url}/streams/s/events") as source:
            events = source.iter_sse()
            assert next(events).event == "hub-open"
            for payload in PAYLOADS:
                # The hub sends two heartbeats before the first event.
                call_later(2.5 if payload == PAYLOADS[0] else 0, lambda p=payload: hub.publish("s", p))
                event = next(events)
                assert (event.event, event.data) == ("message", payload), event
                assert event.id


def sseclient_resumes_after_the_last_event():
    with running_hub() as hub:
        ids = [hub.publish("s", payload)["id"] for payload in PAYLOADS]
        headers = {"Accept": "text/event-stream", "Last-Event-ID": ids[2]}
        response = requests.get(f"{hub.url}/streams/s/events", headers=headers, stream=True, timeout=TIMEOUT_S)
        events = sseclient.SSEClient(response).events()
        assert json.loads(next(events).data)["resume"] == "resumed"
        for event_id, payload in list(zip(ids, PAYLOADS))[3:]:
            event = next(events)
            assert (event.id, event.data) == (event_id, payload), event


def curl_prints_events_as_they_arrive():
    with running_hub() as hub:
        command = ["curl", "-sN", "--max-time", "60", f"{hub.url}/streams/hello/events"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
            assert any("hub-open" in line for line in curl.stdout)
            subprocess.run(["curl", "-s", "-d", "hello, world", f"{hub.url}/streams/hello/events"], check=True, stdout=subprocess.DEVNULL)
            assert any(line == "data: hello, world\n" for line in curl.stdout)
            curl.kill()


def promtool_accepts_the_metrics():
    with running_hub() as hub:
        hub.publish("s", "x")
        metrics = requests.get(f"{hub.url}/metrics", timeout=TIMEOUT_S).text
        result = subprocess.run(["promtool", "check", "metrics"], input=metrics, text=True, capture_output=True)
        assert result.returncode == 0, result.stderr


def logging_handler_loses_nothing_while_the_hub_is_down():
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs/examples"))
    from fanfare_logging import FanfareHandler

    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(f"{folder}/data")
        handler = FanfareHandler(hub.url, retry_s=0.05)
        log = logging.getLogger("shop.till")
        log.propagate = False
        log.setLevel(logging.DEBUG)
        log.addHandler(handler)
        try:
            log.warning("slow by %d s", 3, extra={"order": 42})
            assert handler.flush(TIMEOUT_S)
            hub.kill()
            log.debug("sent after the hub was killed")
            try:
                raise ValueError("no change")
            except ValueError:
                log.exception("checkout failed")
            hub = Hub(f"{folder}/data", port=int(hub.url.rsplit(":", 1)[1]))
            assert handler.flush(TIMEOUT_S)
            lines = requests.get(f"{hub.url}/streams/logs/events?follow=false&format=ndjson&control=off", timeout=TIMEOUT_S).text
            records = [json.loads(line)["data"] for line in lines.splitlines()]
            assert [record["level"] for record in records] == ["warn", "debug", "error"], records
            first, _, last = records
            assert (first["message"], first["fields"], first["module"]) == ("slow by 3 s", {"order": 42}, "shop.till"), first
            assert first["function"] == "logging_handler_loses_nothing_while_the_hub_is_down" and first["line"] > 0, first
            assert "ValueError: no change" in last["message"], last
            assert handler.dropped == 0
        finally:
            log.removeHandler(handler)
            hub.kill()


def curl_reads_ndjson_and_plain_text():
    with running_hub() as hub:
        hub.publish("s", {"n": 1})
        hub.publish("s", "two\nlines")
        url = f"{hub.url}/streams/s/events?follow=false"
        ndjson = subprocess.run(["curl", "-sN", f"{url}&format=ndjson&control=off"], check=True, capture_output=True).stdout
        parsed = subprocess.run(["jq", "-c", "[.id != null, .type, .data]"], input=ndjson, check=True, capture_output=True).stdout
        assert parsed.decode().splitlines() == ['[true,"message",{"n":1}]', '[true,"message","two\\nlines"]'], parsed
        text = subprocess.run(["curl", "-sN", "-H", "Accept: text/plain", url], check=True, capture_output=True, text=True).stdout
        assert text == '{"n":1}\ntwo\\nlines\n', text


def curl_prints_plain_text_as_it_arrives():
    with running_hub() as hub:
        command = ["curl", "-sN", "-H", "Accept: text/plain", f"{hub.url}/streams/s/events?control=off"]
        curl = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            hub.wait_for_sessions(1)
            for data in ["one", "two\nlines\r", "emoji 🎺"]:
                hub.publish("s", data)
                line = data.replace("\n", "\\n").replace("\r", "\\r")
                assert curl.stdout.readline() == f"{line}\n"
        finally:
            curl.kill()
            curl.wait()


def csv_module_reads_csv():
    texts = ["plain", "with, comma", 'a "quote"', "two\nlines", "crlf\r\nin it", " space ", "", "emoji 🎺", '"', ","]
    with running_hub() as hub:
        for n, text in enumerate(texts):
            hub.publish("s", {"n": n, "text": text, "more": {"of": n / 2}})
        url = f"{hub.url}/streams/s/events?follow=false&format=csv"
        content = requests.get(url, timeout=TIMEOUT_S).content.decode()
        rows = list(csv.DictReader(io.StringIO(content, newline="")))
        assert [row["text"] for row in rows] == texts, rows
        assert [(int(row["n"]), json.loads(row["more"])) for row in rows] == [(n, {"of": n / 2}) for n in range(len(texts))], rows
        content = requests.get(f"{url}&columns=more.of,text", timeout=TIMEOUT_S).content.decode()
        rows = list(csv.reader(io.StringIO(content, newline="")))
        assert rows[0] == ["more.of", "text"] and [row[1] for row in rows[1:]] == texts, rows
        assert [float(row[0]) for row in rows[1:]] == [n / 2 for n in range(len(texts))], rows


PAGE = """<!doctype html><title>s</title><script>
const seen = [], source = new EventSource(HUB + '/streams/s/events?heartbeat=1');
const report = () => navigator.sendBeacon('/seen', JSON.stringify(seen));
source.onmessage = (event) => { seen.push(event.data); report(); };
for (const name of ['hub-open', 'hub-error', 'hub-end']) source.addEventListener(name, (event) => {
  const data = JSON.parse(event.data);
  seen.push(name + ' ' + (data.resume || data.code || data.reason)); report();
});
source.onerror = () => { if (source.readyState === EventSource.CLOSED) { seen.push('closed'); report(); } };
</script>"""


class BrowserPage:
    """A page in a headless browser that reports the events of its EventSource."""

    def __init__(self, hub_url):
        page = self
        self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = PAGE.replace("HUB", json.dumps(hub_url)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                seen = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                # Reports may arrive out of order; the longer one is the later one.
                page.seen = max(page.seen, seen, key=len)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.browser = None

    def open(self):
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
        address = f"http://127.0.0.1:{self.server.server_port}/"
        command = ["chromium", *flags.split(), f"--user-data-dir={self.profile.name}", "--remote-debugging-port=0", address]
        self.browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_until(self, condition):
        started = time.monotonic()
        while not condition(self.seen):
            assert time.monotonic() - started < TIMEOUT_S, f"timed out; the page saw {self.seen}"
            time.sleep(0.05)

    def close(self):
        if self.browser:
            self.browser.terminate()
            self.browser.wait(TIMEOUT_S)
        self.server.shutdown()
        self.profile.cleanup()


@contextlib.contextmanager
def browser_page(hub_url):
    page = BrowserPage(hub_url)
    try:
        page.open()
        yield page
    finally:
        page.close()


def eventsource_misses_nothing_while_the_hub_is_down():
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--cors-origin", "*", "--retry", "200ms")
        hub = Hub(f"{folder}/data", *flags)
        port = int(hub.url.rsplit(":", 1)[1])
        try:
            with browser_page(hub.url) as page:
                page.wait_until(lambda seen: seen == ["hub-open live"])
                hub.publish("s", "1")
                page.wait_until(lambda seen: seen[-1:] == ["1"])
                hub.kill()
                # Publishes through a hub on another port while the page is disconnected.
                other_hub = Hub(f"{folder}/data")
                other_hub.publish("s", "2")
                other_hub.stop()
                hub = Hub(f"{folder}/data", *flags, port=port)
                page.wait_until(lambda seen: seen[-1:] == ["2"])
                hub.publish("s", "3")
                page.wait_until(lambda seen: seen[-1:] == ["3"])
                assert [entry for entry in page.seen if not entry.startswith("hub-")] == ["1", "2", "3"], page.seen
                assert "hub-open resumed" in page.seen
                requests.post(f"{hub.url}/streams/s/end", timeout=TIMEOUT_S).raise_for_status()
                page.wait_until(lambda seen: seen[-2:] == ["hub-end ended", "closed"])
        finally:
            hub.kill()


def eventsource_reconnects_after_a_refusal():
    with running_hub("--cors-origin", "*", "--retry", "200ms", "--max-connections", "1") as hub:
        first_session = requests.get(f"{hub.url}/streams/s/events", stream=True, timeout=TIMEOUT_S)
        with browser_page(hub.url) as page:
            page.wait_until(lambda seen: seen.count("hub-error resource_exhausted") >= 2)
            assert "closed" not in page.seen
            first_session.close()
            page.wait_until(lambda seen: "hub-open live" in seen)


CHECKS = [
    httpx_sse_reads_all_events_and_ignores_heartbeats,
    sseclient_resumes_after_the_last_event,
    curl_prints_events_as_they_arrive,
    promtool_accepts_the_metrics,
    logging_handler_loses_nothing_while_the_hub_is_down,
    curl_reads_ndjson_and_plain_text,
    curl_prints_plain_text_as_it_arrives,
    csv_module_reads_csv,
    eventsource_misses_nothing_while_the_hub_is_down,
    eventsource_reconnects_after_a_refusal,
]

for check in CHECKS:
    check()
    print("ok", check.__name__.replace("_", " "), flush=True)
print(f"{len(CHECKS)} passed, 0 failed")
