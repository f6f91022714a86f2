"""Departments: whose customer they belong to, and their SLA against that of the customer (spec V4).

Looked at once every tenant is known, because a customer may stand behind its departments or in another file. A
department is a tenant with calls and figures of its own; only its SLA stands on another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policies.format.report import Loc, Place
from policies.format.tenants import TenantReader
from policies.format.terms import check_sla
from policies.format.units import closest, short
from policies.model import nothing
from policies.schema import TenantForm

MOST_HINTS: Final = 20
"""To look for what was meant takes a while among a hundred thousand tenants."""
_AT: Final[Loc] = ("department_of",)


def check_departments(tenants: TenantReader) -> None:
    """Each belongs to a customer that is a tenant, another one, and no department itself.

    One floor is enough: deeper ones would hide from whom a term comes.
    """
    unknown = 0
    for name, form, place in tenants.departments:
        customer = form.department_of or ""
        if customer not in tenants.tenants:
            unknown += _complain_of_stranger(tenants, customer, place, unknown < MOST_HINTS)
        elif customer == name:
            tenants.report.add("TG219", place, _AT, f"{short(name)} is no department of itself", "name its customer")
        elif (above := tenants.tenants[customer].department_of) is not None:
            said = f"tenant {short(customer)} is itself a department, of {short(above)}"
            tenants.report.add("TG219", place, _AT, said, f"did you mean '{above}'? departments have none of their own")
        elif form.sla is not None:
            check_sla(form.sla, _inherited(tenants, form, customer), place, ("sla",), tenants.report)


def _complain_of_stranger(tenants: TenantReader, customer: str, place: Place, hint: bool) -> bool:
    """Nothing of a tenant that is there and was complained about already."""
    if tenants.is_known(customer):
        return False
    near = closest(customer, tenants.tenants) if hint else ""
    tenants.report.add(
        "TG201", place, _AT, f"tenant {short(customer)} is not defined", near or "define it under tenants"
    )
    return True


def _inherited(tenants: TenantReader, form: TenantForm, customer: str) -> Mapping[str, object]:
    tier = tenants.tiers.sound.get(form.tier)
    return {**tenants.service_sla, **(tier.sla if tier else nothing()), **tenants.tenants[customer].sla}
