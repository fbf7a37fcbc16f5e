#!/usr/bin/env python3
"""What a chat costs in time: `benches/chats.py target/release/fanfare`.

An upstream says a part each 20 ms, and in it when that was; readers look how long it took to them. It is measured
beside readers who read a byte a second, and with as many readers as a chat may well have. The last rows are how soon
an upstream's connection is closed once its chat is stopped, and the frames that a late reader is sent.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time

PARTS = 250
PACE = 0.02
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
DONE = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def event(text):
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n".encode()


class Upstream:
    """Says the time until it is told otherwise; notes when its connections were closed."""

    def __init__(self):
        self.closed, self.many, self.begin = [], 0, asyncio.Event()

    async def serve(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        if self.many:
            for at in range(self.many):
                writer.write(event(f"{at} "))
                if at % 50 == 49:
                    await writer.drain()
            writer.write(DONE)
            return writer.close()
        gone = asyncio.create_task(self.until_gone(reader))
        begun = asyncio.create_task(self.begin.wait())
        await asyncio.wait([begun, gone], return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        for _ in range(PARTS):
            if gone.done():
                return writer.close()
            writer.write(event(f"{time.time():.6f} "))
            await asyncio.sleep(PACE)
        writer.write(DONE)
        writer.close()

    async def until_gone(self, reader):
        while await reader.read(65536):
            pass
        self.closed.append(time.time())


async def request(address, line, body=""):
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
    writer.write(f"{line} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def begin(address):
    reader, writer = await request(address, "POST /chats", '{"message":"hi"}')
    answer = json.loads(await reader.readuntil(b"}"))
    writer.close()
    return answer


async def follow(address, url, delays, frames):
    reader, writer = await request(address, f"GET {url}")
    while True:
        line = await reader.readline()
        if not line.startswith(b"data: "):
            if not line:
                return
            continue
        data = json.loads(line[6:])
        now = time.time()
        if data.get("type") == "token":
            frames.append(len(data["content"]))
            delays.extend(now - float(text) for text in data["content"].split() if "." in text)
        if data.get("type") in ("done", "error", "cancelled"):
            return writer.close()


async def slowly(address, url):
    reader, writer = await request(address, f"GET {url}")
    try:
        while await reader.read(1):
            await asyncio.sleep(1)
    finally:
        writer.close()


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


async def measured(address, upstream, pid, readers, slow):
    upstream.begin.clear()
    chat = await begin(address)
    delays, frames = [], []
    following = [asyncio.create_task(follow(address, chat["events_url"], delays, frames)) for _ in range(readers)]
    lagging = [asyncio.create_task(slowly(address, chat["events_url"])) for _ in range(slow)]
    await asyncio.sleep(0.5)
    before = resident(pid)
    upstream.begin.set()
    await asyncio.gather(*following)
    grown = resident(pid) - before
    for task in lagging:
        task.cancel()
    assert len(delays) == readers * PARTS, (len(delays), readers)
    cuts = statistics.quantiles(delays, n=100)
    print(f"| {readers} readers{f', {slow} of a byte a second' if slow else ''} | p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms | {grown / 1e6:+.1f} MB |", flush=True)


async def stopped(address, upstream):
    took = []
    for _ in range(20):
        upstream.begin.clear()
        chat = await begin(address)
        await asyncio.sleep(0.1)
        seen, asked = len(upstream.closed), time.time()
        await request(address, f"POST {chat['stop_url']}")
        while len(upstream.closed) == seen:
            await asyncio.sleep(0.001)
        took.append(upstream.closed[-1] - asked)
    print(f"| stopped, until the upstream's connection is closed | p50 {statistics.median(took) * 1e3:.1f} ms, most {max(took) * 1e3:.1f} ms | |", flush=True)


async def late(address, upstream):
    upstream.many = 10_000
    chat = await begin(address)
    delays, frames = [], []
    await follow(address, chat["events_url"], delays, frames)
    frames.clear()
    began = time.time()
    await follow(address, chat["events_url"], delays, frames)
    print(f"| 10,000 tokens to a late reader | {(time.time() - began) * 1e3:.1f} ms, {len(frames)} frames of at most {max(frames)} bytes | |", flush=True)


async def main():
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/fanfare.toml", "w") as file:
            file.write(f'[chat.upstream.a]\nurl = "http://127.0.0.1:{port}/v1"\nmodels = ["m"]\n')
        command = [sys.argv[1], "--config", f"{folder}/fanfare.toml", "--listen", "127.0.0.1:0", "--data-dir", f"{folder}/data", "--log", "warn", "--system", "off"]
        hub = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            line = (await hub.stdout.readline()).decode()
            address = line.strip().removeprefix("listening on http://")
            print("| what | how long | the hub's memory |\n|---|---|---|")
            for readers, slow in [(1, 0), (100, 0), (100, 1), (100, 20)]:
                await measured(address, upstream, hub.pid, readers, slow)
            await stopped(address, upstream)
            await late(address, upstream)
        finally:
            hub.terminate()
            await hub.wait()


asyncio.run(asyncio.wait_for(main(), 120))
