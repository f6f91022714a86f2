"""What the exit status of every command says (DESIGN section 12). 0 is done."""

EXIT_FINDING = 1
"""The policy set has errors, or a check failed."""
EXIT_ENVIRONMENT = 3
"""The surroundings do not fit: a port that is taken, a folder that is missing or unwritable."""
EXIT_USAGE = 64
"""The command line is wrong (sysexits EX_USAGE)."""
EXIT_BUG = 70
"""A defect of Tiergate itself (sysexits EX_SOFTWARE)."""
