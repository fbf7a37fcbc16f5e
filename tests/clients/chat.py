"""Tests the OpenAI client for Python, LangChain and LiteLLM, unmodified, with a hub as their base URL.

usage: chat.py BINARY. TEST_EXTENT=full makes the pauses as long as those of real models.

Each check scripts its upstream. The last check is a control: it shows that the OpenAI client fails on blocks
that the hub must not send, so that the other checks would detect them.
"""

import asyncio
import contextlib
import http.server
import json
import os
import tempfile
import threading
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import openai
from langchain_openai import ChatOpenAI

from running import TIMEOUT_S, Hub

litellm.telemetry = False
litellm.suppress_debug_info = True

TEXTS = ["Once", " upon", " a ", "tïme\n", "\r\n", "there — ", "w😀s", " ", "data: x\n\n", "end."]
FULL_TEXT = "".join(TEXTS)
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PAUSE_S = 20 if os.environ.get("TEST_EXTENT") == "full" else 1.5


class UpstreamServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Ignores disconnected clients, because some checks disconnect on purpose."""


class Upstream:
    """An upstream that answers each request with the next script, and all later ones with the last."""

    def __init__(self, *scripts):
        upstream, self.requests = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                script = scripts[min(len(upstream.requests), len(scripts) - 1)]
                upstream.requests.append(json.loads(body))
                script(self)

            def start_stream(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()

            def write(self, text):
                self.wfile.write(text.encode())
                self.wfile.flush()

            def send_event(self, event):
                self.write(f"data: {json.dumps(event)}\n\n")

            def send_chunk(self, text):
                self.send_event({"choices": [{"index": 0, "delta": {"content": text}}]})

            def end_stream(self):
                self.send_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                usage = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}
                self.send_event({"choices": [], "usage": usage})
                self.write("data: [DONE]\n\n")

            def log_message(self, *_):
                pass

        self.server = UpstreamServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


# Scripts of an upstream.


def answer(handler):
    handler.start_stream()
    for text in TEXTS:
        handler.send_chunk(text)
    handler.end_stream()


def answer_with_pauses(handler):
    handler.start_stream()
    handler.write(": still there\n\n")
    time.sleep(PAUSE_S)
    for text in TEXTS[:5]:
        handler.send_chunk(text)
    time.sleep(PAUSE_S)
    for text in TEXTS[5:]:
        handler.send_chunk(text)
    handler.end_stream()


def answer_with_slow_first_chunk(handler):
    handler.start_stream()
    time.sleep(2.5)
    for text in TEXTS:
        handler.send_chunk(text)
    handler.end_stream()


def answer_with_slow_headers(handler):
    time.sleep(2.5)
    answer(handler)


def truncate_answer(handler):
    handler.start_stream()
    handler.send_chunk("half")


def reject_as_busy(handler):
    body = b'{"error":{"message":"busy"}}'
    handler.send_response(429)
    handler.send_header("Retry-After", "0")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextlib.contextmanager
def hub_with_upstream(*scripts):
    """Runs a hub whose upstream follows these scripts."""
    upstream = Upstream(*scripts)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/fanfare.toml", "w") as file:
            file.write(f'[chat.upstream.scripted]\nurl = "{upstream.url}"\nmodels = ["m"]\n')
        hub = Hub(f"{folder}/data", "--config", f"{folder}/fanfare.toml", "--heartbeat", "1s")
        try:
            yield hub, upstream
        finally:
            hub.kill()
            upstream.server.shutdown()


def openai_client(hub, **options):
    return openai.OpenAI(base_url=f"{hub.url}/v1", api_key="none", **options)


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# Checks.


def openai_client_reads_answers():
    with hub_with_upstream(answer_with_pauses) as (hub, _):
        options = {"include_usage": True}
        chunks = list(openai_client(hub).chat.completions.create(**REQUEST, stream=True, stream_options=options))
        assert text_of(chunks) == FULL_TEXT, text_of(chunks)
        assert chunks[-1].usage.total_tokens == 18
        positions = [chunk.fanfare["seq"] for chunk in chunks]
        assert positions == sorted(positions), positions
    with hub_with_upstream(answer) as (hub, _):
        completion = openai_client(hub).chat.completions.create(**REQUEST)
        assert completion.choices[0].message.content == FULL_TEXT
        assert [model.id for model in openai_client(hub).models.list()] == ["m", "echo"]

        async def read_asynchronously():
            async with openai.AsyncOpenAI(base_url=f"{hub.url}/v1", api_key="none") as client:
                stream = await client.chat.completions.create(**REQUEST, stream=True)
                return [chunk async for chunk in stream]

        assert text_of(asyncio.run(read_asynchronously())) == FULL_TEXT


def openai_client_retries_run_the_model_once():
    """Uses a client with a timeout of 1.2 s and a model that is silent for 2.5 s."""
    for script, stream in [
        (answer_with_slow_first_chunk, False),
        (answer_with_slow_headers, False),
        (answer_with_slow_headers, True),
    ]:
        with hub_with_upstream(script, reject_as_busy) as (hub, upstream):
            client = openai_client(hub, timeout=1.2, max_retries=4)
            completion = client.chat.completions.create(**REQUEST, stream=stream)
            text = text_of(completion) if stream else completion.choices[0].message.content
            assert text == FULL_TEXT, text
            assert len(upstream.requests) == 1, len(upstream.requests)


def openai_client_raises_upstream_errors():
    with hub_with_upstream(reject_as_busy) as (hub, upstream):
        try:
            openai_client(hub).chat.completions.create(**REQUEST, stream=True)
            raise AssertionError("no error was raised")
        except openai.RateLimitError as error:
            assert "busy" in str(error), error
        assert len(upstream.requests) == 3, "only the hub may retry, not the client"
    with hub_with_upstream(truncate_answer) as (hub, _):
        try:
            text_of(openai_client(hub).chat.completions.create(**REQUEST, stream=True))
            raise AssertionError("a truncated answer was accepted as complete")
        except openai.APIError as error:
            assert error.code == "upstream_incomplete", error


def langchain_reads_answers():
    with hub_with_upstream(answer_with_pauses) as (hub, _):
        model = ChatOpenAI(model="m", base_url=f"{hub.url}/v1", api_key="none")
        assert "".join(str(chunk.content) for chunk in model.stream("hi")) == FULL_TEXT
    with hub_with_upstream(answer) as (hub, _):
        model = ChatOpenAI(model="m", base_url=f"{hub.url}/v1", api_key="none")
        assert model.invoke("hi").content == FULL_TEXT


def litellm_reads_answers():
    request = {"model": "openai/m", "messages": REQUEST["messages"], "api_key": "none"}
    with hub_with_upstream(answer_with_pauses) as (hub, _):
        stream = litellm.completion(**request, api_base=f"{hub.url}/v1", stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == FULL_TEXT
    with hub_with_upstream(answer) as (hub, _):
        completion = litellm.completion(**request, api_base=f"{hub.url}/v1")
        assert completion.choices[0].message.content == FULL_TEXT


def openai_client_fails_on_forbidden_blocks():
    """Control: sends an `id:`, followed by a heartbeat in a block of its own."""

    def send_forbidden_blocks(handler):
        handler.start_stream()
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
        handler.write(f"id: 1\ndata: {json.dumps({**chunk, 'choices': [choice]})}\n\n")
        handler.write(":\n\n")
        handler.write("data: [DONE]\n\n")

    upstream = Upstream(send_forbidden_blocks)
    try:
        client = openai.OpenAI(base_url=upstream.url, api_key="none")
        text = text_of(client.chat.completions.create(**REQUEST, stream=True))
        raise SystemExit(f"the client accepts blocks that the hub must not send: {text!r}")
    except json.JSONDecodeError:
        pass
    finally:
        upstream.server.shutdown()


CHECKS = [
    openai_client_reads_answers,
    openai_client_retries_run_the_model_once,
    openai_client_raises_upstream_errors,
    langchain_reads_answers,
    litellm_reads_answers,
    openai_client_fails_on_forbidden_blocks,
]

for check in CHECKS:
    started = time.monotonic()
    check()
    print(f"{check.__name__.replace('_', ' ')}: ok ({time.monotonic() - started:.1f} s)", flush=True)
    assert time.monotonic() - started < 4 * TIMEOUT_S
print(f"{len(CHECKS)} passed, 0 failed")
