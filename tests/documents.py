"""Runs commands in this process, and checks what they write."""

from click.testing import CliRunner

from stepimp.columns import mismatch
from stepimp.commands import main
from stepimp.documents import read_document
from stepimp.rows import PARTS


def call(*arguments, code=0, **options):
    """The result of a command that exits with `code`."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], **options)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def only_document(folder, kind):
    """The one document of a kind in a results folder."""
    (file,) = folder.glob(f"{kind}-*.json")
    return read_document(file)


def rows_of(document, part):
    """The rows under a part such as "boundaries.moves", none where there is no such part."""
    for key in part.split("."):
        document = document.get(key, {})
    return document or []


def unfit_rows(document) -> list[str]:
    """Where a document differs from what `stepimp.rows` declares of it, in words."""
    parts = PARTS[document["command"]]
    lists = {
        name
        for name, value in document.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    faults = [f"{name} is not declared" for name in lists - parts.keys()]
    for part, row_types in parts.items():
        for row in rows_of(document, part):
            mismatches = [mismatch(row_type, row) for row_type in row_types]
            if all(mismatches):
                faults.append(f"{part}: {' or '.join(mismatches)}")
                break
    return faults
