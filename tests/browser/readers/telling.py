"""What a reader of the client matrix prints: an event a line, and the status that ended it."""

import json


def tell(kind, data, identifier):
    print(json.dumps({"type": kind or "message", "data": data, "id": identifier}), flush=True)


def over(status):
    print(json.dumps({"over": status}), flush=True)
