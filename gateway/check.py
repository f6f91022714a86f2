"""What ``tiergate check``, ``tiergate schema`` and ``tiergate explain`` print, and how they exit.

The command line itself is in ``gateway.cli``. Findings go to ``out``; exit codes: spec conventions.md section 3.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

import policies.format
from gateway.policy_files import Loaded, load, secrets_dir_of
from policies.format.findings import Finding, as_json, errors_of, render_annotations, render_text, shown_name, summary
from policies.format.kinds import KINDS
from policies.format.units import closest

OK: Final = 0
INVALID: Final = 1
UNREADABLE: Final = 3
USAGE: Final = 64
OUTPUTS: Final = ("text", "json", "github")
"""The last is named for the workflow commands that it writes, which no other system reads."""


def run_check(directory: Path, output: str, out: TextIO, env: Mapping[str, str]) -> int:
    """Check the set in ``directory``: 0 clean or warnings only, 1 an error, 3 the directory cannot be read."""
    if output not in OUTPUTS:
        out.write(f"unknown output '{output}': {closest(output, OUTPUTS)} one of {', '.join(OUTPUTS)}\n")
        return USAGE
    try:
        loaded = load(directory, env=env, secrets_dir=secrets_dir_of(env))
    except OSError as error:
        out.write(f"{shown_name(str(directory))}: this directory cannot be read: {error.strerror}\n")
        return UNREADABLE
    gc.freeze()  # the process ends here: nothing of the set is worth a last collection
    out.write(_rendered(loaded, output))
    return INVALID if errors_of(loaded.findings) else OK


def _rendered(loaded: Loaded, output: str) -> str:
    findings = loaded.findings
    files = loaded.policy_files
    if output == "text":
        return render_text(findings, loaded.sources) + _last_line(loaded, findings, files)
    if output == "json":
        version = loaded.policy.version if loaded.policy else None
        return json.dumps({**as_json(findings, files), "policy": version}, indent=2) + "\n"
    return render_annotations(findings) + summary(findings, files) + "\n"


def _last_line(loaded: Loaded, findings: Sequence[Finding], files: int) -> str:
    said = summary(findings, files)
    if findings:
        worst = next((finding for finding in findings if finding.severity == "error"), findings[0])
        return f"{said} · tiergate explain {worst.code}\n"
    tenants = len(loaded.policy.tenants) if loaded.policy else 0
    version = loaded.policy.version if loaded.policy else ""
    return f"{said} · {tenants} {'tenant' if tenants == 1 else 'tenants'}, policy {version}\n"


def run_schema(out: TextIO) -> int:
    """Write the JSON Schema of a policy file."""
    from policies.format.json_schema import policy_schema

    out.write(json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n")
    return OK


def explain_code(code: str) -> str | None:
    """What a finding's code means: its section of ``policies/format/findings.md``; None for a code that does not exist.

    Case and a missing ``TG`` are forgiven.
    """
    wanted = code.strip().upper()
    kind = KINDS.get(wanted) or KINDS.get("TG" + wanted)
    if kind is None:
        return None
    head = f"{kind.code} {kind.slug} ({kind.severity})\nSomething in the policy set {kind.about}.\n"
    section = sections().get(kind.code, "")
    return f"{head}\n{section}\n" if section else head


def sections() -> dict[str, str]:
    """The texts of ``policies/format/findings.md`` by code."""
    page = (Path(next(iter(policies.format.__path__))) / "findings.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (TG[0-9]{3}) .*\n", page, flags=re.MULTILINE)
    return {code: text.strip() for code, text in zip(parts[1::2], parts[2::2], strict=True)}
