"""Tests the real hub against its API description (`/openapi.json`) with schemathesis.

usage: api.py BINARY. No response has a status of 500 or above, and every response is documented. The
cases are the same in each run, so that the result of a commit is stable; TEST_EXTENT=full runs more
and different cases.

A schema cannot express every rule (names are limited in bytes, some belong to the hub), so the refusal
of a request that fits the schema is not a failure. Event streams never end, so the test keeps one session
open and allows one per client: each further stream is a single block that reports the limit. The admin's
requests may end that session (`DELETE /sessions/{id}`), so it reconnects like any reader.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import requests

SECRET = "the admin's secret"
EXCLUDED_CHECKS = "positive_data_acceptance"


def start_hub(binary, folder):
    config = folder / "fanfare.toml"
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    config.write_text(
        f'[[key]]\nname = "admin"\nsha256 = "{digest}"\n'
        'publish = ["**"]\nsubscribe = ["**"]\nadmin = true\nrun = ["*"]\nfiles = ["*"]\nchat = ["*"]\n'
        f'[job.a]\ncommand = ["echo", "hello"]\n[files.a]\npath = "{folder}"\n'
    )
    command = [binary, "--listen", "127.0.0.1:0", "--config", config, "--data-dir", folder / "data"]
    command += ["--max-connections-per-client", "1", "--system", "off", "--publish-log=off"]
    log = open(folder / "log", "w")
    hub = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    return hub, hub.stdout.readline().strip().removeprefix("listening on ")


class ReconnectingSession:
    """A context manager that keeps a session open and reconnects whenever it ends.

    It deletes a session that took its place meanwhile, because that stream would never end.
    """

    def __init__(self, url, headers):
        self.url, self.headers = url, headers
        self.response, self.is_closed, self.opened = None, False, threading.Event()

    def __enter__(self):
        threading.Thread(target=self.run, daemon=True).start()
        assert self.opened.wait(10), "the session was not opened"
        return self

    def __exit__(self, *_):
        self.is_closed = True
        self.response.close()

    def run(self):
        while not self.is_closed:
            try:
                self.response = requests.get(f"{self.url}/events?stream=held", headers=self.headers, stream=True)
                for _ in self.response.iter_lines():
                    self.opened.set()
                sessions = requests.get(f"{self.url}/sessions", headers=self.headers).json()["sessions"]
                for session in sessions:
                    requests.delete(f"{self.url}/sessions/{session['id']}", headers=self.headers)
            except (requests.RequestException, AttributeError, ValueError):
                pass  # The hub is stopping, or the response was closed.
            time.sleep(0.01)


def main(binary):
    is_full = os.environ.get("TEST_EXTENT") == "full"
    examples = ["--max-examples", "150"] if is_full else ["--max-examples", "40", "--seed", "1"]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        hub, url = start_hub(binary, folder)
        headers = {"Authorization": f"Bearer {SECRET}"}
        try:
            with ReconnectingSession(url, headers):
                schemathesis = pathlib.Path(sys.executable).with_name("schemathesis")
                command = [schemathesis, "run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {SECRET}"]
                command += [*examples, "--exclude-checks", EXCLUDED_CHECKS, "--no-color"]
                command += ["--request-timeout", "10"]
                result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
            assert hub.poll() is None, "the hub has exited"
        finally:
            hub.kill()
            hub.wait()
        print(result.stdout[result.stdout.find("SUMMARY") - 36 :])
        if result.returncode != 0:
            log = (folder / "log").read_text()
            closed_sessions = [line for line in log.splitlines() if "session closed" in line]
            print(result.stdout, result.stderr, *closed_sessions, log[-5_000:], sep="\n")
            sys.exit("the API does not match its description")


main(sys.argv[1])
