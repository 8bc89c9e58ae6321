"""What auditors that share a database keep there, and an auditor that is alone in files."""

from sqlalchemy import select

from shared.database import insert_or_update
from validator.database import Database, documents


class Documents:
    """Texts by name. Every method is one transaction and blocks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> str | None:
        """The text of that name, if there is one."""
        with self._database.reading() as connection:
            query = select(documents.c.body).where(documents.c.name == name)
            return connection.execute(query).scalar()

    def put(self, name: str, body: str) -> None:
        """Store a text in place of the one before."""
        with self._database.writing() as connection:
            into = insert_or_update(connection, documents).values(name=name, body=body)
            connection.execute(into.on_conflict_do_update(index_elements=["name"], set_={"body": body}))

    def put_first(self, name: str, body: str) -> str:
        """Store a text unless there is one already; gives the one that is stored."""
        with self._database.writing() as connection:
            first = insert_or_update(connection, documents).on_conflict_do_nothing()
            connection.execute(first.values(name=name, body=body))
            query = select(documents.c.body).where(documents.c.name == name)
            return str(connection.execute(query).scalar_one())
