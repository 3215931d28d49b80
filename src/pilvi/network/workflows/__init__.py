"""What makes hosts as the database says they should be."""

from pilvi.network.workflows.realize import RealizeGroup, RealizeNetwork, RealizePort, RealizeRouter

__all__ = ["RealizeGroup", "RealizeNetwork", "RealizePort", "RealizeRouter"]
