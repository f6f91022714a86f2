"""The SLA for people: commands that read the ledger and exports, record acts, and print reports."""
