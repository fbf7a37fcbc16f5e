"""Sends Python's log to a Fanfare hub: `logging.getLogger().addHandler(FanfareHandler(url))`.

Requires only the standard library. A background thread sends the records, so that logging never waits
for the network. While the hub is unreachable, the newest `capacity` records are queued.
"""

import json
import logging
import queue
import threading
import time
import urllib.error
import urllib.request

LEVELS = [(logging.CRITICAL, "critical"), (logging.ERROR, "error"), (logging.WARNING, "warn"), (logging.INFO, "info")]
STANDARD_ATTRIBUTES = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FanfareHandler(logging.Handler):
    """A logging handler that sends records to `POST /log-message` of a hub."""

    def __init__(self, url, token=None, capacity=10_000, retry_s=1.0):
        super().__init__()
        self.endpoint = url.rstrip("/") + "/log-message"
        self.headers = {"Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.retry_s = retry_s
        self.queue = queue.Queue(capacity)
        # Number of records dropped because the queue was full or the hub refused them.
        self.dropped = 0
        self.sender = threading.Thread(target=self._send_all, name="fanfare-log", daemon=True)
        self.sender.start()

    def emit(self, record):
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        level = next((name for number, name in LEVELS if record.levelno >= number), "debug")
        # Other attributes come from the argument `extra` of the logging call.
        fields = {name: value for name, value in vars(record).items() if name not in STANDARD_ATTRIBUTES}
        body = {"level": level, "message": message, "module": record.name, "function": record.funcName, "line": record.lineno}
        if fields:
            body["fields"] = fields
        while True:
            try:
                return self.queue.put_nowait(json.dumps(body, default=str).encode())
            except queue.Full:
                self._drop_oldest()

    def flush(self, timeout_s=10.0):
        """Waits until all queued records are sent. Returns False if the timeout expires first."""
        deadline = time.monotonic() + timeout_s
        while self.queue.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.queue.unfinished_tasks

    def close(self):
        self.flush()
        super().close()

    def _drop_oldest(self):
        try:
            self.queue.get_nowait()
            self.queue.task_done()
            self.dropped += 1
        except queue.Empty:
            pass

    def _send_all(self):
        while True:
            body = self.queue.get()
            while not self._send(body):
                time.sleep(self.retry_s)
            self.queue.task_done()

    def _send(self, body):
        """Sends a record. Returns False if it must be sent again later."""
        request = urllib.request.Request(self.endpoint, body, self.headers)
        try:
            with urllib.request.urlopen(request, timeout=10):
                return True
        except urllib.error.HTTPError as error:
            # A retry helps only against server errors and rate limits.
            if error.code >= 500 or error.code == 429:
                return False
            self.dropped += 1
            return True
        except OSError:
            return False
