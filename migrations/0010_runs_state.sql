-- The state of every run without its settings, which take most of the table: `sweep status` counts 20,000 runs in a tenth of a second.
PRAGMA user_version = 10;

CREATE INDEX runs_state ON runs (id, state, finished_at);
