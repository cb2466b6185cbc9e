"""The best plan for a budget: what each layer loses by each pattern, and the plan that loses least."""
