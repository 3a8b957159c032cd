"""How the process is told what to do, and how it ends."""
