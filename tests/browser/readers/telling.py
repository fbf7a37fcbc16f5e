"""Output of the readers of the client matrix: one event per line, and the status at the end."""

import json


def tell(kind, data, identifier):
    print(json.dumps({"type": kind or "message", "data": data, "id": identifier}), flush=True)


def over(status):
    print(json.dumps({"over": status}), flush=True)
