#!/usr/bin/env bash
# What one GPU gives, in under ten minutes: steps a second against a bare loop with the same network, and a sweep of eight
# small runs with 1, 2 and 4 of them at once. Prepared, and not run yet: no GPU was at hand.
#
#     experiments/benchmarks/gpu.sh OUTPUTS          (in an environment with lesionseg[joblib] and torchio, monai)
set -euo pipefail
outputs=$(realpath -m "${1:?give a folder for outputs}")
here=$(cd "$(dirname "$0")" && pwd)
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader
python -W ignore "$here/training/run.py" --only loop inference
cohort=(dataset=synthetic dataset.synthetic.subjects=12 'dataset.synthetic.pathology.contrasts=[FLAIR]'
    dataset.synthetic.pathology.sessions=1 split.test=2 split.validation=2)
for jobs in 1 2 4; do
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 500 > "$outputs-memory-$jobs.txt" &
    watcher=$!
    began=$(date +%s)
    lesionseg train --multirun "${cohort[@]}" train_size=2,4,6,8 repeat=0,1 trainer.steps=500 trainer.validate_every=500 \
        hydra/launcher=joblib hydra.launcher.n_jobs=$jobs sweep=jobs$jobs paths.outputs="$outputs" > "$outputs-$jobs.log"
    kill $watcher
    echo "$jobs at once: $(($(date +%s) - began)) s for 8 runs, $(sort -n "$outputs-memory-$jobs.txt" | tail -1) MiB at most"
done
