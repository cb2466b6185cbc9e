"""`python -m eggs_core`: the command line."""

from eggs_core.cli.command_line import app

if __name__ == "__main__":
    app(prog_name="python -m eggs_core")
