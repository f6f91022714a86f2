"""The rules of the gateway, pure: no await, no clock, no environment, no files, no sockets."""
