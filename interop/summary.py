"""The table of proofs. Exit code 1 where one failed, or where a script named on the command line did not end well."""

import json
import sys

from proofs import RESULTS

COLUMNS = ("result", "tool", "bundle", "form", "detail")


def main(broken: list[str]) -> int:
    """Print every line, and the counts."""
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()] if RESULTS.exists() else []
    lines += [dict.fromkeys(COLUMNS, "") | {"tool": name, "result": "fail", "detail": "broke off"} for name in broken]
    widths = [max(len(str(line[name])) for line in [*lines, {name: name}]) for name in COLUMNS[:-1]]
    for line in [dict(zip(COLUMNS, COLUMNS, strict=True)), *lines]:
        cells = [str(line[name]).ljust(width) for name, width in zip(COLUMNS, widths, strict=False)]
        print("  ".join([*cells, line["detail"]]).rstrip())
    counts = {result: sum(line["result"] == result for line in lines) for result in ("pass", "fail", "note")}
    print(f"\n{counts['pass']} proofs passed, {counts['fail']} failed; notes state limits: {counts['note']}")
    return int(counts["fail"] > 0 or counts["pass"] == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
