"""The composition root and the adapters: settings, app, CLI, policy source, stores, telemetry."""
