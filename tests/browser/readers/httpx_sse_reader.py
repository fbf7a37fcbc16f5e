"""httpx with httpx-sse, which reads one response; the reader reconnects itself."""

import sys
import time

import httpx
import httpx_sse
from telling import over, tell

url, last, retry_s = sys.argv[1], "", 1.0
with httpx.Client(timeout=60) as client:
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
                if source.response.status_code == 204:
                    over(204)
                    break
                for event in source.iter_sse():
                    last = event.id or last
                    retry_s = event.retry / 1000 if event.retry is not None else retry_s
                    tell(event.event, event.data, event.id)
        except (httpx.HTTPError, httpx_sse.SSEError):
            pass
        time.sleep(retry_s)
