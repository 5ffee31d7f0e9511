"""Compares `mizar cube` with `cdo`, operator by operator: `make conformance`.

Runs every case (cases.py) on a seeded choice of the files that suit it (files.py) with both
programs, and prints a table: the largest relative error of each operator, values that are
missing in one only, differences of metadata. What differs on purpose is declared in
differences.toml with its reason. Some are compared with NumPy too (references.py). Exit codes: 0 all as declared, 3 an undeclared difference (or
a declared one that is gone, with `--strict`), 1 the comparison itself failed.
"""

import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import tomllib

import numpy as np

import cases
import compare
import files
import references
import ties

HERE = pathlib.Path(__file__).parent
TOLERANCE = 1e-5
SECONDS = 60
# Of several inputs in HDF5 some crash without -L, which lets one thread at a time read.
CDO = ["cdo", "-s", "-L"]
# The NetCDF library takes one thread at a time.
LIBRARY = threading.Lock()


def main():
    arguments = parse()
    known = operators_of(arguments.mizar)
    rows = {n: c for n, c in cases.table().items() if fnmatch.fnmatch(n, arguments.operator)}
    unlisted = [n for n in known if n not in cases.table() and fnmatch.fnmatch(n, arguments.operator)]
    with tempfile.TemporaryDirectory(prefix="mizar-conformance-") as folder:
        folder = pathlib.Path(folder)
        pool = files.generated(folder / "in")
        if not arguments.quick:
            pool += files.real(0 if arguments.all else 12, arguments.seed)
        results = run_all(arguments, rows, known, pool, folder)
        report(arguments, rows, known, unlisted, results)
        wrong = references.run(arguments.mizar, pool, folder, arguments.operator)
    sys.exit(3 if wrong or any(not r["as declared"] for r in results) else 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mizar", default=os.environ.get("MIZAR", "mizar"), help="the program")
    parser.add_argument("--operator", default="*", help="a pattern of names, such as 'ymon*'")
    parser.add_argument("--files", type=int, default=6, help="files of each case, chosen by --seed")
    parser.add_argument("--all", action="store_true", help="every file of both packages (a day; see --part)")
    parser.add_argument("--part", type=int, default=1, help="with --all: one comparison in so many, chosen by --seed")
    parser.add_argument("--quick", action="store_true", help="generated files only, two of each case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path, help="write the table to a file too")
    parser.add_argument("--json", type=pathlib.Path, help="write every comparison as JSON")
    return parser.parse_args()


def operators_of(mizar):
    text = subprocess.run([mizar, "cube", "--operators"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def run_all(arguments, rows, known, pool, folder):
    """Compares every case on its files, a few at a time."""
    work = []
    for name, its_cases in rows.items():
        if name not in known:
            continue
        for case in its_cases:
            fitting = [file for file in pool if case.suits(file)]
            limit = 2 if arguments.quick else (len(fitting) if arguments.all else arguments.files)
            order = np.random.default_rng([arguments.seed, len(work)]).permutation(len(fitting))
            work += [(name, case, fitting[index]) for index in order[:limit]]
    if arguments.all and arguments.part > 1:
        order = np.random.default_rng(arguments.seed).permutation(len(work))
        work = [work[index] for index in sorted(order[: -(-len(work) // arguments.part)])]
    declared = Declared(HERE / "differences.toml")
    results = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as executor:
        jobs = [executor.submit(one, arguments.mizar, *item, folder / f"{i}") for i, item in enumerate(work)]
        for done, job in enumerate(jobs, 1):
            results.append(declared.judge(job.result()))
            if sys.stderr.isatty() or done % 200 == 0 or done == len(jobs):
                print(f"\r{done} of {len(jobs)} comparisons", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def one(mizar, name, case, file, folder):
    """Runs a case on a file with both programs."""
    folder.mkdir(parents=True)
    result = {"operator": name, "line": case.line, "file": file.name, "traits": sorted(file.traits)}
    weights = folder / "weights.nc"
    if " W" in case.line or ",W " in case.line:
        make = name if name.startswith("gen") else "genbil"
        program = [mizar, "cube"] if name.startswith("gen") else CDO
        text, problem = run([*program, f"-{make},r36x18", str(file.path), str(weights)])
        if problem:
            return {**result, "failed": f"{make}: {problem}"}
    paths = {"F": str(file.path)}
    fill = lambda line: [
        paths.get(word) or word.replace("V", file.variable).replace(",W", f",{weights}")
        for word in line.split()
    ]
    for word, line in case.made:
        path = str(folder / f"{word}.nc")
        _, problem = run([*CDO, "-f", "nc4", "-b", "F64", *fill(line), path])
        if problem:
            return {**result, "failed": f"cdo {line}: {problem}"}
        paths[word] = path
    kind = kind_of(name)
    outcomes = []
    for label, program, line in [("mizar", [mizar, "cube", "-s", "-b", "F64"], case.line), ("cdo", [*CDO, "-b", "F64"], case.of_cdo())]:
        out = folder / label
        out.mkdir()
        targets = {"text": [], "two": [str(out / "a.nc"), str(out / "b.nc")]}.get(kind, [str(out / ("x" if kind == "split" else "x.nc"))])
        # Formats of NetCDF keep doubles; cdo writes classic files unless told.
        text, problem = run([*program, *(["-f", "nc4"] if label == "cdo" else []), *fill(line), *targets])
        outcomes.append((text, problem, out))
    (text, problem, out), (cdo_text, cdo_problem, cdo_out) = outcomes
    if problem or cdo_problem:
        if problem and cdo_problem:
            return {**result, "both refuse": True, "failed": ""}
        return {**result, "failed": f"mizar: {problem}" if problem else f"cdo: {cdo_problem}"}
    found = compare.Difference()
    if kind == "text":
        found = compare.texts(text, cdo_text)
    else:
        names, cdo_names = ({p.name for p in folder.iterdir()} for folder in (out, cdo_out))
        if names != cdo_names:
            found.notes.add(f"files {sorted(cdo_names - names)[:3]} here {sorted(names - cdo_names)[:3]}")
        for shared in sorted(names & cdo_names):
            with LIBRARY:
                left_out = None
                if name in BY_DISTANCE:
                    tied, beyond = ties.of(file.path, out / shared)
                    left_out = tied | beyond
                    found.notes |= {"tied cells left out"} if tied.any() else set()
                    found.notes |= {"cells beyond the last row left out"} if beyond.any() else set()
                found.join(compare.files(out / shared, cdo_out / shared, left_out))
    for path in [*out.iterdir(), *cdo_out.iterdir()]:
        path.unlink()
    return {**result, "error": found.error, "missing": found.missing, "notes": sorted(found.notes)}


BY_DISTANCE = {"remapdis", "gendis"}
TEXT = {"info", "infon", "sinfo", "sinfon", "griddes", "zaxisdes", "ntime", "showname", "showlevel", "showdate", "showtimestamp", "showatts"}


def kind_of(name):
    if name in TEXT or name.startswith(("show", "info", "sinfo", "n")) and name not in ("not", "ne", "nec", "nint"):
        return "text"
    if name.startswith("split"):
        return "split"
    return "two" if name == "trend" else "one"


def run(words):
    """Standard output, and what went wrong."""
    environment = {**os.environ, "CDO_PCTL_NBINS": "5001", "CDO_HISTORY_INFO": "0", "MIZAR_COMM": "single"}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        return "", f"took more than {SECONDS} s"
    if done.returncode == 0:
        return done.stdout, ""
    lines = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
    return "", lines[0][:200]


class Declared:
    """Differences that are on purpose."""

    def __init__(self, path):
        self.rules = tomllib.loads(path.read_text()).get("difference", [])
        for rule in self.rules:
            rule["seen"] = 0

    def judge(self, result):
        """Marks a result as declared or not, with the reasons."""
        reasons = set()
        wrong = []
        for kind in kinds(result):
            rule = next((rule for rule in self.rules if self.covers(rule, result, kind)), None)
            if rule:
                rule["seen"] += 1
                reasons.add(rule["reason"])
            else:
                wrong.append(kind)
        return {**result, "reasons": sorted(reasons), "undeclared": wrong, "as declared": not wrong}

    @staticmethod
    def covers(rule, result, kind):
        def matches(text, patterns):
            return any(fnmatch.fnmatch(text, pattern) for pattern in patterns)

        return (
            matches(result["operator"], rule.get("operators", ["*"]))
            and matches(kind, rule["kinds"])
            and matches(result["line"], rule.get("lines", ["*"]))
            and (not rule.get("traits") or any(trait in result["traits"] for trait in rule["traits"]))
            and not any(trait in result["traits"] for trait in rule.get("without", []))
        )


def kinds(result):
    """The ways in which a result differs."""
    if "failed" in result:
        return [f"failed {result['failed']}"] if result["failed"] else []
    found = list(result["notes"])
    if result["error"] > TOLERANCE:
        found.append("values")
    if result["missing"]:
        found.append("missing")
    return found


def report(arguments, rows, known, unlisted, results):
    """The table."""
    lines = [
        "| operator | cases x files | largest relative error | missing in one | differences | why |",
        "|---|---|---|---|---|---|",
    ]
    absent = [name for name in rows if name not in known]
    for name in rows:
        mine = [r for r in results if r["operator"] == name]
        if not mine:
            continue
        errors = [r["error"] for r in mine if "error" in r and "values" not in r_declared(r)]
        error = f"{max(errors):.1e}" if errors else "-"
        missing = sum(r.get("missing", 0) for r in mine)
        notes = sorted({("**" if kind in r["undeclared"] else "") + kind + ("**" if kind in r["undeclared"] else "") for r in mine for kind in kinds(r)})
        reasons = sorted({reason for r in mine for reason in r["reasons"]})
        lines.append(f"| {name} | {len(mine)} | {error} | {missing or ''} | {'; '.join(notes)} | {' '.join(reasons)} |")
    bad = [r for r in results if not r["as declared"]]
    lines += [
        "",
        f"{len(results)} comparisons of {len(rows) - len(absent)} operators with {cdo_version()}; "
        f"{len(bad)} differ in a way that is not declared (bold).",
    ]
    if absent:
        lines += ["", f"Not there: {', '.join(absent)}."]
    if unlisted:
        lines += ["", f"Without a case (cases.py): {', '.join(unlisted)}."]
    print("\n".join(lines))
    for r in bad[:40]:
        print(f"  {r['line']} on {r['file']}: {'; '.join(r['undeclared'])} (error {r.get('error', 0):.2e})", file=sys.stderr)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    print(f"{len(results) - len(bad)} passed, {len(bad)} failed", file=sys.stderr)


def r_declared(result):
    """Kinds of a result that are declared: their errors do not count."""
    return [kind for kind in kinds(result) if kind not in result["undeclared"]]


def cdo_version():
    text = subprocess.run(["cdo", "--version"], capture_output=True, text=True)
    words = (text.stdout + text.stderr).split()
    return f"CDO {words[words.index('version') + 1]}" if "version" in words else "CDO"


if __name__ == "__main__":
    main()
