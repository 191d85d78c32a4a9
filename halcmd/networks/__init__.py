"""3D classifiers: one file per architecture, named here once.

A network is a module with ``check_box(box)`` and ``build(*, box, n_classes, widths, dropout)``,
which returns a ``halcmd.networks.classifier.Classifier``. The parametrised contract in
``tests/networks/test_networks.py`` runs over this dictionary, and so do the choices of
``halcmd train --network``.
"""

NETWORKS = {
    "compact": "halcmd.networks.compact",
    "hal2021": "halcmd.networks.hal2021",
}
