"""OpenAI's client for Python, LangChain and LiteLLM, unmodified, with a hub as their base URL. The argument is
the binary; FANFARE_TESTS=full makes the silences as long as those of real models.

Each check scripts its upstream. The last check is a control: it shows that OpenAI's client breaks on what the hub
must not send, so that the other checks would detect it.
"""

import asyncio
import contextlib
import http.server
import json
import os
import sys
import tempfile
import threading
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import openai
from langchain_openai import ChatOpenAI

from running import PATIENCE, Hub

litellm.telemetry = False
litellm.suppress_debug_info = True

TEXTS = ["Once", " upon", " a ", "tïme\n", "\r\n", "there — ", "w😀s", " ", "data: x\n\n", "end."]
TEXT = "".join(TEXTS)
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
SILENCE = 20 if os.environ.get("FANFARE_TESTS") == "full" else 1.5


class Serving(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Ignores clients that disconnect, as some checks make them do."""


class Upstream:
    """Answers each request with the next script, and all later ones with the last."""

    def __init__(self, *scripts):
        upstream, self.asked = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                script = scripts[min(len(upstream.asked), len(scripts) - 1)]
                upstream.asked.append(json.loads(body))
                script(self)

            def begin(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()

            def raw(self, text):
                self.wfile.write(text.encode())
                self.wfile.flush()

            def say(self, event):
                self.raw(f"data: {json.dumps(event)}\n\n")

            def part(self, text):
                self.say({"choices": [{"index": 0, "delta": {"content": text}}]})

            def done(self):
                self.say({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                usage = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}
                self.say({"choices": [], "usage": usage})
                self.raw("data: [DONE]\n\n")

            def log_message(self, *_):
                pass

        self.server = Serving(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def whole(answer):
    answer.begin()
    for text in TEXTS:
        answer.part(text)
    answer.done()


def silent(answer):
    answer.begin()
    answer.raw(": still there\n\n")
    time.sleep(SILENCE)
    for text in TEXTS[:5]:
        answer.part(text)
    time.sleep(SILENCE)
    for text in TEXTS[5:]:
        answer.part(text)
    answer.done()


def slow(answer):
    answer.begin()
    time.sleep(2.5)
    for text in TEXTS:
        answer.part(text)
    answer.done()


def late(answer):
    time.sleep(2.5)
    whole(answer)


def cut(answer):
    answer.begin()
    answer.part("half")


def busy(answer):
    body = b'{"error":{"message":"busy"}}'
    answer.send_response(429)
    answer.send_header("Retry-After", "0")
    answer.send_header("Content-Length", str(len(body)))
    answer.end_headers()
    answer.wfile.write(body)


@contextlib.contextmanager
def front(*scripts):
    """Runs a hub in front of an upstream with these scripts."""
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


def client(hub, **options):
    return openai.OpenAI(base_url=f"{hub.url}/v1", api_key="none", **options)


def text_of(stream):
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def openai_python():
    with front(silent) as (hub, _):
        options = {"include_usage": True}
        chunks = list(client(hub).chat.completions.create(**ASK, stream=True, stream_options=options))
        assert text_of(chunks) == TEXT, text_of(chunks)
        assert chunks[-1].usage.total_tokens == 18
        places = [chunk.fanfare["seq"] for chunk in chunks]
        assert places == sorted(places), places
    with front(whole) as (hub, upstream):
        answer = client(hub).chat.completions.create(**ASK)
        assert answer.choices[0].message.content == TEXT
        assert [model.id for model in client(hub).models.list()] == ["m", "echo"]

        async def some():
            async with openai.AsyncOpenAI(base_url=f"{hub.url}/v1", api_key="none") as at:
                stream = await at.chat.completions.create(**ASK, stream=True)
                return [chunk async for chunk in stream]

        assert text_of(asyncio.run(some())) == TEXT


def openai_python_that_retries():
    """A client with a timeout of 1.2 s and a model that is silent for 2.5 s: one run, the whole text."""
    for script, stream in [(slow, False), (late, False), (late, True)]:
        with front(script, busy) as (hub, upstream):
            answer = client(hub, timeout=1.2, max_retries=4).chat.completions.create(**ASK, stream=stream)
            text = text_of(answer) if stream else answer.choices[0].message.content
            assert text == TEXT, text
            assert len(upstream.asked) == 1, len(upstream.asked)


def openai_python_is_told():
    with front(busy) as (hub, upstream):
        try:
            client(hub).chat.completions.create(**ASK, stream=True)
            raise AssertionError("no error was raised")
        except openai.RateLimitError as error:
            assert "busy" in str(error), error
        assert len(upstream.asked) == 3, "the hub retries, the client does not"
    with front(cut) as (hub, _):
        try:
            text_of(client(hub).chat.completions.create(**ASK, stream=True))
            raise AssertionError("a cut answer passed for a whole one")
        except openai.APIError as error:
            assert error.code == "upstream_incomplete", error


def langchain():
    with front(silent) as (hub, _):
        model = ChatOpenAI(model="m", base_url=f"{hub.url}/v1", api_key="none")
        assert "".join(str(part.content) for part in model.stream("hi")) == TEXT
    with front(whole) as (hub, _):
        model = ChatOpenAI(model="m", base_url=f"{hub.url}/v1", api_key="none")
        assert model.invoke("hi").content == TEXT


def lite_llm():
    ask = {"model": "openai/m", "messages": ASK["messages"], "api_key": "none"}
    with front(silent) as (hub, _):
        stream = litellm.completion(**ask, api_base=f"{hub.url}/v1", stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == TEXT
    with front(whole) as (hub, _):
        answer = litellm.completion(**ask, api_base=f"{hub.url}/v1")
        assert answer.choices[0].message.content == TEXT


def control():
    """An `id:`, followed by a heartbeat in a block of its own."""

    def forbidden(answer):
        answer.begin()
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
        answer.raw(f"id: 1\ndata: {json.dumps({**chunk, 'choices': [choice]})}\n\n")
        answer.raw(":\n\n")
        answer.raw("data: [DONE]\n\n")

    upstream = Upstream(forbidden)
    try:
        text = text_of(openai.OpenAI(base_url=upstream.url, api_key="none").chat.completions.create(**ASK, stream=True))
        raise SystemExit(f"what the hub must not send breaks nothing any more: {text!r}")
    except json.JSONDecodeError:
        pass
    finally:
        upstream.server.shutdown()


CHECKS = [openai_python, openai_python_that_retries, openai_python_is_told, langchain, lite_llm, control]

for check in CHECKS:
    began = time.monotonic()
    check()
    print(f"{check.__name__.replace('_', ' ')}: ok ({time.monotonic() - began:.1f} s)", flush=True)
    assert time.monotonic() - began < 4 * PATIENCE
print(f"{len(CHECKS)} passed, 0 failed")
