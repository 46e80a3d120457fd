"""The serving plane: gateway, engines, the judgement of rollouts and its controller."""
