"""The colors of figures and pictures, and texts that fit into them."""

INK = "#1f2933"
MUTED = "#66727f"
GRID = "#e4e7eb"
PAPER = "#ffffff"
CORRECT = "#2e7d4f"
WRONG = "#c2412d"
ACCENT = "#2f6fb0"
CYCLE = ["#2f6fb0", "#d9822b", "#2e7d4f", "#8a4fa3", "#c2412d", "#5b6b7a", "#b08a1e", "#1f8a8a"]


def clip(text: str, length: int) -> str:
    """Puts a text on one line of at most `length` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"
