"""``python -m launch`` is ``hopscreen``."""

from launch.cli import main

if __name__ == "__main__":
    main()
