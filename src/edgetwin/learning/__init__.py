"""Learners that know no network: how parameters are found, kept, and made a policy again."""
