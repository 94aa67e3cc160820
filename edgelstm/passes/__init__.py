"""Passes: from Graph to Graph, each pure."""
