"""Real clients against the real binary: curl, httpx-sse, sseclient-py and a browser's EventSource.

usage: check.py BINARY. The first check that fails ends the run.
"""

import contextlib
import csv
import http.server
import io
import json
import logging
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import httpx
import httpx_sse
import requests
import sseclient

from running import PATIENCE, PAYLOADS, Hub, hub, later



def httpx_sse_gets_every_event_and_no_empty_one_from_heartbeats():
    with hub("--heartbeat", "1s") as running, httpx.Client(timeout=PATIENCE) as client:
        with httpx_sse.connect_sse(client, "GET", f"{running.url}/streams/s/events") as source:
            events = source.iter_sse()
            assert next(events).event == "hub-open"
            for payload in PAYLOADS:
                # Two heartbeats are sent between the first two events.
                later(2.5 if payload == PAYLOADS[0] else 0, lambda p=payload: running.publish("s", p))
                event = next(events)
                assert (event.event, event.data) == ("message", payload), event
                assert event.id


def sseclient_gets_every_event_and_resumes():
    with hub("--heartbeat", "1s") as running:
        ids = [running.publish("s", payload)["id"] for payload in PAYLOADS]
        headers = {"Accept": "text/event-stream", "Last-Event-ID": ids[2]}
        response = requests.get(f"{running.url}/streams/s/events", headers=headers, stream=True, timeout=PATIENCE)
        events = sseclient.SSEClient(response).events()
        assert json.loads(next(events).data)["resume"] == "resumed"
        for identifier, payload in list(zip(ids, PAYLOADS))[3:]:
            event = next(events)
            assert (event.id, event.data) == (identifier, payload), event


def curl_shows_events_as_they_come():
    with hub() as running:
        command = ["curl", "-sN", "--max-time", "60", f"{running.url}/streams/hello/events"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
            while "hub-open" not in curl.stdout.readline():
                pass
            subprocess.run(["curl", "-s", "-d", "hello, world", f"{running.url}/streams/hello/events"], check=True, stdout=subprocess.DEVNULL)
            while curl.stdout.readline() != "data: hello, world\n":
                pass
            curl.kill()


def promtool_finds_nothing_wrong_with_the_metrics():
    with hub() as running:
        running.publish("s", "x")
        metrics = requests.get(f"{running.url}/metrics", timeout=PATIENCE).text
        checked = subprocess.run(["promtool", "check", "metrics"], input=metrics, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def pythons_log_comes_whole_also_where_the_hub_was_away():
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs/examples"))
    from fanfare_logging import FanfareHandler

    with tempfile.TemporaryDirectory() as folder:
        running = Hub(f"{folder}/data")
        handler = FanfareHandler(running.url, retry_s=0.05)
        log = logging.getLogger("shop.till")
        log.propagate = False
        log.setLevel(logging.DEBUG)
        log.addHandler(handler)
        try:
            log.warning("slow by %d s", 3, extra={"order": 42})
            handler.flush(PATIENCE)
            running.kill()
            log.debug("nobody hears this now")
            try:
                raise ValueError("no change")
            except ValueError:
                log.exception("it failed")
            running = Hub(f"{folder}/data", port=int(running.url.rsplit(":", 1)[1]))
            handler.flush(PATIENCE)
            lines = requests.get(f"{running.url}/streams/logs/events?follow=false&format=ndjson&control=off", timeout=PATIENCE).text
            logged = [json.loads(line)["data"] for line in lines.splitlines()]
            assert [one["level"] for one in logged] == ["warn", "debug", "error"], logged
            first, _, last = logged
            assert (first["message"], first["fields"], first["module"]) == ("slow by 3 s", {"order": 42}, "shop.till"), first
            assert first["function"] == "pythons_log_comes_whole_also_where_the_hub_was_away" and first["line"] > 0, first
            assert "ValueError: no change" in last["message"], last
            assert handler.lost == 0
        finally:
            log.removeHandler(handler)
            running.kill()


def jq_and_curl_read_what_is_not_for_browsers():
    with hub() as running:
        running.publish("s", {"n": 1})
        running.publish("s", "two\nlines")
        url = f"{running.url}/streams/s/events?follow=false"
        lines = subprocess.run(["curl", "-sN", f"{url}&format=ndjson&control=off"], check=True, capture_output=True).stdout
        read = subprocess.run(["jq", "-c", "[.id != null, .type, .data]"], input=lines, check=True, capture_output=True, text=False)
        assert read.stdout.decode().splitlines() == ['[true,"message",{"n":1}]', '[true,"message","two\\nlines"]'], read
        text = subprocess.run(["curl", "-sN", "-H", "Accept: text/plain", url], check=True, capture_output=True, text=True).stdout
        assert text == '{"n":1}\ntwo\\nlines\n', text


def curl_shows_text_line_by_line_as_it_comes():
    with hub() as running:
        command = ["curl", "-sN", "-H", "Accept: text/plain", f"{running.url}/streams/s/events?control=off"]
        curl = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            running.until_sessions(1)
            for data in ["one", "two\nlines\r", "emoji 🎺"]:
                running.publish("s", data)
                shown = data.replace("\n", "\\n").replace("\r", "\\r")
                assert curl.stdout.readline() == f"{shown}\n"
        finally:
            curl.kill()
            curl.wait()


def pythons_csv_module_reads_a_table():
    texts = ["plain", "with, comma", 'a "quote"', "two\nlines", "crlf\r\nin it", " space ", "", "emoji 🎺", '"', ","]
    with hub() as running:
        for n, text in enumerate(texts):
            running.publish("s", {"n": n, "text": text, "more": {"of": n / 2}})
        url = f"{running.url}/streams/s/events?follow=false&format=csv"
        plain = requests.get(url, timeout=PATIENCE)
        rows = list(csv.DictReader(io.StringIO(plain.content.decode(), newline="")))
        assert [row["text"] for row in rows] == texts, rows
        assert [(int(row["n"]), json.loads(row["more"])) for row in rows] == [(n, {"of": n / 2}) for n in range(len(texts))], rows
        chosen = requests.get(f"{url}&columns=more.of,text", timeout=PATIENCE).content.decode()
        rows = list(csv.reader(io.StringIO(chosen, newline="")))
        assert rows[0] == ["more.of", "text"] and [row[1] for row in rows[1:]] == texts, rows
        assert [float(row[0]) for row in rows[1:]] == [n / 2 for n in range(len(texts))], rows


PAGE = """<!doctype html><title>s</title><script>
const seen = [], source = new EventSource(HUB + '/streams/s/events?heartbeat=1');
const note = () => navigator.sendBeacon('/seen', JSON.stringify(seen));
source.onmessage = (event) => { seen.push(event.data); note(); };
for (const name of ['hub-open', 'hub-error', 'hub-end']) source.addEventListener(name, (event) => {
  const data = JSON.parse(event.data);
  seen.push(name + ' ' + (data.resume || data.code || data.reason)); note();
});
source.onerror = () => { if (source.readyState === EventSource.CLOSED) { seen.push('closed'); note(); } };
</script>"""


class Page:
    """A page in a headless browser that reports what its EventSource saw."""

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
                # Two reports may overtake each other; the longer one is the later one.
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

    def until(self, satisfied):
        began = time.monotonic()
        while not satisfied(self.seen):
            assert time.monotonic() - began < PATIENCE, f"the page saw {self.seen}"
            time.sleep(0.05)

    def close(self):
        if self.browser:
            self.browser.terminate()
            self.browser.wait(PATIENCE)
        self.server.shutdown()
        self.profile.cleanup()


@contextlib.contextmanager
def page(url):
    opened = Page(url)
    try:
        opened.open()
        yield opened
    finally:
        opened.close()


def a_native_eventsource_survives_a_killed_hub_and_misses_nothing():
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--cors-origin", "*", "--retry", "200ms")
        running = Hub(f"{folder}/data", *flags)
        port = int(running.url.rsplit(":", 1)[1])
        try:
            with page(running.url) as opened:
                opened.until(lambda seen: seen == ["hub-open live"])
                running.publish("s", "1")
                opened.until(lambda seen: seen[-1:] == ["1"])
                running.kill()
                # Published while the page is disconnected, through a hub on another port.
                elsewhere = Hub(f"{folder}/data")
                elsewhere.publish("s", "2")
                elsewhere.stop()
                running = Hub(f"{folder}/data", *flags, port=port)
                opened.until(lambda seen: seen[-1:] == ["2"])
                running.publish("s", "3")
                opened.until(lambda seen: seen[-1:] == ["3"])
                assert [x for x in opened.seen if not x.startswith("hub-")] == ["1", "2", "3"], opened.seen
                assert "hub-open resumed" in opened.seen
                requests.post(f"{running.url}/streams/s/end", timeout=PATIENCE).raise_for_status()
                opened.until(lambda seen: seen[-2:] == ["hub-end ended", "closed"])
        finally:
            running.kill()


def a_native_eventsource_survives_a_refusal_and_gets_in_later():
    with hub("--cors-origin", "*", "--retry", "200ms", "--max-connections", "1") as running:
        holder = requests.get(f"{running.url}/streams/s/events", stream=True, timeout=PATIENCE)
        with page(running.url) as opened:
            opened.until(lambda seen: seen.count("hub-error resource_exhausted") >= 2)
            assert "closed" not in opened.seen
            holder.close()
            opened.until(lambda seen: "hub-open live" in seen)


def the_readme_shows_what_is_so():
    readme = pathlib.Path(__file__).parents[2] / "README.md"
    commands = re.findall(r"^curl (.*)$", readme.read_text(), re.M)
    assert len(commands) >= 3
    # The job of the README with another command.
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write('[job.backup]\ncommand = ["true"]\n')
        config.flush()
        the_commands_work(commands, "--config", config.name)


def the_commands_work(commands, *flags):
    with hub(*flags) as running:
        for arguments in commands:
            if "-N" in arguments.split()[0]:
                continue
            arguments = arguments.replace("localhost:8080", running.url.removeprefix("http://")).replace("127.0.0.1:8080", running.url.removeprefix("http://"))
            done = subprocess.run(f"curl -fsS -m 20 {arguments}", shell=True, capture_output=True, text=True)
            assert done.returncode == 0, (arguments, done.stderr)


CHECKS = [
    httpx_sse_gets_every_event_and_no_empty_one_from_heartbeats,
    sseclient_gets_every_event_and_resumes,
    curl_shows_events_as_they_come,
    promtool_finds_nothing_wrong_with_the_metrics,
    pythons_log_comes_whole_also_where_the_hub_was_away,
    jq_and_curl_read_what_is_not_for_browsers,
    curl_shows_text_line_by_line_as_it_comes,
    pythons_csv_module_reads_a_table,
    a_native_eventsource_survives_a_killed_hub_and_misses_nothing,
    a_native_eventsource_survives_a_refusal_and_gets_in_later,
    the_readme_shows_what_is_so,
]

for check in CHECKS:
    check()
    print("ok", check.__name__.replace("_", " "), flush=True)
print(f"{len(CHECKS)} passed, 0 failed")
