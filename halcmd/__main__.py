"""``python -m halcmd``, which ``torchrun -m halcmd`` and ``srun`` need."""

from halcmd.cli.app import main

if __name__ == "__main__":
    main()
