"""The prompt that is offered wherever a model writes."""

PROMPT = "The people of the United States"
