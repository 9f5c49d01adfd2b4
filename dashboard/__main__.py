"""The command ``cachewarden``, also as ``python -m dashboard``."""

import sys


def main() -> None:
    """Run the command line, or say what to install: the base install holds the application's library only."""
    try:
        from dashboard.cli import main as command_line
    except ModuleNotFoundError as error:
        sys.exit(
            f"The dashboard is not installed (no module {error.name}). Run: pip install 'cachewarden[dashboard]'"
        )
    command_line()


if __name__ == "__main__":
    main()
