"""`python -m edge.toolchains install NAME...`: environments made from their locks."""

import sys

from edge.toolchains import environment, install, names
from firnline.errors import DeliveryError


def main(arguments: list[str]) -> int:
    """Install what is named and not there already; the exit code."""
    if len(arguments) < 2 or arguments[0] != "install":
        print(f"usage: python -m edge.toolchains install {'|'.join(names())} ...", file=sys.stderr)
        return 2
    try:
        for name in arguments[1:]:
            try:
                environment(name)
            except DeliveryError as missing:
                if missing.code != "E61":
                    raise
                install(name)
            print(f"{name}: ready")
    except DeliveryError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
