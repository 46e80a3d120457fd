"""The local controller: reads the world, asks `serving.rollout` what to do, records it, does it."""
