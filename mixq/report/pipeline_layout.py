"""Where the stages of a network stand in its picture: from top to bottom, branches side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixq.plan.units import INPUT
from mixq.report.edges import Edge


@dataclass(frozen=True)
class Layout:
    """A line for each step of the longest path, and tracks side by side.

    ranks, tracks: of each stage, by its place; the input is at -1, the output behind the last stage. edge_tracks: the
    track on which each edge goes down. On a track there is one stage or edge at a time, so that no line crosses a box.
    """

    ranks: dict[int, int]
    tracks: dict[int, int]
    edge_tracks: tuple[int, ...]

    @property
    def boxed(self) -> list[bool]:
        """For each track whether a stage stands on it; the others have lines alone."""
        used = set(self.tracks.values())
        return [track in used for track in range(max(*used, *self.edge_tracks) + 1)]


def lay_out(edges: Sequence[Edge], stages: int) -> Layout:
    """Place stages, which are sorted such that each reads earlier ones, and their edges.

    The longest way to the output goes on where it was; other branches open the first track that is free, and end where
    they join. A join stands on the first of the tracks that come to it.
    """
    ranks = {INPUT: 0}
    for edge in edges:
        ranks[edge.target] = max(ranks.get(edge.target, 0), ranks[edge.source] + 1)
    # The output stands below everything.
    ranks[stages] = 1 + max(rank for place, rank in ranks.items() if place != stages)
    ahead = dict.fromkeys(ranks, 0)
    for edge in reversed(edges):
        ahead[edge.source] = max(ahead[edge.source], ahead[edge.target] + 1)
    tracks: dict[int, int] = {INPUT: 0}
    edge_tracks = [0] * len(edges)
    busy = {0}
    for place in sorted(ranks, key=lambda place: (ranks[place], place)):
        incoming = [number for number, edge in enumerate(edges) if edge.target == place]
        if incoming:
            own = [edge_tracks[number] for number in incoming]
            tracks[place] = min(own)
            busy -= set(own)
            busy.add(tracks[place])
        outgoing = [number for number, edge in enumerate(edges) if edge.source == place]
        outgoing.sort(key=lambda number: (-ahead[edges[number].target], number))
        for position, number in enumerate(outgoing):
            track = tracks[place] if position == 0 else next(n for n in range(len(busy) + 1) if n not in busy)
            edge_tracks[number] = track
            busy.add(track)
        if not outgoing:
            busy.discard(tracks[place])
    return Layout(ranks, tracks, tuple(edge_tracks))
