"""
How the reference of HTTP is made of the description that the daemon serves.

C{.. httprequests::} is a list of every request: what it does, its parameters, the keys
of its body, and what it can be refused for. What a page says beyond that is written by
hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]  # its types are another package
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ganeti_pool.web._operations import openAPI

__all__ = ["Requests", "setup"]

OF_ALL = {"400", "401", "408", "413", "414", "415", "417", "431", "500", "501", "505"}
"""
The statuses that every request has.
"""


def _literal(text: str) -> nodes.literal:
    return nodes.literal("", text)


def _item(term: nodes.Node, *content: nodes.Node) -> nodes.definition_list_item:
    return nodes.definition_list_item("", nodes.term("", "", term), nodes.definition("", *content))


def _paragraph(*parts: str | nodes.Node) -> nodes.paragraph:
    children = [nodes.Text(part) if isinstance(part, str) else part for part in parts]
    return nodes.paragraph("", "", *children)


def takes(schema: Mapping[str, Any]) -> str:
    """
    What a value may be, in some words; nothing for what is said of it anyway.
    """
    if "enum" in schema:
        return "One of " + ", ".join(schema["enum"]) + "."
    if schema.get("type") == "array" and "enum" in schema["items"]:
        return takes(schema["items"]) + " May be given again."
    if "default" in schema:
        return f"By default {schema['default']}."
    return ""


def _keys(members: Mapping[str, Mapping[str, Any]]) -> nodes.definition_list:
    """
    A list of parameters, or of the keys of an object.
    """
    return nodes.definition_list(
        "",
        *(
            _item(_literal(name), _paragraph(f"{schema['description']} {takes(schema)}".strip()))
            for name, schema in members.items()
        ),
    )


def _members(schema: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """
    The keys of what a body is, or of each of its jobs.
    """
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "$ref" in schema:
        schema = openAPI()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    members: Mapping[str, Mapping[str, Any]] = schema["properties"]
    return members


def _request(operation: Mapping[str, Any]) -> Iterator[nodes.Node]:
    """
    What there is to say of one request.
    """
    yield _paragraph(operation["summary"])
    parameters = {
        one["name"]: {**one["schema"], "description": one["description"]}
        for one in operation["parameters"]
        if one["in"] in ("query", "header")
    }
    if parameters:
        yield _paragraph("Parameters:")
        yield _keys(parameters)
    if "requestBody" in operation:
        yield _paragraph("Keys of the body:")
        yield _keys(_members(operation["requestBody"]["content"]["application/json"]["schema"]))
    answers = operation["responses"]
    (done,) = (status for status in answers if status < "300")
    refusals = [
        f"{status} {codes.removeprefix('Refused: ').rstrip('.')}"
        for status, answer in answers.items()
        if status >= "300" and status not in OF_ALL
        for codes in [answer["description"]]
    ]
    told = [f"Answers {done}."]
    if refusals:
        told.append("Refuses with " + "; ".join(refusals) + ".")
    yield _paragraph(" ".join(told))


class Requests(SphinxDirective):
    """
    All requests.
    """

    def run(self) -> list[nodes.Node]:
        """
        Make the list.
        """
        return [
            nodes.definition_list(
                "",
                *(
                    _item(
                        _literal(f"{method.upper()} {path.replace('{jobID}', 'ID')}"),
                        *_request(operation),
                    )
                    for path, methods in openAPI()["paths"].items()
                    for method, operation in methods.items()
                ),
            )
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """
    Called by Sphinx.
    """
    app.add_directive("httprequests", Requests)
    return {"parallel_read_safe": True}
