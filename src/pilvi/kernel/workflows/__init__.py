"""Durable workflows: work in steps that is a row from its first moment, and resumes wherever a crash left it."""

from pilvi.kernel.workflows.periodic import Periodic
from pilvi.kernel.workflows.store import Store
from pilvi.kernel.workflows.worker import Worker
from pilvi.kernel.workflows.workflow import Back, Wait, Workflow, effect, transaction

__all__ = ["Back", "Periodic", "Store", "Wait", "Worker", "Workflow", "effect", "transaction"]
