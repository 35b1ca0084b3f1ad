"""Prints a table as the pages hold it."""

import pandas as pd


def print_markdown(table: pd.DataFrame) -> None:
    lines = [[*table.columns], ["---"] * len(table.columns), *table.to_numpy().tolist()]
    print("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))
