"""Pure ASGI classes, one concern each."""
