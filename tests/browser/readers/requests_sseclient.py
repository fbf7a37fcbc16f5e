"""requests with sseclient-py, which reads one response; the reader reconnects itself."""

import sys
import time

import requests
import sseclient
from telling import over, tell

url, last, retry_s = sys.argv[1], "", 1.0
while True:
    headers = {"Accept": "text/event-stream"}
    if last:
        headers["Last-Event-ID"] = last
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
            if response.status_code == 204:
                over(204)
                break
            response.raise_for_status()
            for event in sseclient.SSEClient(response).events():
                last = event.id or last
                retry_s = int(event.retry) / 1000 if event.retry else retry_s
                tell(event.event, event.data, event.id)
    except requests.RequestException:
        pass
    time.sleep(retry_s)
