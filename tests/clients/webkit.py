"""Tests EventSource, fanfare.js and each page in WebKitGTK, by its WebDriver.

usage: webkit.py BINARY

Needs the Debian packages webkit2gtk-driver and xvfb. The browser runs with LANG=C.UTF-8, where its language
is "C", which is not a language tag.
"""

import contextlib
import glob
import os
import socket
import subprocess
import tempfile
import time

import requests

from running import TIMEOUT_S, Hub

# Collects the data of a stream in `window.seen`, and what the connection reports in `window.states`.
READ_BY_EVENT_SOURCE = """
window.seen = []; window.states = [];
window.source = new EventSource(arguments[0]);
source.onmessage = ({ data }) => seen.push(JSON.parse(data).data);
source.addEventListener('hub-open', ({ data }) => states.push(JSON.parse(data).resume));
source.addEventListener('hub-error', ({ data }) => states.push(JSON.parse(data).code));
"""
READ_BY_FANFARE_JS = """
window.seen = []; window.states = [];
import('/fanfare.js').then(({ subscribe }) => {
  window.source = subscribe({ streams: arguments[0], onEvent: ({ data }) => seen.push(data), onState: ({ state, resume }) => states.push(resume ?? state) });
});
"""
# Addresses of the pages, and a selector that matches once a page is drawn.
PAGES = {
    "/#/overview": ".health",
    "/#/streams": "td a",
    "/#/streams/s": ".row",
    "/#/publish": "form",
    "/#/sessions": "h1",
    "/#/jobs": "h1",
    "/#/access": "form",
    "/#/login": "form",
    "/chat": "textarea",
    "/docs": ".opblock",
}


class Browser:
    """A session of WebKitGTK's MiniBrowser (W3C WebDriver)."""

    def __init__(self, stack):
        display_read, display_write = os.pipe()
        server = ["Xvfb", "-displayfd", str(display_write), "-screen", "0", "1440x900x24", "-nolisten", "tcp"]
        self.run(stack, server, pass_fds=[display_write])
        display = ":" + os.read(display_read, 16).decode().strip()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, "DISPLAY": display, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
        self.run(stack, ["WebKitWebDriver", f"--port={port}"], env=environment)
        self.url = f"http://127.0.0.1:{port}"
        wait_until("the driver listens", lambda: self.is_ready())
        [binary] = glob.glob("/usr/lib/*/webkit2gtk-4.1/MiniBrowser")
        options = {"binary": binary, "args": ["--automation"]}
        capabilities = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        self.url += "/session/" + self.call("POST", "/session", {"capabilities": capabilities})["sessionId"]
        self.call("POST", "/timeouts", {"script": int(TIMEOUT_S * 1000), "pageLoad": int(TIMEOUT_S * 1000)})
        stack.callback(self.call, "DELETE", "")

    @staticmethod
    def run(stack, command, **options):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        stack.callback(process.wait)
        stack.callback(process.terminate)

    def is_ready(self):
        try:
            return requests.get(f"{self.url}/status", timeout=TIMEOUT_S).ok
        except requests.ConnectionError:
            return False

    def call(self, method, path, body=None):
        response = requests.request(method, self.url + path, json=body, timeout=TIMEOUT_S)
        value = response.json()["value"]
        assert response.ok, value
        return value

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def script(self, text, *arguments):
        return self.call("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def wait_for(self, description, expression):
        """Waits until an expression of the page is true."""
        wait_until(description, lambda: self.script(f"return Boolean({expression})"))


def wait_until(description, is_true):
    started = time.monotonic()
    while not is_true():
        assert time.monotonic() - started < TIMEOUT_S, f"timed out: {description}"
        time.sleep(0.1)


def check_reader(browser, folder, script, argument):
    """A reader gets every event once and in order although the hub is killed, and ends with its stream."""
    hub = Hub(folder)
    port = hub.url.rsplit(":", 1)[1]
    try:
        browser.open(f"{hub.url}/docs")
        browser.script(script, argument)
        browser.wait_for("the subscription is open", "states.includes('live')")
        for start in range(0, 300, 100):
            for number in range(start, start + 100):
                hub.publish("s", number)
            if start < 200:
                browser.wait_for("some events arrive", f"seen.length > {start}")
                hub.kill()
                hub = Hub(folder, port=port)
        browser.wait_for("all events arrive", "seen.length >= 300")
        assert browser.script("return seen") == list(range(300))
        assert browser.script("return states").count("resumed") == 2, browser.script("return states")
        hub.post("/streams/s/end")
        ended = "source.readyState === 2 || states.at(-1) === 'ended'"
        browser.wait_for("the end of the stream ends the reader", ended)
    finally:
        hub.kill()


def event_source_reads_over_kills_and_stops_at_the_end(browser, folder):
    check_reader(browser, folder, READ_BY_EVENT_SOURCE, "/streams/s/events?as=message")


def fanfare_js_reads_over_kills_and_stops_at_the_end(browser, folder):
    check_reader(browser, folder, READ_BY_FANFARE_JS, "s")


def a_refused_event_source_gets_the_reason_and_reconnects(browser, folder):
    hub = Hub(folder, "--max-connections", "1", "--retry", "1s")
    try:
        with requests.get(f"{hub.url}/streams/s/events", stream=True, timeout=TIMEOUT_S):
            hub.wait_for_sessions(1)
            browser.open(f"{hub.url}/docs")
            browser.script(READ_BY_EVENT_SOURCE, "/streams/s/events")
            browser.wait_for("the reason arrives", "states.includes('resource_exhausted')")
        browser.wait_for("the reader is admitted", "states.includes('live')")
    finally:
        hub.kill()


def an_expired_ticket_closes_an_event_source(browser, folder):
    hub = Hub(folder)
    try:
        browser.open(f"{hub.url}/docs")
        browser.script(READ_BY_EVENT_SOURCE, "/streams/s/events?ticket=no.valid.ticket")
        browser.wait_for("a 401 closes it", "source.readyState === 2")
    finally:
        hub.kill()


def every_page_is_drawn(browser, folder):
    hub = Hub(folder)
    try:
        hub.publish("s", "an event")
        for address, selector in PAGES.items():
            # A page of its own, not only another fragment.
            browser.open("about:blank")
            browser.open(hub.url + address)
            browser.wait_for(f"{address} is drawn", f"document.querySelector({selector!r})")
            body = browser.script("return document.body.innerText")
            assert "does not answer" not in body and len(body) > 50, (address, body)
    finally:
        hub.kill()


def main():
    checks = [
        event_source_reads_over_kills_and_stops_at_the_end,
        fanfare_js_reads_over_kills_and_stops_at_the_end,
        a_refused_event_source_gets_the_reason_and_reconnects,
        an_expired_ticket_closes_an_event_source,
        every_page_is_drawn,
    ]
    with contextlib.ExitStack() as stack:
        browser = Browser(stack)
        for check in checks:
            with tempfile.TemporaryDirectory() as folder:
                check(browser, f"{folder}/data")
            print(f"ok {check.__name__.replace('_', ' ')}")
    print(f"{len(checks)} passed, 0 failed")


main()
