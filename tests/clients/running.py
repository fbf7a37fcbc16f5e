"""Starts hubs for the checks, and defines payloads to publish."""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time

import requests

BINARY = sys.argv[1]
TIMEOUT_S = 180.0


class Hub:
    """A hub on a free port with its own data directory."""

    def __init__(self, folder, *flags, port=0, max_open_files=None, log=subprocess.DEVNULL):
        quiet = [] if "--system" in flags else ["--system", "off", "--publish-log=off"]
        command = [BINARY, "--listen", f"127.0.0.1:{port}", "--data-dir", folder, *quiet, *flags]
        if max_open_files:
            command = ["sh", "-c", f'ulimit -n {max_open_files}; exec "$0" "$@"', *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        # Base URL of the separate metrics listener, if there is one.
        self.metrics_url = None
        if "--metrics-listen" in flags:
            self.metrics_url = self.process.stdout.readline().split()[-1].removesuffix("/metrics")
        # Argument `verify` of requests: the path of a self-signed certificate, or the default.
        self.verify = flags[flags.index("--tls-cert") + 1] if "--tls-cert" in flags else True

    def publish(self, stream, data):
        body = {"stream": stream, "data": data}
        response = requests.post(f"{self.url}/publish", json=body, timeout=TIMEOUT_S, verify=self.verify)
        response.raise_for_status()
        return response.json()

    def post(self, path):
        requests.post(self.url + path, timeout=TIMEOUT_S, verify=self.verify).raise_for_status()

    def wait_for_sessions(self, count):
        """Waits until exactly `count` sessions are live."""
        started = time.monotonic()
        while True:
            text = requests.get(f"{self.url}/metrics", timeout=TIMEOUT_S, verify=self.verify).text
            if f"\nfanfare_sessions {count}\n" in text:
                return
            assert time.monotonic() - started < TIMEOUT_S, f"timed out waiting for {count} sessions"
            time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(TIMEOUT_S) == 0

    def kill(self):
        self.process.kill()
        self.process.wait(TIMEOUT_S)


@contextlib.contextmanager
def running_hub(*flags):
    """Runs a hub with a temporary data directory."""
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(f"{folder}/data", *flags)
        try:
            yield hub
        finally:
            hub.kill()


def call_later(delay_s, action):
    """Calls `action` in another thread after a delay, while the caller blocks in a read."""
    timer = threading.Timer(delay_s, action)
    timer.start()
    return timer


PAYLOADS = ["plain", "two\nlines", "", "\n", "emoji 🎺", "separator\u2028in a line", "x" * 200_000]
