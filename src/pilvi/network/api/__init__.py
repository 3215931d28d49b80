"""The network API, v2.0: how operations are said in HTTP."""
