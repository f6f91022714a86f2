"""The fold of the log of acts: versions, contracts, closed months, claims; what may be recorded (X, V, C, D6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.sla.chain import Act, Link, Withheld, append, verify
from policies.sla.claim import state_at
from policies.sla.entry import ClockSetBack, entered
from policies.sla.instants import duration
from policies.sla.promises import Own, promises_from
from policies.sla.publication import acts_of
from policies.sla.register import register, withheld
from tests.policies.sla_log import HASH, Log, at, closing, own, promises

JUNE, JULY = "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"
FIRST = "2026-02-01T00:00:00Z"


def published(**more: Any) -> Log:
    log = Log("2026-01-10T00:00:00Z")
    log.publish("1.0.0", FIRST, promises(**more))
    return log


# --- versions -------------------------------------------------------------------------------------------------------


def test_a_version_holds_what_the_files_promised() -> None:
    given = promises(tenants={"acme": own(target="99.99")})
    log = Log()
    log.publish("1.0.0", FIRST, given, text="What we promise.")
    (edition,) = log.register.editions
    assert edition.promises == given
    assert (edition.version.number, edition.version.author, edition.version.published_at_s) == (
        "1.0.0", "release-manager", at("2026-01-01T00:00:00Z"),
    )  # fmt: skip
    assert edition.version.text == "What we promise."


REFUSED = [
    # number, from, what else, what is said of it; the version in force is 1.0.0, published on 2026-01-10
    ("1.0.0", JULY, {"target": "99.95"}, "version 1.0.0 was published at 2026-01-10T00:00:00Z with another content"),
    ("1.0.0", FIRST, {}, "with the same content"),  # twice
    ("0.9.0", JULY, {}, "numbers go up"),
    ("1.0.0-rc1", JULY, {}, "no version such as 1.4.0"),
    ("1.1.0", "2026-06-15T00:00:00Z", {}, "begins no month of UTC"),  # V2
    ("1.1.0", "2026-06-01T00:00:01Z", {}, "2026-06-01T00:00:00Z, 2026-07-01T00:00:00Z"),  # those around it
    ("1.1.0", "2026-01-01T00:00:00Z", {}, "cannot do so before"),
    ("1.1.0", "2026-04-01T00:00:00Z", {}, "would be published 30 days after that"),  # now is May
    ("1.1.0", JUNE, {"target": "99.5"}, "the service would get lower target (target 99.9 -> 99.5)"),
    ("1.1.0", JUNE, {"target": "99.5"}, "31 days of notice, and 60 days are due"),
    ("1.1.0", JUNE, {"target": "99.5"}, "the earliest is 2026-07-01T00:00:00Z"),  # May 1 and 60 days is June 30
    ("1.1.0", JUNE, {"tiers": {"basic": {"target": None}}}, "tier premium would get lower target"),  # it is gone
    ("1.1.0", JUNE, {"owners": {"crm": "third_party", "code": "third_party"}}, "owners.crm"),
    ("1.1.0", JUNE, {"support": {}}, "slower response"),
    ("1.1.0", JUNE, {"tenants": {"acme": own(target="99.5")}}, "tenant acme would get lower target"),
]


@pytest.mark.parametrize(("number", "from_", "changed", "said"), REFUSED)
def test_what_cannot_come_into_force_is_refused_with_its_reason(
    number: str, from_: str, changed: dict[str, Any], said: str
) -> None:
    log = published()
    before = log.links
    with pytest.raises(ValueError, match="version") as refused:
        log.publish(number, from_, promises(**changed), now="2026-05-01T00:00:00Z")
    assert said in str(refused.value)
    assert log.links == before


def test_every_adverse_change_is_named_with_whose_it_is() -> None:
    log = published(tenants={"acme": own(claim_days=60)})
    with pytest.raises(ValueError, match="version") as refused:
        log.publish("2.0.0", JUNE, promises("99.5", tenants={"acme": own(claim_days=45)}), now="2026-05-01T00:00:00Z")
    text = str(refused.value)
    assert "the service would get lower target (target 99.9 -> 99.5)" in text
    assert "tenant acme would get shorter claim window (claim_days 60 -> 45)" in text
    assert "tier premium" not in text  # its own target stands


@pytest.mark.parametrize(("now", "taken"), [("2026-05-02T00:00:00Z", True), ("2026-05-02T00:00:01Z", False)])
def test_sixty_days_are_enough_and_a_second_less_is_not(now: str, taken: bool) -> None:
    log = published()
    if taken:
        log.publish("2.0.0", JULY, promises("99.5"), now=now)
        return
    with pytest.raises(ValueError, match="59 days 23:59:59 of notice"):
        log.publish("2.0.0", JULY, promises("99.5"), now=now)


def test_the_earliest_date_that_is_named_is_taken_and_the_month_before_is_not() -> None:
    log = published()
    now = "2026-05-20T12:00:00Z"  # and 60 days is in July
    with pytest.raises(ValueError, match="the earliest is 2026-08-01T00:00:00Z"):
        log.publish("2.0.0", JULY, promises("99.5"), now=now)
    log.publish("2.0.0", "2026-08-01T00:00:00Z", promises("99.5"), now=now)


def test_what_is_better_needs_no_notice() -> None:
    log = published()
    log.publish("1.1.0", JUNE, promises("99.99"), now="2026-06-01T00:00:00Z")
    assert [each.number for each in log.register.versions] == ["1.0.0", "1.1.0"]


def test_a_customer_is_compared_under_the_tier_of_its_contract() -> None:
    log = published(tenants={"acme": own(tier="basic", claim_days=30)})
    log.say("bind", tenant="acme", tier="premium", from_="2026-01-15T00:00:00Z", now="2026-01-11T00:00:00Z")
    worse = promises(tiers={"premium": {"target": "99.95", "claim_days": 40}, "basic": {"target": None}})
    log.publish("1.1.0", JUNE, worse, now="2026-05-30T00:00:00Z")  # acme's 30 days are no longer his own: 40
    with pytest.raises(ValueError, match="tenant acme would get shorter claim window"):
        log.publish("1.2.0", JULY, replace(worse, tenants={"acme": own(tier="basic", claim_days=30)}),
                    now="2026-06-01T00:00:00Z")  # fmt: skip


def test_a_contract_that_begins_with_a_version_has_lost_nothing_by_it() -> None:
    log = published()
    log.say("bind", tenant="acme", tier="premium", from_=JUNE, begins=True)
    log.publish("1.1.0", JUNE, promises(tenants={"acme": own(target="99.5")}), now="2026-05-30T00:00:00Z")
    log = published()
    log.say("bind", tenant="acme", tier="premium", from_=JUNE)  # who was served before has something to lose
    with pytest.raises(ValueError, match="tenant acme would get lower target"):
        log.publish("1.1.0", JUNE, promises(tenants={"acme": own(target="99.5")}), now="2026-05-30T00:00:00Z")


def test_a_shorter_notice_is_owed_once_it_is_in_force_and_not_before() -> None:
    """Else a version to come that asks for none would let another one take its place on the eve of its month."""
    shorter = {"service": {"target": "99.9", "sla_change_notice_days": 0}}
    worse = {"service": {"target": "99.5", "sla_change_notice_days": 0}}
    log = published()
    log.publish("1.1.0", JUNE, promises(**shorter), now="2026-03-01T00:00:00Z")
    with pytest.raises(
        ValueError, match="with 24:00:00 of notice, and 60 days are due; published now, the earliest is"
    ):
        log.publish("1.2.0", JUNE, promises(**worse), now="2026-05-31T00:00:00Z")
    log.publish("1.2.0", JULY, promises(**worse), now="2026-06-01T00:00:00Z")


def test_a_pinned_customer_is_not_asked() -> None:
    log = published(tenants={"acme": own(claim_days=60)})
    log.say("pin", tenant="acme", number="1.0.0", until="2027-01-01T00:00:00Z")
    log.publish("1.1.0", JUNE, promises(tenants={"acme": own(claim_days=59)}), now="2026-05-30T00:00:00Z")
    with pytest.raises(ValueError, match="tenant acme"):  # the renewal comes first
        log.publish("1.2.0", "2027-01-01T00:00:00Z", promises(), now="2026-12-30T00:00:00Z")


def test_terms_of_a_customer_wait_for_their_version_and_then_cannot_change() -> None:
    acts = acts_of(
        id="sla", number="1.0.0", effective_from_s=at(FIRST), text="", promises=promises(tenants={"acme": own()})
    )
    log = published()
    with pytest.raises(ValueError, match="nobody's terms in it can change"):
        log.record(acts[0])
    empty = Log()
    empty.record(acts[0])
    with pytest.raises(ValueError, match="that comes first"):
        empty.publish("0.9.0", FIRST, promises())


GAPS = [
    ({"bands": [{"min": "99.9", "credit": "0"}, {"min": "95", "credit": "10"}]}, "the last band must begin at 0"),
    ({"bands": []}, "the last band must begin at 0"),
    ({"bands": [{"min": "99.9", "credit": "0"}, {"min": "99.9", "credit": "10"}, {"min": "0", "credit": "20"}]},
     "bands must fall"),
    ({"target": "101"}, "target cannot be"),
    ({"slot_seconds": 90}, "cannot be judged"),
    ({"uptime": "99"}, "no term 'uptime'"),
    ({"internal": {"target": "99.99"}}, "no term 'internal'"),  # what customers never see is not published
]  # fmt: skip


@pytest.mark.parametrize(("fields", "said"), GAPS)
def test_terms_that_do_not_hold_together_are_refused_whosever_they_are(fields: dict[str, Any], said: str) -> None:
    for given in (
        promises(service=fields), promises(tiers={"premium": fields}), promises(tenants={"acme": Own(fields=fields)}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            Log().publish("1.0.0", FIRST, given)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda policy: policy.pop("owners"), "lacks owners"),
        (lambda policy: policy.update(more=1), "has no key 'more'"),
        (lambda policy: policy["owners"].update(crm="nobody"), "none of managed"),
        (lambda policy: policy["support"]["premium"].pop("hours"), "premium lacks hours"),
        (lambda policy: policy["support"]["premium"]["respond"].update(S1="soon"), "not an object"),
        (lambda policy: policy["calendars"]["business"].update(open={"monday": []}), "no key 'monday'"),
        (lambda policy: policy["calendars"].clear() or policy["support"]["premium"].update(hours="business"),
         "'business' of support 'premium' is not defined"),
        (lambda policy: policy["groups"].update(crm="crm"), "not a list"),
    ],
)  # fmt: skip
def test_a_policy_of_another_form_is_no_version(change: Any, said: str) -> None:
    ((kind, content),) = acts_of(id="sla", number="1.0.0", effective_from_s=at(FIRST), text="", promises=promises())
    change(content["policy"])
    with pytest.raises(ValueError, match=said):
        Log().record((kind, content))


def test_the_text_and_the_promises_are_under_the_hash() -> None:
    one, other = Log(), Log()
    one.publish("1.0.0", FIRST, promises(), text="a")
    other.publish("1.0.0", FIRST, promises(), text="b")
    assert one.register.versions[0].sha256 != other.register.versions[0].sha256
    assert promises_from(one.register.versions[0].policy, {}) == promises()


def test_a_log_with_a_version_that_had_no_notice_is_an_error_when_it_is_read() -> None:
    log = published()
    ((kind, content),) = acts_of(
        id="sla", number="2.0.0", effective_from_s=at(JULY), text="", promises=promises("99.5")
    )
    forged = append(log.links[-1], Act(kind=kind, actor="x", at_s=at("2026-06-30T00:00:00Z"), content=content))
    assert verify((*log.links, forged)) is None  # the chain alone does not see it
    with pytest.raises(ValueError, match=r"act 2: version 2\.0\.0 cannot take effect"):
        register((*log.links, forged))


def test_a_kind_that_is_not_known_is_refused_and_yet_read() -> None:
    log = published()
    with pytest.raises(ValueError, match="no kind of act"):
        log.say("sing", what="a song")
    newer = append(log.links[-1], Act(kind="sing", actor="x", at_s=log.now_s, content={"what": "a song"}))
    assert register((*log.links, newer)).versions == log.register.versions


# --- contracts ------------------------------------------------------------------------------------------------------


def test_a_binding_replaces_what_was_said_of_the_time_behind_it() -> None:
    log = Log()
    log.say("bind", tenant="acme", tier="basic", from_="2026-01-15T00:00:00Z")
    log.say("bind", tenant="acme", tier="premium", from_=JULY, to="2027-01-01T00:00:00Z")
    log.say("bind", tenant="acme", tier="gold", from_=JUNE)
    contract = log.register.contract("acme")
    assert [(each.tier, each.from_s) for each in contract.bindings] == [
        ("basic", at("2026-01-15T00:00:00Z")), ("gold", at(JUNE)),
    ]  # fmt: skip
    assert contract.stretches == ((None, None),)  # to bind whom the files promised something ends nothing


BINDS = [
    ({"from_": "2026-04-30T23:59:59Z"}, "cannot begin or change at 2026-04-30T23:59:59Z, which is past"),
    ({"from_": JULY, "to": JULY}, "not after it begins"),
    ({"from_": JULY, "to": JUNE}, "not after it begins"),
    ({"from_": "2026-02-31T00:00:00Z"}, "does not exist"),
    ({"from_": "2026-07-01T00:00:00+02:00"}, "no instant in UTC"),
    ({"from_": JULY, "tier": "gold"}, "no version promises anything to tier gold; there are basic, premium"),
    ({"from_": JULY, "tier": ""}, "tier is empty"),
    ({"from_": JULY, "fee": 3}, "has no 'fee'"),
    ({"from_": JULY, "begins": 1}, "begins is true or false"),
]


@pytest.mark.parametrize("tenant", ["acme", "globex"])  # one that has a contract, one that has none yet
@pytest.mark.parametrize(("changed", "said"), BINDS)
def test_a_contract_is_not_recorded_backwards(tenant: str, changed: dict[str, Any], said: str) -> None:
    log = published()
    log.say("bind", tenant="acme", tier="basic", from_=FIRST)
    with pytest.raises(ValueError, match=said):
        log.say("bind", now="2026-05-01T00:00:00Z", **{"tenant": tenant, "tier": "premium", **changed})


def test_only_who_is_new_has_no_contract_before_the_first() -> None:
    log = Log("2026-04-01T00:00:00Z")
    log.say("bind", tenant="new", tier="basic", from_=JUNE, begins=True)
    assert log.register.contract("new").stretches == ((at(JUNE), None),)
    with pytest.raises(ValueError, match="new has a contract, which has begun"):
        log.say("bind", tenant="new", tier="basic", from_=JULY, begins=True)
    log.record(("close", closing("acme", "2026-03")))
    with pytest.raises(ValueError, match="months of acme are closed"):
        log.say("bind", tenant="acme", tier="basic", from_=JUNE, begins=True)


def test_a_contract_that_ended_does_not_begin_again_in_the_same_month() -> None:
    log = Log()
    log.say("bind", tenant="acme", tier="basic", from_=FIRST, to="2026-06-10T00:00:00Z")
    with pytest.raises(ValueError, match="let the new one begin with the next"):
        log.say("bind", tenant="acme", tier="basic", from_="2026-06-20T00:00:00Z")
    log.say("bind", tenant="acme", tier="basic", from_=JULY)
    assert log.register.contract("acme").stretches == (
        (None, at("2026-06-10T00:00:00Z")), (at(JULY), None),
    )  # fmt: skip


def test_whose_month_it_is_in_which_a_contract_ended() -> None:
    """One that ended and one that begins in the same month of his zone would leave that month without a figure."""
    log = published(tenants={"acme": own(zone="America/New_York")})
    log.say("bind", tenant="acme", tier="premium", from_=FIRST, to="2026-05-31T20:00:00Z")
    with pytest.raises(ValueError, match="let the new one begin with the next"):  # 23:00 on 31 May
        log.say("bind", tenant="acme", tier="premium", from_="2026-06-01T03:00:00Z")
    log.say("bind", tenant="acme", tier="premium", from_="2026-06-01T04:00:00Z")


@pytest.mark.parametrize(
    ("number", "until", "said"),
    [("3.0.0", JULY, "version 3.0.0 was not published; there are 1.0.0"), ("1.0.0", FIRST, "is past")],
)
def test_a_pin_needs_a_version_and_a_renewal_to_come(number: str, until: str, said: str) -> None:
    log = published()
    with pytest.raises(ValueError, match=said):
        log.say("pin", now="2026-03-01T00:00:00Z", tenant="acme", number=number, until=until)


def test_a_version_is_kept_from_the_month_on_in_which_it_takes_effect() -> None:
    """A pin on a later one would leave the months before it without terms, and an act is there for ever."""
    log = published(tenants={"tokyo": own(zone="Asia/Tokyo")})
    log.publish("1.1.0", JUNE, promises(tenants={"tokyo": own(zone="Asia/Tokyo")}), now="2026-03-01T00:00:00Z")
    with pytest.raises(ValueError, match=r"1\.1\.0 takes effect at 2026-06-01T00:00:00Z, and the next month"):
        log.say("pin", tenant="acme", number="1.1.0", until="2027-01-01T00:00:00Z", now="2026-04-30T23:59:59Z")
    with pytest.raises(ValueError, match="begins at 2026-05-31T15:00:00Z: record it in the month before"):
        log.say("pin", tenant="tokyo", number="1.1.0", until="2027-01-01T00:00:00Z", now="2026-05-10T00:00:00Z")
    log.say("pin", tenant="acme", number="1.1.0", until="2027-01-01T00:00:00Z")
    log.say("pin", tenant="tokyo", number="1.1.0", until="2027-01-01T00:00:00Z", now="2026-05-31T15:00:01Z")


# --- closed months and claims ---------------------------------------------------------------------------------------


def credited(**more: Any) -> Log:
    log = Log("2026-04-06T12:00:00Z")
    log.record(("close", closing("acme", "2026-03", "10", **more)))
    return log


def test_a_closed_month_is_kept_by_revision_with_its_time() -> None:
    log = credited()
    log.record(("close", closing("acme", "2026-03", "25", revision=2)), by="release-manager",
               now="2026-05-01T00:00:00Z")  # fmt: skip
    first, second = log.register.closed("acme", "2026-03")
    assert (first.revision, first.published_at_s, first.by) == (1, at("2026-04-06T12:00:00Z"), "on-call")
    assert (second.revision, second.published_at_s, second.by) == (2, at("2026-05-01T00:00:00Z"), "release-manager")
    assert log.register.closed(None, "2026-03") == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (closing("acme", "2026-03", revision=4), "revision 4 of 2026-03 does not follow the 2 before it"),
        (closing("acme", "2026-03"), None),
        (closing("acme", "2026-06"), "2026-06 ends at 2026-07-01T00:00:00Z"),
        ({**closing("acme", "2026-02"), "tenant": "globex"}, "is about tenant 'globex' and its record about 'acme'"),
        ({**closing("acme", "2026-02"), "input_sha256": "cd" * 32}, "its record about"),
        ({**closing("acme", "2026-02"), "record": {}}, "no monthly record"),
        ({**closing("acme", "2026-02"), "input_sha256": HASH[:-1]}, "64 hex digits"),
    ],
)
def test_what_does_not_close_a_month_is_refused(content: dict[str, Any], said: str | None) -> None:
    log = credited()
    log.record(("close", closing("acme", "2026-03", revision=2)))
    with pytest.raises(ValueError, match=said or "does not follow the 2"):
        log.record(("close", content))


def test_a_credit_is_claimed_decided_on_and_applied() -> None:
    log = credited()
    claim = log.register.claims["acme", "2026-03"]
    assert (claim.state, claim.deadline_s) == ("eligible", at("2026-05-07T00:00:00Z"))  # C3: 30 days from midnight on
    log.say("claim", tenant="acme", period="2026-03", to="claimed", by="support", now="2026-05-06T23:59:59Z")
    with pytest.raises(ValueError, match="support recorded the claim of acme for 2026-03; another person"):
        log.say("claim", tenant="acme", period="2026-03", to="approved", by="support")
    with pytest.raises(ValueError, match="claimed cannot become applied; it becomes approved or rejected"):
        log.say("claim", tenant="acme", period="2026-03", to="applied", by="billing")
    log.say("claim", tenant="acme", period="2026-03", to="approved", by="billing")
    log.say("claim", tenant="acme", period="2026-03", to="applied", by="billing", now="2026-09-01T00:00:00Z")
    claim = log.register.claims["acme", "2026-03"]
    assert claim.state == "applied"
    assert [(step.to, step.by) for step in claim.steps] == [
        ("claimed", "support"), ("approved", "billing"), ("applied", "billing"),
    ]  # fmt: skip


def test_what_nobody_claimed_has_expired_without_a_timer() -> None:
    log = credited()
    with pytest.raises(ValueError, match="claim window of acme for 2026-03 ended at 2026-05-07T00:00:00Z"):
        log.say("claim", tenant="acme", period="2026-03", to="claimed", now="2026-05-07T00:00:00Z")
    assert state_at(log.register.claims["acme", "2026-03"], at("2026-05-07T00:00:00Z")) == "expired"


@pytest.mark.parametrize("tenant", ["globex", "nobody"])
def test_where_no_closed_month_says_so_there_is_nothing_to_claim(tenant: str) -> None:
    log = credited()
    log.record(("close", closing("globex", "2026-03", "0")))
    with pytest.raises(ValueError, match="no credit"):
        log.say("claim", tenant=tenant, period="2026-03", to="claimed")


def test_a_credit_that_a_revision_finds_opens_its_window_then() -> None:
    log = Log("2026-04-06T12:00:00Z")
    log.record(("close", closing("acme", "2026-03", "0")))
    log.record(("close", closing("acme", "2026-03", "10", revision=2)), now="2026-08-01T00:00:00Z")
    assert log.register.claims["acme", "2026-03"].deadline_s == at("2026-08-31T00:00:00Z")
    log.record(("close", closing("acme", "2026-03", "25", revision=3)), now="2026-08-20T00:00:00Z")
    assert log.register.claims["acme", "2026-03"].deadline_s == at("2026-08-31T00:00:00Z")
    log.record(("close", closing("acme", "2026-03", "0", revision=4)))
    assert log.register.claims == {}  # nobody had claimed it


def test_an_automatic_claim_waits_for_anybodys_decision() -> None:
    log = credited(auto_claim=True)
    assert log.register.claims["acme", "2026-03"].state == "claimed"
    log.say("claim", tenant="acme", period="2026-03", to="rejected", reason="paid already", by="on-call")


def test_a_rejection_says_why() -> None:
    log = credited(auto_claim=True)
    with pytest.raises(ValueError, match="with a reason"):
        log.say("claim", tenant="acme", period="2026-03", to="rejected")
    with pytest.raises(ValueError, match="none of claimed"):
        log.say("claim", tenant="acme", period="2026-03", to="expired")


# --- exclusions, as they are recorded -------------------------------------------------------------------------------


WINDOW = {"from_": "2026-04-10T00:00:00Z", "to": "2026-04-10T02:00:00Z"}
GIVEN = {"type": "force_majeure", "reason": "flood", "evidence": "https://example.com/1"}


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("announce", {"from_": WINDOW["to"], "to": WINDOW["from_"]}, "before it begins, .* are they swapped"),
        ("announce", {"from_": WINDOW["from_"], "to": WINDOW["from_"]}, "no length"),
        ("announce", {**WINDOW, "cancelled": True}, "was never announced"),
        ("exclude", {**WINDOW, **GIVEN}, "it is 2026-04-01T00:00:00Z: record it when it is over"),
        ("exclude", {**GIVEN, "from_": WINDOW["to"], "to": WINDOW["from_"]}, "swapped"),
        ("exclude", {**GIVEN, "from_": "2026-02-30T00:00:00Z", "to": WINDOW["to"]}, "does not exist"),
        ("exclude", {**GIVEN, **WINDOW, "type": "scheduled_maintenance"}, "maintenance is announced"),
        ("exclude", {**GIVEN, **WINDOW, "evidence": ""}, "evidence is text that is not empty"),
        ("exclude", {**WINDOW, "type": "force_majeure"}, "needs evidence, reason"),
        ("exclude", {**GIVEN, **WINDOW, "group": ""}, "group is empty; leave it out"),
        ("announce", {**WINDOW, "tenant": ""}, "tenant is empty; leave it out"),
        ("work", WINDOW, "nothing is recorded|record it when the work is done"),
        ("approve", {}, "nothing is recorded of x"),
    ],
)
def test_what_makes_no_sense_now_is_refused(kind: str, content: dict[str, Any], said: str) -> None:
    log = Log("2026-04-01T00:00:00Z")
    with pytest.raises(ValueError, match=said):
        log.say(kind, id="x", **content)
    assert log.links == ()


def test_a_suspension_is_known_ahead() -> None:
    log = Log("2026-04-01T00:00:00Z")
    log.say("exclude", id="x", **{**GIVEN, "type": "suspension"}, **WINDOW)
    (asked,) = log.register.requests
    assert (asked.exclusion.id, asked.exclusion.type) == ("x", "suspension")


def test_late_and_overlapping_announcements_are_facts_and_recorded() -> None:
    log = Log("2026-04-09T00:00:00Z")
    log.say("announce", id="late", **WINDOW)  # 24 hours before
    log.say("announce", id="retroactive", **WINDOW, now="2026-04-11T00:00:00Z")
    log.say("announce", id="overlapping", **WINDOW)
    assert len(log.register.requests) == 3


def test_of_several_windows_none_is_chosen_once_it_is_past() -> None:
    """X5 excludes the latest window as far as it was ever announced in time: so which is the latest is told ahead."""
    moved = {"from_": "2026-04-20T00:00:00Z", "to": "2026-04-20T02:00:00Z"}
    log = Log("2026-04-01T00:00:00Z")
    log.say("announce", id="m", **WINDOW)
    log.say("announce", id="m", **moved)
    with pytest.raises(ValueError, match="cannot be moved back over 2026-04-10T00:00:00Z, which is past"):
        log.say("announce", id="m", **WINDOW, now="2026-04-10T01:00:00Z")
    log.say("announce", id="m", from_=moved["from_"], to="2026-04-20T03:00:00Z", now="2026-04-20T01:30:00Z")
    log.say("announce", id="m", from_=moved["from_"], to="2026-04-20T01:00:00Z", now="2026-04-20T01:40:00Z")
    log.say("announce", id="m", **moved, cancelled=True, now="2026-04-21T00:00:00Z")
    log.say("announce", id="m", **WINDOW)  # announced anew, much too late: a fact
    assert len(log.register.requests[0].exclusion.announcements) == 6


def test_a_second_person_approves_once() -> None:
    log = Log("2026-05-01T00:00:00Z")
    log.say("exclude", id="x", **GIVEN, **WINDOW)
    with pytest.raises(ValueError, match="on-call recorded x; another person has to approve it"):
        log.say("approve", id="x")
    log.say("approve", id="x", by="release-manager")
    with pytest.raises(ValueError, match="approved already"):
        log.say("approve", id="x", by="release-manager")
    assert log.register.requests[0].exclusion.approved
    log.say("announce", id="m", from_=JUNE, to="2026-06-01T01:00:00Z")
    with pytest.raises(ValueError, match="needs notice and no approval"):
        log.say("approve", id="m", by="release-manager")


def test_what_belongs_to_a_customers_exclusion_is_marked_as_his() -> None:
    """Else it would stand in the exports of others, about something that they may not see."""
    log = Log("2026-05-01T00:00:00Z")
    log.say("exclude", id="x", **GIVEN, **WINDOW, tenant="acme")
    with pytest.raises(ValueError, match="x is recorded of acme, and so must this be"):
        log.say("approve", id="x", by="release-manager")
    log.say("approve", id="x", by="release-manager", tenant="acme")


# --- the log --------------------------------------------------------------------------------------------------------


def test_a_clock_that_was_set_back_records_nothing_until_it_is_right() -> None:
    log = Log("2026-05-01T00:00:10Z")
    log.say("note", text="first")
    with pytest.raises(ClockSetBack, match=r"the clock says 2026-05-01T00:00:09Z, and act 1 was recorded at .*:10Z"):
        log.say("note", text="second", now="2026-05-01T00:00:09Z")
    log.say("note", text="second", now="2026-05-01T00:00:10Z")
    assert [link.act.at_s for link in log.links] == [at("2026-05-01T00:00:10Z")] * 2


def test_an_act_has_an_actor() -> None:
    with pytest.raises(ValueError, match="needs an actor"):
        Log().say("note", text="x", by=" ")


def test_several_acts_are_recorded_all_or_none() -> None:
    log = Log("2026-05-01T00:00:00Z")
    sound = ("note", {"text": "x"})
    with pytest.raises(ValueError, match="needs text"):
        log.record(sound, ("note", {}))
    assert log.links == ()
    log.record(sound, sound)
    assert [link.number for link in log.links] == [1, 2]


def test_imports_and_notes_are_checked_and_kept() -> None:
    given = {"what": "edge", "source": "balancer", "sha256": HASH, "lines": 3, "from_": FIRST, "to": FIRST}
    log = Log()
    log.say("import", **given)
    log.say("note", text="synthetic")
    assert log.register.notes == ("synthetic",)
    for changed in ({"lines": -1}, {"sha256": "x"}, {"source": ""}, {"from_": "soon"}):
        with pytest.raises(ValueError, match=r"lines|sha256|source|instant"):
            log.say("import", **{**given, **changed})


def test_a_customer_sees_his_own_acts_and_everybodys_and_the_places_of_the_rest() -> None:
    log = Log()
    log.publish("1.0.0", FIRST, promises(tenants={"acme": own(target="99.99"), "globex": own(target="99.5")}))
    log.say("bind", tenant="globex", tier="premium", from_=FIRST)
    log.say("note", text="for everybody")
    log.record(("close", closing("globex", "2026-01", "10")), ("close", closing(None, "2026-01")),
               now="2026-02-06T00:00:00Z")  # fmt: skip
    log.say("claim", tenant="globex", period="2026-01", to="claimed")
    seen = withheld(log.links, "acme")
    assert [None if isinstance(each, Withheld) else each.act.kind for each in seen] == [
        "layer", None, "version", None, "note", None, "close", None,
    ]  # fmt: skip
    assert verify(seen, log.links[-1].hash) is None
    assert "globex" not in repr([each for each in seen if isinstance(each, Link)])
    (edition,) = register(seen).editions
    assert set(edition.promises.tenants) == {"acme"}
    assert [isinstance(each, Withheld) for each in withheld(log.links, None)] == [True, True, False, True, False, True,
                                                                                   False, True]  # fmt: skip


def test_acts_that_were_withheld_stay_so() -> None:
    log = Log()
    log.say("bind", tenant="globex", tier="premium", from_=FIRST)
    seen = withheld(log.links, "acme")
    assert withheld(seen, "globex") == seen


def test_what_is_entered_continues_the_chain() -> None:
    log = published()
    made = entered(log.links, [Act(kind="note", actor="x", at_s=log.now_s, content={"text": "y"})])
    assert verify((*log.links, *made)) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0:00:00"), (172_799, "47:59:59"), (172_800, "48:00:00"), (60 * 86_400, "60 days"),
     (60 * 86_400 - 1, "59 days 23:59:59")],
)  # fmt: skip
def test_a_time_that_has_passed_is_said_to_the_second(seconds: int, words: str) -> None:
    assert duration(seconds) == words
