"""`python -m kd_deploy`: the command line, for torchrun and for environments without scripts."""

from kd_deploy.cli import main

if __name__ == "__main__":
    main()
