"""Canonical paths: what is refused and why, what is forwarded, and that both readings agree."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.paths import MAX_PATH, CanonicalPath, PathError, canonical, framing_problem, host_problem, query_problem

ACCEPTED = [
    # raw, decoded, forwarded
    (b"/", "/", b"/"),
    (b"/a", "/a", b"/a"),
    (b"/a/b", "/a/b", b"/a/b"),
    (b"/a/", "/a/", b"/a/"),  # a trailing slash is significant
    (b"/%61", "/a", b"/a"),  # unreserved: decoded (RFC 3986 6.2.2.2)
    (b"/%7e%2D%2e%5f", "/~-._", b"/~-._"),
    (b"/a%20b", "/a b", b"/a%20b"),
    (b"/%c3%a9", "/é", b"/%C3%A9"),  # escapes are upper case
    (b"/\xc3\xa9", "/é", b"/%C3%A9"),  # one server lets raw UTF-8 through
    (b"/%F0%9F%98%80", "/😀", b"/%F0%9F%98%80"),
    (b"/a+b", "/a+b", b"/a+b"),
    (b"/a%2Bb", "/a+b", b"/a%2Bb"),  # an escaped sub-delim is not the sub-delim
    (b"/a%3bb", "/a;b", b"/a%3Bb"),
    (b"/a;v=1", "/a;v=1", b"/a;v=1"),
    (b"/!$&'()*,=:@", "/!$&'()*,=:@", b"/!$&'()*,=:@"),
    (b"/%3Fq", "/?q", b"/%3Fq"),
    (b"/%23f", "/#f", b"/%23f"),
    (b"/100%25", "/100%", b"/100%25"),
    (b"/100%25/x", "/100%/x", b"/100%25/x"),
    (b"/%25zz", "/%zz", b"/%25zz"),  # a percent sign that escapes nothing
    (b"/...", "/...", b"/..."),
    (b"/..a/.b", "/..a/.b", b"/..a/.b"),
    (b"/a..", "/a..", b"/a.."),
    (b"/.well-known/x", "/.well-known/x", b"/.well-known/x"),
    (b'/{a}|"<>^`', '/{a}|"<>^`', b"/%7Ba%7D%7C%22%3C%3E%5E%60"),
    (b"http://host/a", "/a", b"/a"),  # absolute-form: routed by path
    (b"HTTPS://user@host:1/a/", "/a/", b"/a/"),
    (b"http://host", "/", b"/"),
    (b"http://[::1]:80/%61", "/a", b"/a"),
    (b"/" + b"a" * (MAX_PATH - 1), "/" + "a" * (MAX_PATH - 1), b"/" + b"a" * (MAX_PATH - 1)),
]

REFUSED = [
    (b"", "empty target"),
    (b"*", "asterisk-form target"),
    (b"host:443", "not an origin-form or absolute-form target"),
    (b"a/b", "not an origin-form or absolute-form target"),
    (b"ftp://host/a", "not an origin-form or absolute-form target"),
    (b"/http://host/a", "empty segment"),
    (b"http://host?x", "query or fragment in the path"),
    (b"/a?b", "query or fragment in the path"),
    (b"/a#b", "query or fragment in the path"),
    (b"/a%2Fb", "encoded slash"),
    (b"/a%2fb", "encoded slash"),
    (b"/a\\b", "backslash"),
    (b"/a%5Cb", "encoded backslash"),
    (b"/a%5cb", "encoded backslash"),
    (b"/..", "dot segment"),
    (b"/.", "dot segment"),
    (b"/../", "dot segment"),
    (b"/a/../b", "dot segment"),
    (b"/a/./b", "dot segment"),
    (b"/a/..", "dot segment"),
    (b"/a/.", "dot segment"),
    (b"/%2e%2e/a", "dot segment"),
    (b"/%2E./a", "dot segment"),
    (b"/.%2e/a", "dot segment"),
    (b"/a/%2e", "dot segment"),
    (b"/..;/a", "dot segment"),
    (b"/..;x=1/a", "dot segment"),
    (b"/..%3B/a", "dot segment"),
    (b"/.;/a", "dot segment"),
    (b"/%2e%2e;a", "dot segment"),
    (b"/;/a", "empty segment"),
    (b"/a/;x=1", "empty segment"),
    (b"//", "empty segment"),
    (b"//a", "empty segment"),
    (b"/a//b", "empty segment"),
    (b"/a//", "empty segment"),
    (b"http://host//a", "empty segment"),
    (b"/%252e%252e/a", "double percent-encoding"),
    (b"/a%252Fb", "double percent-encoding"),
    (b"/a%2500", "double percent-encoding"),
    (b"/%2525", "double percent-encoding"),
    (b"/%25%32%66", "double percent-encoding"),  # in disguise: %25 "2" "f"
    (b"/%25%32F", "double percent-encoding"),
    (b"/%", "invalid percent-encoding"),
    (b"/%1", "invalid percent-encoding"),
    (b"/%zz", "invalid percent-encoding"),
    (b"/%%32%35", "invalid percent-encoding"),
    (b"/%u002e", "invalid percent-encoding"),
    (b"/a%00", "control character"),
    (b"/a\x00", "control character"),
    (b"/a%0d%0ab", "control character"),
    (b"/a\rb", "control character"),
    (b"/a%09b", "control character"),
    (b"/a%7f", "control character"),
    (b"/a%c2%85", "control character"),  # C1: NEL
    (b"/%c0%af", "overlong UTF-8"),  # a slash in two octets
    (b"/%c0%ae%c0%ae/a", "overlong UTF-8"),
    (b"/%e0%80%af", "overlong UTF-8"),
    (b"/%f0%80%80%af", "overlong UTF-8"),
    (b"/%ff", "invalid UTF-8"),
    (b"/\xff", "invalid UTF-8"),
    (b"/%c3", "invalid UTF-8"),
    (b"/%ed%a0%80", "invalid UTF-8"),  # a surrogate
    (b"/" + b"a" * MAX_PATH, "too long"),
]


@pytest.mark.parametrize(("raw", "decoded", "target"), ACCEPTED)
def test_an_unambiguous_path_has_one_form(raw: bytes, decoded: str, target: bytes) -> None:
    assert canonical(raw) == CanonicalPath(decoded, target)


@pytest.mark.parametrize(("raw", "reason"), REFUSED)
def test_an_ambiguous_path_is_refused_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(PathError) as refused:
        canonical(raw)
    assert refused.value.reason == reason


PIECES = st.sampled_from(
    [b"/", b".", b"..", b";", b"a", b"%2e", b"%2E", b"%2f", b"%5c", b"%25", b"%61", b"%", b"2f", b"\\", b"\xc3\xa9",
     b"%c3", b"%a9", b"%00", b"+", b"%2B", b" ", b"{", b"@", b"~", b"%7E", b"?", b"#"]
)  # fmt: skip
PATHS = st.one_of(st.binary(max_size=40), st.lists(PIECES, max_size=12).map(lambda parts: b"/" + b"".join(parts)))


def _try(raw: bytes) -> CanonicalPath | None:
    try:
        return canonical(raw)
    except PathError:
        return None


@given(PATHS)
def test_the_forwarded_form_is_its_own_canonical_form(raw: bytes) -> None:
    path = _try(raw)
    assert path is None or canonical(path.target) == path


@given(PATHS)
def test_no_reading_of_an_accepted_path_leaves_its_segments(raw: bytes) -> None:
    path = _try(raw)
    if path is None:
        return
    for reading in (path.decoded, path.target.decode("ascii")):
        names = [segment.partition(";")[0] for segment in reading.split("/")[1:]]
        assert reading.startswith("/")
        assert not {".", ".."} & set(names)
        assert "" not in names[:-1]
    assert path.decoded.count("/") == path.target.count(b"/")


@given(PATHS)
def test_the_forwarded_form_holds_only_plain_octets_or_upper_case_escapes(raw: bytes) -> None:
    path = _try(raw)
    assert path is None or re.fullmatch(rb"(?:[A-Za-z0-9/\-._~!$&'()*+,;=:@]|%[0-9A-F]{2})+", path.target)


@pytest.mark.parametrize(
    ("hosts", "version", "problem"),
    [
        ([b"a.example"], "1.1", None),
        ([b"a.example:8080"], "1.1", None),
        ([b"[::1]:80"], "1.1", None),
        ([], "1.1", "no Host field"),
        ([b""], "1.1", "no Host field"),
        ([b"a", b"a"], "1.1", "more than one Host field"),
        ([b"a", b"b"], "1.0", "more than one Host field"),
        ([], "1.0", None),
        ([b""], "1", None),  # one server's spelling of HTTP/1.0 without Host
        ([b"a b"], "1.1", "invalid Host field"),
        ([b"a/b"], "1.1", "invalid Host field"),
        ([b"user@a"], "1.1", "invalid Host field"),
        ([b"a:x"], "1.1", "invalid Host field"),
        ([b"::1"], "1.1", "invalid Host field"),
        ([b"a, b"], "1.1", "invalid Host field"),
        ([b"a" * 512], "1.1", None),
        ([b"a" * 513], "1.1", "invalid Host field"),  # it would be remembered
    ],
)
def test_exactly_one_valid_host_is_required(hosts: list[bytes], version: str, problem: str | None) -> None:
    assert host_problem(hosts, version) == problem


NOT_CHUNKED = "transfer coding other than chunked"
BOTH = "Content-Length beside Transfer-Encoding"


@pytest.mark.parametrize(
    ("headers", "version", "problem"),
    [
        ([], "1.1", None),
        ([(b"content-length", b"5")], "1.1", None),
        ([(b"transfer-encoding", b"Chunked")], "1.1", None),
        ([(b"transfer-encoding", b"gzip, chunked")], "1.1", NOT_CHUNKED),
        ([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], "1.1", NOT_CHUNKED),
        ([(b"transfer-encoding", b"chunked")], "1.0", "transfer coding in HTTP/1.0"),
        ([(b"transfer-encoding", b"chunked"), (b"content-length", b"5")], "1.1", BOTH),
        ([(b"content-length", b"5"), (b"content-length", b"6")], "1.1", "invalid Content-Length"),
        ([(b"content-length", b"+5")], "1.1", "invalid Content-Length"),
        ([(b"content-length", b"")], "1.1", "invalid Content-Length"),
        ([(b"content-length", b"9" * 19)], "1.1", None),
        ([(b"content-length", b"9" * 20)], "1.1", "invalid Content-Length"),
        ([(b"content-length", b"9" * 5_000)], "1.1", "invalid Content-Length"),  # more than int() reads
    ],
)  # fmt: skip
def test_framing_that_two_servers_may_read_differently_is_refused(
    headers: list[tuple[bytes, bytes]], version: str, problem: str | None
) -> None:
    assert framing_problem(headers, version) == problem


@pytest.mark.parametrize("query", [b"", b"a=%C3%A9&b=/?:@!$'()*+,;", b"?", b'q="a|b"'])
def test_query_of_visible_ascii_passes_as_it_came(query: bytes) -> None:
    assert query_problem(query) is None


@pytest.mark.parametrize("query", ["q=\u00e9".encode(), b"q=\xff", b"a b", b"a\tb", b"a\n", b"a\x7f", b"\x00"])
def test_query_that_no_request_line_can_hold_is_refused(query: bytes) -> None:
    assert query_problem(query) is not None
