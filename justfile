# The commands of daily work; `.ci/run` runs the same checks.

# All checks
check:
    .ci/run

# The README's first command
letters:
    cargo run --release -- run sweeps/letters.toml

# Fixtures of the oracles (needs Python with tests/oracle/requirements.txt)
oracle:
    for script in tests/oracle/*.py; do python3 "$script"; done
