# The commands of daily work; `.ci/` has what CI runs.

# All checks
check:
    .ci/run

# Tests that need PyTorch, a CUDA toolkit or real data; what is missing is skipped
extended:
    .ci/extended

# The README's first command
letters:
    cargo run --release -- run sweeps/letters.toml

# Fixtures of the oracles (needs Python with tests/oracle/requirements.txt); the two left out check something that was built instead
oracle:
    for script in $(ls tests/oracle/*.py | grep -v -e check_scores -e torchvision_weights); do python3 "$script"; done
