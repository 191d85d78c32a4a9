"""Queried particles as other programs read them: one file per form, named here once.

A form is a module with ``check(particles)``, which raises before anything is chosen or written
where the table lacks what the form needs, and ``write(particles, folder) -> list[Path]``, which
writes the particles asked for, most wanted first. What comes back is read by ``label-import``.
"""

HANDOFFS = {
    "csv": "halcmd.handoff.spreadsheet",
    "relion": "halcmd.handoff.relion",
    "artiax": "halcmd.handoff.artiax",
    "napari": "halcmd.handoff.napari",
    "imod": "halcmd.handoff.imod",
    "dynamo": "halcmd.handoff.dynamo",
}
