"""Requests generated from the server's own schema: no internal errors, and nothing without the token."""

import shutil
from contextlib import closing, suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from selfsort.labelling.server.service import LabelService
from selfsort.labelling.server.web import make_app

pytestmark = pytest.mark.slow

OWN_HOST = {"Host": "127.0.0.1"}
WITH_TOKEN = OWN_HOST | {"X-Selfsort-Token": "a-token"}

moderately = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def app(finished, images, tmp_path_factory):
    run = shutil.copytree(finished, tmp_path_factory.mktemp("fuzzed") / "run")
    with closing(LabelService(run, images, n_groups=6)) as service:
        service.refinement.words = lambda epochs: ["false"]  # a refinement that ends at once
        yield make_app(service, "a-token")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_internal_errors_and_nothing_without_the_token(app, mode):
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=WITH_TOKEN)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 20
    tried: set[str] = set()
    for operation in operations:

        @moderately
        @given(operation.as_strategy(generation_mode=mode))
        def check(case):
            answer = case.call(headers=WITH_TOKEN)
            assert answer.status_code < 500, answer.text
            assert case.call(headers=OWN_HOST | {"X-Selfsort-Token": "another"}).status_code == 401
            tried.add(case.operation.label)

        # A route without parameters cannot get a wrong request.
        with suppress(Unsatisfiable):
            check()
    assert len(tried) >= (20 if mode == GenerationMode.POSITIVE else 15)
