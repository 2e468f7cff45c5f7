"""
Tests for the description of the HTTP interface in OpenAPI.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import schemathesis
from schemathesis.engine import Status, events, from_schema
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool import errors, wire
from ganeti_pool.interfaces import IJobQueue
from ganeti_pool.web import openAPI
from ganeti_pool.web._api import JobAPI
from ganeti_pool.web._operations import OPERATIONS
from ganeti_pool.web._request import Refusal

from .daemoncase import PATIENCE
from .webcase import WebCase
from .webdaemon import TOKEN, SiteProcess

EXAMPLES = 6
"""
How many requests are made up for an operation, of each kind, beside those at the
ends of what is allowed.
"""


CHECKS = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "use_after_free",
}
"""
What is looked at in each answer, among other things.
"""


SAMPLES = (
    *map(chr, range(0x250)),
    *"\u05d0\u0600\u0605\u0606\u061c\u06dd\u070f\u0710\u0890\u08e2\u08e3\u1680\u180e\u180f",
    *map(chr, range(0x2000, 0x2010)),
    *map(chr, range(0x2027, 0x2031)),
    *map(chr, range(0x205E, 0x2071)),
    *"\u2ffb\u3000\u3001\ud7a3\ue000\uf8ff\uf900\ufdd0\ufdef\ufdf0\ufeff\ufff9\ufffb\ufffc\ufffd",
    *"\ufffe\uffff\U0001f600",
    *(f"nightly{end}" for end in ("", "\n", " ", "=", "=1", "=\n")),
    "a b",
    "\nnightly",
    "=a",
    "\n=a",
)
"""
Texts at the edges of what a pattern matches, and on either side of them.
"""


def _within(value: Any) -> Iterator[Any]:
    """
    A value of JSON, and all that is in it.
    """
    yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list, tuple)):
            yield from _within(inner)


def _patternOf(schema: Any) -> list[str]:
    return [schema["pattern"]] if "pattern" in schema else []


def _bodyOf(key: str) -> Any:
    return openAPI()["components"]["schemas"]["NewJob"]["properties"][key]


class DocumentTests(WebCase):
    """
    Tests for L{openAPI}.
    """

    def test_served(self) -> None:
        """
        It is there to be read.
        """
        answer = self.ask("GET", "/v1/openapi.json")
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(answer.value, openAPI())

    def test_valid(self) -> None:
        """
        It is a document of OpenAPI 3.1, whose references lead somewhere.
        """
        schemathesis.openapi.from_dict(deepcopy(dict(openAPI()))).validate()
        named = set(re.findall(r"'#/components/schemas/(\w+)'", str(openAPI())))
        self.assertEqual(named, openAPI()["components"]["schemas"].keys())

    def test_patterns(self) -> None:
        """
        Each pattern means the same to JavaScript without flags as to Python, and matches
        what is refused, or what is accepted.
        """
        seen = {text for schema in _within(openAPI()) for text in _patternOf(schema)}
        forLabel = wire.JOBS_QUERY["label"].schema["items"]["pattern"]
        (forName,) = _patternOf(_bodyOf("owner")["anyOf"][0]["not"])
        (forLabelName,) = _patternOf(_bodyOf("labels")["propertyNames"]["not"])
        forOrigin = wire.ORIGIN[wire.ORIGIN_HEADER].schema["pattern"]
        self.assertEqual(seen, {forLabel, forName, forLabelName, forOrigin})
        for pattern in seen:
            # neither knows all that the other does beyond this
            self.assertNotRegex(pattern, r"\\[^xu]|\(\?|\$")
            re.compile(pattern)
        for sample in SAMPLES:
            for pattern, body in (
                (forName, {"args": [], "owner": sample}),
                (forLabelName, {"args": [], "labels": {sample: ""}}),
            ):
                answer = self.ask("POST", "/v1/jobs", json.dumps(body).encode())
                isRefused = answer.status == 400
                self.assertEqual(bool(re.search(pattern, sample)), isRefused, (pattern, sample))
            answer = self.ask("GET", f"/v1/jobs?label={quote(sample)}")
            isAccepted = answer.status == 200
            self.assertEqual(bool(re.search(forLabel, sample)), isAccepted, sample)

    def test_paths(self) -> None:
        """
        It lists the methods and paths that are served, no others, and each.
        """
        served = {
            (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
            for rule in JobAPI.app.url_map.iter_rules()
            for method in rule.methods or set()
        }
        listed = {
            (method.upper(), path)
            for path, operations in openAPI()["paths"].items()
            for method in operations
        }
        self.assertEqual(listed, served)
        self.assertEqual(len(listed), len(OPERATIONS))

    def test_answers(self) -> None:
        """
        Every code has the status that goes with it, and all of them are listed
        somewhere but those that are no answer of an operation.
        """
        listed = {}
        for operation in OPERATIONS.values():
            for status, codes in operation.problems.items():
                listed.update(dict.fromkeys(codes, status))
        self.assertEqual(listed, {code: wire.statusOf(code) for code in listed})
        self.assertEqual(wire.STATUS.keys() - listed.keys(), {"method_not_allowed"})


class CodesTests(SynchronousTestCase):
    """
    Tests for what each operation can be refused for.
    """

    def calls(self, name: str, receiver: str) -> set[str]:
        """
        The methods of something that the handler of an operation calls.

        @param receiver: as the handler names it.
        """
        source = textwrap.dedent(inspect.getsource(vars(JobAPI)[name]))
        return {
            node.func.attr
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ast.unparse(node.func.value) == receiver
        }

    def test_queue(self) -> None:
        """
        An operation lists each code of what the queue's contract says its methods fail
        with.
        """
        for name, operation in OPERATIONS.items():
            listed = {code for codes in operation.problems.values() for code in codes}
            promised = {
                getattr(errors, error).code
                for method in self.calls(name, "self._queue")
                for error in re.findall(r"<ganeti_pool\.errors\.(\w+)>", IJobQueue[method].getDoc())
            }
            self.assertEqual(promised - listed, set(), name)

    def test_refusals(self) -> None:
        """
        An operation lists each code that its handler refuses with.
        """
        for name, operation in OPERATIONS.items():
            source = inspect.getsource(vars(JobAPI)[name])
            listed = {code for codes in operation.problems.values() for code in codes}
            refused = set(re.findall(r'Refusal\(\s*"(\w+)"', source))
            if "_jobID(" in source:
                refused.add("no_such_job")
            self.assertEqual(refused - listed, set(), name)
        self.assertEqual(Refusal("a", "b").code, "a")


class ConformanceTests(SynchronousTestCase):
    """
    Tests that what is described is what happens.
    """

    def setUp(self) -> None:
        """
        A daemon's site.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.site = SiteProcess(Path(directory.name))
        self.addCleanup(lambda: self.assertEqual(self.site.close(), (0, "")))

    def test_madeUpRequests(self) -> None:
        """
        Requests that are made up from the description, right ones and wrong ones, get
        the answers that it describes, and none says that the daemon failed.
        """
        schema = schemathesis.openapi.from_dict(
            # It adds to it what it finds out.
            deepcopy(dict(openAPI())),
            config=schemathesis.Config.from_dict(
                {
                    "base-url": self.site.url,
                    "headers": {"Authorization": f"Bearer {TOKEN}"},
                    "seed": 4,
                    "generation": {"max-examples": EXAMPLES, "database": "none"},
                    "request-timeout": PATIENCE,
                    "checks": {
                        # JSON Schema has no words for which parameters go together,
                        # and knows no name of a class.
                        "positive_data_acceptance": {"enabled": False}
                    },
                }
            ),
        )
        schemathesis.hook(before_call)
        self.addCleanup(schemathesis.hooks.unregister, before_call)
        failures, checked = [], set()
        for event in from_schema(schema).execute():
            if isinstance(event, (events.NonFatalError, events.FatalError)):
                failures.append(f"schemathesis: {event}")
            elif isinstance(event, events.ScenarioFinished):
                for checks in event.recorder.checks.values():
                    for check in checks:
                        checked.add((event.phase.value, check.name))
                        if check.status is not Status.SUCCESS:
                            failures.append(f"{event.recorder.label}: {check.failure_info}")
        self.assertEqual(failures, [])
        for phase in ("coverage", "fuzzing", "stateful"):
            missing = CHECKS - {name for ran, name in checked if ran == phase}
            self.assertEqual(missing, set(), phase)


def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """
    Make of a request one about a job that may be there, whose parameters go together,
    and which is not waited for.
    """
    jobID = case.path_parameters.get("jobID")
    # One that was made is asked for as it is.
    if isinstance(jobID, int) and jobID > 1000:
        case.path_parameters["jobID"] = jobID % 20
    query = case.query
    if case.operation.path == "/v1/pool/quiesce":
        query.setdefault("wait", 0)
    wait = query.get("wait")
    if isinstance(wait, (int, float)) and not isinstance(wait, bool) and wait > 0:
        query["wait"] = 0.01
    if "changed_after" in query:
        ofChanges, ofLists = ("changed_after", "wait"), ("state", "name", "label", "order")
        for name in ofChanges if "after" in query else ofLists:
            query.pop(name, None)
