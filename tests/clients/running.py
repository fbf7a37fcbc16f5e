"""Hubs for the checks, and payloads to publish."""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time

import requests

BINARY = sys.argv[1]
PATIENCE = 180.0


class Hub:
    """A hub on a free port with its own data directory."""

    def __init__(self, folder, *flags, port=0, files=None, log=subprocess.DEVNULL):
        quiet = [] if "--system" in flags else ["--system", "off", "--publish-log=off"]
        command = [BINARY, "--listen", f"127.0.0.1:{port}", "--data-dir", folder, *quiet, *flags]
        if files:
            command = ["sh", "-c", f'ulimit -n {files}; exec "$0" "$@"', *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        # Base URL of its metrics, if that is a separate one.
        self.metrics = None
        if "--metrics-listen" in flags:
            self.metrics = self.process.stdout.readline().split()[-1].removesuffix("/metrics")
        # A self-signed certificate is trusted explicitly; otherwise the defaults apply.
        self.trusted = flags[flags.index("--tls-cert") + 1] if "--tls-cert" in flags else True

    def publish(self, stream, data):
        body = {"stream": stream, "data": data}
        answer = requests.post(f"{self.url}/publish", json=body, timeout=PATIENCE, verify=self.trusted)
        answer.raise_for_status()
        return answer.json()

    def post(self, path):
        requests.post(self.url + path, timeout=PATIENCE, verify=self.trusted).raise_for_status()

    def until_sessions(self, count):
        """Waits until `count` sessions are live."""
        began = time.monotonic()
        while True:
            text = requests.get(f"{self.url}/metrics", timeout=PATIENCE, verify=self.trusted).text
            if f"\nfanfare_sessions {count}\n" in text:
                return
            assert time.monotonic() - began < PATIENCE, "the number of sessions is still wrong"
            time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)


@contextlib.contextmanager
def hub(*flags):
    with tempfile.TemporaryDirectory() as folder:
        running = Hub(f"{folder}/data", *flags)
        try:
            yield running
        finally:
            running.kill()


def later(seconds, action):
    """Calls `action` after some seconds in another thread, while a client blocks in a read."""
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


PAYLOADS = ["plain", "two\nlines", "", "\n", "emoji 🎺", "separator\u2028in a line", "x" * 200_000]
