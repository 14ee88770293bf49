//! A stored backup becomes a cluster again: plan, sources, sinks, recovery settings.
