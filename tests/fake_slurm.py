"""A cluster of one machine: the four commands of SLURM that submitit calls, as scripts that start processes here."""

from __future__ import annotations

import sys
from pathlib import Path

COMMANDS = {
    "sbatch": '''
import json, os, pathlib, re, subprocess
text, here = open(sys.argv[1]).read(), pathlib.Path(__file__).parent
array, number = re.search(r"--array=(\\d+)-(\\d+)", text), 70 + len(list(here.glob("*.json")))
numbers = range(int(array[1]), int(array[2]) + 1) if array else [None]
one = {name: "0" for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")}
one |= {"SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here"}
pids = {}
for i in numbers:
    place = {} if i is None else {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(i)}
    name = str(number) if i is None else f"{number}_{i}"
    job = subprocess.Popen(
        ["bash", sys.argv[1]], env=os.environ | one | place, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    pids[name] = job.pid
(here / f"{number}.json").write_text(json.dumps(pids))
print("Submitted batch job", number)
''',
    "srun": '''
import os
words = sys.argv[1:]
while words[0].startswith("-"):
    words = words[2:] if words[0] in ("--output", "--error") else words[1:]
os.execvp(words[0], words)
''',
    "sacct": '''
import json, os, pathlib
print("JobID|State|NodeList")
for file in pathlib.Path(__file__).parent.glob("*.json"):
    for name, pid in json.loads(file.read_text()).items():
        print(f"{name}|{'RUNNING' if os.path.exists(f'/proc/{pid}') else 'FAILED'}|here")
''',
    "scancel": "",
}  # fmt: skip


def write(folder: Path) -> Path:
    """The commands in ``folder``, to be put on the PATH."""
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!{sys.executable}\nimport sys\n{text}", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder
