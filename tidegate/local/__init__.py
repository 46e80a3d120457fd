"""The embedded platform: starts, finds and stops its parts under one state folder."""
