"""The decision whether a call may pass: windows, buckets, quotas and concurrency, all or nothing."""

from policies.admission.book import Book
from policies.admission.decision import Charge, Decision, Demand, Lease, Reading, Refusal, Slot, State
from policies.admission.limits import capacity, charge, state_key

__all__ = [
    "Book",
    "Charge",
    "Decision",
    "Demand",
    "Lease",
    "Reading",
    "Refusal",
    "Slot",
    "State",
    "capacity",
    "charge",
    "state_key",
]
