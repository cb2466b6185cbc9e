"""The page: places with their panels, on top of state, jobs, charts, words and widgets."""
