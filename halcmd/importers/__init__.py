"""Picks and labels of other programs; one file per format.

A format is a module with ``recognises(file)`` and ``read(file)``; its line here makes it known to
``--format``, the help and the tests. The first that recognises a file reads it, so a special kind
stands before the general one.
"""

IMPORTERS: dict[str, str] = {
    "halcmd": "halcmd.importers.halcmd_table",
    "m": "halcmd.importers.m_species",
    "pytom": "halcmd.importers.pytom",
    "warp_matching": "halcmd.importers.warp_matching",
    "relion5": "halcmd.importers.relion5",
    "relion5_annotations": "halcmd.importers.relion5_annotations",
    "warp_2d": "halcmd.importers.warp_2d",
    "relion4": "halcmd.importers.relion4",
    "warp": "halcmd.importers.warp",
    "relion31": "halcmd.importers.relion31",
    "relion30": "halcmd.importers.relion30",
    "stopgap": "halcmd.importers.stopgap",
    "cbox": "halcmd.importers.cbox",
    "em": "halcmd.importers.em_motl",
    "imod": "halcmd.importers.imod",
    "copick": "halcmd.importers.copick",
    "ndjson": "halcmd.importers.ndjson",
    "dynamo": "halcmd.importers.dynamo",
    "imod_text": "halcmd.importers.imod_text",
    "coords": "halcmd.importers.coords",
    "csv": "halcmd.importers.csv_table",
}
