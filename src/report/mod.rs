//! The comparison: load, summarise (pure), render.
