"""aiohttp alone: the reader parses the lines of a response and reconnects itself."""

import asyncio
import sys

import aiohttp
from telling import over, tell


async def main(url):
    last, retry_s = "", 1.0
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
            try:
                async with session.get(url, headers=headers) as response:
                    if response.status == 204:
                        return over(204)
                    response.raise_for_status()
                    kind, data = "", []
                    async for raw in response.content:
                        line = raw.decode().rstrip("\r\n")
                        field, _, value = line.partition(":")
                        value = value.removeprefix(" ")
                        if line == "":
                            if data:
                                tell(kind, "\n".join(data), last)
                            kind, data = "", []
                        elif field == "data":
                            data.append(value)
                        elif field == "event":
                            kind = value
                        elif field == "id":
                            last = value
                        elif field == "retry":
                            retry_s = int(value) / 1000
            except (aiohttp.ClientError, asyncio.TimeoutError):
                pass
            await asyncio.sleep(retry_s)


asyncio.run(main(sys.argv[1]))
