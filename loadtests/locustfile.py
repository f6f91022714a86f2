"""A scenario for Locust: several tenants call through the gateway, and a 429 that says when to come back is a success.

Locust is no dependency of this project; it lives in an environment of its own:

    python3 -m venv /tmp/locust && /tmp/locust/bin/pip install locust
    OPEN_LOOP_ORIGIN_PORT=9001 tiergate serve --policies loadtests/policies/open_loop     (and in another terminal)
    tiergate mock upstream --port 9001                                                    (and in a third)
    /tmp/locust/bin/locust -f loadtests/locustfile.py --headless --users 12 --spawn-rate 4 --run-time 30s

Without ``--headless`` it serves its page on http://localhost:8089. From the environment, all optional:

    TIERGATE_HOST   the gateway, default http://127.0.0.1:8080 (``--host`` goes before it)
    TIERGATE_KEYS   API keys, comma separated; users take them in turn. Default: six tenants of the open-loop policy
    TIERGATE_PATH   what is called, default /locust

Two kinds of users: ``Patient`` waits as long as a 429 says, ``Insistent`` calls on. Answers are listed by what they
were: ``call``, ``call: refused (tenant)`` and so on, by the ``source`` in the 429's body. Everything else that comes
back is a failure: a 5xx, a 429 without its fields, a 200 with ``Retry-After``. Locust is closed-loop, so what it
reports as latency leaves out the calls that a slow gateway kept it from making; ``loadtests.open_loop`` does not.
"""

from __future__ import annotations

import os
import time
from itertools import cycle
from typing import Any

from locust import HttpUser, constant_throughput, task  # type: ignore[import-not-found]

HOST = os.environ.get("TIERGATE_HOST", "http://127.0.0.1:8080")
PATH = os.environ.get("TIERGATE_PATH", "/locust")
TIERS = ("window", "layered", "bucket", "mixed", "parallel", "wide")
KEYS = cycle(
    [key.strip() for key in os.environ.get("TIERGATE_KEYS", "").split(",") if key.strip()]
    or [f"open-loop-{tier}-1-key" for tier in TIERS]
)
SOURCES = ("tenant", "concurrency", "upstream")


def refusal(response: Any) -> str:
    """What is wrong with a 429; empty when it says whose it is and when to come back."""
    wait = response.headers.get("retry-after", "")
    if not wait.isdigit() or int(wait) < 1:
        return f"a 429 with retry-after {wait!r}"
    try:
        body = response.json()
    except ValueError:
        return "a 429 whose body is no JSON"
    source = body.get("source") if isinstance(body, dict) else None
    if source not in SOURCES:
        return f"a 429 that does not say whose it is: source {source!r}"
    if body.get("retry_after_seconds") != int(wait):
        return f"retry-after {wait}, and {body.get('retry_after_seconds')} in the body"
    return ""


class Caller(HttpUser):  # type: ignore[misc] # untyped where Locust is not installed
    """One client of one tenant."""

    abstract = True
    host = HOST
    wait_time = constant_throughput(10)
    patient = False

    def on_start(self) -> None:
        self.key = next(KEYS)

    @task  # type: ignore[untyped-decorator] # the same
    def call(self) -> None:
        wait_s = 0
        with self.client.get(PATH, headers={"x-api-key": self.key}, name="call", catch_response=True) as response:
            if response.status_code == 429:
                wrong = refusal(response)
                response.request_meta["name"] = "call: refused" + ("" if wrong else f" ({response.json()['source']})")
                if not wrong:
                    wait_s = int(response.headers["retry-after"])
            elif response.status_code == 200:
                wrong = "a 200 with retry-after" if "retry-after" in response.headers else ""
            else:
                wrong = f"an unexpected {response.status_code}"
            if wrong:
                response.failure(wrong)
            else:
                response.success()
        if self.patient and wait_s:
            time.sleep(wait_s)


class Patient(Caller):
    """Comes back when it was told to."""

    weight = 1
    patient = True


class Insistent(Caller):
    """Does not listen."""

    weight = 1
