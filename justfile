# The commands of daily work; `.ci/run` runs the same checks.

# All checks
check:
    .ci/run

# The README's first command
letters:
    cargo run --release -- run sweeps/letters.toml

# Fixtures of the oracles (needs Python with tests/oracle/requirements.txt)
oracle:
    for name in densenet images losses metrics; do python3 "tests/oracle/$name.py"; done
