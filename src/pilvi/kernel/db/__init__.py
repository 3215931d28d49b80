"""The database: typed tables, one transaction a request, SQLite, PostgreSQL or MariaDB by one code path."""

from pilvi.kernel.db.engine import Database
from pilvi.kernel.db.pages import Page, Window, page
from pilvi.kernel.db.rows import Blob, Column, IntKey, Json, Key, LongKey, Ref, Row, Serial, Text, Word, metadata
from pilvi.kernel.db.transaction import Transaction, Uncertain

__all__ = [
    "Blob", "Column", "Database", "IntKey", "Json", "Key", "LongKey", "Page", "Ref", "Row", "Serial", "Text", "Transaction", "Uncertain", "Window",
    "Word", "metadata", "page",
]  # fmt: skip
