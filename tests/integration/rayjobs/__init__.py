"""RayJobs on a real API server."""
