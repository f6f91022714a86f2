"""Which route a call takes: the most specific path, then the method."""

from __future__ import annotations

import pytest

from policies.model import Route
from policies.routing import RouteTable


def route(name: str, path: str, *methods: str) -> Route:
    return Route(name=name, path=path, methods=frozenset(methods) or None, upstream="u", group=name)


TABLE = RouteTable(
    [
        route("anything", "/{rest:path}"),
        route("crm", "/crm/{rest:path}", "GET", "HEAD"),
        route("crm-write", "/crm/{rest:path}", "POST"),
        route("contact", "/crm/contacts/{id}", "GET"),
        route("export", "/crm/contacts/export", "POST"),
        route("all", "/crm/contacts/all", "GET"),
        route("notes", "/crm/contacts/{id}/notes", "GET"),
        route("slash", "/crm/contacts/", "GET"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/crm/contacts/7", "contact"),
        ("GET", "/crm/contacts/export", "contact"),  # the literal takes POST only; the capture is next
        ("GET", "/crm/contacts/all", "all"),  # a literal beats a capture
        ("POST", "/crm/contacts/export", "export"),
        ("POST", "/crm/contacts/7", "crm-write"),  # a capture that takes GET only falls back to the rest
        ("GET", "/crm/contacts/7/notes", "notes"),
        ("GET", "/crm/contacts/7/other", "crm"),
        ("GET", "/crm/contacts/", "slash"),  # an empty segment is no capture
        ("GET", "/crm/contacts", "crm"),
        ("GET", "/crm/", "crm"),
        ("GET", "/crm", "crm"),  # a rest may be empty, with or without the slash
        ("GET", "/crmx", "anything"),
        ("GET", "/CRM/contacts", "anything"),  # paths are case-sensitive (RFC 9110 4.2.3)
        ("DELETE", "/crm/contacts/7", "anything"),
        ("GET", "/", "anything"),
    ],
)
def test_the_most_specific_route_that_takes_the_method_wins(method: str, path: str, expected: str) -> None:
    found = TABLE.match(method, path).route
    assert found is not None
    assert found.name == expected


def test_nothing_matches_and_nothing_is_allowed() -> None:
    assert RouteTable([route("a", "/a", "GET")]).match("GET", "/b").allow == ()


def test_a_method_that_no_route_takes_is_told_those_that_some_route_takes() -> None:
    table = RouteTable([route("a", "/a/{id}", "GET"), route("b", "/a/{rest:path}", "PUT", "POST")])
    match = table.match("DELETE", "/a/1")
    assert match.route is None
    assert match.allow == ("GET", "POST", "PUT")
