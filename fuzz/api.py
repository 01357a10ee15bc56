"""Requests generated from the schema of the page's server: no server errors, and nothing without the token."""

import math
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from fuzz import desk as desks
from fuzz.journal import Journal, Trial
from selfsort.cli.inputs import training_images
from selfsort.labelling.server.service import LabelService
from selfsort.labelling.server.web import make_app
from selfsort.runs import read_run

_HOST = {"Host": "127.0.0.1"}
_TOKEN = _HOST | {"X-Selfsort-Token": "a-token"}


def play(journal: Journal, size: float, seed: int, place: Path) -> None:
    """Send 2,000 requests, both valid and invalid."""
    desk = desks.make(place)
    images = training_images(desk.run, read_run(desk.run), None, True)
    with closing(LabelService(desk.run, images, n_groups=6)) as service:
        service.refinement.words = lambda epochs: ["false"]  # a refinement that ends at once
        schema: Any = schemathesis.openapi.from_asgi("/api/openapi.json", make_app(service, "a-token"), headers=_TOKEN)
        operations = [found.ok() for found in schema.get_all_operations()]
        each = math.ceil(2000 * size / (1.4 * len(operations)))  # for many operations there are no invalid requests
        for operation in operations:
            for mode in GenerationMode:
                key = f"{operation.label} {mode.value} {each}"
                for _ in journal.open_keys([key]):
                    _send(journal, key, operation.as_strategy(generation_mode=mode), each, seed)


def _send(journal: Journal, key: str, cases: Any, count: int, seed: int) -> None:
    sent: list[Trial] = []

    def check(case: Any) -> None:
        number = f"{key} {len(sent)}"
        try:
            answer = case.call(headers=_TOKEN)
            closed = case.call(headers=_HOST | {"X-Selfsort-Token": "another"}).status_code == 401
        except Exception:  # a server would answer with 500
            sent.append(Trial(number, case.operation.method, "traceback", detail=traceback.format_exc()[-2000:]))
            return
        outcome = "traceback" if answer.status_code >= 500 and answer.status_code != 507 else "answered"
        outcome = outcome if closed else "wrong result"
        took = float(answer.elapsed)
        sent.append(Trial(number, case.operation.method, outcome, took, detail="" if closed else answer.text[:500]))

    with suppress(Unsatisfiable):  # an operation without input has no invalid requests
        _wrapped(check, cases, count, seed)()
    for trial in sent:
        journal.add(trial)
    journal.add(Trial(key, "operation", "done"))


def _wrapped(check: Callable[[Any], None], cases: Any, count: int, seed: int) -> Callable[[], None]:
    moderately = settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def wrapped(case: Any) -> None:
        check(case)

    found: Callable[[], None] = seeded(seed)(moderately(given(cases)(wrapped)))
    return found
