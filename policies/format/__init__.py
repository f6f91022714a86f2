"""From the text of policy files to the values of ``policies.model``: reading, checking, complaining.

``policies.document`` is the way in; nothing that runs with a request comes here.
"""
