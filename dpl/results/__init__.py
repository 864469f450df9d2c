"""Results for people and for programs: tables, the progress bar, the JSON summary, trajectories as CSV."""
