"""Exercises tried on a real lab: left blank, an exercise's checks do not pass; with its solution they do."""
