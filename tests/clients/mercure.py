"""Publishes with Symfony's Mercure component, and reads with sseclient-py and a cookie.

usage: mercure.py BINARY. The JWT factory of the component needs a package that Debian lacks, so the tokens are made
here, with the claims that the factory gives them.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import subprocess

import requests
import sseclient

from running import TIMEOUT_S, running_hub

SECRET = "a secret that is long enough to be one"
PHP = pathlib.Path(__file__).with_name("mercure.php")


def token(publish=(), subscribe=()):
    """Returns a token of the dialect 0.x, which has no expiry."""
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    claims = {"mercure": {"publish": list(publish), "subscribe": list(subscribe)}}
    parts = [json.dumps(part).encode() for part in ({"typ": "JWT", "alg": "HS256"}, claims)]
    text = b".".join(map(encode, parts))
    return (text + b"." + encode(hmac.digest(SECRET.encode(), text, hashlib.sha256))).decode()


def read(url, subscriber, last_id):
    """Returns the first two updates after an id, with the names of Symfony's Twig function."""
    parameters = {"topic": "https://example.com/books/{id}", "lastEventID": last_id, "Last-Event-ID": last_id}
    response = requests.get(url, params=parameters, cookies=subscriber, stream=True, timeout=TIMEOUT_S)
    assert response.headers["Last-Event-ID"] == last_id, response.headers
    events = sseclient.SSEClient(response).events()
    return [next(events) for _ in range(2)]


def symfony_publishes_and_a_cookie_reads():
    with running_hub("--mercure", "both", "--mercure-url", "https://hub.example", "--jwt-secret", SECRET,
                     "--jwt-issuer", "https://issuer.example", "--anonymous", "subscribe") as hub:
        url = f"{hub.url}/.well-known/mercure"
        command = ["php", PHP, url, token(publish=["*"])]
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert run.returncode == 0, run.stdout + run.stderr
        first, second = run.stdout.split()
        assert (first[0], second) == ("#", "urn:book:1")
        cookie = {"mercureAuthorization": token(subscribe=["https://example.com/users/42/{path}"])}
        one, two = read(url, cookie, "earliest")
        assert (one.id, one.event, json.loads(one.data)) == (first, "message", {"status": "sold out"})
        assert (two.id, two.event, two.data, two.retry) == (second, "sale", "two\nlines", "4000"), vars(two)
        refused = subprocess.run([*command[:3], token()], capture_output=True, text=True, timeout=TIMEOUT_S)
        assert refused.returncode != 0 and "permission denied" in refused.stderr, refused


symfony_publishes_and_a_cookie_reads()
print("ok Symfony publishes and a cookie reads")
