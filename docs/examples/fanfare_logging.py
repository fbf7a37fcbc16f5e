"""Sends Python's log to a Fanfare hub: `logging.getLogger().addHandler(FanfareHandler(url))`.

Needs nothing but the standard library. Records are sent by a thread of its own, so that logging never
waits for the network; where the hub is away, the newest `capacity` records wait for it.
"""

import json
import logging
import queue
import threading
import time
import urllib.error
import urllib.request

LEVELS = [(logging.CRITICAL, "critical"), (logging.ERROR, "error"), (logging.WARNING, "warn"), (logging.INFO, "info")]
USUAL = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FanfareHandler(logging.Handler):
    def __init__(self, url, token=None, capacity=10_000, retry_s=1.0):
        super().__init__()
        self.endpoint = url.rstrip("/") + "/log-message"
        self.headers = {"Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.retry_s = retry_s
        self.waiting = queue.Queue(capacity)
        self.lost = 0
        self.sender = threading.Thread(target=self._send_all, name="fanfare-log", daemon=True)
        self.sender.start()

    def emit(self, record):
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        level = next((name for number, name in LEVELS if record.levelno >= number), "debug")
        # What was given as `extra`.
        fields = {name: value for name, value in vars(record).items() if name not in USUAL}
        body = {"level": level, "message": message, "module": record.name, "function": record.funcName, "line": record.lineno}
        if fields:
            body["fields"] = fields
        while True:
            try:
                return self.waiting.put_nowait(json.dumps(body, default=str).encode())
            except queue.Full:
                self._forget_oldest()

    def flush(self, timeout_s=10.0):
        """Waits until what has been logged is with the hub, or the time is over."""
        ends = time.monotonic() + timeout_s
        while self.waiting.unfinished_tasks and time.monotonic() < ends:
            time.sleep(0.01)

    def close(self):
        self.flush()
        super().close()

    def _forget_oldest(self):
        try:
            self.waiting.get_nowait()
            self.waiting.task_done()
            self.lost += 1
        except queue.Empty:
            pass

    def _send_all(self):
        while True:
            body = self.waiting.get()
            while not self._send(body):
                time.sleep(self.retry_s)
            self.waiting.task_done()

    def _send(self, body):
        """Whether it is done with, be it taken or never to be."""
        request = urllib.request.Request(self.endpoint, body, self.headers)
        try:
            with urllib.request.urlopen(request, timeout=10):
                return True
        except urllib.error.HTTPError as error:
            # What is wrong with it stays wrong; what the hub has too little of comes back.
            return error.code < 500 and error.code != 429
        except OSError:
            return False
