"""How often a rollout's judgement is wrong and how fast it is right, beside what teams use now."""
