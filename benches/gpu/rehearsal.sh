#!/bin/bash
# Everything that has to be seen on a GPU, in one go: every stage under a timeout, results under $OUT. LIMIT: seconds in all.
# `pack` beside it makes the archive that this script lies in on the GPU machine (docs/cuda.md).
R=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export R OUT="${OUT:-/tmp/rehearsal-out}" LIMIT="${LIMIT:-525}" PYTHONUNBUFFERED=1
mkdir -p "$OUT" || { OUT=/tmp/rehearsal-out; mkdir -p "$OUT"; }
cd "$R" || exit 1
chmod +x "$R"/bin/* 2>/dev/null
# A Python that has torch, if any has.
PY=
for p in "$(command -v python3)" /opt/torch/.venv/bin/python3 /opt/*/.venv/bin/python3 /opt/*/bin/python3 /usr/bin/python3; do
  [ -x "$p" ] || continue
  [ -n "$PY" ] || PY=$p
  if [ "$(timeout 20 "$p" -c 'import importlib.util as u; print(bool(u.find_spec("torch")))' 2>/dev/null)" = True ]; then PY=$p; break; fi
done
"$PY" -V 2>&1 || { echo "no python"; ls /opt /opt/*/bin/python3 2>&1; }
timeout -k 5 "$((LIMIT + 15))" "$PY" -u "$R/rehearse.py"
echo "rehearse.py: exit $?"
timeout 20 "$PY" -u "$R/summary.py" "$OUT/numbers.jsonl" > "$OUT/summary.txt" 2>&1 || tail -c 4000 "$OUT/log.txt"
head -c 9900 "$OUT/summary.txt"
