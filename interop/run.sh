#!/bin/sh
# Proofs that other tools load what kd-deploy writes, each in an environment of its own. Run through `make interop`.
# PROJECT_PYTHON is an interpreter that has kd-deploy with its extra "all"; PYTHON makes the environment of optimum.
set -eu
cd "$(dirname "$0")/.."
python=${PROJECT_PYTHON:-.venv/bin/python}
base=${PYTHON:-python3}
optimum=.venv-interop/bin/python
work=interop/.work
export TORCH_CPP_LOG_LEVEL=ERROR HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false ONNXRUNTIME_NODE_INSTALL_CUDA=skip

for tool in node npm "$python" "$base"; do
  command -v "$tool" >/dev/null || { echo "interop: $tool is missing" >&2; exit 2; }
done

# An environment is made again when what it is made of changes.
pins=$(cat interop/requirements-optimum.txt interop/requirements-newest.txt | cksum)
if [ "$(cat .venv-interop/.pins 2>/dev/null)" != "$pins" ]; then
  echo "interop: making .venv-interop"
  rm -rf .venv-interop
  "$base" -m venv .venv-interop
  "$optimum" -m pip install --quiet --disable-pip-version-check -r interop/requirements-optimum.txt
  "$optimum" -m pip install --quiet --disable-pip-version-check --no-deps -e .
  "$optimum" -m pip install --quiet --disable-pip-version-check --no-deps --target .venv-interop/newest \
    -r interop/requirements-newest.txt
  echo "$pins" > .venv-interop/.pins
fi
lock=$(cksum < interop/package-lock.json)
if [ "$(cat interop/node_modules/.pins 2>/dev/null)" != "$lock" ]; then
  echo "interop: making interop/node_modules"
  (cd interop && npm ci --loglevel=error)
  echo "$lock" > interop/node_modules/.pins
fi

broken=
step() {
  name=$1
  shift
  echo "interop: $name"
  "$@" > "$work/$name.log" 2>&1 || { cat "$work/$name.log" >&2; broken="$broken $name"; }
}
rm -rf "$work"
mkdir "$work"
step bundles "$python" interop/make_bundles.py "$work"
step task-bundles env PYTHONPATH=. "$python" interop/make_task_bundles.py "$work/tasks"
step writer-bundles env PYTHONPATH=. "$python" interop/make_writer_bundles.py "$work/writers"
[ -z "$broken" ] || exit 1
step plain "$python" interop/prove_plain.py
step transformers "$python" interop/prove_transformers.py
step transformers-4 "$optimum" interop/prove_transformers.py
step optimum "$optimum" interop/prove_optimum.py
step node node interop/check.mjs
step tasks-transformers "$python" interop/prove_tasks_transformers.py
step tasks-transformers-4 "$optimum" interop/prove_tasks_transformers.py
step tasks-optimum "$optimum" interop/prove_tasks_optimum.py
step sentence-transformers "$optimum" interop/prove_sentence_transformers.py
step sentence-transformers-newest env PYTHONPATH=.venv-interop/newest "$python" interop/prove_sentence_transformers.py
step tasks-node node interop/check_tasks.mjs
step writers-plain "$python" interop/prove_writers_plain.py
step writers-transformers "$python" interop/prove_writers_transformers.py
step writers-transformers-4 "$optimum" interop/prove_writers_transformers.py
step writers-optimum "$optimum" interop/prove_writers_optimum.py
step writers-node node interop/check_writers.mjs
# shellcheck disable=SC2086 # a list of names
"$python" interop/summary.py $broken
