#!/bin/bash
# Makes the folders beside this file again with the OLD version: TREE is a checkout of commit c77685f, PYTHON an
# environment it runs in. Another machine's floats may differ in the last digits. Deletes what is beside this file.
#   TREE=<checkout of c77685f> PYTHON=<venv>/bin/python bash make.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
TREE=$(cd "$TREE" && pwd)
work=$(mktemp -d)
trap '[ $? = 0 ] || tail -n 20 "$work/log.txt"; rm -rf "$work"' EXIT
export PYTHONPATH=$TREE/src PYTHONDONTWRITEBYTECODE=1
cd "$work"
bench() { "$PYTHON" -m "bench.$@" 2>> "$work/log.txt" | tail -n 1 | sed 's/^[a-z]* //'; }  # the last line names the folder
train() { bench train "$@" train.eval_batch_size=16 split.n_splits=2 device=cpu workers=1 folds.parallel=1 tracking.enabled=false; }
beats() { train dataset=heartbeat model=mlp dataset.root=raw/heartbeat train.epochs=2 train.batch_size=8 "$@"; }

# Files: of the simulated heartbeats two kinds are kept, for fewer columns in the runs; the test sounds are cut.
"$PYTHON" - <<'PY'
import json, wave
from pathlib import Path
from bench.simulators import freesound, heartbeat
root, settings = Path("raw/heartbeat"), {"n_train": 60, "n_test": 4, "length": 32, "seed": 0}
heartbeat.simulate(root, **settings)
lines = (root / "train.csv").read_text().splitlines(keepends=True)
(root / "train.csv").write_text("".join(x for x in lines if not x.endswith((",1.0\n", ",2.0\n"))))
(root / "SIMULATED.json").write_text(json.dumps(settings))
root, settings = Path("raw/freesound"), {"n_train": 10, "n_test": 3, "n_classes": 2, "longest": 0.31, "seed": 0}
freesound.simulate(root, **settings)
for path in (root / "audio_test").glob("*.wav"):
    with wave.open(str(path)) as file:
        how, sound = file.getparams(), file.readframes(4000)
    with wave.open(str(path), "wb") as file:
        file.setparams(how)
        file.writeframes(sound)
(root / "SIMULATED.json").write_text(json.dumps(settings))
PY

# Runs
a=$(beats 'model.hidden=[4]' optimizer.lr=0.1)
b=$(beats 'model.hidden=[3]' optimizer=adamw optimizer.lr=0.2 loss=ce seed=1 scheduler=steps 'scheduler.factors=[1.0,0.5]' \
    'augment=[horizontal_flip]' tta=flips train.ema=0.5)
c=$(beats 'model.hidden=[4]' optimizer.lr=0.1 init_from="$a" pseudo=teachers "pseudo.runs=[$a]" pseudo.rows=test pseudo.above=0.2 \
    synthetic=smote synthetic.k_neighbors=2 scheduler=cosine 'augment=[mixup,gaussian_noise]' tta=random tta.n=2)
d=$(train dataset=freesound model=cnn2d features=freesound_mfcc dataset.root=raw/freesound 'model.filters=[2,2,2,2]' \
    model.hidden=3 'model.kernel_size=[2,2]' features.seconds=0.2 features.n_mfcc=16 row_weights=verified train.epochs=2 \
    train.batch_size=8 'augment=[specaugment,mixup]' tta=crops tta.n=2)
e=$(bench ensemble "runs=[$a,$b]" blend=mean harden=threshold tracking.enabled=false)
f=$(bench ensemble "runs=[$a,$b,$c]" blend=stack_logistic tracking.enabled=false)
runs=("$a" "$b" "$c" "$d" "$e" "$f")

# Only what predicting, comparing, blending and telling of a run needs; nothing of this machine.
cd outputs
find . \( -name checkpoint.pt -o -name log.txt -o -name plots -o -name report.html -o -name 'tracking*' -o -name .lock \
    -o -name "synthetic*" -o -name pseudo.parquet \) -prune -exec rm -rf {} +
rm "$c"/folds/*/test.parquet "$d"/folds/*/test.parquet "$f"/folds/*/test.parquet  # folds=geometric alone reads them
neutral() {
    find "$@" -type f \( -name '*.json' -o -name '*.yaml' -o -name '*.csv' \) -exec sed -i \
        -e "s#$PYTHON#/somewhere/bin/python#g" -e "s#$work/copy#/somewhere/outputs#g" -e "s#$work#/somewhere#g" -e "s#$TREE#/somewhere/bench#g" \
        -e "s#\"host\": \"[^\"]*\"#\"host\": \"somewhere\"#" -e "s#\"pid\": [0-9]*#\"pid\": 1#" \
        -e "s#\"platform\": \"[^\"]*\"#\"platform\": \"Linux\"#" {} +
}
neutral .
for old in heartbeat freesound input_heartbeat input_freesound 'expected_*'; do rm -rf "$here"/$old; done
cp -r heartbeat freesound "$here/"
mkdir -p "$here/input_heartbeat" "$here/input_freesound"
cp ../raw/heartbeat/{testA.csv,SIMULATED.json} "$here/input_heartbeat/"
cp -r ../raw/freesound/{audio_test,sample_submission.csv,SIMULATED.json} "$here/input_freesound/"

# What the old version makes of these very folders
cp -r "$here" ../copy && cd ../copy
for run in "${runs[@]}"; do
    id=$(basename "$run"); set=$(basename "$(dirname "$(dirname "$run")")")
    bench predict run="$(echo $set/*/$id)" input=input_$set output=made/$id outputs=. device=cpu workers=1 store=store > /dev/null
done
one=$(bench compare "runs=[$(echo */*/$(basename $a)),$(echo */*/$(basename $b))]" outputs=made tracking.enabled=false)
two=$(bench compare "runs=[$(echo */*/$(basename $a)),$(echo */*/$(basename $b)),$(echo */*/$(basename $e))]" outputs=made tracking.enabled=false)
blend=$(bench ensemble "runs=[$(echo */*/$(basename $a)),$(echo */*/$(basename $b)),$(echo */*/$(basename $c))]" blend=weights outputs=made tracking.enabled=false)
"$PYTHON" - "$here" "$one" "$two" "$blend" <<'PY'
import json, shutil, sys
from pathlib import Path
import pandas as pd
from bench import crossval
from bench.results.run import Run
to, *folders = map(Path, sys.argv[1:])
parts = []
for path in sorted(Path("made").glob("*/test.parquet")):
    frame = pd.read_parquet(path)
    assert (frame.filter(like="pred_").dtypes == "float64").all()
    own = pd.read_parquet(next(Path().glob(f"*/*/{path.parent.name}/test.parquet")))
    assert frame.equals(own), path  # what it predicted in its training
    parts.append(frame.melt("id", var_name="column", value_name="probability").assign(run=path.parent.name))
pd.concat(parts)[["run", "id", "column", "probability"]].to_csv(to / "expected_predictions.csv", index=False)
for folder, name in zip(folders, ("expected_comparison.json", "expected_comparison_of_three.json")):
    shutil.copy(folder / "comparison.json", to / name)
for path in Path().glob("*/*/*/config.yaml"):
    crossval.draw(Run.open(path.parent))
    assert (path.parent / "report.html").exists() and (path.parent / "plots").exists(), path
blend = json.loads((folders[2] / "blend.json").read_text())
blend["scores"] = json.loads((folders[2] / "scores.json").read_text())
(to / "expected_blend_weights.json").write_text(json.dumps(blend, indent=1) + "\n")
PY
neutral "$here"/expected_*
echo "a=$a b=$b c=$c d=$d e=$e f=$f" | sed "s#$work/outputs/##g"
du -sb "$here"
