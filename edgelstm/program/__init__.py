"""The Program: a graph planned for concrete sizes, as a flat table over three arenas."""
