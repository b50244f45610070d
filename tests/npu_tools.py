"""Stand-ins of vendors' compilers: executables that say and leave what the real ones did."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def vela(folder: Path, case: str, code: int = 0, body: str = "", version: str = "echo 5.2.0") -> Path:
    """A `vela` that ends as a recorded run did."""
    recorded = GOLDEN / "vela" / case
    tool = folder / "bin" / "vela"
    tool.parent.mkdir()
    tool.write_text(f"""#!/bin/sh
if [ "$1" = --version ]; then {version}; exit 0; fi
echo "$@" > {folder}/arguments
model=$1
while [ "$1" != --output-dir ]; do shift; done
{body}
cat {recorded}/output.txt
cp {recorded}/*.csv "$2"
(printf 'compiled: '; cat "$model") > "$2/$(basename "$model" .tflite)_vela.tflite"
exit {code}
""")
    tool.chmod(0o755)
    return tool


def edgetpu_compiler(folder: Path, name: str, code: int = 0, body: str = "") -> Path:
    """An `edgetpu_compiler` that ends as the golden log `name` does; its options are added to a file `arguments`."""
    golden = GOLDEN / "edgetpu_compiler"
    tool = folder / "bin" / "edgetpu_compiler"
    tool.parent.mkdir(exist_ok=True)
    log, writes = golden / f"{name}.log", "compiled successfully" in (golden / f"{name}.txt").read_text()
    tool.write_text(f"""#!/bin/sh
echo "$@" >> {folder}/arguments
{body}
while [ "$1" != -o ]; do shift; done
cat {golden / name}.txt
{f"cat {log} > $2/model_edgetpu.log" if log.is_file() else ""}
{"(printf 'compiled: '; cat $3) > $2/model_edgetpu.tflite" if writes else ""}
exit {code}
""")
    tool.chmod(0o755)
    return tool
