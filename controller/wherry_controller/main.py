"""`wherry`, the operator's command; what it needs beyond a device is the extra `controller`."""

import sys

from wherry_protocol.errors import MissingExtraError


def main() -> None:
    """Run the command line; exits with the status of docs/CLI.md."""
    try:
        from wherry_controller.cli.app import run

        status = run(sys.argv[1:])  # imports what the named command stands on
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("wherry"):
            raise
        library = (error.name or str(error)).partition(".")[0]
        print(
            f"wherry: {library} is not installed; `pip install 'wherry[controller]'` adds the "
            "operator's part",
            file=sys.stderr,
        )
        raise SystemExit(MissingExtraError.exit_status) from None
    raise SystemExit(status)


if __name__ == "__main__":
    main()
