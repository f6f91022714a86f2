"""The gateways that ``loadtests.compare`` measures side by side, each doing the same job in front of one upstream."""
