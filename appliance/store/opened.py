"""Which files of its inputs a datum has opened, in its last try, as far as that was seen."""

from collections.abc import Iterable

from appliance.store.database import Db


def add_opened(db: Db, datum_row: int, files: Iterable[tuple[int, str]]) -> None:
    """Note files by the lines of their versions and their paths. What is gone meanwhile is left out."""
    sql = """
        INSERT OR IGNORE INTO opened_files (datum_id, repo, path)
        SELECT ?, r.name, ? FROM lines l JOIN repos r ON r.id = l.repo_id WHERE l.id = ? AND r.kind = 'user'
    """
    db.executemany(sql, ((datum_row, path, line) for line, path in files))


def list_opened(db: Db, datum_row: int) -> list[tuple[str, str]]:
    """Return (repo, path) of the files that a datum has opened; of a skipped one those of when it was processed."""
    sql = """
        SELECT repo, path FROM opened_files
        WHERE datum_id = (SELECT coalesce(output_of, id) FROM datums WHERE id = ?) ORDER BY repo, path
    """
    return list(db.execute(sql, (datum_row,)))
