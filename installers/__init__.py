"""Set-up, constraints, the suite's runner and (later) packages. Everything `main.py` imports from here before the
environment exists is standard library only."""
