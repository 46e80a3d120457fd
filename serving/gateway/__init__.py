"""The gateway: an OpenAI-compatible ASGI app that splits users over versions, mirrors, measures and logs.

A process of its own without shared memory: run as many as the traffic needs. `app.py` is where a request enters,
`completions.py` is its story, `dispatch.py` decides which arm is asked again after a failure.
"""
