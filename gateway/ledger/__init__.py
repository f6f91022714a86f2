"""The durable ledger of minutes: counted on the request path, spooled to disk, shipped to the shared store.

``minutes`` counts; ``pulse`` says when this process lived; ``spool`` makes both durable; ``shipping`` carries them to
``store``, from which the SLA is evaluated. Nothing is judged here (spec sla.md section 8).
"""
