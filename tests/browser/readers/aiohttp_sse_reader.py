"""aiohttp-sse-client. It reconnects with its last id after a response that ends. A broken connection
and a 204 are errors, after which the reader starts again with the id that it noted."""

import asyncio
import sys

import aiohttp
from aiohttp_sse_client.client import EventSource
from telling import over, tell


async def main(url):
    last = ""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            async with EventSource(url, timeout=timeout, headers=headers) as source:
                async for event in source:
                    last = event.last_event_id or last
                    tell(event.type, event.data, event.last_event_id)
        except ConnectionAbortedError as error:
            # A 204 raises this error as well.
            if "204" in str(error):
                return over(204)
        except (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError):
            pass
        await asyncio.sleep(1)


asyncio.run(main(sys.argv[1]))
