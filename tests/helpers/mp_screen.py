"""Run the candidates stage in a process that a test may kill; pages are small."""

import json
import sys

from workflows.sources import materials_project
from workflows.stages import candidates


def main(spec, uri, page):
    materials_project.PAGE = candidates.PAGE = page
    return candidates.find_candidates.original(spec, uri)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
