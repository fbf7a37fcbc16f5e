"""Tests the real hub against its API description (`/openapi.json`) with schemathesis: no response has
a status of 500 or above, and none is undocumented. The argument is the binary. The cases are the same
in each run, so that the result of a commit is stable; FANFARE_TESTS=full runs more and other cases.

A schema cannot express every rule (names are limited in bytes, some belong to the hub), so the refusal
of a request that fits the schema is no failure. Event streams never end, so one session is held and a
client may have one: each further stream is a single block that reports the limit. The admin's requests
may end that session (`DELETE /sessions/{id}`), so it reconnects like any reader.
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
CHECKS = "positive_data_acceptance"


def start(binary, folder):
    keys = folder / "fanfare.toml"
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    keys.write_text(
        f'[[key]]\nname = "admin"\nsha256 = "{digest}"\n'
        'publish = ["**"]\nsubscribe = ["**"]\nadmin = true\nrun = ["*"]\nfiles = ["*"]\nchat = ["*"]\n'
        f'[job.a]\ncommand = ["echo", "hello"]\n[files.a]\npath = "{folder}"\n'
    )
    command = [binary, "--listen", "127.0.0.1:0", "--config", keys, "--data-dir", folder / "data"]
    command += ["--max-connections-per-client", "1", "--system", "off", "--publish-log=off"]
    log = open(folder / "log", "w")
    hub = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    return hub, hub.stdout.readline().strip().removeprefix("listening on ")


class Held:
    """A session that reconnects whenever it ends, until the block is left. It ends a session that took
    its place meanwhile, because that stream would never end."""

    def __init__(self, url, headers):
        self.url, self.headers = url, headers
        self.response, self.done, self.there = None, False, threading.Event()

    def __enter__(self):
        threading.Thread(target=self.read, daemon=True).start()
        assert self.there.wait(10), "the session was not opened"
        return self

    def __exit__(self, *_):
        self.done = True
        self.response.close()

    def read(self):
        while not self.done:
            try:
                self.response = requests.get(f"{self.url}/events?stream=held", headers=self.headers, stream=True)
                for _ in self.response.iter_lines():
                    self.there.set()
                listed = requests.get(f"{self.url}/sessions", headers=self.headers).json()["sessions"]
                for session in listed:
                    requests.delete(f"{self.url}/sessions/{session['id']}", headers=self.headers)
            except (requests.RequestException, AttributeError, ValueError):
                pass  # the hub is stopping, or the block was left
            time.sleep(0.01)


def main(binary):
    is_full = os.environ.get("FANFARE_TESTS") == "full"
    examples = ["--max-examples", "150"] if is_full else ["--max-examples", "40", "--seed", "1"]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        hub, url = start(binary, folder)
        bearer = {"Authorization": f"Bearer {SECRET}"}
        try:
            with Held(url, bearer):
                tool = pathlib.Path(sys.executable).with_name("schemathesis")
                command = [tool, "run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {SECRET}"]
                command += [*examples, "--exclude-checks", CHECKS, "--no-color"]
                command += ["--request-timeout", "10"]
                output = dict(capture_output=True, text=True, timeout=900)
                done = subprocess.run(command, cwd=folder, **output)
            assert hub.poll() is None, "the hub is gone"
        finally:
            hub.kill()
            hub.wait()
        print(done.stdout[done.stdout.find("SUMMARY") - 36 :])
        if done.returncode != 0:
            log = (folder / "log").read_text()
            closed = [line for line in log.splitlines() if "session closed" in line]
            print(done.stdout, done.stderr, *closed, log[-5_000:], sep="\n")
            sys.exit("the API is not as it is described")


main(sys.argv[1])
