from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import pytest

from gateway.settings import (
    PREFIX,
    VARIABLES,
    Settings,
    SettingsError,
    address,
    at_start,
    effective,
    from_environment,
    traces_environment,
    unknown_variables,
)
from gateway.worker import packed, unpacked
from policies.model import Address, PolicySet, Server, Traces


def test_nothing_set_means_the_defaults_of_the_table() -> None:
    said = {variable.name: variable.default for variable in VARIABLES if variable.default}
    assert from_environment({}) == from_environment(said) == Settings()


def test_every_field_has_its_variable_and_the_other_way_round() -> None:
    assert {PREFIX + field.name.upper() for field in fields(Settings)} == {variable.name for variable in VARIABLES}


def test_each_variable_is_read() -> None:
    env = {
        "TIERGATE_POLICIES": "/p",
        "TIERGATE_STATE_DIR": "/s",
        "TIERGATE_SECRETS_DIR": "/x",
        "TIERGATE_ACCESS_LOG": "off",
        "TIERGATE_LOG_LEVEL": "DEBUG",
        "TIERGATE_LISTEN": ":80",
        "TIERGATE_ADMIN": "[::1]:9900",
        "TIERGATE_WORKERS": "4",
        "TIERGATE_SERVER": "uvicorn",
        "TIERGATE_INSTANCE": "gw-1",
        "TIERGATE_LEDGER_URL": "postgresql://tiergate@db/ledger",
        "TIERGATE_IMPORT_TOKEN": "t" * 32,
        "TIERGATE_DEBUG": "1",
    }
    assert set(env) == {variable.name for variable in VARIABLES}
    assert from_environment(env) == Settings(
        policies=Path("/p"), state_dir=Path("/s"), secrets_dir=Path("/x"), access_log="off", log_level="debug",
        listen=Address(host="0.0.0.0", port=80), admin=Address(host="::1", port=9900), workers=4, server="uvicorn",
        instance="gw-1", ledger_url="postgresql://tiergate@db/ledger", import_token="t" * 32, debug=True,
    )  # fmt: skip


def test_the_command_line_wins_over_the_environment_and_that_over_the_policy() -> None:
    server = Server(listen=Address(host="h", port=1), admin=Address(host="h", port=2), workers=3)
    env = {"TIERGATE_LISTEN": "e:1", "TIERGATE_WORKERS": "2"}
    chosen = effective(from_environment(env, listen="f:1", workers=None), server)
    assert (chosen.listen.host, chosen.workers, chosen.admin.port) == ("f", 2, 2)


def test_the_access_log_of_the_policy_counts_where_the_environment_names_none() -> None:
    server = Server(access_log="/var/log/policy.log")
    assert effective(from_environment({}), server).access_log == "/var/log/policy.log"
    assert effective(from_environment({"TIERGATE_ACCESS_LOG": "-"}), server).access_log == "-"
    assert effective(from_environment({}), Server()).access_log == "-"


def test_an_edit_of_what_is_overridden_is_not_said_to_need_a_restart() -> None:
    policy = PolicySet(version="v", server=Server(access_log="a.log"))
    assert at_start(from_environment({}), policy)["server.access_log"] == "a.log"
    assert "server.access_log" not in at_start(from_environment({"TIERGATE_ACCESS_LOG": "off"}), policy)


DISCARDED = {
    "OTEL_TRACES_EXPORTER": "discard",
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.01",
}
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, DISCARDED),
        ({"OTEL_TRACES_EXPORTER": ""}, DISCARDED),  # empty is unset, as in the specification of these variables
        ({"OTEL_TRACES_EXPORTER": "none"}, DISCARDED | {"OTEL_TRACES_EXPORTER": "none"}),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, {"OTEL_TRACES_EXPORTER": "discard", "OTEL_TRACES_SAMPLER": "always_on"}),
        # an endpoint alone asks for OTLP: its spans must not be forgotten because a policy says so
        (ENDPOINT, {name: value for name, value in DISCARDED.items() if name != "OTEL_TRACES_EXPORTER"} | ENDPOINT),
    ],
)
def test_the_variables_of_tracing_win_over_the_policy(env: dict[str, str], expected: dict[str, str]) -> None:
    assert traces_environment(env, Traces(exporter="discard", ratio=Fraction(1, 100))) == expected
    assert traces_environment(env, None) == env


def test_an_empty_variable_is_an_unset_one() -> None:
    assert from_environment({"TIERGATE_WORKERS": "", "TIERGATE_POLICIES": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TIERGATE_WORKERS", "0", "1 to 256"),
        ("TIERGATE_WORKERS", "-1", "1 to 256"),
        ("TIERGATE_WORKERS", "two", "1 to 256"),
        ("TIERGATE_WORKERS", "٣", "1 to 256"),  # an Arabic digit: isdigit() alone would take it
        ("TIERGATE_LISTEN", "8080", "host:port"),
        ("TIERGATE_LISTEN", "host:", "host:port"),
        ("TIERGATE_LISTEN", "host:http", "host:port"),
        ("TIERGATE_LISTEN", "host:65536", "host:port"),
        ("TIERGATE_LISTEN", "::1:8080", "brackets"),
        ("TIERGATE_SERVER", "granain", "did you mean 'granian'"),
        ("TIERGATE_LOG_LEVEL", "warn", "did you mean 'warning'"),
        ("TIERGATE_LEDGER_URL", "mysql://root@localhost/x", "sqlite:////path"),
        ("TIERGATE_LEDGER_URL", "ledger.sqlite", "sqlite:////path"),
        ("TIERGATE_LEDGER_URL", "sqlite:///", "sqlite:////path"),
        ("TIERGATE_IMPORT_TOKEN", "t" * 31, "32 or more"),
        ("TIERGATE_IMPORT_TOKEN", "t" * 31 + " t", "32 or more"),
        ("TIERGATE_IMPORT_TOKEN", "t" * 31 + "ä", "32 or more"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_the_variable(variable: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=variable) as error:
        from_environment({variable: value})
    assert said in str(error.value)


def test_addresses() -> None:
    assert address("h:0", of="x") == Address(host="h", port=0)
    assert address("[::]:1", of="x") == Address(host="::", port=1)


def test_an_unknown_variable_is_warned_of_with_what_was_probably_meant() -> None:
    env = {"TIERGATE_WORKER": "2", "TIERGATE_ZZZ": "1", "HOME": "/", "TIERGATE_POLICIES": "p"}
    assert unknown_variables(env) == (
        "TIERGATE_WORKER is not a setting; did you mean TIERGATE_WORKERS?",
        "TIERGATE_ZZZ is not a setting",
    )


def test_variables_that_policy_files_use_are_no_mistake() -> None:
    assert unknown_variables({"TIERGATE_MOCK_PORT": "1", "TIERGATE_OTHER": "1"}, {"TIERGATE_OTHER"}) == ()


def test_a_ledgers_password_is_in_no_text_of_the_settings() -> None:
    settings = from_environment({"TIERGATE_LEDGER_URL": "postgresql://tiergate:s3cret@db/ledger"})
    assert settings.ledger_url == "postgresql://tiergate:s3cret@db/ledger"
    assert "s3cret" not in repr(settings) + packed(settings)
    assert unpacked(packed(settings), {"TIERGATE_LEDGER_URL": settings.ledger_url}) == settings
    with pytest.raises(SettingsError) as error:
        from_environment({"TIERGATE_LEDGER_URL": "postgres:/tiergate:s3cret@db/ledger"})
    assert "s3cret" not in str(error.value)


def test_the_token_for_imports_is_not_shown_and_stands_on_no_command_line() -> None:
    token = "s3cret" * 6
    settings = from_environment({"TIERGATE_IMPORT_TOKEN": token})
    assert "s3cret" not in repr(settings) + packed(settings)
    assert unpacked(packed(settings), {"TIERGATE_IMPORT_TOKEN": token}).import_token == "", "no worker has a use for it"
    with pytest.raises(SettingsError) as refused:
        from_environment({"TIERGATE_IMPORT_TOKEN": "s3cret ä"})
    assert "s3cret" not in str(refused.value)
