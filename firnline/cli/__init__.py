"""The `firnline` command.

Every command imports what it needs when it runs, so that `firnline --help` stays quick.
"""

import sys


def main() -> None:
    """Run the command line; an error a person must act on ends with status 1, not a traceback.

    Who asked for `--json` gets the error as a document on standard output as well.
    """
    from firnline.cli.app import app
    from firnline.errors import FirnlineError

    try:
        app()
    except FirnlineError as error:
        from firnline.cli.show import print_json, show_error

        if "--json" in sys.argv[1:]:
            print_json({"error": error.document()})
        show_error(error)
        sys.exit(1)
