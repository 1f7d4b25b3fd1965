"""The colours of every picture: drawn ones (`halab.draw`) and the live one (`halab.live`)."""

INK, PALE, GOOD, BAD, OFF = "#263238", "#eceff1", "#2e7d32", "#c62828", "#607d8b"
SERIES = ("#1565c0", "#ef6c00", "#6a1b9a", "#00838f", "#558b2f", "#ad1457")
