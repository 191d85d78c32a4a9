"""Picks and labels of other programs; one file per format.

A format is a module with ``recognises(file)`` and ``read(file)``; its line here makes it known to
``--format``, the help and the tests. The first that recognises a file reads it.
"""

IMPORTERS: dict[str, str] = {
    "halcmd": "halcmd.importers.halcmd_table",
    "relion31": "halcmd.importers.relion31",
    "csv": "halcmd.importers.csv_table",
}
