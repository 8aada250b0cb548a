"""The colors of figures and pictures, and texts that fit into them."""

INK = "#1f2933"
MUTED = "#66727f"
GRID = "#e4e7eb"
PAPER = "#ffffff"
CORRECT = "#2e7d4f"
WRONG = "#c2412d"
ACCENT = "#2f6fb0"
GRAY = "#5b6b7a"
CYCLE = ["#2f6fb0", "#d9822b", "#2e7d4f", "#8a4fa3", "#c2412d", GRAY, "#b08a1e", "#1f8a8a"]
# From the lowest to the highest score, with opacity. On white and on dark pages alike, the higher stands out more.
SCORES = ("#7d93ab66", "#8a6fc4b3", "#cf4a8ad9", "#e0521fff")
# The color on a dark page of each color above.
DARK = {
    INK: "#e6e9ec",
    MUTED: "#a3adb8",
    GRID: "#343d47",
    PAPER: "#1c2229",
    CORRECT: "#63c48d",
    WRONG: "#f08b78",
    ACCENT: "#7db4ec",
    "#d9822b": "#eda35c",
    "#8a4fa3": "#c491da",
    GRAY: "#9fb0bf",
    "#b08a1e": "#d9b74f",
    "#1f8a8a": "#5fc4c4",
}


def clip(text: str, length: int) -> str:
    """Puts a text on one line of at most `length` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"
