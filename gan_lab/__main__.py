"""`python -m gan_lab ...` is `gan-lab ...`."""

from gan_lab.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
